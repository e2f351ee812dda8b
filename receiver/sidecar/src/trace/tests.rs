use std::io::{self, Cursor, Read};
use std::time::Duration;

use mlh_detect::{HostMemory, Pass, ProcessKey};
use mlh_targets::cgroup_reading::{CgroupMemory, CgroupReading};
use mlh_targets::host::{HostClock, HostIdentity};
use mlh_targets::process::ProcessReading;

use super::*;
use crate::observe::Observation;

mod cgroups;

fn passes(text: &str) -> (Vec<TracePass>, Vec<TraceError>) {
    split(Passes::new(Cursor::new(text.to_owned())))
}

fn split<T>(items: impl Iterator<Item = Result<T, TraceError>>) -> (Vec<T>, Vec<TraceError>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            Ok(item) => good.push(item),
            Err(error) => bad.push(error),
        }
    }
    (good, bad)
}

fn process(t: f64, pid: u32, anon: u64) -> String {
    format!("{{\"kind\":\"process\",\"t\":{t},\"pid\":{pid},\"start\":1.5,\"anon\":{anon}}}\n")
}

fn secs(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn pids(pass: &TracePass) -> Vec<u32> {
    pass.readings.iter().map(|reading| reading.pid).collect()
}

const EXAMPLE: &str = r#"{"kind":"host","schema":1,"t":0,"epoch":1764032400.0,"boot_id":"b","page_size":4096,"mem_total":25000000000}
{"kind":"cgroup","t":30,"cgroup_id":98765,"path":"/kubepods/burstable/podx/4f1e","parent":98000,"anon":52428800,"limit":67108864,"high":0}
{"kind":"process","t":30,"pid":101,"start":12.5,"comm":"api-server","exe":"/usr/bin/api-server","cgroup_id":98765,"anon":41943040,"file":8388608,"shmem":0,"swap":0,"ppid":1,"page_tables":131072,"threads":8,"fds":24,"cpu_s":3.25}
{"kind":"oom_kill","t":60.5,"pid":101,"start":12.5}
{"kind":"exit","t":61,"pid":101,"start":12.5}
"#;

/// Guarantees: every line of the documented example is understood, member by member.
#[test]
fn the_documented_example() {
    let mut reader = Passes::new(Cursor::new(EXAMPLE));
    let (passes, errors) = split(reader.by_ref());
    assert!(errors.is_empty(), "{errors:?}");
    let host = reader.host();
    assert_eq!(host.epoch, Some(std::time::UNIX_EPOCH + Duration::from_secs(1_764_032_400)));
    assert_eq!((host.page_size, host.mem_total), (Some(4096), Some(25_000_000_000)));
    assert_eq!((host.boot_id.as_deref(), host.uptime), (Some("b"), None));

    let [first, killed, ended] = passes.as_slice() else { panic!("{passes:?}") };
    assert_eq!((first.t, first.coverage, first.host), (secs(30.0), Some(Pass::Full), None));
    let reading = &first.readings[0];
    assert_ne!(reading.image, 0);
    let expected = ProcessReading {
        pid: 101,
        parent: 1,
        start_ns: 12_500_000_000,
        comm: "api-server".into(),
        executable: "/usr/bin/api-server".into(),
        image: reading.image,
        cgroup_id: Some(98765),
        anon: 41_943_040,
        file: 8_388_608,
        page_tables: Some(131_072),
        threads: 8,
        cpu_ns: Some(3_250_000_000),
        ..ProcessReading::default()
    };
    assert_eq!(*reading, expected);
    let memory = CgroupMemory {
        usage: 52_428_800,
        anon: 52_428_800,
        max: Some(67_108_864),
        ..CgroupMemory::default()
    };
    let cgroup = CgroupReading {
        id: 98765,
        parent: 0,
        unified: true,
        name: "kubepods/burstable/podx/4f1e".into(),
        memory: Some(memory),
        node_name: String::new(),
    };
    assert_eq!(first.cgroups, [cgroup]);
    let key = ProcessKey { pid: 101, start_ns: 12_500_000_000 };
    assert_eq!((killed.t, &killed.oom_kills, &killed.exits), (secs(60.5), &vec![expected], &vec![]));
    assert_eq!((ended.t, &ended.exits, ended.coverage), (secs(61.0), &vec![key], None));
}

/// Guarantees: members that are absent, null or unknown and kinds that are unknown are no errors; whole numbers
/// may be written as floating-point ones.
#[test]
fn lenient_where_promised() {
    let (passes, errors) = passes(
        "{\"kind\":\"process\",\"t\":1,\"pid\":7,\"anon\":4.194304e7,\"swap\":null,\"new\":{\"a\":[1]}}\n\
         \r\n\
         {\"kind\":\"weather\",\"t\":0.5,\"rain\":true}\n\
         {\"t\":1,\"anon\":4096.0,\"pid\":8,\"kind\":\"process\"}",
    );
    assert!(errors.is_empty(), "{errors:?}");
    let anon: Vec<_> = passes[0].readings.iter().map(|r| (r.pid, r.start_ns, r.image, r.anon)).collect();
    assert_eq!(anon, [(7, 0, 0, 41_943_040), (8, 0, 0, 4096)]);
    assert_eq!(passes.len(), 1);
}

/// Guarantees: each kind of bad line is an error with its number, and the lines around it are read all the same.
#[test]
fn bad_lines_stop_nothing() {
    let bad = [
        "not json",
        "{\"kind\":\"process\",\"t\":30,\"pid\":2}",
        "{\"kind\":\"process\",\"t\":30,\"pid\":-2,\"anon\":1}",
        "{\"kind\":\"process\",\"t\":30,\"pid\":2,\"anon\":-1}",
        "{\"kind\":\"process\",\"t\":-30,\"pid\":2,\"anon\":1}",
        "{\"kind\":\"process\",\"t\":1e300,\"pid\":2,\"anon\":1}",
        "{\"kind\":\"process\",\"t\":1e999,\"pid\":2,\"anon\":1}",
        "{\"kind\":\"process\",\"pid\":2,\"anon\":1}",
        "{\"t\":30}",
        "[]",
        "\u{0}\u{1}",
    ];
    for line in bad {
        let text = format!("{}{line}\n{}", process(30.0, 1, 1), process(30.0, 3, 1));
        let (passes, errors) = passes(&text);
        assert_eq!(passes.iter().flat_map(pids).collect::<Vec<_>>(), [1, 3], "{line}");
        assert_eq!(errors.iter().map(TraceError::line).collect::<Vec<_>>(), [2], "{line}");
    }
}

/// Guarantees: time that goes back, a process twice at one time and a newer schema are reported with their lines.
#[test]
fn reported_with_lines() {
    let text = [
        &process(30.0, 1, 1),
        &process(30.0, 1, 2),
        &process(29.9, 2, 1),
        "{\"kind\":\"host\",\"t\":30,\"schema\":2,\"page_size\":16384}\n",
        &process(31.0, 1, 3),
    ]
    .concat();
    let mut reader = Passes::new(Cursor::new(text));
    let (passes, errors) = split(reader.by_ref());
    assert!(
        matches!(
            errors.as_slice(),
            [
                TraceError::Repeated { line: 2, pid: 1, .. },
                TraceError::Order { line: 3, .. },
                TraceError::Schema { line: 4, schema: 2 }
            ]
        ),
        "{errors:?}"
    );
    assert_eq!(errors[1].to_string(), "line 3: t is 29.9 s after 30 s; a trace is ordered by t");
    assert_eq!(passes.iter().map(|p| p.readings[0].anon).collect::<Vec<_>>(), [1, 3]);
    assert_eq!(reader.host().page_size, Some(16384));
}

/// Guarantees: a line of any length is an error without being held in memory, the next line is read, and a line of
/// just the limit is none.
#[test]
fn endless_lines() {
    let long = io::repeat(b'x').take(3 << 20).chain(Cursor::new(format!("\n{}", process(1.0, 5, 1))));
    let (found, errors) = split(Passes::new(io::BufReader::new(long)));
    assert_eq!(found.iter().flat_map(pids).collect::<Vec<_>>(), [5]);
    assert!(matches!(errors.as_slice(), [TraceError::TooLong { line: 1 }]), "{errors:?}");

    let line = process(1.0, 5, 1);
    let filler = " ".repeat((1 << 20) - line.len());
    let (found, errors) = passes(&format!("{filler}{line}{}", process(1.0, 6, 1)));
    assert_eq!((found.iter().flat_map(pids).collect::<Vec<_>>(), errors.len()), (vec![5, 6], 0));
    let (found, errors) = passes(&format!("{filler} {line}{}", process(1.0, 6, 1)));
    assert_eq!((found.iter().flat_map(pids).collect::<Vec<_>>(), errors.len()), (vec![6], 1));
}

/// Guarantees: a file that cannot be read on gives one error and what came before it.
#[test]
fn reading_fails() {
    struct Broken(Cursor<String>);
    impl Read for Broken {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buffer)? {
                0 => Err(io::Error::other("disk on fire")),
                read => Ok(read),
            }
        }
    }
    let input = io::BufReader::new(Broken(Cursor::new(process(1.0, 5, 1))));
    let (found, errors) = split(Passes::new(input));
    assert_eq!(found.len(), 1);
    assert!(matches!(errors.as_slice(), [TraceError::Io { line: 2, .. }]), "{errors:?}");
}

