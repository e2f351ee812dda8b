//! The names in what we ship are names that the sidecar gives.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, ensure};
use mlh_integration::scenario::{free_port, repository, scenario};
use mlh_integration::{sidecar, web};

use crate::dashboard::queries_to;
use crate::{files, text_of};

const PREFIX: &str = "memory_leak_hunter";

/// The words of a text that begin as our names do. A full stop at its end belongs to the sentence.
fn words<'a>(text: &'a str, separator: &str) -> impl Iterator<Item = &'a str> {
    let begin = format!("{PREFIX}{separator}");
    text.split(|char: char| !(char.is_ascii_alphanumeric() || "_.:".contains(char)))
        .map(|word| word.trim_end_matches(['.', ':']))
        .filter(move |word| word.contains(&begin))
}

/// The quoted words of our source: attributes, kinds and metrics are spelt out there once.
fn quoted(source: &str) -> BTreeSet<String> {
    let words = source.split('"').skip(1).step_by(2);
    words.filter(|word| !word.contains(char::is_whitespace)).map(str::to_owned).collect()
}

/// What a file of the receiver's rooms holds, or all files of a folder in order, but for their tests.
fn source(name: &str) -> anyhow::Result<String> {
    text_below(&repository().join("receiver").join(name))
}

fn text_below(path: &Path) -> anyhow::Result<String> {
    if path.is_file() {
        return std::fs::read_to_string(path).with_context(|| path.display().to_string());
    }
    let entries = std::fs::read_dir(path).with_context(|| path.display().to_string())?;
    let mut paths: Vec<_> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    paths.sort();
    let ours = paths.iter().filter(|path| path.file_stem().is_some_and(|name| name != "tests"));
    ours.map(|path| text_below(path)).collect()
}

/// The metrics as Prometheus knows them: a counter ends in `_total`, a histogram is stored in parts.
fn metrics() -> anyhow::Result<BTreeSet<String>> {
    let registered = quoted(&source("sidecar/src/metrics")?);
    let endings = ["", "_total", "_bucket", "_count", "_sum"];
    let ours = registered.iter().filter(|name| name.starts_with(PREFIX));
    Ok(ours.flat_map(|name| endings.map(|ending| format!("{name}{ending}"))).collect())
}

/// Guarantees: rules, their tests and the dashboard name only metrics that the sidecar registers, and only recorded
/// series that `rules.yaml` records.
#[test]
fn metrics_exist() -> anyhow::Result<()> {
    let rules = text_of("prometheus/rules.yaml")?;
    let recorded: BTreeSet<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- record: ")).collect();
    let metrics = metrics()?;
    let texts = [rules.clone(), text_of("prometheus/rules.test.yaml")?, queries_to("prometheus")?.join("\n")];
    let mut seen = 0;
    for name in texts.iter().flat_map(|text| words(text, "_")) {
        let known = if name.contains(':') { recorded.contains(name) } else { metrics.contains(name) };
        ensure!(known, "{name} is no metric of the sidecar");
        seen += 1;
    }
    ensure!(seen > 50 && recorded.len() > 5, "{seen} names, {} recorded", recorded.len());
    Ok(())
}

/// Guarantees: rules and dashboard group by labels that the sidecar's metrics, or Prometheus itself, give them.
#[test]
fn labels_exist() -> anyhow::Result<()> {
    let mut known = quoted(&(source("sidecar/src/metrics.rs")? + &source("sidecar/src/metrics")?));
    // the last three are those of kube-state-metrics
    known.extend(["job", "instance", "le", "namespace", "pod", "container"].map(str::to_owned));
    let text = text_of("prometheus/rules.yaml")? + &queries_to("prometheus")?.join("\n");
    let groups: Vec<&str> = text.split(" by (").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    ensure!(groups.len() > 15, "{groups:?}");
    for label in groups.iter().flat_map(|group| group.split(',')).map(str::trim) {
        ensure!(known.contains(label), "{label} is no label");
    }
    Ok(())
}

/// Guarantees: runbook and README name only metrics that the sidecar registers.
#[test]
fn documented_metrics_exist() -> anyhow::Result<()> {
    let metrics = metrics()?;
    for document in ["RUNBOOK.md", "README.md"] {
        let text = text_of(document)?;
        let attributes = attributes()?;
        for name in words(&text, "_").filter(|name| !name.contains(':')) {
            let known =
                metrics.contains(name) || attributes.iter().any(|known| known.replace('.', "_") == name);
            ensure!(known, "{document}: {name} is neither a metric nor an attribute as Loki writes it");
        }
        for name in words(&text, ".") {
            ensure!(attributes.contains(name), "{document}: {name} is no attribute");
        }
    }
    Ok(())
}

/// Attributes and event names.
fn attributes() -> anyhow::Result<BTreeSet<String>> {
    let ours = quoted(&source("sidecar/src/semconv.rs")?);
    Ok(ours.into_iter().filter(|name| name.starts_with("memory_leak_hunter.")).collect())
}

