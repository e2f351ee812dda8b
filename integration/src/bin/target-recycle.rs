//! Workers that leak and are recycled before anybody could call one of them old. One serves at a time: it leaks
//! `--rate` bytes a second in blocks of 1 KiB for `--life` seconds, then forks its successor, which inherits all that
//! was leaked, and ends. So memory grows for ever while no process lives for long: what a graceful restart with
//! handover of state looks like. Prints `generation bytes` once a second.

#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use fork::{Fork, fork};
use mlh_integration::target::{argument, end_with_parent, lives, touched};
use nix::errno::Errno;
use nix::sys::wait::wait;
use nix::unistd::{Pid, getpid};

const BLOCK: u64 = 1024;

fn main() -> std::io::Result<()> {
    end_with_parent();
    let supervisor = getpid();
    // successors become its children, so that it learns of the end of each
    nix::sys::prctl::set_child_subreaper(true)?;
    if let Fork::Child = fork()? {
        return work(supervisor);
    }
    // a worker has its successor before it ends: without any, one has died
    while wait() != Err(Errno::ECHILD) {}
    Err(std::io::Error::other("no worker is left"))
}

fn work(supervisor: Pid) -> std::io::Result<()> {
    let rate = argument("rate", 512 << 10);
    let life = Duration::from_secs(argument("life", 12).max(1));
    let (mut generation, mut leaked) = (1, 0u64);
    loop {
        let (begin, inherited, mut told) = (Instant::now(), leaked, 0);
        while begin.elapsed() < life {
            let time = u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX);
            let due = inherited.saturating_add(time.saturating_mul(rate) / 1000);
            while leaked + BLOCK <= due {
                std::mem::forget(touched(BLOCK as usize, 0xAB));
                leaked += BLOCK;
            }
            if time / 1000 >= told {
                println!("{generation} {leaked}");
                told = time / 1000 + 1;
            }
            if !lives(supervisor) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        match fork()? {
            Fork::Parent(_) => return Ok(()),
            Fork::Child => generation += 1,
        }
    }
}
