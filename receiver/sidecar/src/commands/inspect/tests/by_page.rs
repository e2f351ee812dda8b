//! Growth by page in reports.

use super::*;
use crate::commands::inspect::by_page::add;
use crate::growth_stacks::Outcome;

/// Guarantees: where there were no probes those that are known by their pages lead, the steady ones first however much others
/// hold, and where the probes saw more than is steady by pages their stacks do.
#[test]
fn who_leads() {
    let pid = Target::Pid(101);
    let outcome = || Outcome {
        stacks: growth(),
        not_seen: vec!["growth by page is known by the page".to_owned()],
        cost: Duration::from_millis(6),
        kernel_bytes: 1000,
        ..Outcome::default()
    };
    let unprobed = Report { stacks: Vec::new(), totals: Totals::default(), growth: Vec::new(), ..report() };
    let mut unprobed = Report { rung: Rung::GrowthStacks, ..unprobed };
    add(&mut unprobed, Ok(outcome()));
    assert!((unprobed.cost.target_cpu_share - 0.0413).abs() < 1e-9);
    let suspected = grown(Some(Stage::Suspected));
    expect("growth.txt", &told(&pid, &unprobed, &suspected, |f| text::render(f, 10, Ink::Plain)));
    let text = told(&pid, &unprobed, &suspected, |finding| json::render(finding, 10).unwrap());
    let object: Value = serde_json::from_str(&text).unwrap();
    let culprit = serde_json::json!({
        "line": 88, "live_bytes": 1_900_544, "error_bytes": 90_000, "operation": "page_fault", "gone": false,
        "evidence": ["growth_pages", "survival"],
    });
    assert_holds(&object["culprits"][0], &culprit);
    assert_eq!(object["culprits"][1]["evidence"], serde_json::json!(["growth_pages"]));
    assert_holds(&object["growth"][1], &serde_json::json!({"pattern": "levelled", "bytes": 2_100_000}));
    assert_eq!((&object["mode"], &object["verdict"]["kind"]), (&"growth_stacks".into(), &"leak".into()));

    let ended = Report { members: vec![Member { gone: true, ..member(101) }], ..unprobed.clone() };
    let mut ended = Report { growth: Vec::new(), stacks: Vec::new(), ..ended };
    add(&mut ended, Ok(outcome()));
    let text = told(&pid, &ended, &suspected, |f| text::render(f, 10, Ink::Plain));
    assert!(
        text.contains("left of what pid 101 had touched when it ended, from 464 sampled pages"),
        "{text}"
    );

    let mut probed = Report { growth: Vec::new(), ..report() };
    add(&mut probed, Ok(outcome()));
    assert_eq!(probed.stacks, report().stacks, "they saw more");
    let mut half = growth();
    half[0].figures.steady_bytes = 2 * (2 * report().stacks[0].live_bytes + cache().live_bytes);
    add(&mut probed, Ok(Outcome { stacks: half, ..outcome() }));
    assert_eq!(probed.stacks, report().stacks, "what an allocator adds");
    probed.stacks = vec![cache()];
    add(&mut probed, Ok(outcome()));
    let operations: Vec<_> = probed.stacks.iter().map(|stack| stack.operation).collect();
    assert_eq!(operations, ["page_fault", "mmap"], "what is steady leads, and nothing else");
    told(&pid, &probed, &suspected, |finding| {
        let share = |place: usize| finding.share(&probed.stacks[place]);
        assert!((share(0) - 1.0).abs() < 1e-9, "the same memory counts once: {}", share(0));
        assert!((share(1) - 157_680.0 / 2_254_832.0).abs() < 1e-9, "{}", share(1));
    });
    add(&mut probed, Err("no eBPF".to_owned()));
    assert_eq!(probed.not_seen.last().map(String::as_str), Some("growth by page is not known: no eBPF"));
}
