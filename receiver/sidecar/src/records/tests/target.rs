//! Records of a look at a target.

use mlh_detect::{Says, Testimonies, Testimony};
use mlh_stacks::trace::{Frame, Trace};

use super::*;
use crate::investigate::plan::{End, Mode, Origin, Rung};
use crate::investigate::report::{Cost, StackEvidence};
use crate::investigate::told::{ModeChange, Operation, Unfreed};
use crate::ladder::{Kind, Knowledge, Lead};

/// Those that every record has, with the process behind them.
const OF_RECORD: usize = 10;

fn parts(mut logs: ResourceLogs) -> LogRecord {
    logs.scope_logs.remove(0).log_records.remove(0)
}

fn encoder() -> Encoder {
    Encoder::new(Arc::new(host()), 4096)
}

/// Its own attributes, behind those that every record has.
fn tail(record: &LogRecord) -> Vec<(&str, String)> {
    let known = shown(&record.attributes).into_iter();
    known
        .skip(OF_RECORD)
        .map(|(key, value)| (key.strip_prefix(semconv::PREFIX).unwrap_or(key), value))
        .collect()
}

fn trace() -> Trace {
    let frame = |address, function: &str, line| Frame {
        address,
        function: Some(function.to_owned()),
        module: "/usr/bin/api-server".to_owned(),
        offset: address - 0x40_0000,
        file: Some("session.cc".to_owned()),
        line: Some(line),
        ..Frame::default()
    };
    let frames = vec![frame(0x40_1230, "grow", 12), frame(0x40_1456, "Session::remember", 88)];
    Trace { frames, hash: 0xabc, culprit: Some(1), incomplete: None }
}

fn operation() -> Operation {
    Operation {
        at: Duration::new(1800, 123_456_789),
        subject: Arc::new(subject()),
        name: "malloc",
        freed: false,
        address: 0x7f12_3456_7890,
        size: 1_048_576,
        weight: 1,
        caller_ip: 0x40_1456,
        trace: Some(Arc::new(trace())),
        rss_pages: 1024,
        rss_growth: 256,
    }
}

/// Guarantees: an allocation is a record of kind 1 with the members of the specification, its stack and whose it is; a
/// sampled one says what it stands for; without a stack it still has a caller; giving back is kind 2.
#[test]
fn operations() {
    let record = parts(encoder().operation(&operation(), &clock()));
    assert_eq!(record.event_name, "memory_leak_hunter.allocation");
    assert_eq!(
        (record.severity_text.as_str(), record.severity_number),
        ("DEBUG", SeverityNumber::Debug.into())
    );
    assert_eq!(
        shown(&record.attributes)[1..OF_RECORD],
        strings(&[
            ("memory_leak_hunter.event.id", "\"memory-1-1795577400123\""),
            ("memory_leak_hunter.event.kind", "\"allocation\""),
            ("memory_leak_hunter.event.type", "\"kernel.filesystem\""),
            ("memory_leak_hunter.scope", "\"process\""),
            ("memory_leak_hunter.operation", "\"malloc\""),
            ("memory_leak_hunter.pid", "4242"),
            ("memory_leak_hunter.command", "\"api-main\""),
            ("memory_leak_hunter.cgroup_id", "98765"),
            ("memory_leak_hunter.memory_cgroup_id", "555"),
        ])
    );
    let stack = "\"grow (session.cc:12) [api-server+0x1230]\\nSession::remember (session.cc:88) [api-server+0x1456]\"";
    assert_eq!(
        tail(&record),
        strings(&[
            ("address", "\"0x7f1234567890\""),
            ("size_bytes", "1048576"),
            ("caller_ip", "\"0x401456\""),
            ("rss_pages", "1024"),
            ("rss_growth", "256"),
            ("caller", "\"Session::remember (session.cc:88)\""),
            ("code.function.name", "\"Session::remember\""),
            ("code.file.path", "\"session.cc\""),
            ("code.line.number", "88"),
            ("code.stacktrace", stack),
            ("stack_hash", "\"0000000000000abc\""),
        ])
    );
    assert_eq!(
        body(&record),
        "api-server (pid 4242, container 4f1e5c9ab012) allocated 1.0 MB at 0x7f1234567890 (malloc), for \
         Session::remember (session.cc:88)."
    );

    let freed = Operation { name: "munmap", freed: true, weight: 10, trace: None, ..operation() };
    let record = parts(encoder().operation(&freed, &clock()));
    assert_eq!(record.event_name, "memory_leak_hunter.deallocation");
    assert!(tail(&record).contains(&("weight", "10".to_owned())));
    assert!(
        tail(&record)
            .iter()
            .all(|(key, _)| !key.starts_with("stack") && !key.starts_with("code.") && *key != "caller")
    );
    assert!(body(&record).ends_with("gave back 1.0 MB at 0x7f1234567890 (munmap)."), "{}", body(&record));
}

