//! Sets of traces that share no seed.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use fastrand::Rng;

use super::judge::judge;
use super::sketch::Trace;
use super::tally::Tally;
use super::{calm, leaks};

/// All sets.
pub(crate) const SETS: [Set; 2] = [Set::Train, Set::Test];

/// Which.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Set {
    /// The rules are tuned on it.
    Train,
    /// It says how right they are.
    Test,
}

impl Set {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }

    /// Draws one of its traces: the same one each time.
    pub(crate) fn draw(self, index: usize) -> Trace {
        let first: u64 = match self {
            Self::Train => 1 << 32,
            Self::Test => 1 << 40,
        };
        let mut rng = Rng::with_seed(first + index as u64);
        if index.is_multiple_of(2) {
            leaks::draw(&mut rng, index / 2)
        } else {
            calm::draw(&mut rng, index / 2)
        }
    }

    /// Judges its first `traces` on all CPUs.
    pub(crate) fn run(self, traces: usize) -> Tally {
        let next = AtomicUsize::new(0);
        let work = || {
            let mut tally = Tally::default();
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= traces {
                    return tally;
                }
                let trace = self.draw(index);
                tally.count(&trace, &judge(&trace));
            }
        };
        let workers = thread::available_parallelism().map_or(1, NonZero::get);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let mut all = Tally::default();
            for worker in workers {
                match worker.join() {
                    Ok(tally) => all.add(&tally),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            all
        })
    }
}
