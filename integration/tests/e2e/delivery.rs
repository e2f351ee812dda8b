//! Shown by 3 of delivery: a Collector that goes away and comes back, and a queue that is too small for it.
//!
//! Beside the Collector every record goes to a file, the ledger: what was produced is what stands there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mlh_integration::backends::Collector;
use mlh_integration::otlp::{Record, records};
use mlh_integration::process::Process;
use mlh_integration::scenario::{World, free_port, scenario};
use mlh_integration::wait::until;
use mlh_integration::{need, sidecar, web};
use nix::sys::signal::Signal;
use serde_json::Value;

/// How long the Collector is away.
const OUTAGE: Duration = Duration::from_secs(60);

/// A record may be on its way for so long: the exporter's timeout, and some time in the Collector. Nanoseconds.
const IN_FLIGHT: u64 = 3_000_000_000;

/// A sidecar that gives records each second, to a Collector with `queue` and to the ledger.
fn config(collector: &str, queue: &str, ledger: &Path, scrape_port: u16) -> String {
    format!(
        "receivers:
  memory_leak_hunter: {{rss_check_interval: 1s, rss_growth_threshold: 16, collection_interval: 1s, state: {{path: ''}}}}
exporters:
  otlp_grpc:
    endpoint: '{collector}'
    tls: {{insecure: true}}
    timeout: 2s
    retry_on_failure: {{initial_interval: 500ms, max_interval: 2s, max_elapsed_time: 0s}}
    sending_queue: {queue}
  file: {{path: '{}', format: json, flush_interval: 10ms}}
  prometheus: {{endpoint: '127.0.0.1:{scrape_port}'}}
service:
  pipelines:
    logs: {{receivers: [memory_leak_hunter], exporters: [otlp_grpc, file]}}
    metrics: {{receivers: [memory_leak_hunter], exporters: [prometheus]}}
",
        ledger.display()
    )
}

fn leaks(world: &World) -> anyhow::Result<Vec<Process>> {
    (0..3).map(|_| world.target("target-leak", &["--rate", "1048576"])).collect()
}

fn uid(record: &Record) -> anyhow::Result<String> {
    let uid = record.attributes.get("log.record.uid").and_then(Value::as_str);
    uid.map(str::to_owned).with_context(|| format!("no uid: {record:?}"))
}

fn uids(records: &[Record]) -> anyhow::Result<BTreeSet<String>> {
    records.iter().map(uid).collect()
}

/// The sum of a metric's series whose labels hold `label`.
fn sum(page: &str, metric: &str, label: &str) -> f64 {
    let series = page.lines().filter_map(|line| {
        let (labels, rest) = line.strip_prefix(metric)?.strip_prefix('{')?.split_once("} ")?;
        let logs = labels.contains("signal=\"logs\"") && labels.contains(label);
        rest.split(' ').next().filter(|_| logs)?.parse::<f64>().ok()
    });
    series.sum()
}

const DROPPED: &str = "memory_leak_hunter_dropped_events_total";
const EXPORTED: &str = "memory_leak_hunter_exported_items_total";

fn epoch_nanos() -> anyhow::Result<u64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(u64::try_from(since.as_nanos())?)
}

fn stop(hunter: &mut Process) -> anyhow::Result<()> {
    hunter.signal(Signal::SIGTERM)?;
    let status = hunter.end(Duration::from_secs(30))?;
    ensure!(status.success(), "after SIGTERM: {status}: {}", hunter.stderr());
    Ok(())
}

/// Every record of the ledger has arrived, and nothing else; what has arrived twice is the same to the letter, and was
/// observed within `in_flight` (nanoseconds since the epoch). Returns how many were produced and how many were doubled.
fn complete(
    ledger: &Path,
    arrived: &[Record],
    in_flight: std::ops::Range<u64>,
) -> anyhow::Result<(usize, usize)> {
    let ledger = records(ledger)?;
    let mut copies: BTreeMap<String, Vec<&Record>> = BTreeMap::new();
    for record in arrived {
        copies.entry(uid(record)?).or_default().push(record);
    }
    let (produced, arrived) = (uids(&ledger)?, copies.keys().cloned().collect::<BTreeSet<_>>());
    ensure!(produced.len() == ledger.len(), "the ledger has a uid twice");
    ensure!(
        arrived == produced,
        "missing: {:?}, never produced: {:?}",
        produced.difference(&arrived).collect::<Vec<_>>(),
        arrived.difference(&produced).collect::<Vec<_>>()
    );
    let doubled: Vec<_> = copies.values().filter(|copies| copies.len() > 1).collect();
    for copies in &doubled {
        let same = copies.iter().all(|copy| format!("{copy:?}") == format!("{:?}", copies[0]));
        ensure!(same && in_flight.contains(&copies[0].observed), "doubled for no reason: {copies:?}");
    }
    Ok((produced.len(), doubled.len()))
}

