//! The log queries, on a real log store that the Collector we ship has filled with a sidecar's records.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use mlh_integration::backends::{Collector, VictoriaLogs};
use mlh_integration::scenario::scenario;
use mlh_integration::wait::until;
use serde_json::Value;

use crate::files;
use crate::host::{BATCH, CONTAINER, EXITED, KILLED, SERVER, sending, told};

/// Guarantees: every `LogsQL` query that we ship, run on a real store that the shipped Collector configuration has
/// filled with the records of a sidecar, answers with the records it is about and no others: the leaks with their
/// container and speed, the suspicions, the OOM risk and kill, and never a word about a calm program.
/// Needs: the test servers.
#[test]
fn each_query_finds_its_records() {
    scenario(|world| {
        let store = VictoriaLogs::start(world)?;
        let mut collector = Collector::shipped(world, &store.address())?;
        let mut hunter = sending(world, &collector.otlp)?;
        let all = "\"memory_leak_hunter.event.kind\":*";
        until("the end of the trace", Duration::from_secs(60), || {
            hunter.lives()?;
            Ok(hunter.stderr().contains("the trace has been judged").then_some(()))
        })?;
        let told = told(world)?;
        until(&format!("{told} records in the store"), Duration::from_secs(60), || {
            collector.lives()?;
            Ok((store.query(all)?.len() >= told).then_some(()))
        })?;
        let queries = files("queries", "logsql")?;
        ensure!(queries.len() >= 10, "{} queries", queries.len());
        for (name, query) in queries {
            let rows = store.query(&query)?;
            expected(&name, &rows).with_context(|| format!("{name}: {rows:#?}"))?;
        }
        Ok(())
    });
}

fn field<'a>(row: &'a Value, name: &str) -> &'a str {
    row[name].as_str().unwrap_or_default()
}

fn number(row: &Value, name: &str) -> anyhow::Result<f64> {
    field(row, name).parse().with_context(|| format!("{name} in {row}"))
}

fn about(value: f64, truth: u64) -> bool {
    (0.8..1.2).contains(&(value / truth as f64))
}

fn expected(query: &str, rows: &[Value]) -> anyhow::Result<()> {
    const KIND: &str = "memory_leak_hunter.event.kind";
    let values = |name: &str| -> BTreeSet<&str> { rows.iter().map(|row| field(row, name)).collect() };
    let services = values("service.name");
    let both = BTreeSet::from(["api-server", "batch"]);
    let speed = BTreeMap::from([("api-server", SERVER), ("batch", BATCH)]);
    // whoever is named runs in its own container, or in none
    let at_home = rows.iter().all(|row| {
        let home = if field(row, "service.name") == "api-server" { CONTAINER } else { "" };
        field(row, "container.id") == home
    });
    match query {
        "leaks" => {
            ensure!(services == both && at_home);
            for row in rows {
                let velocity = number(row, "memory_leak_hunter.velocity_bytes_per_second")?;
                ensure!(about(velocity, speed[field(row, "service.name")]), "{velocity}");
                ensure!(field(row, "_msg").contains("leaks"));
            }
        }
        "fastest" => {
            ensure!(rows.len() == 2 && at_home);
            ensure!(field(&rows[0], "service.name") == "api-server", "the fastest first");
            for row in rows {
                ensure!(about(number(row, "velocity")?, speed[field(row, "service.name")]));
            }
        }
        // the server and its container have one leak between them, from the verdict to the kill
        "leak" => {
            let kinds = values(KIND);
            for kind in ["leak_detected", "oom_risk", "oom_kill"] {
                ensure!(kinds.contains(kind), "{kind}");
            }
            ensure!(values("container.id") == BTreeSet::from([CONTAINER]));
        }
        "same-leak" => {
            ensure!(rows.len() == 2 && services == both);
            ensure!(values("memory_leak_hunter.leak.id").len() == 2);
            for row in rows {
                ensure!(number(row, "verdicts")? >= 1.0);
            }
        }
        "suspicions" => ensure!(services == both && at_home),
        "cleared" => ensure!(rows.iter().any(|row| {
            let (from, reason) = ("memory_leak_hunter.cleared_from", "memory_leak_hunter.cleared_reason");
            (field(row, from), field(row, reason)) == ("leaking", "exited")
        })),
        "growth" => {
            ensure!(services == both);
            for row in rows {
                let lived = if field(row, "service.name") == "batch" { EXITED } else { KILLED };
                let pages = speed[field(row, "service.name")] * lived / 4096;
                ensure!(about(number(row, "pages")?, pages), "{pages} expected");
            }
        }
        "kinds" => {
            let kinds =
                ["leak_cleared", "leak_detected", "leak_suspected", "oom_kill", "oom_risk", "rss_growth"];
            ensure!(values(KIND) == BTreeSet::from(kinds));
            for row in rows {
                ensure!(number(row, "records")? >= 1.0);
            }
        }
        "oom-risks" => {
            ensure!(services == BTreeSet::from(["api-server"]) && at_home);
            for row in rows {
                ensure!(number(row, "memory_leak_hunter.time_to_oom_s")? < 1800.0);
                ensure!(field(row, "memory_leak_hunter.limit") == "memory.max");
            }
        }
        "oom-kills" => ensure!(services == BTreeSet::from(["api-server"]) && at_home),
        "container" => {
            let kinds = values(KIND);
            for kind in ["rss_growth", "leak_suspected", "leak_detected", "oom_risk", "oom_kill"] {
                ensure!(kinds.contains(kind), "{kind}");
            }
            let times: Vec<_> = rows.iter().map(|row| field(row, "_time")).collect();
            ensure!(times.is_sorted(), "a story is told from its beginning");
        }
        "severe" => {
            ensure!(services == both && at_home);
            // a risk and a kill, and the verdicts on both
            for part in ["leaks", "limit", "killed"] {
                ensure!(rows.iter().any(|row| field(row, "_msg").contains(part)), "{part}");
            }
        }
        // nobody is looked at from within here: growth must not be taken for it
        "unfreed" | "looks" => ensure!(rows.is_empty()),
        _ => bail!("nobody says what it is to answer"),
    }
    Ok(())
}

/// Guarantees: each `LogQL` query has a `LogsQL` twin and the other way round; both say in the same words what they are
/// for, and read the same attributes.
#[test]
fn each_query_has_its_twin() -> anyhow::Result<()> {
    let (loki, twins) = (files("queries", "logql")?, files("queries", "logsql")?);
    let names = |files: &[(String, String)]| files.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
    ensure!(names(&loki) == names(&twins), "{:?} and {:?}", names(&loki), names(&twins));
    for ((name, logql), (_, logsql)) in loki.iter().zip(&twins) {
        ensure!(logql.lines().next() == logsql.lines().next(), "{name}: they say different things");
        let dotless = logsql.replace('.', "_");
        for attribute in logql.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
            // every record of Loki belongs to a stream, which has to be named
            let read = attribute.starts_with("memory_leak_hunter_") || attribute == "container_id";
            ensure!(!read || dotless.contains(attribute), "{name}: {attribute} is in one of them only");
        }
    }
    Ok(())
}