/// Guarantees: a broken trace, every byte of the example flipped or cut, never panics.
#[test]
fn garbled_traces() {
    let bytes = EXAMPLE.as_bytes();
    for at in 0..bytes.len() {
        for flip in [0x01, 0x20, 0x80, 0xff] {
            let mut broken = bytes.to_vec();
            broken[at] ^= flip;
            Passes::new(Cursor::new(broken)).for_each(drop);
        }
        Passes::new(Cursor::new(&bytes[..at])).for_each(drop);
    }
}

/// Guarantees: without marks a pass is full when it holds all who live; one with some of them says nothing of the
/// others; who has an `exit` line, or stays away for three times its spacing, is no longer waited for.
#[test]
fn coverage_is_concluded() {
    let mut text = String::new();
    for second in 0..10 {
        let t = f64::from(second);
        text += &process(t, 1, 1);
        if second % 4 == 0 {
            text += &process(t, 2, 1);
        }
    }
    let (found, _) = passes(&text);
    let full: Vec<bool> = found.iter().map(|pass| pass.coverage == Some(Pass::Full)).collect();
    assert_eq!(full, [true, false, false, false, true, false, false, false, true, false]);
    assert!(found.iter().all(|pass| pass.exits.is_empty()));

    let mut text = process(0.0, 1, 1) + &process(0.0, 2, 1);
    for second in 1..=5 {
        text += &process(f64::from(second), 1, 1);
    }
    let (found, _) = passes(&text);
    let lapsed = ProcessKey { pid: 2, start_ns: 1_500_000_000 };
    let exits: Vec<_> = found.iter().map(|pass| pass.exits.clone()).collect();
    assert_eq!(exits, [vec![], vec![], vec![], vec![], vec![lapsed], vec![]]);
    assert_eq!(found[3].coverage, None);
    assert_eq!(found[4].coverage, Some(Pass::Full));

    let exit = "{\"kind\":\"exit\",\"t\":0.5,\"pid\":2}\n";
    let text = [&process(0.0, 1, 1), &process(0.0, 2, 1), exit, &process(1.0, 1, 1)].concat();
    let (found, _) = passes(&text);
    assert_eq!(found[1].exits, [lapsed]);
    assert_eq!(found[2].coverage, Some(Pass::Full));
}

