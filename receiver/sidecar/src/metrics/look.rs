//! What is exported of the closer look at a target. Without one it stands at zero.

use std::collections::BTreeMap;

use opentelemetry::KeyValue;

use super::watch::TOP_VELOCITIES;
use crate::investigate::plan::{Mode, Rung};

/// The look, as it stands. The default is none.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Look {
    /// What the sidecar is doing.
    pub mode: Mode,
    /// Cost over the target's CPU time in the newest second, 0.001 for 0.1 %; what is not finite counts as 0.
    pub overhead: f64,
    /// Kernel memory of all maps of the look, bytes.
    pub kernel_bytes: u64,
    /// Bytes of the largest allocation.
    pub largest: u64,
    /// Tracked memory that has not been freed.
    pub unfreed: Vec<Unfreed>,
}

/// What the processes of one executable in one container have not freed.
#[derive(Debug, Clone, PartialEq)]
pub struct Unfreed {
    /// The container's id; `None` for a process of the host.
    pub container: Option<String>,
    /// The executable's name.
    pub executable: String,
    /// Bytes.
    pub bytes: u64,
}

/// What follows from suspicions, as it stands. The default is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Climbed {
    /// Processes and containers whose page faults are sampled.
    pub targets: u64,
    /// What it costs the one that pays the most, in the newest second, of one CPU's time.
    pub overhead: f64,
    /// Kernel memory of all maps, bytes.
    pub kernel_bytes: u64,
}

/// Every mode, and whether it is on. A look that somebody ordered counts before what follows from suspicions.
pub(super) fn modes(look: Mode, climbed: Climbed) -> [(Mode, u64); 4] {
    let follows = look == Mode::GrowthDetection && climbed.targets > 0;
    let now = if follows { Mode::Investigating(Rung::GrowthStacks) } else { look };
    let looks = [Rung::Targeted, Rung::Debug, Rung::GrowthStacks].map(Mode::Investigating);
    let [targeted, debug, growth_stacks] = looks;
    [Mode::GrowthDetection, targeted, debug, growth_stacks].map(|mode| (mode, u64::from(mode == now)))
}

/// The largest, summed by their labels; a zero without a label where there is none.
pub(super) fn unfreed(of: &[Unfreed]) -> Vec<(u64, Vec<KeyValue>)> {
    let mut sums: BTreeMap<(Option<&str>, &str), u64> = BTreeMap::new();
    for Unfreed { container, executable, bytes } in of {
        let sum = sums.entry((container.as_deref(), executable)).or_default();
        *sum = sum.saturating_add(*bytes);
    }
    if sums.is_empty() {
        return vec![(0, Vec::new())];
    }
    let mut largest: Vec<_> = sums.into_iter().collect();
    largest.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    largest.truncate(TOP_VELOCITIES);
    let labels = |container: Option<&str>, executable: &str| {
        let container = container.map(|id| KeyValue::new("target_container", id.to_owned()));
        let executable = KeyValue::new("target_executable", executable.to_owned());
        container.into_iter().chain([executable]).collect()
    };
    largest
        .into_iter()
        .map(|((container, executable), bytes)| (bytes, labels(container, executable)))
        .collect()
}
