//! What a look has found, as profiles.

use mlh_stacks::trace::{Frame, Trace};
use mlh_targets::points::Runtime;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::profiles::v1development::{Location, Profile, ProfilesDictionary};

use super::*;
use crate::investigate::report::{Member, Report, StackEvidence};

fn frame(function: &str, offset: u64) -> Frame {
    Frame {
        address: 0x5500_0000 + offset,
        function: Some(function.to_owned()),
        module: "/usr/bin/api-server".to_owned(),
        offset,
        build_id: Some("c0ffee".to_owned()),
        file: Some("session.cc".to_owned()),
        line: Some(u32::try_from(offset).unwrap()),
        inlined: false,
    }
}

fn stack(pid: u32, hash: u64, frames: Vec<Frame>, live: u64) -> StackEvidence {
    StackEvidence {
        pid,
        trace: Trace { frames, hash, culprit: Some(0), incomplete: None },
        operation: "malloc",
        live_bytes: live,
        live_count: live / 100,
        allocated_bytes: live * 3,
        allocated_count: live / 100 * 3,
        ..StackEvidence::default()
    }
}

fn member(pid: u32, runtime: Runtime) -> Member {
    let executable = Some("/opt/worker (deleted)".to_owned());
    Member { pid, command: "worker".to_owned(), executable, runtime, ..Member::default() }
}

/// Two processes: one that is known and holds the most, and one that is not.
fn report() -> Report {
    let inlined = Frame { inlined: true, ..frame("push", 12) };
    let outer = Frame { line: Some(88), ..frame("remember", 12) };
    let nameless = Frame { function: None, file: None, line: None, ..frame("", 0x900) };
    let mut growing = stack(4242, 1, vec![inlined, outer, frame("main", 40)], 5000);
    let mut freed = stack(4242, 2, vec![nameless], 0);
    (freed.allocated_bytes, freed.allocated_count) = (700, 7);
    growing.trace.incomplete = Some("the copy ends".to_owned());
    Report {
        started: Duration::from_secs(100),
        lasted: Duration::from_secs(60),
        members: vec![member(4242, Runtime::Native), member(7, Runtime::Native)],
        stacks: vec![
            growing,
            stack(7, 3, vec![frame("cache", 20), frame("main", 40)], 300),
            // of another address space of the same pid, with the same stack
            stack(7, 3, vec![frame("cache", 20), frame("main", 40)], 200),
            freed,
        ],
        ..Report::default()
    }
}

fn encoded(report: &Report) -> ExportProfilesServiceRequest {
    let encoder = Encoder::new(Arc::new(host()), 4096);
    encoder.profiles(report, &vec![(4242, Arc::new(subject()))], &clock())
}

fn text(dictionary: &ProfilesDictionary, index: i32) -> &str {
    &dictionary.string_table[usize::try_from(index).unwrap()]
}

fn name<'a>(dictionary: &'a ProfilesDictionary, profile: &Profile) -> (&'a str, &'a str) {
    let kind = profile.sample_type.unwrap();
    (text(dictionary, kind.type_strindex), text(dictionary, kind.unit_strindex))
}

fn sum(profile: &Profile) -> i64 {
    profile.samples.iter().flat_map(|sample| &sample.values).sum()
}

/// Attributes by the indices of something, as text.
fn attributes(dictionary: &ProfilesDictionary, indices: &[i32]) -> Vec<String> {
    let shown = indices.iter().map(|index| {
        let attribute = &dictionary.attribute_table[usize::try_from(*index).unwrap()];
        let Some(Value::StringValue(value)) = attribute.value.clone().unwrap().value else {
            panic!("no text")
        };
        format!("{}={value}", text(dictionary, attribute.key_strindex))
    });
    shown.collect()
}

/// The locations of a sample's stack.
fn locations<'a>(dictionary: &'a ProfilesDictionary, profile: &Profile, sample: usize) -> Vec<&'a Location> {
    let stack = &dictionary.stack_table[usize::try_from(profile.samples[sample].stack_index).unwrap()];
    let indices = stack.location_indices.iter();
    indices.map(|index| &dictionary.location_table[usize::try_from(*index).unwrap()]).collect()
}

fn functions(dictionary: &ProfilesDictionary, location: &Location) -> Vec<String> {
    let lines = location.lines.iter().map(|line| {
        let function = &dictionary.function_table[usize::try_from(line.function_index).unwrap()];
        let (name, file) = (function.name_strindex, function.filename_strindex);
        format!("{} {}:{}", text(dictionary, name), text(dictionary, file), line.line)
    });
    lines.collect()
}

