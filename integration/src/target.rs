//! What the target programs share. They take `--name value` pairs, tell the truth about themselves on standard
//! output, and end when their standard input does, so that none of them outlives the test that started it.

use std::time::{Duration, Instant};

use nix::unistd::{Pid, read};

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
        // whatever comes is no command: only the end of it, or an error, is of interest. Read without the standard
        // library's lock, which a process forked meanwhile would inherit locked for ever
        while read(std::io::stdin(), &mut [0; 64]).is_ok_and(|length| length > 0) {}
        std::process::exit(0)
    });
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(seconds));
        std::process::exit(0)
    });
}

/// True while a process lives, or one that has its pid now.
#[must_use]
pub fn lives(pid: Pid) -> bool {
    nix::sys::signal::kill(pid, None).is_ok()
}

/// A number that differs from call to call in an order that repeats late, and is the same in each run.
#[must_use]
pub fn scramble(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
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
