//! What the target programs share. They take `--name value` pairs, tell the truth about themselves on standard
//! output, and end when their standard input does, so that none of them outlives the test that started it.

use std::io::Read as _;
use std::time::{Duration, Instant};

/// The value of `--NAME`, or a default. A value that is no number ends the program.
#[must_use]
pub fn argument(name: &str, default: u64) -> u64 {
    let mut arguments =
        std::env::args().skip_while(|argument| argument.strip_prefix("--") != Some(name)).skip(1);
    match arguments.next().map(|text| text.parse()) {
        None => default,
        Some(Ok(value)) => value,
        Some(Err(_)) => {
            eprintln!("--{name} takes a number");
            std::process::exit(2)
        }
    }
}

/// Ends the process once its standard input ends, and after `--seconds` (default: an hour) at the latest.
pub fn end_with_parent() {
    let seconds = argument("seconds", 3600);
    std::thread::spawn(|| {
        // whatever comes is no command: only the end of it, or an error, is of interest
        while std::io::stdin().read(&mut [0; 64]).is_ok_and(|read| read > 0) {}
        std::process::exit(0)
    });
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(seconds));
        std::process::exit(0)
    });
}

/// Memory that is there: every page has been written.
#[must_use]
pub fn touched(bytes: usize, fill: u8) -> Vec<u8> {
    // a fill of 0 would give the kernel's shared zero pages
    vec![fill.max(1); bytes]
}

/// Calls `step` with the time since the start, `per_second` times a second, for ever.
pub fn every(per_second: u32, mut step: impl FnMut(Duration)) -> ! {
    let begin = Instant::now();
    let mut next = begin;
    loop {
        step(begin.elapsed());
        next += Duration::from_secs(1) / per_second.max(1);
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}
