//! Leaks that are recognised.

use mlh_detect::leaks::{LeakId, Recognised};

use super::*;

fn known() -> Recognised {
    Recognised {
        id: LeakId(0xaa),
        place: Some("remember in api".to_owned()),
        first_seen: at(1_795_575_600 - 86_400),
        occurrences: 3,
        returned: true,
        kills: 2,
        members: 1,
        containers: 1,
        velocity: Some(1.0),
        life: Some(7200.0),
    }
}

fn recognised(finding: &Finding, leak: &Recognised) -> LogRecord {
    let mut logs = Encoder::new(Arc::new(host()), 4096).encode(finding, &subject(), None, &clock());
    recognise(&mut logs, leak);
    logs.scope_logs.remove(0).log_records.remove(0)
}

/// Guarantees: a verdict tells which leak it is, since when it is known, how often it has been seen, who has it, how it ended
/// and what is to blame, and has a sentence more; a leak that is new has none, and nothing of ends that there were not.
#[test]
fn a_verdict_on_a_known_leak() {
    let record = recognised(&detected(None), &known());
    let attributes = shown(&record.attributes);
    assert_eq!(
        attributes[attributes.len() - 7..],
        strings(&[
            ("memory_leak_hunter.leak.id", "\"00000000000000aa\""),
            ("memory_leak_hunter.leak.first_seen", "\"2026-11-24T03:00:00.000Z\""),
            ("memory_leak_hunter.leak.occurrences", "3"),
            ("memory_leak_hunter.leak.members", "1"),
            ("memory_leak_hunter.leak.kills", "2"),
            ("memory_leak_hunter.leak.typical_life_s", "7200"),
            ("memory_leak_hunter.leak.place", "\"remember in api\""),
        ])
    );
    let told =
        " This leak has been seen 3 times since 2026-11-24 03:00:00 UTC; whoever has it lives for about 2 h.";
    assert!(
        body(&record)
            .ends_with(&format!("14.2 MB since 03:14:07 UTC, unless it is a cache that still fills.{told}")),
        "{}",
        body(&record)
    );

    let new = Recognised { place: None, occurrences: 1, kills: 0, life: None, ..known() };
    let record = recognised(&detected(None), &new);
    let attributes = shown(&record.attributes);
    assert_eq!(attributes.last().map(|(key, _)| *key), Some("memory_leak_hunter.leak.members"));
    assert!(!body(&record).contains("This leak"), "{}", body(&record));
}

/// Guarantees: where several have a leak the sentence says how many processes or containers; only a verdict's does.
#[test]
fn who_has_it() {
    for (members, containers, words) in [
        (4, 4, ", in 4 containers now."),
        (4, 0, ", in 4 processes now."),
        (4, 1, ", in 4 processes of one container now."),
        (4, 2, ", in 4 processes and 2 containers now."),
        (1, 0, " UTC."),
    ] {
        let record = recognised(&detected(None), &Recognised { members, containers, life: None, ..known() });
        assert!(body(&record).ends_with(words), "{}", body(&record));
    }
    let cleared = FindingKind::Cleared { reason: Cleared::Exited, was: Stage::Leaking, peak: MB };
    let record = recognised(&finding(cleared), &known());
    assert!(!body(&record).contains("This leak") && record.attributes.len() > 7);
}