/// Guarantees: a Collector that is away for a minute gets every record once it is back. What it gets twice has the same
/// uid and content and was on its way when it stopped. The log tells of it in two lines: which endpoint has taken
/// nothing since when and that it is tried again, and that it is back.
/// Needs: root, eBPF, the test servers; about two minutes, most of them waiting.
#[test]
fn nothing_is_missing_after_an_outage() {
    scenario(|world| {
        need::ebpf()?;
        let scrape_port = free_port()?;
        let mut collector = Collector::start(world, free_port()?)?;
        let ledger = world.path("ledger.jsonl");
        let leaks = leaks(world)?;
        let config = config(&collector.otlp, "{queue_size: 5000}", &ledger, scrape_port);
        let mut hunter = sidecar::start(world, "sidecar", &config, scrape_port)?;
        until("records in the Collector", Duration::from_secs(60), || {
            hunter.lives()?;
            Ok((records(&collector.file)?.len() >= 10).then_some(()))
        })?;

        let before = collector.file.clone();
        let stopping = epoch_nanos()?;
        collector.stop()?;
        let stopped = epoch_nanos()?;
        let known = records(&ledger)?.len();
        std::thread::sleep(OUTAGE);
        hunter.lives()?;
        let meanwhile = records(&ledger)?.len() - known;
        ensure!(meanwhile >= 60, "only {meanwhile} records in the outage: it proves nothing");
        collector.start_again(world)?;
        drop(leaks);

        let waiting = uids(&records(&ledger)?)?;
        let arrived = |collector: &Collector| {
            let mut arrived = records(&before)?;
            arrived.extend(records(&collector.file)?);
            anyhow::Ok(arrived)
        };
        until("what waited", Duration::from_secs(60), || {
            hunter.lives()?;
            collector.lives()?;
            Ok(waiting.is_subset(&uids(&arrived(&collector)?)?).then_some(()))
        })?;
        let page = web::get(&format!("http://127.0.0.1:{scrape_port}/metrics"))?;
        ensure!(sum(&page, DROPPED, "stage") == 0.0, "lost:\n{page}");
        stop(&mut hunter)?;
        collector.stop()?;

        let in_flight = stopping.saturating_sub(IN_FLIGHT)..stopped;
        let (produced, doubled) = complete(&ledger, &arrived(&collector)?, in_flight)?;
        println!("{produced} produced, {meanwhile} of them in the outage, {doubled} doubled");
        told(&hunter, &collector.otlp)
    });
}

/// Guarantees: a Collector that hangs and goes on gets every record. When it hangs at the end, the sidecar ends all the
/// same, in order, and its log says how many records were lost at stage `shutdown`: no fewer than are missing.
/// Needs: root, eBPF, the test servers.
#[test]
fn a_hung_collector_is_waited_for_and_not_for_ever() {
    scenario(|world| {
        need::ebpf()?;
        let scrape_port = free_port()?;
        let mut collector = Collector::start(world, free_port()?)?;
        let ledger = world.path("ledger.jsonl");
        let leaks = leaks(world)?;
        let config = config(&collector.otlp, "{queue_size: 5000}", &ledger, scrape_port);
        let mut hunter = sidecar::start(world, "sidecar", &config, scrape_port)?;
        let grown = |hunter: &mut Process, by: usize| {
            let known = records(&ledger)?.len();
            until("more records", Duration::from_secs(60), || {
                hunter.lives()?;
                Ok((records(&ledger)?.len() >= known + by).then_some(()))
            })
        };
        grown(&mut hunter, 10)?;
        let hung = epoch_nanos()?;
        collector.signal(Signal::SIGSTOP)?;
        until("the trouble in the log", Duration::from_secs(60), || {
            hunter.lives()?;
            Ok(hunter.stderr().contains("no answer within 2s").then_some(()))
        })?;
        grown(&mut hunter, 10)?;
        collector.signal(Signal::SIGCONT)?;
        let waiting = uids(&records(&ledger)?)?;
        until("what waited", Duration::from_secs(60), || {
            hunter.lives()?;
            Ok(waiting.is_subset(&uids(&records(&collector.file)?)?).then_some(()))
        })?;
        let went_on = epoch_nanos()?;
        told(&hunter, &collector.otlp)?;

        let hung_again = epoch_nanos()?;
        collector.signal(Signal::SIGSTOP)?;
        grown(&mut hunter, 10)?;
        drop(leaks);
        stop(&mut hunter)?;
        collector.signal(Signal::SIGCONT)?;
        collector.stop()?;
        let log = hunter.stderr();
        ensure!(log.contains("items were lost") && log.contains("stage=\"shutdown\""), "not told: {log}");
        let (produced, arrived) = (uids(&records(&ledger)?)?, records(&collector.file)?);
        let missing = produced.difference(&uids(&arrived)?).count();
        let lost = lost_in_all(&log)?;
        ensure!(0 < lost && missing <= lost, "{missing} are missing, {lost} were told");
        let doubled = arrived.len() - uids(&arrived)?.len();
        println!("{} produced, {doubled} doubled, {lost} told as lost, {missing} missing", produced.len());
        for record in &arrived {
            let copies = arrived.iter().filter(|other| uid(other).ok() == uid(record).ok());
            let first = hung.saturating_sub(IN_FLIGHT)..went_on;
            let in_flight =
                first.contains(&record.observed) || record.observed >= hung_again.saturating_sub(IN_FLIGHT);
            ensure!(copies.count() == 1 || in_flight, "doubled for no reason: {record:?}");
        }
        Ok(())
    });
}