/// Guarantees: there is a profile for each kind of value, under the Resource of its process, the largest first; sums are
/// those of the report, what has none of a kind is no sample of it, and equal stacks of a process are one sample.
#[test]
fn sums_by_process_and_kind() {
    let report = report();
    let request = encoded(&report);
    let dictionary = request.dictionary.as_ref().unwrap();
    let told: Vec<Vec<(&str, &str, i64, usize)>> = request
        .resource_profiles
        .iter()
        .map(|resource| {
            let profiles = resource.scope_profiles[0].profiles.iter();
            let line = |profile: &Profile| {
                let (name, unit) = name(dictionary, profile);
                (name, unit, sum(profile), profile.samples.len())
            };
            profiles.map(line).collect()
        })
        .collect();
    assert_eq!(
        told,
        [
            vec![
                ("inuse_space", "bytes", 5000, 1),
                ("inuse_objects", "count", 50, 1),
                ("alloc_space", "bytes", 15_700, 2),
                ("alloc_objects", "count", 157, 2),
            ],
            vec![
                ("inuse_space", "bytes", 500, 1),
                ("inuse_objects", "count", 5, 1),
                ("alloc_space", "bytes", 1500, 1),
                ("alloc_objects", "count", 15, 1),
            ],
        ]
    );
    let resources: Vec<_> =
        request.resource_profiles.iter().map(|of| of.resource.clone().unwrap().attributes).collect();
    let log = Encoder::new(Arc::new(host()), 4096).encode(&detected(None), &subject(), None, &clock());
    assert_eq!(resources[0], log.resource.unwrap().attributes, "the same as that of its log records");
    let unknown = shown(&resources[1]);
    for (key, value) in [("process.pid", "7"), ("service.name", "\"worker\"")] {
        assert!(unknown.contains(&(key, value.to_owned())), "{unknown:?}");
    }
    for scope in request.resource_profiles.iter().flat_map(|of| &of.scope_profiles) {
        assert_eq!(scope.scope.as_ref().unwrap().name, "memory_leak_hunter");
    }
}

/// Guarantees: what a process held that has ended is in use no more, though it was allocated; the program that a process ran
/// before another is told apart from it, by its own name and what made its code.
#[test]
fn the_dead() {
    let made = Frame { module: "[anon]".to_owned(), file: None, build_id: None, ..frame("made", 1) };
    let gone = |pid| StackEvidence { gone: true, ..stack(pid, 3, vec![made.clone()], 300) };
    let ended = |pid| Member { gone: true, ..member(pid, Runtime::Node) };
    let report = Report {
        members: vec![ended(4242), member(4242, Runtime::Jvm), ended(7)],
        stacks: vec![stack(4242, 3, vec![made.clone()], 200), gone(4242), gone(7)],
        ..Report::default()
    };
    let request = encoded(&report);
    let dictionary = request.dictionary.as_ref().unwrap();
    let told = request.resource_profiles.iter().map(|of| {
        let profiles = &of.scope_profiles[0].profiles;
        let resource = shown(&of.resource.as_ref().unwrap().attributes);
        let service = resource.into_iter().find(|(key, _)| *key == "service.name").unwrap().1;
        let kinds: Vec<_> =
            profiles.iter().map(|profile| (name(dictionary, profile).0, sum(profile))).collect();
        let place = locations(dictionary, &profiles[0], 0)[0];
        (service, kinds, attributes(dictionary, &place.attribute_indices).remove(0))
    });
    let dead = vec![("alloc_space", 900), ("alloc_objects", 9)];
    let dead = ("\"worker\"".to_owned(), dead, "profile.frame.type=v8js".to_owned());
    let alive = vec![("inuse_space", 200), ("inuse_objects", 2), ("alloc_space", 600), ("alloc_objects", 6)];
    let alive = ("\"api-server\"".to_owned(), alive, "profile.frame.type=jvm".to_owned());
    assert_eq!(told.collect::<Vec<_>>(), [alive, dead.clone(), dead]);
}

/// Guarantees: a stack has its functions with file and line, what was inlined with the place where it is, addresses as
/// the file counts them, the module with its build id, what made the code; a sample the hash of its log records, its
/// operation, and why its stack ends early.
#[test]
fn stacks_and_what_is_known_of_them() {
    let request = encoded(&report());
    let dictionary = request.dictionary.as_ref().unwrap();
    let profiles = &request.resource_profiles[0].scope_profiles[0].profiles;
    let stack = locations(dictionary, &profiles[0], 0);
    assert_eq!(stack.iter().map(|location| location.address).collect::<Vec<_>>(), [12, 40]);
    assert_eq!(functions(dictionary, stack[0]), ["push session.cc:12", "remember session.cc:88"]);
    assert_eq!(functions(dictionary, stack[1]), ["main session.cc:40"]);
    assert_eq!(attributes(dictionary, &stack[0].attribute_indices), ["profile.frame.type=native"]);
    let mapping = &dictionary.mapping_table[usize::try_from(stack[0].mapping_index).unwrap()];
    assert_eq!(text(dictionary, mapping.filename_strindex), "/usr/bin/api-server");
    let build_id = "process.executable.build_id.gnu=c0ffee";
    assert_eq!(attributes(dictionary, &mapping.attribute_indices), [build_id]);
    assert_eq!(
        attributes(dictionary, &profiles[0].samples[0].attribute_indices),
        [
            "memory_leak_hunter.stack_hash=0000000000000001",
            "memory_leak_hunter.operation=malloc",
            "memory_leak_hunter.stack_incomplete=the copy ends"
        ]
    );
    let nameless = locations(dictionary, &profiles[2], 1);
    assert_eq!((nameless[0].address, nameless[0].lines.len()), (0x900, 0));
}

