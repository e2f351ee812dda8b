//! A process for the tests to look at. It does what a line on standard input says, answers with a line, and ends with its input.
//!
//! `touch N`: writes to N more MiB, in small pages. `drop`: gives them all back. `fork`: starts a child that lives as long as its
//! parent. `threads N`: starts N threads that work for a while and then wait. `ended N`: the same, but they end. `exec`: becomes
//! the same program anew. `orphan`: the main thread ends, and those that `threads` has started live on with all the memory.

use std::hint::black_box;
use std::io::{self, BufRead as _};
use std::thread;

const MIB: usize = 1 << 20;

fn work() {
    let sum = (0..20_000_000_u64).fold(0, |sum: u64, n| black_box(sum.wrapping_mul(31) ^ n));
    black_box(sum);
}

fn main() -> io::Result<()> {
    let mut held = Vec::new();
    avoid_huge_pages();
    println!("ready");
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (verb, count) = line.split_once(' ').unwrap_or((&line, "0"));
        let count: usize = count.parse().map_err(io::Error::other)?;
        match verb {
            "touch" => held.push(vec![1_u8; count * MIB]),
            "threads" => {
                let (tell, told) = std::sync::mpsc::channel();
                for _ in 0..count {
                    let tell = tell.clone();
                    thread::spawn(move || {
                        work();
                        let _ = tell.send(());
                        loop {
                            thread::park();
                        }
                    });
                }
                told.iter().take(count).for_each(drop);
            }
            "ended" => {
                for thread in (0..count).map(|_| thread::spawn(work)).collect::<Vec<_>>() {
                    thread.join().map_err(|_| io::Error::other("a thread panicked"))?;
                }
            }
            "drop" => held.clear(),
            "fork" => fork(),
            "exec" => return exec(),
            "orphan" => {
                println!("done");
                end_main_thread();
            }
            _ => return Err(io::Error::other(line)),
        }
        println!("done");
    }
    Ok(())
}

#[cfg(unix)]
fn exec() -> io::Result<()> {
    use std::os::unix::process::CommandExt as _;
    Err(std::process::Command::new(std::env::current_exe()?).exec())
}

#[cfg(not(unix))]
fn exec() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(all(target_os = "linux", feature = "kernel"))]
fn avoid_huge_pages() {
    let _ = nix::sys::prctl::set_thp_disable(true);
}

#[cfg(not(all(target_os = "linux", feature = "kernel")))]
fn avoid_huge_pages() {}

#[cfg(all(target_os = "linux", feature = "kernel"))]
fn fork() {
    use nix::sys::{prctl, signal::Signal};
    // SAFETY: the child calls nothing that allocates or takes a lock, and never returns.
    if let Ok(nix::unistd::ForkResult::Child) = unsafe { nix::unistd::fork() } {
        let _ = prctl::set_pdeathsig(Signal::SIGKILL);
        loop {
            nix::unistd::pause();
        }
    }
}

#[cfg(not(all(target_os = "linux", feature = "kernel")))]
fn fork() {}

#[cfg(all(target_os = "linux", feature = "kernel"))]
fn end_main_thread() {
    use nix::libc;
    // SAFETY: the thread ends within the call. Its stack stays mapped, and the lock on standard input, which it still
    // holds, is wanted by no other thread.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
}

#[cfg(not(all(target_os = "linux", feature = "kernel")))]
fn end_main_thread() {
    std::process::exit(1);
}
