//! What is exported of those under watch: velocities summed by label, the fastest only, and the times left to the
//! limits, the shortest only.

use std::collections::BTreeMap;

use opentelemetry::KeyValue;

/// How many series the velocity, and the time to OOM, has at most.
pub const TOP_VELOCITIES: usize = 20;

/// How fast a container, or a process outside of any leaking one, grows. Processes of one executable in one container
/// share a series, which is their sum.
#[derive(Debug, Clone, PartialEq)]
pub struct Velocity {
    /// The container's id; `None` for a process of the host.
    pub container: Option<String>,
    /// The executable's name.
    pub executable: String,
    /// Bytes per second; what is not finite is left out.
    pub bytes_per_second: f64,
}

/// How long a container has until its nearest memory limit.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeToOom {
    /// The container's id, or the path of its cgroup.
    pub container: String,
    /// Seconds; what is not finite is left out.
    pub seconds: f64,
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

/// The [`TOP_VELOCITIES`] that end first; of equal labels the shortest.
pub(super) fn soonest(times: Vec<TimeToOom>) -> Vec<Labelled> {
    let mut shortest: BTreeMap<String, f64> = BTreeMap::new();
    for time in times.into_iter().filter(|time| time.seconds.is_finite()) {
        let known = shortest.entry(time.container).or_insert(time.seconds);
        *known = known.min(time.seconds);
    }
    let mut soonest: Vec<_> = shortest.into_iter().collect();
    soonest.sort_by(|(_, one), (_, other)| one.total_cmp(other));
    soonest.truncate(TOP_VELOCITIES);
    let labels = |container| vec![KeyValue::new("target_container", container)];
    soonest.into_iter().map(|(container, seconds)| (seconds, labels(container))).collect()
}