/// Guarantees: log queries, ours and the dashboard's, name only attributes that records carry and kinds that there
/// are; where Loki turns dots into underscores, so do they.
#[test]
fn attributes_and_kinds_exist() -> anyhow::Result<()> {
    let spelt = quoted(&source("sidecar/src/semconv.rs")?);
    let attributes = attributes()?;
    let underscored: BTreeSet<String> = attributes.iter().map(|name| name.replace('.', "_")).collect();
    let logql = files("queries", "logql")?.into_iter().map(|(_, query)| query);
    for query in logql.chain(queries_to("loki")?) {
        for name in words(&query, "_") {
            ensure!(underscored.contains(name), "{name} is no attribute: {query}");
        }
        kinds_exist(&query, &spelt)?;
    }
    for (name, query) in files("queries", "logsql")? {
        for attribute in words(&query, ".") {
            ensure!(attributes.contains(attribute), "{name}: {attribute} is no attribute");
        }
        kinds_exist(&query, &spelt)?;
    }
    Ok(())
}

/// The words in quotes that look like kinds; in a regular expression they stand between bars.
fn kinds_exist(query: &str, spelt: &BTreeSet<String>) -> anyhow::Result<()> {
    let values = query.split('"').skip(1).step_by(2).flat_map(|value| value.split('|'));
    for kind in
        values.filter(|value| !value.is_empty() && value.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    {
        ensure!(spelt.contains(kind), "{kind} is no kind: {query}");
    }
    Ok(())
}

/// The stages spelt out where a room lists them, in constants whose names end in `_STAGES`.
fn listed_stages(room: &str) -> anyhow::Result<BTreeSet<String>> {
    let text = source(room)?;
    let lists = text.split("_STAGES: [").skip(1).filter_map(|rest| rest.split("];").next());
    Ok(lists.flat_map(quoted).collect())
}

/// Every stage at which a loss or an error may be counted, by the source.
fn stages() -> anyhow::Result<BTreeSet<String>> {
    let receiver = source("sidecar/src/metrics/instruments.rs")?;
    let (_, rest) = receiver.split_once("pub mod stage {").context("no stages of the receiver")?;
    let (receiver, _) = rest.split_once("\n}").context("stages without an end")?;
    let pipeline = quoted(&source("pipeline/src/component/stage.rs")?);
    let host = listed_stages("targets/src")?;
    for (room, found) in [("pipeline", &pipeline), ("host", &host)] {
        ensure!(found.len() >= 8, "{room}: {found:?}");
    }
    Ok(quoted(receiver).into_iter().chain(pipeline).chain(host).collect())
}

fn are_all_stages(found: &BTreeSet<String>) -> anyhow::Result<()> {
    let stages = stages()?;
    let odd: Vec<_> = found.symmetric_difference(&stages).collect();
    ensure!(odd.is_empty(), "missing, or no stage: {odd:?}");
    Ok(())
}

/// Guarantees: the runbook's tables explain every stage at which the sidecar counts a loss or an error, and none that
/// there is not.
#[test]
fn every_stage_is_explained() -> anyhow::Result<()> {
    let runbook = text_of("RUNBOOK.md")?;
    let rows = runbook.lines().filter_map(|line| line.strip_prefix("| `")?.split('|').next());
    let explained: BTreeSet<String> = rows
        .flat_map(|names| names.split([',', '`', ' ']).filter(|name| !name.is_empty()))
        .map(str::to_owned)
        .collect();
    are_all_stages(&explained)
}

/// Guarantees: every stage, also those where only another way of looking can fail, stands on the metrics page from
/// the start, so that a rate sees the first loss.
#[test]
fn every_stage_stands_at_zero() {
    scenario(|world| {
        let port = free_port()?;
        let mut hunter = sidecar::start(
            world,
            "sidecar",
            &sidecar::hunting(world, "debug: {verbosity: basic}", port),
            port,
        )?;
        let page = web::get(&format!("http://127.0.0.1:{port}/metrics"))?;
        let labels = page.split("stage=\"").skip(1).filter_map(|rest| rest.split('"').next());
        let standing: BTreeSet<String> = labels.map(str::to_owned).collect();
        hunter.lives()?;
        are_all_stages(&standing)
    });
}

/// Guarantees: every variable that the shipped configurations read is in the README's table.
#[test]
fn every_variable_is_documented() -> anyhow::Result<()> {
    let readme = text_of("README.md")?;
    for file in ["sidecar.yaml", "collector.yaml"] {
        let text = text_of(file)?;
        let variables: Vec<&str> =
            text.split("${env:").skip(1).filter_map(|rest| rest.split([':', '}']).next()).collect();
        ensure!(variables.len() >= 3, "{file}: {variables:?}");
        for variable in variables {
            ensure!(readme.contains(&format!("`{variable}`")), "{file}: {variable} is not explained");
        }
    }
    Ok(())
}
