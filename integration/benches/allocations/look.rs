//! Probes that are put into a program and taken out again while it works.

use std::sync::Arc;

use mlh_bpf::alloc::heard::Heard;
use mlh_bpf::alloc::probes::{AllocOptions, Probes};
use mlh_integration::gate::Gate;
use mlh_stacks::modules::Modules;
use mlh_targets::points::{Image, Points, Wish, find};

use crate::subject::{Paired, Subject};

/// Every block, as debug mode tells of them.
pub(crate) const DEBUG: AllocOptions = AllocOptions {
    btf_path: None,
    debug: true,
    min_allocation_size: 0,
    large_allocation_size: 0,
    sampling_rate: 1,
    max_tracked_allocations: 0,
    emit: true,
    max_events_per_second: 1000,
};

/// Blocks from 10 KiB on. Each is entered into the ledger, and so paid for.
pub(crate) const TARGETED: AllocOptions = AllocOptions {
    debug: false,
    min_allocation_size: 10 << 10,
    large_allocation_size: 1 << 20,
    max_tracked_allocations: 10_000,
    emit: false,
    ..DEBUG
};

/// Opens a gate when it goes, so that whoever waits for somebody behind it never waits in vain.
struct Opens(Arc<Gate>);

impl Drop for Opens {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// The probes of one program.
pub(crate) struct Look {
    // dropping the probes waits for their reader
    gate: Opens,
    pub(crate) probes: Probes,
    points: Points,
    pid: u32,
}

impl Look {
    /// Finds what to probe in the program as it is now. Nothing is placed yet, and what the kernel tells is read and dropped.
    pub(crate) fn prepare(pid: u32, options: &AllocOptions) -> anyhow::Result<Self> {
        let look = Self::held_up(pid, options, drop)?;
        look.open();
        Ok(look)
    }

    /// As [`prepare`](Self::prepare), but nobody reads until it is opened.
    pub(crate) fn held_up(
        pid: u32,
        options: &AllocOptions,
        mut sink: impl FnMut(Heard) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let gate = Arc::new(Gate::default());
        let passed = Arc::clone(&gate);
        let probes = Probes::load(options, move |heard| {
            passed.pass();
            sink(heard);
        })?;
        let wish = Wish { min_allocation_size: options.min_allocation_size };
        Ok(Self { gate: Opens(gate), probes, points: find(pid, &Modules::read(pid)?, &wish), pid })
    }

    /// From now on what is told is read.
    pub(crate) fn open(&self) {
        self.gate.0.open();
    }

    /// Has something done while the probes are in place.
    pub(crate) fn during<T>(&mut self, work: impl FnOnce(&Probes) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let slot = self.probes.admit(self.pid)?;
        self.probes.wrappers(slot, &self.points.wrappers)?;
        if self.points.least > 0 {
            self.probes.least(slot, self.points.least)?;
        }
        for image in &self.points.images {
            self.probes.attach(slot, &image.opened.path(), &image.points)?;
        }
        let done = work(&self.probes);
        self.probes.release(slot);
        self.probes.forget(slot);
        done
    }

    /// What a subject costs with the probes and without them, in turns. `warm`: with them it works once beforehand, so that what
    /// is done once is done.
    pub(crate) fn compare(
        &mut self,
        subject: &mut dyn Subject,
        warm: bool,
        rounds: usize,
    ) -> anyhow::Result<Paired> {
        let mut with = |subject: &mut dyn Subject| {
            self.during(|_| {
                if warm {
                    subject.cost()?;
                }
                subject.cost()
            })
        };
        subject.cost()?;
        // which comes first alternates: a machine that warms up must not look like a cost
        let mut round = |number: usize| {
            if number.is_multiple_of(2) {
                let with = with(subject)?;
                Ok((with, subject.cost()?))
            } else {
                let without = subject.cost()?;
                Ok((with(subject)?, without))
            }
        };
        (0..rounds).map(&mut round).collect()
    }

    /// How many probes there are, and how many of them are reached only past a thread cache: `9 probes, 5 of them gates`; and where
    /// they do not see all that was asked for, from how many bytes on they do.
    pub(crate) fn placements(&self) -> String {
        let sum = |part: fn(&Image) -> usize| self.points.images.iter().map(part).sum::<usize>();
        let (probes, gates) = (sum(|image| image.points.len()), sum(|image| image.gates.len()));
        match self.points.least {
            0 => format!("{probes} probes, {gates} of them gates"),
            least => format!("{probes} probes, {gates} of them gates, from {least} B on"),
        }
    }
}

/// Hits so far.
pub(crate) fn hits(probes: &Probes) -> anyhow::Result<u64> {
    let counters = probes.counters()?;
    Ok(counters.emulated_hits + counters.stepped_hits + counters.returns)
}
