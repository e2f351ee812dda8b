//! Names for the stacks of a look. A large file takes seconds, a server that is asked as well: there is an end to it.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use mlh_detect::growth_stacks::Figures;
use mlh_stacks::trace::Trace;
use mlh_stacks::unwind::Stack;

use super::book::Found;
use super::look::Outcome;
use crate::investigate::report::GrowthStack;

/// Names that stacks were given before, by process and identity.
pub type Names = HashMap<(u32, u64), Trace>;

/// What a look has found, at its end or so far. It has no names yet.
pub struct Ended {
    pub(super) found: Vec<Found>,
    pub(super) outcome: Outcome,
}

impl Ended {
    /// The figures of what was found, in its order, each with its process.
    pub fn figures(&self) -> impl Iterator<Item = (u32, &Figures)> {
        self.found.iter().map(|found| (found.pid, &found.figures))
    }

    /// What was not seen, in sentences.
    #[must_use]
    pub fn not_seen(&self) -> &[String] {
        &self.outcome.not_seen
    }

    /// Names what was found, in its order, and takes no longer than `patience`. What there was no time for is told without frames.
    #[must_use]
    pub fn named(self, patience: Duration) -> Outcome {
        self.named_by(&mut Names::new(), patience)
    }

    /// The same, where some have been named before; what is named now is kept as well.
    #[must_use]
    pub fn named_by(self, names: &mut Names, patience: Duration) -> Outcome {
        let Self { found, mut outcome } = self;
        let name = |found: &Found| (found.pid, found.stack.identity());
        let new: Vec<&Found> = found.iter().filter(|found| !names.contains_key(&name(found))).collect();
        let traces = traced(new.iter().map(|found| found.stack.clone()).collect(), patience);
        let unnamed = new.len() - traces.len();
        if unnamed > 0 {
            outcome.not_seen.push(format!(
                "{unnamed} stacks of growth by page have no names: it would have taken longer than {} s",
                patience.as_secs()
            ));
        }
        let fresh: Vec<_> = new.into_iter().map(name).zip(traces).collect();
        names.extend(fresh);
        let named = found.iter().map(|found| {
            let trace = names.get(&name(found)).cloned().unwrap_or_else(|| Trace {
                hash: found.stack.identity(),
                incomplete: Some("there was no time to name it".to_owned()),
                ..Trace::default()
            });
            told(found, trace)
        });
        outcome.stacks = merged(named);
        outcome
    }
}

/// Of as many as there is time for.
fn traced(stacks: Vec<Stack>, patience: Duration) -> Vec<Trace> {
    let until = Instant::now() + patience;
    let (put, take) = channel();
    // one that is reading a large file when the time is over may take a while: nobody waits for it
    let naming = std::thread::Builder::new().name("mlh-names".to_owned()).spawn(move || {
        for stack in stacks {
            if put.send(stack.trace()).is_err() {
                return;
            }
        }
    });
    if let Err(error) = naming {
        tracing::error!(%error, "no thread to name stacks");
    }
    let mut traces = Vec::new();
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return traces;
        }
        match take.recv_timeout(left) {
            Ok(trace) => traces.push(trace),
            Err(_) => return traces,
        }
    }
}

fn told(found: &Found, trace: Trace) -> GrowthStack {
    GrowthStack { pid: found.pid, trace, figures: found.figures.clone() }
}

/// The same stack at several places of a process is one.
fn merged(named: impl Iterator<Item = GrowthStack>) -> Vec<GrowthStack> {
    let mut places: BTreeMap<(u32, u64), usize> = BTreeMap::new();
    let mut stacks: Vec<GrowthStack> = Vec::new();
    for new in named {
        match places.get(&(new.pid, new.trace.hash)).and_then(|place| stacks.get_mut(*place)) {
            Some(known) => known.figures.add(&new.figures),
            None => {
                places.insert((new.pid, new.trace.hash), stacks.len());
                stacks.push(new);
            }
        }
    }
    stacks
}