fn reading(pid: u32, anon: u64) -> ProcessReading {
    ProcessReading {
        pid,
        host_pid: Some(pid + 1000),
        own_pid: Some(1),
        parent: 1,
        start_ns: 123_456_789_012,
        comm: "api".into(),
        executable: "api-server".into(),
        image: u64::MAX - 5,
        cgroup_id: Some(98765),
        memory_cgroup_id: Some(4),
        anon,
        file: 2,
        shmem: 3,
        swap: 4,
        slack: 5,
        virtual_size: 6,
        page_tables: Some(7),
        threads: 8,
        cpu_ns: Some(9_000_000_001),
    }
}

fn observation(at: f64, pass: Pass, readings: Vec<ProcessReading>) -> Observation {
    Observation {
        at: secs(at),
        took: Duration::from_millis(1),
        pass,
        host: HostMemory { total: 1 << 33, available: 1 << 32, swap_free: 1 << 30 },
        readings,
        cgroups: Vec::new(),
        errors: Vec::new(),
    }
}

fn recorded(anonymize: bool, observations: &[Observation]) -> String {
    let host = HostIdentity {
        name: Some("node".into()),
        id: Some("id".into()),
        boot_id: Some("the-boot".into()),
        kernel_release: None,
        page_size: 16384,
        possible_cpus: 2,
    };
    let clock = HostClock::starting_at(std::time::UNIX_EPOCH + Duration::from_secs(1_700_000_000));
    let mut bytes = Vec::new();
    let mut writer = TraceWriter::new(&mut bytes, &host, anonymize);
    for observation in observations {
        writer.pass(observation, &clock).unwrap();
    }
    String::from_utf8(bytes).unwrap()
}

