//! Workers of one program in one container: one that grows up to what the others hold, and one that sticks out.

use std::time::Duration;

use mlh_detect::{
    About, ContainerKey, Detector, FindingKind, Memory, Pass, ProcessKey, Rules, Sample, Sweep,
};

const MIB: f64 = 1024.0 * 1024.0;
const OLD_SIZE: f64 = 200.0 * MIB;
/// When the newest worker begins to grow, seconds.
const BEGINS: u64 = 3600;

/// When the newest worker is accused, seconds after it began, beside so many others that stand still, of which it shares
/// container and program or not.
fn accused(others: u32, shares: (bool, bool), mb_per_min: f64, rules: Rules) -> Option<u64> {
    let mut detector = Detector::new(rules);
    let worker = |pid, born: u64, bytes: f64, container, image| Sample {
        key: ProcessKey { pid, start_ns: born * 1_000_000_000 },
        memory: Memory { anon: bytes as u64, ..Memory::default() },
        image,
        container: Some(ContainerKey(container)),
        ..Sample::default()
    };
    for second in (0..BEGINS + 6000).step_by(2) {
        let mut samples: Vec<Sample> = (1..=others).map(|pid| worker(pid, 0, OLD_SIZE, 7, 1)).collect();
        if let Some(age) = second.checked_sub(BEGINS) {
            let bytes = 10.0 * MIB + age as f64 * mb_per_min * MIB / 60.0;
            let (container, image) = (if shares.0 { 7 } else { 8 }, if shares.1 { 1 } else { 2 });
            samples.push(worker(100, BEGINS, bytes, container, image));
        }
        let at = Duration::from_secs(second);
        for finding in detector.sweep(&Sweep { samples: &samples, ..Sweep::empty(at, Pass::Full) }) {
            assert!(matches!(finding.about, About::Process(ProcessKey { pid: 100, .. })), "{finding:?}");
            if matches!(finding.kind, FindingKind::Detected(_)) {
                return Some(second - BEGINS);
            }
        }
    }
    None
}

/// Guarantees: a worker gets no verdict before it is larger than what at least two of its siblings have settled at; one
/// sibling, another container's or another program's processes do not excuse it.
#[test]
fn grows_up_to_its_siblings() {
    let rules = Rules::default();
    let alone = accused(0, (true, true), 4.0, rules).expect("a verdict");
    assert!(alone < 1000, "{alone}");
    for (others, shares) in [(1, (true, true)), (5, (false, true)), (5, (true, false))] {
        assert_eq!(accused(others, shares, 4.0, rules), Some(alone), "{others} {shares:?}");
    }
    // 190 MiB at 4 MiB a minute
    let beside = accused(5, (true, true), 4.0, rules).expect("sticks out in the end");
    assert!((2850..2950).contains(&beside), "{beside}");
}
