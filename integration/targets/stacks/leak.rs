//! Leaks in one function, reached through trait objects and closures, beside requests that give back what they take: 250
//! times a second, from the line `go` to the next line, which it answers with what it has leaked. With `--cfg inlined` the
//! function that leaks is inlined into the one that calls it.

use std::hint::black_box;
use std::io::{BufRead as _, Write as _};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

const LEAK: usize = 20_000;
const SCRATCH: usize = 500;
const BATCH: usize = 1 << 20;

#[cfg_attr(inlined, inline(always))]
#[cfg_attr(not(inlined), inline(never))]
fn leak_site(kept: &mut Vec<Box<[u8]>>, number: usize) {
    let block = vec![number as u8 | 1; LEAK];
    kept.push(black_box(block).into_boxed_slice());
    black_box(&kept);
}

#[inline(never)]
fn give_back(size: usize) {
    let block = vec![2u8; size];
    let text = "x".repeat(size % 500 + 100);
    black_box((block, text));
}

#[inline(never)]
fn remember(kept: &mut Vec<Box<[u8]>>, number: usize) {
    give_back(SCRATCH + number % 7 * 50);
    leak_site(kept, number);
    black_box(&kept);
}

trait Handler {
    fn handle(&mut self, kept: &mut Vec<Box<[u8]>>, number: usize);
}

struct Search;

impl Handler for Search {
    #[inline(never)]
    fn handle(&mut self, kept: &mut Vec<Box<[u8]>>, number: usize) {
        if number.is_multiple_of(25) {
            give_back(BATCH);
        }
        remember(kept, number);
        black_box(&kept);
    }
}

impl<F: FnMut(&mut Vec<Box<[u8]>>, usize)> Handler for F {
    #[inline(never)]
    fn handle(&mut self, kept: &mut Vec<Box<[u8]>>, number: usize) {
        self(kept, number);
        black_box(&kept);
    }
}

#[inline(never)]
fn route(handlers: &mut [Box<dyn Handler>], kept: &mut Vec<Box<[u8]>>, number: usize) {
    let count = handlers.len();
    handlers[number % count].handle(kept, number);
    black_box(&kept);
}

fn main() {
    // its own memory is there before anything is counted
    let mut kept = Vec::with_capacity(100_000);
    kept.resize_with(100_000, || Box::from([]));
    kept.clear();
    let log_in = |kept: &mut Vec<Box<[u8]>>, number: usize| remember(kept, number);
    let upload = |kept: &mut Vec<Box<[u8]>>, number: usize| {
        give_back(SCRATCH);
        remember(kept, number);
    };
    let mut handlers: Vec<Box<dyn Handler>> = vec![Box::new(log_in), Box::new(Search), Box::new(upload)];
    give_back(BATCH);
    let mut input = std::io::stdin().lock();
    let mut line = String::new();
    println!("ready");
    if input.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    drop(input);
    let (stop, stopped) = channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            if line.is_err() || stop.send(()).is_err() {
                break;
            }
        }
    });
    let mut number = 0;
    while stopped.recv_timeout(Duration::from_millis(4)) == Err(RecvTimeoutError::Timeout) {
        route(&mut handlers, &mut kept, number);
        number += 1;
    }
    let (blocks, bytes) = (kept.len(), kept.len() * LEAK);
    let figures = format!("\"allocated\":{blocks},\"bytes\":{bytes},\"live\":{blocks},\"live_bytes\":{bytes}");
    let mut output = std::io::stdout();
    let told = writeln!(output, "{{\"sites\":[{{\"function\":\"leak_site\",{figures}}}]}}");
    if told.and_then(|()| output.flush()).is_ok() {
        // it stays until its input ends
        let _ = stopped.recv();
    }
}