fn unfreed() -> Unfreed {
    Unfreed {
        at: Duration::new(1800, 0),
        subject: Arc::new(subject()),
        address: 0x7f00_1000,
        size: 16_384,
        age: at(240),
        occurrences: 2048,
        bytes: 33_554_432,
        grown: false,
        stack: StackEvidence {
            pid: 4242,
            trace: trace(),
            operation: "malloc",
            live_bytes: 34_000_000,
            live_count: 2070,
            allocation_rate: 139_810.4,
            free_rate: 12.2,
            ages: [1, 2, 19, 100, 1000, 948],
            ..StackEvidence::default()
        },
        overhead: 0.000_401,
    }
}

/// Guarantees: an unfreed stack is a warning with the oldest block, how much and how many, ages, rates and the cost of
/// knowing it; that it is an estimate, a lower bound or more than before is said, in attributes and in the sentence.
#[test]
fn unfreed_stacks() {
    let record = parts(encoder().unfreed(&unfreed(), &clock()));
    assert_eq!(record.event_name, "memory_leak_hunter.allocation.unfreed");
    assert_eq!(record.severity_text, "WARN");
    let own = tail(&record);
    assert_eq!(
        own[..12],
        strings(&[
            ("address", "\"0x7f001000\""),
            ("size_bytes", "16384"),
            ("caller_ip", "\"0x401456\""),
            ("occurrences", "2048"),
            ("unfreed_bytes", "33554432"),
            ("age_s", "240"),
            ("live_bytes", "34000000"),
            ("live_count", "2070"),
            ("ages", "\"1 2 19 100 1000 948\""),
            ("allocated_bytes_per_second", "139810"),
            ("freed_bytes_per_second", "12"),
            ("overhead", "0.000401"),
        ])
    );
    let of_stack = [
        "caller",
        "code.function.name",
        "code.file.path",
        "code.line.number",
        "code.stacktrace",
        "stack_hash",
    ];
    assert_eq!(own[12..].iter().map(|(key, _)| *key).collect::<Vec<_>>(), of_stack);
    assert_eq!(
        body(&record),
        "api-server (pid 4242, container 4f1e5c9ab012) has not freed 33.6 MB in 2048 blocks from Session::remember \
         (session.cc:88) (malloc), the oldest 4 min old."
    );
    let mut more = Unfreed { grown: true, occurrences: 1, ..unfreed() };
    (more.stack.error_bytes, more.stack.at_least, more.stack.mapped) = (1_000_000, true, true);
    let record = parts(encoder().unfreed(&more, &clock()));
    for told in [("live_error_bytes", "1000000"), ("at_least", "true"), ("grown", "true")] {
        assert!(tail(&record).contains(&(told.0, told.1.to_owned())), "{told:?}");
    }
    assert!(
        body(&record).contains("has not freed at least about 33.6 MB in 1 mapping from"),
        "{}",
        body(&record)
    );
    assert!(body(&record).ends_with("more than when this was told last."), "{}", body(&record));
}

fn change() -> ModeChange {
    ModeChange {
        at: Duration::new(1800, 0),
        from: Mode::GrowthDetection,
        to: Mode::Investigating(Rung::Debug),
        target: "pid 4242".to_owned(),
        subject: Arc::new(subject()),
        whole_group: false,
        asked_by: Origin::Control { uid: 0 },
        ended: None,
        duration: Some(at(300)),
        cost: None,
        over: None,
        budget: None,
        found: None,
        evidence: Testimonies::default(),
    }
}

