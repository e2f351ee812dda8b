//! Stacks as they are taken: by allocation probes, and at page faults.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::ensure;
use mlh_bpf::alloc::heard::Heard as AllocationHeard;
use mlh_bpf::alloc::probes::{AllocOptions, Probes};
use mlh_bpf::capture::Capture;
use mlh_bpf::faults::{Heard as FaultHeard, Options, Sampler, Whom};
use mlh_stacks::modules::Modules;
use mlh_targets::interpreters::python;
use mlh_targets::points::{Wish, find};

/// Every block, none of them told by itself.
const OPTIONS: AllocOptions = AllocOptions {
    btf_path: None,
    debug: true,
    min_allocation_size: 0,
    large_allocation_size: 0,
    sampling_rate: 1,
    max_tracked_allocations: 0,
    emit: false,
    max_events_per_second: 0,
};

/// What has been told so far.
#[derive(Clone, Default)]
pub(crate) struct Taken(Arc<Mutex<Vec<Capture>>>);

impl Taken {
    fn push(&self, capture: Capture) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(capture);
    }

    /// All of it; nothing is left.
    pub(crate) fn take(&self) -> Vec<Capture> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Probes at every allocation of one process.
pub(crate) struct Allocations {
    probes: Probes,
    pid: u32,
    pub(crate) taken: Taken,
}

impl Allocations {
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let taken = Taken::default();
        let sink = taken.clone();
        let probes = Probes::load(&OPTIONS, move |heard| {
            if let AllocationHeard::Stack(stack) = heard {
                sink.push(stack.capture);
            }
        })?;
        Ok(Self { probes, pid, taken })
    }

    /// Has something done while the probes are in place; no stack is known yet. `walk`: by the kernel.
    pub(crate) fn during<T>(
        &mut self,
        walk: bool,
        work: impl FnOnce() -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let points = find(self.pid, &Modules::read(self.pid)?, &Wish { min_allocation_size: 0 });
        let slot = self.probes.admit(self.pid)?;
        self.probes.wrappers(slot, &points.wrappers)?;
        self.probes.walk(slot, walk)?;
        for image in &points.images {
            self.probes.attach(slot, &image.opened.path(), &image.points)?;
        }
        let done = work();
        self.probes.release(slot);
        self.probes.forget(slot);
        done
    }
}

/// How page faults are sampled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Faults {
    /// Hardly ever: what is left is the cost of counting them.
    Counted,
    /// Each, where there are no more than a thousand a second, and the stack copied.
    Copied,
    /// The same, and the stack walked by the kernel.
    Walked,
    /// The same as copied, with what Python runs.
    Python,
}

/// Has something done by a process while its faults are sampled, and gives the stacks as well.
pub(crate) fn sampled<T>(
    pid: u32,
    how: Faults,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Vec<Capture>)> {
    let taken = Taken::default();
    let sink = taken.clone();
    let frequency = if how == Faults::Counted { 1 } else { 1000 };
    let options = Options { btf_path: None, frequency, whom: Whom::Processes(vec![pid]) };
    let mut sampler = Sampler::open(&options, move |heard| {
        if let FaultHeard::Touch(touch) = heard {
            sink.push(touch.capture);
        }
    })?;
    sampler.walk(pid, how == Faults::Walked)?;
    if how == Faults::Python {
        let found = python::find(pid, &Modules::read(pid)?)?;
        ensure!(found.is_some(), "no interpreter of Python is found");
        sampler.set_python(pid, found.as_ref().map(|python| &python.layout))?;
    }
    let done = work()?;
    // what is still in the ring is told before it is gone
    drop(sampler);
    Ok((done, taken.take()))
}
