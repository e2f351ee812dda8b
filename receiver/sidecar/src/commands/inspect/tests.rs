//! Reports made from a look that nobody took. With `MLH_BLESS=1` the expected files are written anew.

mod by_page;
mod files;

use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use mlh_detect::alloc::{self, Survival};
use mlh_detect::growth_stacks::{Figures, Pattern};
use mlh_detect::{About, ProcessKey, Stage, Trend};
use mlh_stacks::trace::{Frame, Trace};
use mlh_targets::host::HostClock;
use mlh_targets::points::{BlindSpot, Runtime};
use serde_json::Value;

use super::finding::Finding;
use super::growth::{Case, Grown};
use super::text::Ink;
use super::verdict::Verdict;
use super::{json, text};
use crate::investigate::plan::{End, Origin, Rung, Target};
use crate::investigate::report::{Cost, GrowthStack, Member, Report, StackEvidence, Totals};

const CONTAINER: &str = "4f1e0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab";
const BOOT: Duration = Duration::from_secs(1_764_032_400);
const STARTED: Duration = Duration::from_secs(5000);
const LOOK: Duration = Duration::from_secs(60);

fn frame(function: &str, file: Option<(&str, u32)>, offset: u64) -> Frame {
    Frame {
        address: 0x5555_0000_0000 + offset,
        function: (!function.is_empty()).then(|| function.to_owned()),
        module: "/usr/bin/api-server".to_owned(),
        offset,
        file: file.map(|(file, _)| format!("/build/src/{file}")),
        line: file.map(|(_, line)| line),
        build_id: Some("b1d0".to_owned()),
        inlined: false,
    }
}

/// A leak of 2,048 blocks of 1 KiB.
fn leak() -> StackEvidence {
    let malloc = Frame { module: "/usr/lib/libc.so.6".to_owned(), ..frame("malloc", None, 0x9_8a10) };
    let inlined =
        Frame { inlined: true, ..frame("std::make_unique<char []>", Some(("unique_ptr.h", 1065)), 0x1a2b) };
    let trace = Trace {
        frames: vec![
            malloc,
            inlined,
            frame("Session::remember(std::string const&)", Some(("session.cc", 88)), 0x1a2b),
            frame("handle(Request&)", Some(("server.cc", 210)), 0x2c10),
            frame("", None, 0x3000),
        ],
        hash: 0x1234_5678_9abc_def0,
        culprit: Some(2),
        incomplete: Some("the stack was longer than what was copied".to_owned()),
    };
    StackEvidence {
        pid: 101,
        trace,
        operation: "malloc",
        live_bytes: 2_097_152,
        live_count: 2048,
        allocated_bytes: 2_099_200,
        allocated_count: 2050,
        freed_bytes: 2048,
        freed_count: 2,
        allocation_rate: 34_952.0,
        ages: [34, 307, 683, 1024, 0, 0],
        oldest: Duration::from_millis(59_900),
        largest: 1024,
        survival: Some(Survival {
            pattern: alloc::Pattern::Kept,
            velocity: 34_952.0,
            interval: (34_000.0, 36_000.0),
            retention: 1.0,
            followed: 1_000_000,
            watched: LOOK,
        }),
        ..StackEvidence::default()
    }
}

/// A sampled cache, in a function with a long name and an escape sequence in it.
fn cache() -> StackEvidence {
    let long = format!("cache::Map<{}>::insert\x1b[2J", "std::vector<unsigned char>, ".repeat(8));
    StackEvidence {
        pid: 101,
        trace: Trace { frames: vec![frame(&long, None, 0x4010)], hash: 7, ..Trace::default() },
        operation: "mmap",
        mapped: true,
        live_bytes: 157_680,
        live_count: 1,
        error_bytes: 20_000,
        allocated_bytes: 1_576_800,
        allocated_count: 10,
        freed_bytes: 1_419_120,
        freed_count: 9,
        at_least: true,
        oldest: Duration::from_secs(3),
        largest: 157_680,
        ..StackEvidence::default()
    }
}

