//! Flame graphs, profiles and pages, of reports that nobody made and of names that somebody made up to do harm.

use std::collections::HashMap;
use std::io::Read as _;

use flate2::read::GzDecoder;
use mlh_detect::growth_stacks::{Figures, Pattern};
use prost::Message as _;

use super::super::pprof::proto::{Location, Profile};
use super::super::{html, pprof, svg};
use super::*;
use crate::investigate::report::GrowthStack;

/// What must never be markup.
const EVIL: &str = "</title></script><script>alert('1')</script><img src=x onerror=\"alert(2)\">]]>-->;f 12";

fn files(report: &Report) -> (String, String) {
    let grown = grown(Some(Stage::Leaking));
    let readings = (0..60).map(|s| (STARTED + Duration::from_secs(s), 12_300_000 + s * 35_000)).collect();
    let grown = Grown { readings, ..grown };
    told(&Target::Pid(101), report, &grown, |finding| {
        (svg::render(finding).unwrap(), html::render(finding, 10, "n0nce").unwrap())
    })
}

fn profile(report: &Report) -> Profile {
    let grown = grown(Some(Stage::Leaking));
    let file = told(&Target::Pid(101), report, &grown, |finding| pprof::render(finding).unwrap());
    let mut bytes = Vec::new();
    GzDecoder::new(file.as_slice()).read_to_end(&mut bytes).unwrap();
    Profile::decode(bytes.as_slice()).unwrap()
}

fn growth(bytes: u64) -> GrowthStack {
    GrowthStack {
        pid: 101,
        trace: leak().trace,
        figures: Figures {
            bytes,
            error_bytes: 100_000,
            share: 0.8,
            touched_bytes: 2 * bytes,
            samples: 50,
            survivors: 25,
            cohorts: vec![bytes / 2, bytes / 2],
            velocity: 34_000.0,
            pattern: Pattern::Steady,
            ..Figures::default()
        },
    }
}

/// A report in which every name that a target can choose is made to do harm.
fn evil() -> Report {
    let mut stack = leak();
    for frame in &mut stack.trace.frames {
        frame.function = Some(EVIL.to_owned());
        frame.file = Some(format!("/src/{EVIL}"));
        frame.module = format!("/bin/{EVIL}");
    }
    stack.trace.incomplete = Some(EVIL.to_owned());
    let nameless = StackEvidence { trace: Trace::default(), live_bytes: 1000, ..leak() };
    let member = Member {
        executable: Some(EVIL.to_owned()),
        command: EVIL.to_owned(),
        container_id: Some(EVIL.to_owned()),
        allocators: vec![EVIL.to_owned()],
        blind_spots: vec![BlindSpot { what: EVIL.to_owned(), reason: EVIL.to_owned() }],
        ..member(101)
    };
    let growth = vec![GrowthStack { trace: stack.trace.clone(), ..growth(1_000_000) }];
    // two names of programs: each is a frame of its own
    let members = vec![member, Member { pid: 7, ..super::member(7) }];
    let stacks = vec![stack, nameless];
    Report { stacks, growth, members, not_seen: vec![EVIL.to_owned()], ..report() }
}

/// How wide the frames of a flame graph are, by what is told of them.
fn widths(svg: &str) -> HashMap<String, u64> {
    let frames = svg.split("<title>").skip(1);
    let width = |frame: &str| {
        let (title, rest) = frame.split_once("</title>")?;
        let (_, width) = rest.split_once("fg:w=\"")?;
        Some((title.to_owned(), width.split_once('"')?.0.parse().ok()?))
    };
    frames.filter_map(width).collect()
}

/// Guarantees: a flame graph is as wide as what is live, names functions, files and lines, marks what is to blame and that
/// alone, colours by module, and leaves out who is gone.
#[test]
fn flames() {
    let (svg, _) = files(&report());
    let live = 2_097_152 + 157_680;
    assert_eq!(
        widths(&svg).get(&format!("all ({} bytes, 100%)", super::super::finding::number(live))),
        Some(&live)
    );
    assert!(svg.contains(">api-server (pid 101): 2.3 MB live"), "{svg}");
    let marked: Vec<_> = widths(&svg).into_iter().filter(|(title, _)| title.starts_with('▶')).collect();
    assert_eq!(
        marked,
        [("▶ Session::remember (session.cc:88) (2,097,152 bytes, 93.01%)".to_owned(), 2_097_152)]
    );
    let colour = |name: &str| {
        let (_, frame) =
            svg.split_once(&format!("<title>{name}")).unwrap_or_else(|| panic!("no {name} in {svg}"));
        frame.split_once("fill=\"").unwrap().1.split_once('"').unwrap().0.to_owned()
    };
    assert_eq!(colour("handle (server.cc:210)"), colour("std::make_unique"), "one module");
    assert_ne!(colour("handle (server.cc:210)"), colour("malloc"), "two modules");
    assert!(svg.contains("cache::Map&lt;"), "names are cut, not left out");
}