/// Guarantees: what was recorded is what is replayed: every member of every reading, the coverage, the host's
/// memory and clock; a process that is absent from a full pass is not waited for.
#[test]
fn round_trip() {
    let observations = [
        observation(500.25, Pass::Full, vec![reading(1, 10), reading(2, 20)]),
        observation(501.25, Pass::Watched, vec![reading(2, 21)]),
        observation(530.25, Pass::Full, vec![reading(2, 22)]),
        observation(531.25, Pass::Full, vec![]),
    ];
    let text = recorded(false, &observations);
    let mut reader = Passes::new(Cursor::new(&text));
    let (found, errors) = split(reader.by_ref());
    assert!(errors.is_empty(), "{errors:?}");
    assert_eq!(found.len(), observations.len());
    for (pass, observation) in found.iter().zip(&observations) {
        assert_eq!(pass.t, observation.at - secs(500.25));
        assert_eq!(pass.coverage, Some(observation.pass));
        assert_eq!(pass.host, Some(observation.host));
        assert_eq!(pass.readings, observation.readings);
    }
    let host = reader.host();
    assert_eq!(host.epoch, Some(std::time::UNIX_EPOCH + secs(1_700_000_500.25)));
    assert_eq!(host.uptime, Some(secs(500.25)));
    assert_eq!((host.page_size, host.mem_total), (Some(16384), Some(1 << 33)));
    assert_eq!(host.boot_id.as_deref(), Some("the-boot"));
    assert!(text.lines().all(|line| line.starts_with("{\"kind\":\"")), "{text}");
}

/// Guarantees: an anonymised trace holds no name, path or boot id; one name gives the same digits within a file,
/// other digits in another, and numbers stay.
#[test]
fn anonymized() {
    let mut other = reading(2, 20);
    other.comm = "secret.py".into();
    other.executable = "/opt/acme/api".into();
    let observations = [observation(1.0, Pass::Full, vec![reading(1, 10), other])];
    let texts = [recorded(true, &observations), recorded(true, &observations)];
    for text in &texts {
        for name in ["api", "secret", ".py", "opt", "acme", "the-boot"] {
            assert!(!text.contains(name), "{name} in {text}");
        }
    }
    let names = |text: &str| {
        let (passes, _) = passes(text);
        let readings = passes[0].readings.clone();
        readings.into_iter().map(|r| (r.comm, r.executable, r.anon)).collect::<Vec<_>>()
    };
    let [one, two] = [names(&texts[0]), names(&texts[1])];
    assert_ne!(one[0].0, two[0].0);
    assert_eq!((one[0].2, one[1].2), (10, 20));
    // "api" is the first one's comm and the base name of the second one's path
    assert_eq!(one[1].1.rsplit('/').next(), Some(one[0].0.as_str()));
    assert_eq!(one[1].1.matches('/').count(), 3);
}