/// Guarantees: both ways are told with who asked, for how long, and why it ended; debug mode says what it will cost, the
/// way back what it has cost; one that was over its budget says by how much.
#[test]
fn changes_of_mode() {
    let record = parts(encoder().mode_changed(&change(), &clock()));
    assert_eq!(record.event_name, "memory_leak_hunter.mode.changed");
    assert_eq!(record.severity_text, "INFO");
    assert!(shown(&record.attributes).contains(&("memory_leak_hunter.event.type", "\"control\"".to_owned())));
    assert_eq!(
        tail(&record),
        strings(&[
            ("mode", "\"debug\""),
            ("previous_mode", "\"growth_detection\""),
            ("target", "\"pid 4242\""),
            ("asked_by", "\"control (uid 0)\""),
            ("reason", "\"asked\""),
            ("duration_s", "300"),
        ])
    );
    let told = body(&record);
    let expected = "api-server (pid 4242, container 4f1e5c9ab012) is looked at in debug mode for 5 min, as uid 0 asked over \
                    the control socket: every allocation; each";
    assert!(told.starts_with(expected) && told.contains("microsecond"), "{told}");

    let cost = Cost {
        target_cpu_share: 0.0123,
        hits: 77,
        kernel_bytes: 1000,
        watched_share: 0.25,
        ..Cost::default()
    };
    let (from, to) = (Mode::Investigating(Rung::Targeted), Mode::GrowthDetection);
    let back = ModeChange { from, to, cost: Some(cost), ended: Some(End::Elapsed), ..change() };
    let record = parts(encoder().mode_changed(&back, &clock()));
    let told =
        [("mode", "\"growth_detection\""), ("previous_mode", "\"targeted\""), ("reason", "\"elapsed\"")];
    for (key, value) in
        told.into_iter().chain([("overhead", "0.0123"), ("watched_share", "0.25"), ("probe_hits", "77")])
    {
        assert!(tail(&record).contains(&(key, value.to_owned())), "{key}");
    }
    assert_eq!(
        body(&record),
        "api-server (pid 4242, container 4f1e5c9ab012) is no longer looked at after 5 min: its time was over; the look \
         cost 1.2 % of its CPU time, or of one CPU where it used less. Back to growth detection."
    );
    let over = ModeChange { ended: Some(End::OverBudget), over: Some(0.02), budget: Some(0.001), ..back };
    let record = parts(encoder().mode_changed(&over, &clock()));
    assert!(tail(&record).contains(&("overhead_budget", "0.001".to_owned())));
    let told = "the probes took 2.0 % where 0.10 % are allowed (a larger overhead_budget";
    assert!(body(&record).contains(told), "{}", body(&record));
}

/// Guarantees: a verdict on a process that is looked at tells the stack that holds the most, in attributes and in the
/// sentence; other findings do not.
#[test]
fn verdicts_with_a_stack() {
    let known = known(Some(2070), 1.0);
    let told =
        |finding: &Finding| parts(encoder().encode(finding, &super::subject(), Some(&known), &clock()));
    let record = told(&detected(None));
    for (key, value) in [
        ("live_bytes", "34000000"),
        ("live_count", "2070"),
        ("code.function.name", "\"Session::remember\""),
        ("code.line.number", "88"),
        ("stack_hash", "\"0000000000000abc\""),
    ] {
        assert!(tail(&record).contains(&(key, value.to_owned())), "{key}: {:?}", tail(&record));
    }
    let sentence = "; of what is tracked of it Session::remember (session.cc:88) holds the most, 34.0 MB, 71 % of the growth is \
                    shop::Order.";
    assert!(body(&record).ends_with(sentence), "{}", body(&record));
    let growth = finding(FindingKind::Growth { grown: 1 << 20, since: Duration::new(1, 0) });
    assert!(!tail(&told(&growth)).iter().any(|(key, _)| key.starts_with("code.")));
}

/// One who is to blame, and one who is less so.
fn known(count: Option<u64>, share: f64) -> Knowledge {
    let first =
        Lead { trace: trace(), share, bytes: 34_000_000, count, pattern: Some("steady"), ..Lead::default() };
    let other = Lead { trace: Trace { hash: 7, ..Trace::default() }, share: 1.0 - share, ..first.clone() };
    Knowledge {
        leads: vec![first, other],
        kinds: vec![Kind { name: "shop::Order".to_owned(), share: 0.71 }],
        source: "growth_pages",
        not_seen: vec!["outside: nothing is known".to_owned()],
    }
}

fn testimonies() -> Testimonies {
    let testimony = |rung, source, says| Testimony { rung, source, at: at(1), watched: at(60), says };
    let kept = Says::Kept { velocity: 1.0, interval: (0.5, 1.5), share: 0.9 };
    let unclear = Says::Unclear("too few collections so far");
    let told = [
        testimony(mlh_detect::Rung::GrowthStacks, "growth_pages", kept),
        testimony(mlh_detect::Rung::Outside, "jvm_counters", unclear),
    ];
    told.into_iter().collect()
}

