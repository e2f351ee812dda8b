//! The scope, seen through the judge.

use std::time::{Duration, SystemTime};

use mlh_pipeline::config::Settings;
use mlh_targets::cgroup_reading::{CgroupMemory, CgroupReading};
use mlh_targets::host::HostClock;
use opentelemetry_proto::tonic::common::v1::any_value::Value;

use super::super::judge::{Bench, Judge, Killed, Seen};
use super::*;
use crate::semconv;

const ID: &str = "4f1e0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab";
const SWEEPS: u64 = 24;

fn bench(scope: &str) -> Bench {
    Bench {
        host: std::sync::Arc::default(),
        page_size: 4096,
        growth_threshold: 256,
        oom_horizon: Duration::from_secs(3600),
        max_events_per_second: None,
        detail: Detail::Recorded,
        scope: Settings::of_text(scope, Scope::read).unwrap().0,
    }
}

/// Grows by 2 MiB a sweep.
fn reading(pid: u32, name: &str, cgroup: u64, sweep: u64) -> ProcessReading {
    ProcessReading {
        pid,
        comm: name.to_owned(),
        executable: format!("/opt/bin/{name}"),
        anon: sweep << 21,
        cgroup_id: Some(cgroup),
        memory_cgroup_id: Some(cgroup),
        ..ProcessReading::default()
    }
}

/// A root with a container, which counts, and a service, which does not.
fn cgroups(sweep: u64) -> Vec<CgroupReading> {
    let held = sweep << 22;
    let memory = CgroupMemory { usage: held, anon: held, ..CgroupMemory::default() };
    let below = |id, name: String, memory| CgroupReading {
        id,
        parent: 1,
        unified: true,
        name,
        memory,
        ..CgroupReading::default()
    };
    vec![
        CgroupReading { id: 1, unified: true, ..CgroupReading::default() },
        below(2, format!("libpod-{ID}"), Some(memory)),
        below(3, "shop.service".to_owned(), None),
    ]
}

/// In the container: api and helper; in the service: nginx and helper; outside of both: cron.
fn readings(sweep: u64) -> Vec<ProcessReading> {
    let those = [(10, "api", 2), (11, "helper", 2), (20, "nginx", 3), (21, "helper", 3), (30, "cron", 1)];
    those.into_iter().map(|(pid, name, cgroup)| reading(pid, name, cgroup, sweep)).collect()
}

/// The records of one sweep: what each is about, its kind, and its anonymous bytes.
fn judged(judge: &mut Judge, sweep: u64, kills: &[Killed]) -> Vec<(String, String, i64)> {
    let (readings, cgroups) = (readings(sweep), cgroups(sweep));
    let at = Duration::from_secs(100 + sweep * 15);
    let seen = Seen { readings: &readings, cgroups: &cgroups, kills, ..Seen::empty(at, Pass::Full) };
    let records = judge.pass(&seen, &HostClock::starting_at(SystemTime::UNIX_EPOCH)).records;
    let records = records.iter().flat_map(|logs| &logs.scope_logs).flat_map(|scope| &scope.log_records);
    let told = records.map(|record| {
        let value = |key| {
            let attribute = record.attributes.iter().find(|attribute| attribute.key == key)?;
            attribute.value.clone()?.value
        };
        let text = |key| match value(key) {
            Some(Value::StringValue(text)) => text,
            _ => String::new(),
        };
        let anon = match value(semconv::ANON_BYTES) {
            Some(Value::IntValue(bytes)) => bytes,
            _ => 0,
        };
        let about = match text(semconv::SCOPE).as_str() {
            semconv::SCOPE_CONTAINER => format!("{} in a container", text(semconv::COMMAND)),
            _ => text(semconv::COMMAND),
        };
        (about, text(semconv::EVENT_KIND), anon)
    });
    told.collect()
}

/// Who is told of, over many sweeps, in order and once each.
fn told(scope: &str) -> Vec<String> {
    let mut judge = Judge::new(&bench(scope));
    let records = (0..SWEEPS).flat_map(|sweep| judged(&mut judge, sweep, &[]));
    let mut about: Vec<_> = records.map(|(about, ..)| about).collect();
    about.sort();
    about.dedup();
    about
}