/// The same leak, and a cache that is full, by their pages.
fn growth() -> Vec<GrowthStack> {
    let leak = GrowthStack {
        pid: 101,
        trace: leak().trace,
        figures: Figures {
            bytes: 1_900_544,
            error_bytes: 90_000,
            share: 0.475,
            touched_bytes: 2_097_152,
            samples: 480,
            survivors: 464,
            cohorts: vec![344_064, 360_448, 327_680, 344_064, 352_256, 172_032],
            velocity: 34_611.2,
            pattern: Pattern::Steady,
            steady_bytes: 1_900_000,
            ..Figures::default()
        },
    };
    let cache = GrowthStack {
        trace: cache().trace,
        figures: Figures {
            bytes: 2_100_000,
            share: 0.525,
            touched_bytes: 2_100_000,
            cohorts: vec![1_700_000, 400_000, 0, 0, 0, 0],
            velocity: 0.0,
            pattern: Pattern::Levelled,
            steady_bytes: 0,
            ..leak.figures.clone()
        },
        ..leak.clone()
    };
    vec![leak, cache]
}

fn member(pid: u32) -> Member {
    Member {
        pid,
        command: "api-server".to_owned(),
        executable: Some("/usr/bin/api-server".to_owned()),
        runtime: Runtime::Native,
        container_id: Some(CONTAINER.to_owned()),
        cgroup_id: 98_765,
        probes: 23,
        allocators: vec!["glibc".to_owned()],
        placements: vec!["gate".to_owned()],
        ..Member::default()
    }
}

fn report() -> Report {
    Report {
        rung: Rung::Debug,
        started: STARTED,
        lasted: LOOK,
        members: vec![member(101)],
        stacks: vec![leak(), cache(), StackEvidence { gone: true, pid: 102, survival: None, ..leak() }],
        growth: Vec::new(),
        totals: Totals {
            allocated_count: 12_050,
            allocated_bytes: 3_676_000,
            freed_count: 10_002,
            freed_bytes: 1_578_848,
            live_count: 2048,
            live_bytes: 2_097_152,
            mapped_bytes: 1_157_680,
            mapped_anonymous_bytes: 157_680,
            mapped_reserved_bytes: 1_000_000,
            mapped_count: 1,
            largest: 157_680,
            ..Totals::default()
        },
        cost: Cost {
            target_cpu_share: 0.0412,
            agent_cpu_s: 0.21,
            kernel_bytes: 52_428_800,
            hits: 24_102,
            watched_share: 1.0,
            bursts: 1,
        },
        not_seen: vec!["Direct system calls are not seen.".to_owned()],
        ended: Some(End::Elapsed),
    }
}

/// The same beside growth by page.
fn beside() -> Report {
    Report { growth: growth(), ..report() }
}

fn grown(stage: Option<Stage>) -> Grown {
    let trend = Trend {
        velocity: 34_952.4,
        interval: (31_000.0, 38_000.0),
        window: Duration::from_secs(48),
        grown: 1_700_000,
        samples: 25,
    };
    let case = stage.map(|stage| Case {
        about: About::Process(ProcessKey { pid: 101, start_ns: 0 }),
        stage,
        trend,
        onset: STARTED + Duration::from_secs(4),
        confidence: (stage == Stage::Leaking).then_some(0.9712),
        exhaustion_s: (stage == Stage::Leaking).then_some(5400.0),
    });
    Grown {
        case,
        before: 12_300_000,
        after: 14_400_000,
        peak: 14_500_000,
        seen_for: LOOK,
        age: Duration::from_secs(600),
        ..Grown::default()
    }
}

