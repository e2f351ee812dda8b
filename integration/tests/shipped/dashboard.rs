//! Grafana: the dashboard, made from code, and what it asks of Prometheus and of the log store.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mlh_integration::backends::{self, Prometheus};
use mlh_integration::need::{self, Skip};
use mlh_integration::scenario::{free_port, scenario};
use mlh_integration::sidecar;
use mlh_integration::wait::until;
use serde_json::{Value, json};

use crate::{files, printed, shipped, text_of};

const DASHBOARD: &str = "grafana/memory-leak-hunter.json";

/// What Grafana puts in the place of its variables.
const GRAFANA: [(&str, &str); 5] = [
    ("$instance", ".*"),
    ("$service", ".+"),
    ("$__rate_interval", "1m"),
    ("$__range", "6h"),
    ("$__auto", "5m"),
];

fn filled(query: &str) -> String {
    GRAFANA.iter().fold(query.to_owned(), |query, (variable, value)| query.replace(variable, value))
}

/// Every query in a dashboard, with the kind of its source.
pub(crate) fn queries(value: &Value) -> Vec<(String, String)> {
    match value {
        Value::Array(elements) => elements.iter().flat_map(queries).collect(),
        Value::Object(members) => {
            let kind = members.get("datasource").and_then(|source| source["type"].as_str());
            let own = members.get("expr").and_then(Value::as_str).zip(kind);
            own.map(|(query, kind)| (kind.to_owned(), query.to_owned()))
                .into_iter()
                .chain(members.values().flat_map(queries))
                .collect()
        }
        _ => Vec::new(),
    }
}

/// The queries of our dashboard that go to one kind of source.
pub(crate) fn queries_to(kind: &str) -> anyhow::Result<Vec<String>> {
    let dashboard: Value = serde_json::from_str(&text_of(DASHBOARD)?)?;
    let all = queries(&dashboard).into_iter().filter(|(to, _)| to == kind);
    Ok(all.map(|(_, query)| query).collect())
}

/// The program that makes and checks dashboards.
fn workshop() -> anyhow::Result<PathBuf> {
    Ok(backends::folder()?.join("dashboard"))
}

/// Guarantees: the committed dashboard is what the code makes, byte for byte.
/// Needs: the test servers (the program that makes it is built with them).
#[test]
fn it_is_what_the_code_makes() {
    scenario(|_| {
        let made = printed(Command::new(workshop()?).arg("make"))?;
        let path = shipped(DASHBOARD);
        ensure!(
            made == text_of(DASHBOARD)?,
            "{} is not what `dashboard make` prints: change integration/backends/dashboard, and print it anew",
            path.display()
        );
        Ok(())
    });
}

/// Guarantees: Grafana's own types decode the dashboard with no unknown field, and refuse one that has been
/// tampered with; panels have distinct ids and do not overlap.
/// Needs: the test servers.
#[test]
fn grafana_reads_it_strictly() {
    scenario(|world| {
        let check = |path: &PathBuf| printed(Command::new(workshop()?).arg("check").arg(path));
        let told = check(&shipped(DASHBOARD))?;
        let mut dashboard: Value = serde_json::from_str(&text_of(DASHBOARD)?)?;
        ensure!(told.lines().count() == queries(&dashboard).len(), "{told}");
        apart(&dashboard)?;

        dashboard["panels"][1]["options"]["colourMode"] = json!("background");
        let tampered = world.write("tampered.json", &dashboard.to_string())?;
        ensure!(check(&tampered).is_err(), "an unknown option went through");
        Ok(())
    });
}

fn apart(dashboard: &Value) -> anyhow::Result<()> {
    let mut taken = std::collections::HashSet::new();
    let mut ids = std::collections::HashSet::new();
    for panel in dashboard["panels"].as_array().context("no panels")? {
        ensure!(ids.insert(panel["id"].as_u64().context("no id")?), "an id twice: {}", panel["title"]);
        let at = |key: &str| panel["gridPos"][key].as_u64().context("no position");
        for x in at("x")?..at("x")? + at("w")? {
            for y in at("y")?..at("y")? + at("h")? {
                ensure!(x < 24 && taken.insert((x, y)), "{} overlaps or juts out", panel["title"]);
            }
        }
    }
    Ok(())
}

