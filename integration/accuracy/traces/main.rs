//! How right the judgement is on traces, where growth is all there is: `make accuracy-traces`.
//!
//! Two sets that share no seed: the rules are tuned on `train` alone, and `test` says how right they are. Each is as many leaks
//! as calm programs, every shape equally often.

mod calm;
mod judge;
mod leaks;
mod sketch;
mod tally;

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::Result;
use fastrand::Rng;

use judge::{Outcome, judge};
use sketch::Trace;
use tally::Tally;

/// Where the seeds of a set begin: each set has more than it will ever use.
fn first_seed(set: &str) -> u64 {
    if set == "test" { 1 << 40 } else { 1 << 32 }
}

/// Traces in a set unless told otherwise; half of them leak.
const TRACES: usize = 2000;

fn draw(set: &str, index: usize) -> Trace {
    let mut rng = Rng::with_seed(first_seed(set) + index as u64);
    if index % 2 == 0 { leaks::draw(&mut rng, index / 2) } else { calm::draw(&mut rng, index / 2) }
}

/// Judges a whole set on all CPUs.
fn run(set: &str, traces: usize) -> Tally {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done: Vec<(Trace, Outcome)> = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= traces {
                return done;
            }
            let mut trace = draw(set, index);
            let outcome = judge(&trace);
            trace.seconds = Vec::new();
            if std::env::var_os("SHOW").is_some_and(|shape| shape == trace.shape) {
                println!("{index} {:?} age {} {outcome:?}", trace.leaked_at, trace.age);
            }
            done.push((trace, outcome));
        }
    };
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let mut tally = Tally::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            for (trace, outcome) in worker.join().unwrap_or_default() {
                tally.count(&trace, &outcome);
            }
        }
    });
    tally
}

fn main() -> Result<()> {
    let traces = std::env::var("TRACES").ok().map_or(Ok(TRACES), |text| text.parse())?;
    let sets = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    for set in sets {
        let tally = run(&set, traces);
        println!("{}", tally.markdown());
    }
    Ok(())
}