fn told<T>(target: &Target, report: &Report, grown: &Grown, tell: impl FnOnce(&Finding<'_>) -> T) -> T {
    let verdict = Verdict::reach(grown, report);
    let clock = HostClock::starting_at(UNIX_EPOCH + BOOT - STARTED);
    tell(&Finding { target, report, verdict: &verdict, grown, clock: &clock })
}

fn sentence(target: &Target, report: &Report, grown: &Grown) -> String {
    told(target, report, grown, |finding| text::render(finding, 10, Ink::Plain).lines().take(1).collect())
}

fn expect(file: &str, actual: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/commands/inspect/golden").join(file);
    if std::env::var_os("MLH_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, actual).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(actual, expected, "{file} differs");
}

/// Guarantees: the text of a leak with a known culprit and of a container with nothing seen, to the letter.
#[test]
fn texts() {
    let pid = Target::Pid(101);
    expect(
        "leak.txt",
        &told(&pid, &beside(), &grown(Some(Stage::Leaking)), |f| text::render(f, 10, Ink::Plain)),
    );
    let container = Target::Container("4f1e".to_owned());
    let gone = Member { pid: 102, gone: true, probes: 0, allocators: Vec::new(), ..member(102) };
    let spot = BlindSpot { what: "heap".to_owned(), reason: "it has one of its own".to_owned() };
    let blind = Member { blind_spots: vec![spot], runtime: Runtime::Go, ..member(103) };
    let nothing = Report {
        rung: Rung::Targeted,
        members: vec![gone, blind],
        stacks: Vec::new(),
        growth: Vec::new(),
        totals: Totals::default(),
        not_seen: Vec::new(),
        ended: Some(End::Released(Origin::Command)),
        ..report()
    };
    let unread = Grown { seen_for: Duration::ZERO, trouble: Some("no /proc".to_owned()), ..Grown::default() };
    expect("nothing.txt", &told(&container, &nothing, &unread, |f| text::render(f, 10, Ink::Plain)));
}

/// Guarantees: the JSON of the same leak, to the letter; what the interface promises is there under its name, and every
/// report is valid by the schema that is shipped.
#[test]
fn objects() {
    let schema = include_str!("../../../../../otel-config/inspect.schema.json");
    let schema: Value = serde_json::from_str(schema).unwrap();
    let schema = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let pid = Target::Pid(101);
    let render = |report: &Report, grown: &Grown, top| {
        let text = told(&pid, report, grown, |finding| json::render(finding, top).unwrap());
        let object: Value = serde_json::from_str(&text).unwrap();
        schema.validate(&object).unwrap_or_else(|error| panic!("{error} at {}", error.instance_path()));
        (text, object)
    };
    let (text, object) = render(&beside(), &grown(Some(Stage::Leaking)), 10);
    expect("leak.json", &text);
    let promised = serde_json::json!({
        "schema": 1,
        "target": {"pid": 101, "executable": "/usr/bin/api-server", "runtime": "native", "container_id": CONTAINER,
            "cgroup_id": 98_765},
        "mode": "debug", "started": "2025-11-25T01:00:00.000Z", "duration_s": 60.0,
        "verdict": {"kind": "leak", "confidence": 0.971, "velocity_bytes_per_second": 34_952,
            "interval": [31_000, 38_000], "onset": "2025-11-25T01:00:04.000Z", "time_to_oom_s": 5400},
        "cost": {"target_cpu_share": 0.0412, "watched_share": 1.0, "agent_cpu_s": 0.21},
    });
    assert_holds(&object, &promised);
    let culprit = serde_json::json!({
        "function": "Session::remember(std::string const&)", "file": "/build/src/session.cc", "line": 88,
        "module": "api-server", "share": 0.9301, "live_bytes": 2_097_152, "live_count": 2048,
        "stack_hash": "123456789abcdef0", "evidence": ["allocations", "survival", "growth_pages"],
    });
    assert_holds(&object["culprits"][0], &culprit);
    assert_holds(
        &object["culprits"][0]["stack"][1],
        &serde_json::json!({"offset": "0x1a2b", "inlined": true}),
    );
    assert_eq!(object["culprits"][1]["evidence"], serde_json::json!(["mappings"]));

    let (_, object) = render(&report(), &grown(None), 1);
    assert_eq!(object["culprits"].as_array().map(Vec::len), Some(1), "as many as were asked for");
    assert!(object["verdict"]["confidence"].is_null() && object["verdict"]["kind"] == "calm");
    let failed = Report { ended: Some(End::Failed("gone".to_owned())), ..Report::default() };
    let (_, object) = render(&failed, &Grown::default(), 0);
    assert_eq!((&object["target"]["pid"], &object["ended"]), (&101.into(), &"failed".into()));
}

fn assert_holds(object: &Value, members: &Value) {
    for (name, expected) in members.as_object().unwrap() {
        if expected.is_object() {
            assert_holds(&object[name], expected);
        } else {
            assert_eq!(&object[name], expected, "{name}");
        }
    }
}

/// Guarantees: each verdict makes a sentence that says who, how much, and why it can be said.
#[test]
fn sentences() {
    let pid = Target::Pid(101);
    let (suspected, leaking, calm) =
        (grown(Some(Stage::Suspected)), grown(Some(Stage::Leaking)), grown(None));
    let holds = "Session::remember (session.cc:88) holds 2.1 MB in 2,048 blocks and frees next to \
                 nothing";
    assert_eq!(
        sentence(&pid, &report(), &leaking),
        format!(
            "api-server (pid 101, container 4f1e01234567) leaks 2.1 MB/min (1.9 to 2.3), since 01:00:04 UTC; {holds}; \
             at this rate memory is exhausted in about 90 min."
        )
    );
    assert_eq!(
        sentence(&Target::Container("4f1e".to_owned()), &report(), &suspected),
        format!(
            "Container 4f1e01234567 (most of it api-server, pid 101) leaks 2.1 MB/min (1.9 to 2.3), as far as 60 s can \
             tell; {holds}."
        )
    );
    let unexplained = Report { stacks: vec![cache()], ..report() };
    assert_eq!(
        sentence(&Target::CgroupId(5), &unexplained, &Grown { upper_bound: true, ..suspected.clone() }),
        "Cgroup 5 (most of it api-server, pid 101) grows steadily by at most 2.1 MB/min (1.9 to 2.3), and no stack that \
         was seen keeps what it allocates."
    );
    assert_eq!(
        sentence(&Target::Cgroup("/a\x1b/b".into()), &report(), &calm),
        "Cgroup /a?/b (most of it api-server, pid 101) is calm: 12.3 MB, then 14.4 MB after 60 s, and no sustained \
         growth; one stack keeps what it allocates: 2.1 MB of the 2.3 MB that were allocated meanwhile and not freed."
    );
    let whole = Report { totals: Totals { live_bytes: 2_097_152, ..Totals::default() }, ..report() };
    assert!(sentence(&pid, &whole, &calm).ends_with("; one stack keeps what it allocates, 2.1 MB by now."));
    let by_page = Report { stacks: Vec::new(), growth: growth(), ..report() };
    let said = "; one stack touches more all the time: 1.9 MB of the 4.0 MB that were touched meanwhile and not given back.";
    assert!(sentence(&pid, &by_page, &calm).ends_with(said), "{}", sentence(&pid, &by_page, &calm));
    let paged = Report { growth: growth(), ..unexplained.clone() };
    assert_eq!(
        sentence(&pid, &paged, &suspected),
        "api-server (pid 101, container 4f1e01234567) leaks 2.1 MB/min (1.9 to 2.3), as far as 60 s can tell; \
         Session::remember (session.cc:88) touched 1.9 MB (+-90.0 kB) that stay."
    );
    let early = Grown { seen_for: Duration::from_secs(12), ..calm };
    assert_eq!(
        sentence(&Target::Container("4f1e".to_owned()), &unexplained, &early),
        "Whether container 4f1e01234567 (most of it api-server, pid 101) leaks is not known: its memory was followed for \
         12 s, and steady growth takes 54 s to show."
    );
    let nobody = Report::default();
    assert!(sentence(&pid, &nobody, &Grown::default()).starts_with("Whether pid 101 leaks is not known: "));
}

/// Guarantees: colours are there for a terminal alone, and what a program calls its functions cannot move the cursor.
#[test]
fn escapes() {
    let (pid, report, grown) = (Target::Pid(101), report(), grown(Some(Stage::Leaking)));
    let plain = told(&pid, &report, &grown, |finding| text::render(finding, 10, Ink::Plain));
    assert!(!plain.contains('\x1b') && plain.contains("insert?[2J"), "{plain}");
    assert!(plain.is_ascii(), "{plain}");
    let coloured = told(&pid, &report, &grown, |finding| text::render(finding, 10, Ink::Colours));
    assert!(coloured.starts_with("\x1b[1;31m") && !coloured.contains("[2J\x1b"), "{coloured}");
    let stripped =
        ["\x1b[1;31m", "\x1b[1m", "\x1b[0m"].iter().fold(coloured, |text, code| text.replace(code, ""));
    assert_eq!(stripped, plain);
}