/// The number in the log's last line.
fn lost_in_all(log: &str) -> anyhow::Result<usize> {
    let last = log.lines().last().unwrap_or_default();
    let items = last.split("items=").nth(1).and_then(|rest| rest.split_whitespace().next());
    items.and_then(|items| items.parse().ok()).with_context(|| format!("no number of items: {last}"))
}

/// The outage in the log: one line each for its beginning and its end.
fn told(hunter: &Process, endpoint: &str) -> anyhow::Result<()> {
    let log = hunter.stderr();
    let lines = |words: &str| log.lines().filter(|line| line.contains(words)).collect::<Vec<_>>();
    let away = lines("has taken nothing since");
    ensure!(away.len() == 1, "{away:?}");
    ensure!(away[0].contains(endpoint) && away[0].contains("trying again"), "{away:?}");
    let back = lines("recovered");
    ensure!(back.len() == 1 && back[0].contains("otlp_grpc"), "{back:?}");
    Ok(())
}

/// Guarantees: with a queue that is too small for the outage, what was produced is what was delivered and what was
/// dropped, to the record: by the metrics at any quiet moment, and by the ledger, the Collector's file and the log at the
/// end. All that was dropped has the stage `queue_full`.
/// Needs: root, eBPF, the test servers.
#[test]
fn a_small_queue_counts_what_it_drops() {
    scenario(|world| {
        need::ebpf()?;
        let scrape_port = free_port()?;
        let mut collector = Collector::start(world, free_port()?)?;
        collector.stop()?;
        let ledger = world.path("ledger.jsonl");
        let leaks = leaks(world)?;
        let config = config(&collector.otlp, "{queue_size: 3, num_consumers: 2}", &ledger, scrape_port);
        let mut hunter = sidecar::start(world, "sidecar", &config, scrape_port)?;
        let page = || web::get(&format!("http://127.0.0.1:{scrape_port}/metrics"));
        until("thirty records dropped", Duration::from_secs(60), || {
            hunter.lives()?;
            Ok((sum(&page()?, DROPPED, "stage=\"queue_full\"") >= 30.0).then_some(()))
        })?;
        collector.start_again(world)?;
        until("twenty records delivered", Duration::from_secs(60), || {
            hunter.lives()?;
            Ok((sum(&page()?, EXPORTED, "exporter=\"otlp_grpc\"") >= 20.0).then_some(()))
        })?;
        drop(leaks);
        // While something is on its way the sum is smaller.
        let page = until("a quiet moment with an even account", Duration::from_secs(60), || {
            hunter.lives()?;
            let page = page()?;
            let produced = sum(&page, EXPORTED, "exporter=\"file\"");
            let ended = sum(&page, EXPORTED, "exporter=\"otlp_grpc\"") + sum(&page, DROPPED, "stage");
            Ok((produced == ended).then_some(page))
        })?;
        let dropped = sum(&page, DROPPED, "stage");
        ensure!(dropped == sum(&page, DROPPED, "stage=\"queue_full\""), "other stages:\n{page}");

        stop(&mut hunter)?;
        collector.stop()?;
        let (produced, delivered) = (uids(&records(&ledger)?)?, records(&collector.file)?);
        let delivered_uids = uids(&delivered)?;
        ensure!(delivered_uids.is_subset(&produced) && delivered_uids.len() == delivered.len());
        let missing = produced.len() - delivered.len();
        let told = lost_in_all(&hunter.stderr())?;
        ensure!(told == missing, "{missing} of {} are missing, {told} were told", produced.len());
        println!("{} produced, {} delivered, {missing} dropped", produced.len(), delivered.len());
        Ok(())
    });
}