/// Guarantees: without allocations the flame graph is that of growth by page, and without anything a picture that says so;
/// the page has both graphs where both are known.
#[test]
fn growth_by_page() {
    let (svg, _) = files(&Report { stacks: Vec::new(), growth: vec![growth(3_000_000)], ..report() });
    assert!(svg.contains("3.0 MB still there") && svg.contains("▶ Session::remember"), "{svg}");
    let (svg, page) = files(&Report { stacks: Vec::new(), ..report() });
    assert!(svg.contains("No allocation was seen") && page.contains("No allocation was seen"), "{svg}");
    let both = Report { growth: vec![growth(3_000_000)], ..report() };
    let (svg, page) = files(&both);
    assert_eq!(page.matches("<svg class=\"flame\"").count(), 2);
    assert!(svg.contains("2.3 MB live") && page.find("id=\"stacks\"") < page.find("id=\"growth\""));
    let (svg, _) = files(&Report { growth: vec![growth(5_000_000)], ..report() });
    assert!(svg.contains("5.0 MB still there"), "the probes saw less than half of it");
    let mut leads = both;
    leads.stacks.insert(0, StackEvidence { operation: "page_fault", ..leak() });
    let (svg, led) = files(&leads);
    assert!(svg.contains("2.3 MB live"), "what was allocated is exact");
    assert!(led.find("id=\"growth\"") < led.find("id=\"stacks\""));
    assert_eq!(
        led.matches("<details").count(),
        page.matches("<details").count(),
        "what is known by its pages is told once"
    );
    assert!(page.contains("3.0 MB ± 100.0 kB") && page.contains("25 of 50"), "{page}");
}

/// Guarantees: no name of the target's becomes markup, in either file; a name is one frame whatever is in it, and a number at
/// its end no count; nothing is loaded from elsewhere, and what runs is the page's own script.
#[test]
fn hostile_names() {
    let (svg, page) = files(&evil());
    for (file, scripts) in [(&svg, 1), (&page, 1)] {
        let lower = file.to_lowercase();
        assert_eq!(lower.matches("<script").count(), scripts, "{file}");
        assert!(
            !lower.contains("<img") && !lower.contains("alert('1')<") && !file.contains("onerror=\"alert"),
            "{file}"
        );
    }
    // 5 frames at most, the process, the end of the stack, everything, and one stack with no frames
    let widths = widths(&svg);
    assert_eq!(widths.values().max(), Some(&(2_097_152 + 1000)));
    assert_eq!(widths.values().filter(|width| **width == 1000).count(), 1, "{widths:?}");
    assert!(widths.keys().any(|title| title.contains("\u{37e}f\u{a0}12")), "{widths:?}");
    let policy = "default-src 'none'; style-src 'nonce-n0nce'; script-src 'nonce-n0nce'; base-uri 'none'; form-action 'none'";
    let head = page.find(policy.replace('\'', "&#39;").as_str()).or_else(|| page.find(policy));
    assert!(head.is_some_and(|at| at < page.find("<style").unwrap()), "the policy comes first: {page}");
    for outside in [" src=", " href=", "url(", "@import", "http://", "https://"] {
        let inside = page.matches(outside).count() - page.matches(&format!("img{outside}")).count();
        assert_eq!(inside, 0, "{outside}");
    }
}

/// Guarantees: the page says what the text says: the sentence, how sure it is, each stack with its frames, the chart with what
/// was read, the cost and what was not seen; a table has as many rows as were asked for.
#[test]
fn page() {
    let (_, page) = files(&report());
    for part in [
        "<p class=\"verdict leak\">Leak</p>",
        "leaks 2.1 MB/min (1.9 to 2.3), since 01:00:04 UTC",
        "Confidence 97 %.",
        "<svg class=\"chart\" role=\"img\" aria-label=\"Memory from 12.3 MB to 14.4 MB within 59 s\"",
        "<title>01:00:40 UTC: 13.7 MB</title>",
        "growth begins",
        "<td class=\"figure\" data-label=\"Live\">2.1 MB</td>",
        "<summary>Session::remember (session.cc:88)</summary>",
        "<li class=\"culprit\">",
        "4.12 %",
        "<li>Direct system calls are not seen.</li>",
        "title=\"/usr/bin/api-server, build id b1d0\"",
        "api-server+0x3000, build id b1d0",
    ] {
        assert!(page.contains(part), "{part} is not there");
    }
    let narrow = told(&Target::Pid(101), &report(), &grown(None), |f| html::render(f, 1, "n").unwrap());
    assert_eq!(narrow.matches("<details").count(), 1);
    assert!(narrow.contains("and 2 more") && !narrow.contains("<svg class=\"chart\""), "{narrow}");
}

