//! The names in what we ship are names that the sidecar gives.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, ensure};
use mlh_integration::scenario::repository;

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

fn source(name: &str) -> anyhow::Result<String> {
    let path = repository().join("receiver/sidecar/src").join(name);
    if path.is_file() {
        return Ok(std::fs::read_to_string(path)?);
    }
    let mut paths: Vec<_> =
        std::fs::read_dir(&path)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    paths.sort();
    paths.iter().filter(|path| !path.ends_with("tests.rs")).map(|path| read(path)).collect()
}

fn read(path: &Path) -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(path)?)
}

/// The metrics as Prometheus knows them: a counter ends in `_total`, a histogram is stored in parts.
fn metrics() -> anyhow::Result<BTreeSet<String>> {
    let registered = quoted(&source("metrics")?);
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
    let mut known = quoted(&(source("metrics.rs")? + &source("metrics")?));
    known.extend(["job", "instance", "le"].map(str::to_owned));
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
    let ours = quoted(&source("semconv.rs")?);
    Ok(ours.into_iter().filter(|name| name.starts_with("memory_leak_hunter.")).collect())
}

/// Guarantees: log queries, ours and the dashboard's, name only attributes that records carry and kinds that there
/// are; where Loki turns dots into underscores, so do they.
#[test]
fn attributes_and_kinds_exist() -> anyhow::Result<()> {
    let spelt = quoted(&source("semconv.rs")?);
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

/// Guarantees: the runbook's tables name every stage at which the sidecar counts a loss or an error.
#[test]
fn every_stage_is_explained() -> anyhow::Result<()> {
    let (source, runbook) = (source("metrics/instruments.rs")?, text_of("RUNBOOK.md")?);
    let (_, rest) = source.split_once("pub mod stage {").context("no stages")?;
    let (stages, rest) = rest.split_once("\n}").context("stages without an end")?;
    let (lists, _) = rest.split_once("struct HistogramShape").context("no lists of stages")?;
    let stages: BTreeSet<String> = quoted(stages).into_iter().chain(quoted(lists)).collect();
    ensure!(stages.len() > 15, "{stages:?}");
    for stage in stages {
        ensure!(runbook.contains(&format!("`{stage}`")), "{stage} is not explained");
    }
    Ok(())
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