/// Guarantees: a real Prometheus on the configuration and rules that we ship scrapes a sidecar, evaluates every rule
/// without a fault, and answers every query of the dashboard; those that need no leak answer with a value.
/// Needs: the test servers.
#[test]
fn prometheus_answers_it() {
    scenario(|world| {
        let (port, scrape) = (free_port()?, free_port()?);
        backends::folder()?;
        std::fs::copy(shipped("prometheus/rules.yaml"), world.path("rules.yaml"))?;
        let config = text_of("prometheus/prometheus.yml")?
            .replace("memory-leak-hunter:9464", &format!("127.0.0.1:{scrape}"))
            .replace("collector:8889", "127.0.0.1:1")
            .replace("interval: 30s", "interval: 1s");
        let config = world.write("prometheus.yml", &config)?;
        let prometheus = Prometheus::start_with(world, port, &config)?;
        let sidecar = format!(
            "receivers: {{memory_leak_hunter: {{collection_interval: 1s, rss_check_interval: 1s, state: {{path: ''}}}}}}
exporters: {{prometheus: {{endpoint: '127.0.0.1:{scrape}'}}, debug: {{verbosity: basic}}}}
service:
  pipelines:
    metrics: {{receivers: [memory_leak_hunter], exporters: [prometheus]}}
    logs: {{receivers: [memory_leak_hunter], exporters: [debug]}}
"
        );
        let mut hunter = sidecar::start(world, "sidecar", &sidecar, scrape)?;
        // a rate needs two scrapes with something between them
        until("two scrapes", Duration::from_secs(60), || {
            hunter.lives()?;
            let passes = "rate(memory_leak_hunter_sweep_duration_seconds_count[1m]) > 0";
            Ok((!prometheus.query(passes)?.is_empty()).then_some(()))
        })?;

        for query in queries_to("prometheus")? {
            let answer = prometheus.query(&filled(&query)).context(query.clone())?;
            // no leak, no loss, no error and no delivery yet: an empty answer says so
            let silent = ["leak_velocity", "time_to_oom", "exported_items", "> 0"];
            ensure!(silent.iter().any(|part| query.contains(part)) || !answer.is_empty(), "{query}: nothing");
        }
        let healthy = |rule: &Value| rule["health"] == "ok";
        until("every rule evaluated", Duration::from_secs(60), || {
            let rules = prometheus.page("rules")?;
            let groups = rules["groups"].as_array().context("no groups")?;
            let all: Vec<&Value> =
                groups.iter().flat_map(|group| group["rules"].as_array()).flatten().collect();
            ensure!(all.len() > 15, "{} rules", all.len());
            let faults: Vec<_> = all.iter().filter(|rule| rule["health"] == "err").collect();
            ensure!(faults.is_empty(), "{faults:?}");
            Ok(all.iter().all(|rule| healthy(rule)).then_some(()))
        })?;
        Ok(())
    });
}

/// Guarantees: what the dashboard asks of Loki, and the log queries that we ship, are `LogQL` by Grafana's grammar,
/// which refuses a broken one.
/// Needs: Node.js, the test servers.
#[test]
fn logql_is_logql() {
    scenario(|world| {
        let node = need::program("node")?;
        let grammar = backends::folder()?.join("logql/check.mjs");
        if !grammar.is_file() {
            return Err(Skip::because("needs the grammar of LogQL, which `build.sh` gets with npm").into());
        }
        let check = |name: &str, query: &str| {
            let file = world.write(name, query)?;
            printed(Command::new(&node).arg(&grammar).arg(file))
        };
        let asked = queries_to("loki")?;
        ensure!(asked.len() >= 4, "{asked:?}");
        for query in asked {
            check("asked", &filled(&query))?;
        }
        let files = files("queries", "logql")?;
        ensure!(!files.is_empty(), "no queries");
        for (name, query) in files {
            check(&name, &query)?;
        }
        ensure!(check("broken", "{service_name=~\".+\"} | memory_leak_hunter_event_kind=").is_err());
        Ok(())
    });
}