/// Guarantees: a profile holds what Go's heap profiles hold, in their order: counts and bytes of each stack, its functions with
/// inlined ones at one location, files and lines, mappings, whose it is, the verdict and the time; the gone hold nothing.
#[test]
fn profiles() {
    let profile = profile(&report());
    let text = |id: i64| profile.string_table[usize::try_from(id).unwrap()].as_str();
    let types: Vec<_> = profile.sample_type.iter().map(|it| (text(it.r#type), text(it.unit))).collect();
    let expected = [
        ("alloc_objects", "count"),
        ("alloc_space", "bytes"),
        ("inuse_objects", "count"),
        ("inuse_space", "bytes"),
    ];
    assert_eq!((types.as_slice(), text(profile.default_sample_type)), (expected.as_slice(), "inuse_space"));
    let values: Vec<_> = profile.sample.iter().map(|sample| sample.value.as_slice()).collect();
    let expected: [&[i64]; 3] =
        [&[2050, 2_099_200, 2048, 2_097_152], &[10, 1_576_800, 1, 157_680], &[2050, 2_099_200, 0, 0]];
    assert_eq!(values, expected);
    let of = |sample: usize| -> Vec<&Location> {
        let ids = profile.sample[sample].location_id.iter();
        ids.map(|id| profile.location.iter().find(|location| location.id == *id).unwrap()).collect()
    };
    let stack = of(0);
    let lines = |location: &Location| -> Vec<(String, String, i64)> {
        let function = |id: u64| profile.function.iter().find(|function| function.id == id).unwrap();
        let line = |line: &super::super::pprof::proto::Line| {
            let function = function(line.function_id);
            (text(function.name).to_owned(), text(function.filename).to_owned(), line.line)
        };
        location.line.iter().map(line).collect()
    };
    assert_eq!(stack.len(), 4, "two of five functions are at one address");
    let inlined = [
        ("std::make_unique<char []>".to_owned(), "/build/src/unique_ptr.h".to_owned(), 1065),
        ("Session::remember(std::string const&)".to_owned(), "/build/src/session.cc".to_owned(), 88),
    ];
    assert_eq!(lines(stack[1]), inlined);
    assert_eq!((stack[3].address, stack[3].line.len()), (0x5555_0000_3000, 0), "no name is no line");
    let first = &profile.mapping[0];
    assert_eq!(
        (text(first.filename), text(first.build_id)),
        ("/usr/bin/api-server", "b1d0"),
        "the program comes first"
    );
    assert_eq!(text(profile.drop_frames), "malloc|std::make_unique<char \\[\\]>");
    assert_eq!(stack[1].mapping_id, first.id);
    assert_eq!((first.memory_start, first.memory_limit), (0x5555_0000_0000, 0x5555_0000_5000));
    assert!(first.has_inline_frames && first.has_line_numbers && !first.has_functions, "{first:?}");
    let labels: Vec<_> =
        profile.sample[0].label.iter().map(|it| (text(it.key), text(it.str), it.num)).collect();
    assert_eq!(labels, [("pid", "", 101), ("container_id", CONTAINER, 0), ("operation", "malloc", 0)]);
    assert!(
        text(profile.comment[0]).starts_with("api-server (pid 101, container 4f1e01234567) leaks"),
        "{profile:?}"
    );
    assert_eq!(profile.time_nanos, i64::try_from(BOOT.as_nanos()).unwrap());
    assert_eq!(profile.duration_nanos, i64::try_from(LOOK.as_nanos()).unwrap());
    assert_eq!(profile.string_table[0], "");
}

/// Guarantees: the address of a frame that calls is within the call, as its offset is, also where the call is the last in its mapping;
/// that of one that was interrupted is its own.
#[test]
fn addresses_of_calls() {
    let mut stack = leak();
    stack.trace.frames = vec![
        frame("interrupted", None, 0x1a2b),
        Frame { address: 0x5555_0000_2000, offset: 0x1fff, ..frame("calls", None, 0) },
    ];
    let profile = profile(&Report { stacks: vec![stack], ..report() });
    let addresses: Vec<u64> = profile.location.iter().map(|location| location.address).collect();
    assert_eq!(addresses, [0x5555_0000_1a2b, 0x5555_0000_1fff]);
    assert_eq!((profile.mapping.len(), profile.mapping[0].memory_limit), (1, 0x5555_0000_2000));
}

/// Guarantees: growth by page is a value of its own, and the one that is shown where there is no other; a stack without frames
/// is left out, for viewers refuse it.
#[test]
fn profiles_of_growth() {
    let stacks = vec![leak(), StackEvidence { trace: Trace::default(), ..leak() }];
    let both = profile(&Report { stacks, growth: vec![growth(3_000_000)], ..report() });
    let values: Vec<_> = both.sample.iter().map(|sample| sample.value.as_slice()).collect();
    let expected: [&[i64]; 2] = [&[2050, 2_099_200, 2048, 2_097_152, 0], &[0, 0, 0, 0, 3_000_000]];
    assert_eq!((values.as_slice(), both.sample_type.len()), (expected.as_slice(), 5));
    let report_of_pages = Report {
        stacks: vec![StackEvidence { operation: "page_fault", ..leak() }],
        growth: vec![growth(1)],
        ..report()
    };
    assert_eq!(profile(&report_of_pages).sample.len(), 1, "what is known by its pages is told once");
    let alone = profile(&Report { stacks: Vec::new(), growth: vec![growth(1)], ..report() });
    assert_eq!(alone.string_table[usize::try_from(alone.default_sample_type).unwrap()], "growth_space");
}
