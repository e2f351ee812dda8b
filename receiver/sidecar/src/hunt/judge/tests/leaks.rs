//! Leaks that are recognised, from passes to records.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;

use super::super::super::estate::tests::bench;
use super::*;
use crate::leaks::Store;
use crate::semconv;

/// A process of the same program in each life; it begins at this second, and grows by 2 MiB at each sweep, every 15 s, for as long as
/// a verdict by growth alone takes.
struct Life {
    pid: u32,
    begin: u64,
}

impl Life {
    const SWEEPS: u64 = 64;

    fn reading(&self, sweep: u64) -> ProcessReading {
        ProcessReading {
            pid: self.pid,
            start_ns: self.begin * 1_000_000_000,
            comm: "api".to_owned(),
            executable: "api".to_owned(),
            anon: sweep << 21,
            ..ProcessReading::default()
        }
    }

    fn at(&self, sweep: u64) -> Duration {
        Duration::from_secs(self.begin + sweep * 15)
    }

    /// The records of its life, killed at its end or not.
    fn judged(&self, judge: &mut Judge, killed: bool) -> Vec<LogRecord> {
        let clock = HostClock::starting_at(SystemTime::UNIX_EPOCH);
        let mut records = Vec::new();
        for sweep in 0..Self::SWEEPS {
            let readings = [self.reading(sweep)];
            let seen = Seen { readings: &readings, ..Seen::empty(self.at(sweep), Pass::Full) };
            records.extend(judge.pass(&seen, &clock).records);
        }
        let (at, reading) = (self.at(Self::SWEEPS), self.reading(Self::SWEEPS));
        let kills = if killed { vec![Killed { at, reading }] } else { Vec::new() };
        let told = Seen { kills: &kills, ..Seen::empty(at, Pass::Told) };
        records.extend(judge.pass(&told, &clock).records);
        let gone = Seen::empty(at + Duration::from_secs(15), Pass::Full);
        records.extend(judge.pass(&gone, &clock).records);
        records.into_iter().flat_map(|logs| logs.scope_logs).flat_map(|scope| scope.log_records).collect()
    }
}

fn named<'a>(records: &'a [LogRecord], name: &str) -> &'a LogRecord {
    records.iter().find(|record| record.event_name.ends_with(name)).unwrap_or_else(|| panic!("no {name}"))
}

fn shown(record: &LogRecord, key: &str) -> Option<String> {
    let found = record.attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(number) => Some(number.to_string()),
        other => panic!("{other:?}"),
    }
}

fn sentence(record: &LogRecord) -> &str {
    match record.body.as_ref().and_then(|body| body.value.as_ref()) {
        Some(Value::StringValue(sentence)) => sentence,
        other => panic!("{other:?}"),
    }
}

/// Guarantees: a leak that returns after a restart is told as the same one: the verdict says how often it has been seen,
/// since when, and how long whoever has it lives; kill and end carry its id; and all of that outlives the sidecar. Another
/// program's leak is another one.
#[test]
fn a_leak_returns() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::new(folder.path().join("state.jsonl"), 1 << 20, Some("boot".to_owned()));
    let mut ids = Vec::new();
    for (run, killed) in [(1, true), (2, true), (3, false)] {
        // the sidecar is another one each time
        let leaks = Arc::<Leaks>::default();
        assert_eq!(leaks.open(&store), Ok(None));
        let mut judge = Judge::new(&bench(256));
        judge.recognise(Arc::clone(&leaks));
        let records = Life { pid: run, begin: 1000 * u64::from(run) }.judged(&mut judge, killed);
        let verdict = named(&records, "leak.detected");
        assert_eq!(shown(verdict, semconv::LEAK_OCCURRENCES), Some(run.to_string()));
        assert_eq!(shown(verdict, semconv::LEAK_MEMBERS).as_deref(), Some("1"));
        let first = shown(verdict, semconv::LEAK_FIRST_SEEN).unwrap();
        let told = format!(" This leak has been seen {run} times since 00:");
        assert_eq!(sentence(verdict).contains(&told), run > 1, "{}", sentence(verdict));
        if run > 1 {
            assert!(
                first.starts_with("1970-01-01T00:27") || first.starts_with("1970-01-01T00:28"),
                "{first}"
            );
            assert!(
                sentence(verdict).ends_with("; whoever has it lives for about 16 min."),
                "{}",
                sentence(verdict)
            );
            assert_eq!(shown(verdict, semconv::LEAK_KILLS), Some((run - 1).to_string()));
        }
        let end = named(&records, if killed { "oom.kill" } else { "leak.cleared" });
        assert_eq!(shown(end, semconv::LEAK_ID), shown(verdict, semconv::LEAK_ID));
        assert_eq!(shown(end, semconv::LEAK_MEMBERS).as_deref(), Some("0"));
        assert!(!sentence(end).contains("This leak"));
        assert_eq!(shown(named(&records, "leak.suspected"), semconv::LEAK_ID), None);
        ids.push(shown(verdict, semconv::LEAK_ID).unwrap());
        assert_eq!(leaks.open(&store), Ok(None), "it is kept");
    }
    ids.dedup();
    assert_eq!(ids.len(), 1, "{ids:?}");
}