/// Guarantees: who is excluded, or not included, is neither judged nor recorded, by each kind of pattern; a container
/// is judged as long as anybody in it is, and a process of it that is speaks for it.
#[test]
fn each_pattern_leaves_out() {
    let all = ["api", "api in a container", "cron", "helper", "nginx", "nginx in a container"];
    assert_eq!(told(""), all);
    for (scope, expected) in [
        (
            "exclude: {executables: ['cron$']}",
            vec!["api", "api in a container", "helper", "nginx", "nginx in a container"],
        ),
        (
            "exclude: {executables: [helper]}",
            vec!["api", "api in a container", "cron", "nginx", "nginx in a container"],
        ),
        ("include: {executables: ['^/opt/bin/helper']}", vec!["helper", "helper in a container"]),
        ("include: {containers: ['^4f1e']}", vec!["api", "api in a container", "helper"]),
        ("exclude: {cgroups: ['/*.service']}", vec!["api", "api in a container", "cron", "helper"]),
        ("include: {executables: [api, cron]}\nexclude: {containers: [ab]}", vec!["cron"]),
    ] {
        assert_eq!(told(scope), expected, "{scope}");
    }
}

/// Guarantees: what a container holds is told whole, whoever of it is left out, also where it is the sum of its
/// processes.
#[test]
fn containers_stay_whole() {
    let last = |scope: &str| {
        let mut judge = Judge::new(&bench(scope));
        let records = (0..SWEEPS).map(|sweep| judged(&mut judge, sweep, &[])).last().unwrap();
        let growth = records.into_iter().filter(|(about, ..)| about.ends_with("in a container"));
        let mut held: Vec<_> = growth.map(|(.., anon)| anon).collect();
        held.dedup();
        held
    };
    let whole = last("");
    assert_eq!(whole, [i64::try_from((SWEEPS - 1) << 22).unwrap()], "two processes hold half of it each");
    assert_eq!(last("exclude: {executables: [helper]}"), whole);
}

/// Guarantees: the kill of one who is left out is not told, that of another is.
#[test]
fn kills_are_left_out() {
    for (scope, expected) in [("", vec!["cron", "nginx"]), ("exclude: {executables: [nginx]}", vec!["cron"])]
    {
        let mut judge = Judge::new(&bench(scope));
        judged(&mut judge, 0, &[]);
        let killed = |pid, name, cgroup| Killed {
            at: Duration::from_secs(115),
            reading: reading(pid, name, cgroup, 1),
        };
        let records = judged(&mut judge, 1, &[killed(20, "nginx", 3), killed(30, "cron", 1)]);
        let mut kills: Vec<_> =
            records.into_iter().filter(|(_, kind, _)| kind == "oom_kill").map(|(about, ..)| about).collect();
        kills.sort();
        assert_eq!(kills, expected, "{scope}");
    }
}

/// Guarantees: a new scope holds from the next pass on: who was suspected and is left out now is forgotten without a
/// word, and who was left out before is judged from then on.
#[test]
fn the_scope_may_change() {
    let mut judge = Judge::new(&bench("exclude: {executables: [helper]}"));
    let mut sweep = 0;
    while judge.standing().suspects == 0 {
        judged(&mut judge, sweep, &[]);
        sweep += 1;
        assert!(sweep < SWEEPS, "nobody is suspected");
    }
    judge.reconfigure(&bench("include: {executables: [helper]}\nexclude: {cgroups: ['/**']}"));
    assert_eq!(judged(&mut judge, sweep, &[]), []);
    assert_eq!((judge.standing().suspects, judge.standing().leaks), (0, 0));
    judge.reconfigure(&bench("include: {executables: [helper]}"));
    let later: Vec<_> = (sweep + 1..2 * SWEEPS).flat_map(|sweep| judged(&mut judge, sweep, &[])).collect();
    assert!(later.iter().any(|(about, kind, _)| about == "helper" && kind == "rss_growth"), "{later:?}");
    assert!(later.iter().all(|(about, ..)| about.starts_with("helper")), "{later:?}");
}
