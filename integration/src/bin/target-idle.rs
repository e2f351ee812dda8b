//! Holds `--mib` MiB (default: none) and does nothing. With `--herd N` it starts N copies of itself, prints `ready`
//! and waits with them: what a host with many processes looks like to a sweep.

#![forbid(unsafe_code)]

use std::io::Read as _;
use std::process::{Command, Stdio};

use mlh_integration::target::{argument, touched};

fn main() -> std::io::Result<()> {
    let held = touched(usize::try_from(argument("mib", 0) << 20).unwrap_or(0), 0xBB);
    let count = argument("herd", 0);
    let (reader, writer) = std::io::pipe()?;
    let mut herd = Vec::new();
    for _ in 0..count {
        // all wait on one pipe; it ends when this process does, and they with it
        let mut member = Command::new(std::env::current_exe()?);
        herd.push(member.stdin(reader.try_clone()?).stdout(Stdio::null()).spawn()?);
    }
    drop(reader);
    println!("ready");
    // no thread and no timer: an idle process must cost nothing
    while std::io::stdin().read(&mut [0; 64])? > 0 {}
    drop((held, writer));
    for mut member in herd {
        member.wait()?;
    }
    Ok(())
}
