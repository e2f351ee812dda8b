//! What is exported of the look at a target.

use super::*;
use crate::investigate::plan::{Mode, Rung};

fn unfreed(container: Option<&str>, executable: &str, bytes: u64) -> Unfreed {
    Unfreed { container: container.map(str::to_owned), executable: executable.to_owned(), bytes }
}

/// The series that are not as they are without a look.
fn moved(metrics: &Metrics) -> Vec<(String, f64)> {
    let before = series(&super::metrics());
    series(metrics).into_iter().filter(|(name, value)| before.get(name) != Some(value)).collect()
}

/// Guarantees: a look moves the mode, its cost, and what is tracked and held, by container and executable; when it is over
/// all of it stands at zero again but for the counters.
#[test]
fn a_look_comes_and_goes() {
    let metrics = metrics();
    metrics.allocations_tracked(7);
    metrics.deallocations_tracked(3);
    metrics.target_time(Duration::from_millis(1500));
    metrics.set_look(Look {
        mode: Mode::Investigating(Rung::Debug),
        overhead: 0.25,
        kernel_bytes: 4096,
        largest: 99,
        unfreed: vec![
            unfreed(Some("4f1e"), "api", 10),
            unfreed(Some("4f1e"), "api", 5),
            unfreed(None, "cron", 1),
        ],
    });
    metrics.target_buffer_usage(0.5);
    let counters = [
        ("allocations_tracked{}".to_owned(), 7.0),
        ("deallocations_tracked{}".to_owned(), 3.0),
        ("target_seconds{}".to_owned(), 1.5),
    ];
    let mut expected = counters.to_vec();
    expected.extend(
        [
            ("buffer_usage{}", 0.5),
            ("kernel_memory_bytes{}", 4096.0),
            ("largest_allocation_bytes{}", 99.0),
            ("mode{mode=debug}", 1.0),
            ("mode{mode=growth_detection}", 0.0),
            ("overhead_ratio{}", 0.25),
            ("unfreed_memory_bytes{target_container=4f1e,target_executable=api}", 15.0),
            ("unfreed_memory_bytes{target_executable=cron}", 1.0),
        ]
        .map(|(name, value)| (name.to_owned(), value)),
    );
    expected.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(moved(&metrics), expected);
    assert!(!series(&metrics).contains_key("unfreed_memory_bytes{}"));

    metrics.set_look(Look::default());
    metrics.target_buffer_usage(0.0);
    assert_eq!(moved(&metrics), counters);
}

/// Guarantees: however many executables a target has, the series are bounded, the largest stay, and a cost that is no number
/// is none.
#[test]
fn series_are_bounded() {
    let metrics = metrics();
    let all = (0..500).map(|n| unfreed(None, &format!("e{n:03}"), n)).collect();
    metrics.set_look(Look { overhead: f64::NAN, unfreed: all, ..Look::default() });
    let series = series(&metrics);
    assert_eq!(series["overhead_ratio{}"], 0.0);
    let kept: Vec<_> = series.iter().filter(|(name, _)| name.starts_with("unfreed_memory_bytes")).collect();
    assert_eq!(kept.len(), TOP_VELOCITIES);
    assert!(kept.iter().all(|(_, bytes)| **bytes >= 480.0), "{kept:?}");
}

/// Guarantees: what follows from suspicions is a mode of its own, unless somebody ordered a look, and adds to what looks cost; one
/// mode is on at any time.
#[test]
fn suspicions_are_followed_up() {
    let metrics = metrics();
    metrics.set_climbed(Climbed { targets: 2, overhead: 0.125, kernel_bytes: 100 });
    let expected = [
        ("kernel_memory_bytes{}", 100.0),
        ("mode{mode=growth_detection}", 0.0),
        ("mode{mode=growth_stacks}", 1.0),
        ("overhead_ratio{}", 0.125),
    ];
    assert_eq!(moved(&metrics), expected.map(|(name, value)| (name.to_owned(), value)));
    let mode = Mode::Investigating(Rung::Targeted);
    metrics.set_look(Look { mode, overhead: 0.25, kernel_bytes: 1, ..Look::default() });
    let expected = [
        ("kernel_memory_bytes{}", 101.0),
        ("mode{mode=growth_detection}", 0.0),
        ("mode{mode=targeted}", 1.0),
        ("overhead_ratio{}", 0.25),
    ];
    assert_eq!(moved(&metrics), expected.map(|(name, value)| (name.to_owned(), value)));
}
