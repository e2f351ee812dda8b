//! The velocities that are exported: summed by label, the fastest only.

use std::collections::BTreeMap;

use opentelemetry::KeyValue;

/// How many series the velocity has at most.
pub const TOP_VELOCITIES: usize = 20;

/// How fast one process grows. Processes of one executable in one container share a series, which is their sum:
/// that is how fast the container grows.
#[derive(Debug, Clone, PartialEq)]
pub struct Velocity {
    /// The container's id; `None` for a process of the host.
    pub container: Option<String>,
    /// The executable's name.
    pub executable: String,
    /// Bytes per second; what is not finite is left out.
    pub bytes_per_second: f64,
}

/// A series: its value and its labels.
pub(super) type Labelled = (f64, Vec<KeyValue>);

/// The fastest [`TOP_VELOCITIES`], fastest first; equal ones in the order of their labels.
pub(super) fn top(velocities: Vec<Velocity>) -> Vec<Labelled> {
    let mut sums: BTreeMap<(Option<String>, String), f64> = BTreeMap::new();
    for velocity in velocities.into_iter().filter(|velocity| velocity.bytes_per_second.is_finite()) {
        *sums.entry((velocity.container, velocity.executable)).or_default() += velocity.bytes_per_second;
    }
    let mut fastest: Vec<_> = sums.into_iter().collect();
    fastest.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    fastest.truncate(TOP_VELOCITIES);
    fastest
        .into_iter()
        .map(|((container, executable), sum)| {
            let container = container.map(|id| KeyValue::new("target_container", id));
            (sum, container.into_iter().chain([KeyValue::new("target_executable", executable)]).collect())
        })
        .collect()
}