/// Guarantees: a verdict tells what it rests on, who is to blame by the pages that stay with each one's share, which kinds of memory
/// grow, and what was not seen; its sentence names the first one, or the kind where nobody is known.
#[test]
fn verdicts_with_culprits() {
    let mut finding = detected(None);
    if let FindingKind::Detected(verdict) = &mut finding.kind {
        verdict.evidence = testimonies();
    }
    let told =
        |known: &Knowledge| parts(encoder().encode(&finding, &super::subject(), Some(known), &clock()));
    let record = told(&known(None, 0.93));
    for (key, value) in [
        ("evidence", "[\"jvm_counters:unclear\", \"growth_pages:kept\"]"),
        ("culprits", "[\"93 % Session::remember (session.cc:88)\", \"7 % stack 0000000000000007\"]"),
        ("culprit_share", "0.93"),
        ("culprit_source", "\"growth_pages\""),
        ("growth_pattern", "\"steady\""),
        ("kept_bytes", "34000000"),
        ("growing_kinds", "[\"71 % shop::Order\"]"),
        ("not_seen", "[\"outside: nothing is known\"]"),
        ("code.function.name", "\"Session::remember\""),
    ] {
        assert!(tail(&record).contains(&(key, value.to_owned())), "{key}: {:?}", tail(&record));
    }
    let sentence = "; 93 % of what stays was touched first for Session::remember (session.cc:88), 71 % of the growth is shop::Order.";
    assert!(body(&record).ends_with(sentence), "{}", body(&record));
    let read = told(&Knowledge { source: "go_heap", kinds: Vec::new(), ..known(None, 0.93) });
    let sentence = "; 93 % of what lives and grows was allocated by Session::remember (session.cc:88).";
    assert!(body(&read).ends_with(sentence), "{}", body(&read));
    let written = told(&Knowledge { source: "last_writers", kinds: Vec::new(), ..known(None, 0.93) });
    let sentence = "; Session::remember (session.cc:88) was the last to write to 93 % of what stays.";
    assert!(body(&written).ends_with(sentence), "{}", body(&written));
    let mut doubted = known(None, 0.93);
    doubted.leads[0].remark = Some("though that proves nothing");
    doubted.leads[1].trace = Trace { culprit: None, ..trace() };
    let record = told(&doubted);
    assert!(body(&record).contains("(session.cc:88), though that proves nothing, 71 %"), "{}", body(&record));
    let culprits = "[\"93 % Session::remember (session.cc:88)\", \"7 % no frame of the program\"]";
    assert!(tail(&record).contains(&("culprits", culprits.to_owned())), "{:?}", tail(&record));
    let unknown = told(&Knowledge { leads: Vec::new(), ..known(None, 1.0) });
    assert!(body(&unknown).ends_with("; 71 % of the growth is shop::Order."), "{}", body(&unknown));
    assert!(!tail(&unknown).iter().any(|(key, _)| key.starts_with("code.") || *key == "culprits"));
}

/// Guarantees: what follows from a suspicion is told with why it began and ended, with whom it found, and what it came to.
#[test]
fn escalations() {
    let asked_by = Origin::Escalation { of: Stage::Suspected };
    let begun = ModeChange { to: Mode::Investigating(Rung::GrowthStacks), asked_by, ..change() };
    let record = parts(encoder().mode_changed(&begun, &clock()));
    for (key, value) in
        [("mode", "\"growth_stacks\""), ("asked_by", "\"escalation\""), ("reason", "\"suspected\"")]
    {
        assert!(tail(&record).contains(&(key, value.to_owned())), "{key}: {:?}", tail(&record));
    }
    let expected = "is looked at in growth_stacks mode for 5 min, as it is suspected of a leak: who touches memory that stays.";
    assert!(body(&record).ends_with(expected), "{}", body(&record));
    let leaks = ModeChange { asked_by: Origin::Escalation { of: Stage::Leaking }, ..begun.clone() };
    let record = parts(encoder().mode_changed(&leaks, &clock()));
    assert!(tail(&record).contains(&("reason", "\"detected\"".to_owned())));
    let (from, to) = (begun.to, Mode::GrowthDetection);
    let found = Some(Arc::new(known(None, 0.93)));
    let evidence = testimonies();
    let back = ModeChange { from, to, ended: Some(End::Verdict), found, evidence, ..begun };
    let record = parts(encoder().mode_changed(&back, &clock()));
    for (key, value) in [
        ("reason", "\"verdict\""),
        ("code.line.number", "88"),
        ("culprit_share", "0.93"),
        ("evidence", "[\"jvm_counters:unclear\", \"growth_pages:kept\"]"),
    ] {
        assert!(tail(&record).contains(&(key, value.to_owned())), "{key}: {:?}", tail(&record));
    }
    let expected =
        "after 5 min: the verdict has fallen; 93 % of what stays was touched first for Session::remember";
    assert!(body(&record).contains(expected), "{}", body(&record));
}