/// Guarantees: a failing disk is the caller's error, not a lost pass.
#[test]
fn writing_fails() {
    let host = HostIdentity::read();
    let clock = HostClock::starting_at(std::time::UNIX_EPOCH);
    let mut small = [0_u8; 64];
    let mut writer = TraceWriter::new(&mut small[..], &host, false);
    assert!(writer.pass(&observation(1.0, Pass::Full, vec![reading(1, 1)]), &clock).is_err());
}

/// Whether each pass was due, its time and who it held.
fn thinned(text: &str, interval: f64) -> Vec<(f64, bool, Option<Pass>, Vec<u32>)> {
    let (found, errors) = split(thin(Passes::new(Cursor::new(text.to_owned())), secs(interval)));
    assert!(errors.is_empty(), "{errors:?}");
    found.iter().map(|(p, due)| (p.t.as_secs_f64(), *due, p.coverage, pids(p))).collect()
}

/// Guarantees: an even trace is due at the interval, drift of the recorder's timer included, and every other pass
/// is kept as the finer spacing.
#[test]
fn thinning_an_even_trace() {
    let text: String = (0..=6).map(|n| process(f64::from(n) * 9.995, 1, 1)).collect();
    let due: Vec<bool> = thinned(&text, 30.0).iter().map(|pass| pass.1).collect();
    assert_eq!(due, [true, false, false, true, false, false, true]);
    let coarse: Vec<bool> = thinned(&text, 5.0).iter().map(|pass| pass.1).collect();
    assert_eq!(coarse, [true; 7]);
}

/// Guarantees: processes sampled at odd times are all seen in each due pass, with their newest reading, and one
/// that ended is not.
#[test]
fn thinning_an_uneven_trace() {
    let mut text = String::new();
    for n in 0..4 {
        let t = f64::from(n) * 10.0;
        text += &process(t, 1, 1);
        text += &process(t + 1.0, 2, 1);
    }
    text += "{\"kind\":\"exit\",\"t\":35,\"pid\":2}\n";
    text += &process(40.0, 1, 1);
    let passes = thinned(&text, 10.0);
    let due: Vec<_> = passes.into_iter().filter(|pass| pass.1).map(|(t, _, c, who)| (t, c, who)).collect();
    let full = Some(Pass::Full);
    assert_eq!(
        due,
        [
            (0.0, full, vec![1]),
            (10.0, full, vec![1, 2]),
            (20.0, full, vec![1, 2]),
            (30.0, full, vec![1, 2]),
            (40.0, full, vec![1]),
        ]
    );
}

/// Guarantees: a recorder's watched passes are never taken for a sweep, whatever their time.
#[test]
fn thinning_a_recording() {
    let all = || vec![reading(1, 1), reading(2, 1)];
    let mut observations = vec![observation(0.0, Pass::Full, all())];
    for n in 1..30 {
        observations.push(observation(f64::from(n), Pass::Watched, vec![reading(2, 1)]));
    }
    observations.push(observation(30.1, Pass::Full, all()));
    let text = recorded(false, &observations);
    let passes = thinned(&text, 20.0);
    let due: Vec<_> = passes.iter().filter(|pass| pass.1).map(|pass| (pass.0, pass.3.len())).collect();
    assert_eq!(due, [(0.0, 2), (30.1, 2)]);
    assert_eq!(passes.iter().filter(|pass| !pass.1 && pass.3 == [2]).count(), 29);
}

/// Guarantees: the line reader numbers lines as an editor does, blank ones included.
#[test]
fn line_numbers() {
    let text = "\n{\"kind\":\"exit\",\"t\":1,\"pid\":1}\n\n{\"kind\":\"exit\",\"t\":2,\"pid\":1}";
    let numbers: Vec<u64> =
        LineReader::new(Cursor::new(text)).filter_map(|line| line.ok().map(|l| l.0)).collect();
    assert_eq!(numbers, [2, 4]);
}
