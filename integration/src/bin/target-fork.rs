//! Workers over shared tables, which no number of workers makes more memory of. The parent fills a private table and
//! one in a shared mapping, `--mib` MiB each, then forks a worker every `--every` seconds, `--workers` in all. A worker
//! reads the whole private table, then touches the shared one little by little over `--spread` seconds, and serves
//! from both for ever. So each worker seems to hold all the memory over again, and to grow: a sum over processes
//! rises, the memory in use does not. Prints what happens, at the end `spread` for each worker.

#![forbid(unsafe_code)]

use std::time::Duration;

use fork::{Fork, fork};
use mlh_integration::target::{argument, end_with_parent, every, lives, scramble, touched};
use nix::libc::{MAP_ANONYMOUS, MAP_SHARED, PROT_READ, PROT_WRITE};
use nix::unistd::{Pid, getpid};
use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{Bytes as _, MmapRegion, VolatileMemory as _};

const PAGE: usize = 4096;

fn main() -> std::io::Result<()> {
    end_with_parent();
    let parent = getpid();
    let bytes = usize::try_from(argument("mib", 48) << 20).unwrap_or(PAGE).max(PAGE);
    let private = touched(bytes, 0xF0);
    let shared: MmapRegion = MmapRegionBuilder::new(bytes)
        .with_mmap_prot(PROT_READ | PROT_WRITE)
        .with_mmap_flags(MAP_SHARED | MAP_ANONYMOUS)
        .build()
        .map_err(std::io::Error::other)?;
    shared.as_volatile_slice().write_slice(&private, 0).map_err(std::io::Error::other)?;
    println!("filled");
    for number in 1..=argument("workers", 8) {
        if let Fork::Child = fork()? {
            serve(parent, number, &private, &shared);
        }
        println!("worker {number}");
        std::thread::sleep(Duration::from_secs(argument("every", 3)));
    }
    loop {
        std::thread::park();
    }
}

fn serve(parent: Pid, number: u64, private: &[u8], shared: &MmapRegion) -> ! {
    let page = |index: usize| index * PAGE;
    let pages = private.len() / PAGE;
    let mut sum: usize = (0..pages).map(|index| usize::from(private[page(index)])).sum();
    let spread = argument("spread", 120).max(1);
    let (mut read, mut random) = (0, number);
    every(10, |time| {
        let due = u64::try_from(time.as_millis()).unwrap_or(u64::MAX).saturating_mul(pages as u64);
        let due = usize::try_from(due / (spread * 1000)).unwrap_or(pages).min(pages);
        let any = scramble(&mut random) as usize % due.max(1);
        for index in (read..due).chain([any]) {
            let byte: u8 = shared.as_volatile_slice().read_obj(page(index)).unwrap_or_default();
            sum = sum.wrapping_add(usize::from(byte) + usize::from(private[page(index)]));
        }
        if read < pages && due == pages {
            println!("spread {number} {sum}");
        }
        read = due;
        if !lives(parent) {
            std::process::exit(0);
        }
    })
}