/// Guarantees: a leak that more than one has counts as one that recurs, the first of its kind does not.
#[test]
fn recurrences_are_counted() {
    let mut judge = Judge::new(&bench(256));
    let clock = HostClock::starting_at(SystemTime::UNIX_EPOCH);
    let lives = [Life { pid: 1, begin: 0 }, Life { pid: 2, begin: 0 }];
    let mut recurred = 0;
    for sweep in 0..Life::SWEEPS {
        let readings = lives.each_ref().map(|life| life.reading(sweep));
        let seen = Seen { readings: &readings, ..Seen::empty(lives[0].at(sweep), Pass::Full) };
        recurred += judge.pass(&seen, &clock).recurred;
    }
    assert_eq!((judge.standing().leaks, recurred), (2, 1));
}

/// Guarantees: who had the leak before the sidecar was restarted, and has it still, is no return of it; a process that comes after is
/// one, once.
#[test]
fn a_restart_of_the_sidecar_is_no_return() {
    let leaks = Arc::<Leaks>::default();
    let clock = HostClock::starting_at(SystemTime::UNIX_EPOCH);
    let mut counted = Vec::new();
    for pids in [&[1, 2][..], &[1, 2], &[1, 2, 3], &[1, 2, 3]] {
        let mut judge = Judge::new(&bench(256));
        judge.recognise(Arc::clone(&leaks));
        let mut recurred = 0;
        for sweep in 0..Life::SWEEPS {
            let readings: Vec<_> =
                pids.iter().map(|pid| Life { pid: *pid, begin: 0 }.reading(sweep)).collect();
            let at = Duration::from_secs(sweep * 15);
            let seen = Seen { readings: &readings, ..Seen::empty(at, Pass::Full) };
            recurred += judge.pass(&seen, &clock).recurred;
        }
        assert_eq!(judge.standing().leaks, pids.len() as u64);
        counted.push((recurred, leaks.messages()[0].occurrences));
    }
    assert_eq!(counted, [(1, 2), (0, 2), (1, 3), (0, 3)]);
}

/// Guarantees: what is learnt of the culprit after the verdict is known of the leak, with no other record and no other occurrence; of
/// what grows first a kind is known, and then the function.
#[test]
fn the_culprit_is_learnt_after_the_verdict() {
    let leaks = Arc::<Leaks>::default();
    let mut judge = Judge::new(&bench(256));
    judge.recognise(Arc::clone(&leaks));
    let clock = HostClock::starting_at(SystemTime::UNIX_EPOCH);
    let life = Life { pid: 1, begin: 0 };
    let mut sweeps = 0..2 * Life::SWEEPS;
    let mut pass = |judge: &mut Judge| {
        let sweep = sweeps.next().unwrap();
        let readings = [life.reading(sweep)];
        let seen = Seen { readings: &readings, ..Seen::empty(life.at(sweep), Pass::Full) };
        judge.pass(&seen, &clock)
    };
    while leaks.messages().is_empty() {
        assert_eq!(pass(&mut judge).recurred, 0);
    }
    let about = About::Process(ProcessKey { pid: 1, start_ns: 0 });
    let told = |leaks: &Leaks| {
        let all = leaks.messages();
        (all.len(), all[0].place.clone(), all[0].occurrences, all[0].members.len())
    };
    let first = leaks.messages()[0].first_seen.clone();
    assert_eq!(told(&leaks), (1, None, 1, 1));
    let kinds = vec![crate::ladder::Kind { name: "shop::Order".to_owned(), share: 1.0 }];
    judge.known.note(about, Arc::new(crate::ladder::Knowledge { kinds, ..Default::default() }));
    let frame = mlh_stacks::trace::Frame {
        module: "/bin/api".to_owned(),
        function: Some("remember".to_owned()),
        ..Default::default()
    };
    let trace = mlh_stacks::trace::Trace { frames: vec![frame], culprit: Some(0), ..Default::default() };
    let leads = vec![crate::ladder::Lead { trace, bytes: 1, ..Default::default() }];
    let mut places = Vec::new();
    for known in [None, Some(crate::ladder::Knowledge { leads, ..Default::default() })] {
        if let Some(known) = known {
            judge.known.note(about, Arc::new(known));
        }
        let outcome = pass(&mut judge);
        assert_eq!((outcome.grave, outcome.recurred), (0, 0));
        let (all, place, occurrences, members) = told(&leaks);
        assert_eq!((all, occurrences, members, &leaks.messages()[0].first_seen), (1, 1, 1, &first));
        places.push(place.unwrap());
    }
    assert!(places[0].contains("shop::Order") && places[1].contains("remember"), "{places:?}");
}

/// Guarantees: who is not there any more when the sidecar comes back is no member; who still is, is the same occurrence.
#[test]
fn the_sidecar_comes_back() {
    let leaks = Arc::<Leaks>::default();
    let life = Life { pid: 1, begin: 1000 };
    let clock = HostClock::starting_at(SystemTime::UNIX_EPOCH);
    for (pid, members) in [(1, 1), (2, 0)] {
        let mut judge = Judge::new(&bench(256));
        judge.recognise(Arc::clone(&leaks));
        for sweep in 0..Life::SWEEPS {
            let readings = [Life { pid: 1, ..life }.reading(sweep)];
            let seen = Seen { readings: &readings, ..Seen::empty(life.at(sweep), Pass::Full) };
            judge.pass(&seen, &clock);
        }
        assert_eq!((leaks.messages().len(), leaks.messages()[0].occurrences), (1, 1));
        let mut next = Judge::new(&bench(256));
        next.recognise(Arc::clone(&leaks));
        let readings = [Life { pid, ..life }.reading(1)];
        let seen = Seen { readings: &readings, ..Seen::empty(life.at(100), Pass::Full) };
        next.pass(&seen, &clock);
        assert_eq!(leaks.messages()[0].members.len(), members, "pid {pid}");
    }
}