/// Guarantees: a profile is of the time since the look began, and no two have one id.
#[test]
fn times_and_ids() {
    let (first, second) = (encoded(&report()), encoded(&report()));
    let mut ids = std::collections::HashSet::new();
    for resource in first.resource_profiles.iter().chain(&second.resource_profiles) {
        for profile in &resource.scope_profiles[0].profiles {
            assert_eq!(profile.time_unix_nano, clock().nanos(Duration::from_secs(100)));
            assert_eq!(profile.duration_nano, 60_000_000_000);
            assert!(profile.profile_id.len() == 16 && ids.insert(profile.profile_id.clone()));
        }
    }
}

/// Guarantees: every table begins with its zero value, every index leads somewhere, and nothing stands there that nothing
/// refers to or that stands there twice; processes of one image share all but their Resources.
#[test]
fn a_tidy_dictionary() {
    let request = encoded(&report());
    let dictionary = request.dictionary.as_ref().unwrap();
    assert_eq!(dictionary.string_table[0], "");
    assert_eq!(dictionary.location_table[0], Location::default());
    assert!(dictionary.attribute_table[0].value.is_none());
    assert!(dictionary.stack_table[0].location_indices.is_empty());
    assert_eq!((dictionary.link_table.len(), dictionary.mapping_table.len()), (1, 2));
    // push and remember, main, the one without a name, cache
    assert_eq!((dictionary.location_table.len(), dictionary.stack_table.len()), (5, 4));
    let mut strings = dictionary.string_table.clone();
    strings.sort();
    strings.dedup();
    assert_eq!(strings.len(), dictionary.string_table.len());
    assert_eq!(mlh_pipeline::data::Data::Profiles(request).items(), 6 + 4);
}

/// Guarantees: at most 64 frames of a stack are told, the innermost, how many are missing, and why it ends even so; a report without stacks is
/// no profile.
#[test]
fn bounds() {
    let frames = (0..100).map(|index| frame("f", index)).collect();
    let mut deep = stack(1, 1, frames, 100);
    deep.trace.incomplete = Some("the copy ends".to_owned());
    let report = Report { stacks: vec![deep], ..Report::default() };
    let request = encoded(&report);
    let dictionary = request.dictionary.as_ref().unwrap();
    let profile = &request.resource_profiles[0].scope_profiles[0].profiles[0];
    let stack = locations(dictionary, profile, 0);
    assert_eq!((stack.len(), stack[63].address), (64, 63));
    let told = attributes(dictionary, &profile.samples[0].attribute_indices);
    assert!(told[2].ends_with("stack_incomplete=36 more frames are left out; the copy ends"), "{told:?}");
    assert!(encoded(&Report::default()).resource_profiles.is_empty());
}

/// Guarantees: what made the code is told by its source file, or, where it has no file, by what runs in the process; the
/// same stack in a process that runs something else is not taken for it.
#[test]
fn frame_types() {
    let made = Frame { module: "[anon]".to_owned(), file: None, build_id: None, ..frame("made", 1) };
    let of_file = |file: &str| Frame { file: Some(file.to_owned()), ..frame("f", 2) };
    let python = Frame { module: mlh_stacks::python::MODULE.to_owned(), ..of_file("a.py") };
    let frames = vec![made, of_file("main.go"), of_file("lib.rs"), python, of_file("a.c")];
    let runtimes = [Runtime::Node, Runtime::Jvm, Runtime::Native];
    let report = Report {
        members: (1..).zip(runtimes).map(|(pid, runtime)| member(pid, runtime)).collect(),
        stacks: (1..=3).map(|pid| stack(pid, 5, frames.clone(), 100)).collect(),
        ..Report::default()
    };
    let request = encoded(&report);
    let dictionary = request.dictionary.as_ref().unwrap();
    for (resource, first) in request.resource_profiles.iter().zip(["v8js", "jvm", "native"]) {
        let stack = locations(dictionary, &resource.scope_profiles[0].profiles[0], 0);
        let types: Vec<String> =
            stack.iter().flat_map(|location| attributes(dictionary, &location.attribute_indices)).collect();
        let expected =
            [first, "go", "rust", "cpython", "native"].map(|kind| format!("profile.frame.type={kind}"));
        assert_eq!(types, expected);
    }
}
