//! Prometheus: the scrape configuration, the rules, and their own tests.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Context as _, ensure};
use mlh_integration::backends;
use mlh_integration::scenario::scenario;
use serde_yaml::Value;

use crate::{printed, shipped, text_of};

const RUNBOOK: &str =
    "https://github.com/memory-leak-hunter/memory-leak-hunter/blob/main/otel-config/RUNBOOK.md#";

fn yaml(name: &str) -> anyhow::Result<Value> {
    Ok(serde_yaml::from_str(&text_of(name)?)?)
}

fn list<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_sequence().into_iter().flatten()
}

fn word<'a>(value: &'a Value, key: &str) -> anyhow::Result<&'a str> {
    value[key].as_str().with_context(|| format!("no {key} in {value:?}"))
}

/// Guarantees: promtool finds no fault in configuration and rules, and each alert fires and keeps silent as its
/// tests in `rules.test.yaml` say.
/// Needs: the test servers (promtool is one of them).
#[test]
fn promtool_agrees() {
    scenario(|_| {
        let promtool = backends::folder()?.join("promtool");
        let run = |words: [&str; 2], file: &str| {
            printed(Command::new(&promtool).args(words).arg(shipped("prometheus").join(file)))
        };
        run(["check", "config"], "prometheus.yml")?;
        run(["check", "rules"], "rules.yaml")?;
        run(["test", "rules"], "rules.test.yaml")?;
        Ok(())
    });
}

/// Guarantees: every alert has a delay, a known severity, a summary, a description and a place in the runbook; its
/// tests see it both fire and keep silent; every recorded series is tested or alerted on; and the runbook
/// explains no alert that there is not.
#[test]
fn every_alert_is_tried_and_explained() -> anyhow::Result<()> {
    let (rules, tests) = (yaml("prometheus/rules.yaml")?, yaml("prometheus/rules.test.yaml")?);
    let runbook = text_of("RUNBOOK.md")?;
    let tried: Vec<&Value> = list(&tests, "tests").flat_map(|test| list(test, "alert_rule_test")).collect();
    let asked: String = list(&tests, "tests")
        .flat_map(|test| list(test, "promql_expr_test"))
        .map(|test| word(test, "expr"))
        .collect::<Result<_, _>>()?;

    let all: Vec<&Value> = list(&rules, "groups").flat_map(|group| list(group, "rules")).collect();
    let alerts: Vec<&Value> = all.iter().copied().filter(|rule| !rule["alert"].is_null()).collect();
    let mut names = BTreeSet::new();
    for alert in &alerts {
        let name = word(alert, "alert")?;
        ensure!(names.insert(name), "{name} is there twice");
        word(alert, "for")?;
        let severity = word(&alert["labels"], "severity")?;
        ensure!(["info", "warning", "critical"].contains(&severity), "{name}: severity {severity}");
        for note in ["summary", "description"] {
            ensure!(!word(&alert["annotations"], note)?.is_empty(), "{name}: {note}");
        }
        let anchor = word(&alert["annotations"], "runbook_url")?.strip_prefix(RUNBOOK);
        ensure!(anchor == Some(name.to_lowercase().as_str()), "{name}: {anchor:?}");
        let fires = |wanted: bool| {
            tried.iter().any(|test| {
                test["alertname"].as_str() == Some(name)
                    && test["exp_alerts"].as_sequence().is_some_and(|alerts| alerts.is_empty() != wanted)
            })
        };
        ensure!(fires(true) && fires(false), "{name} is not seen to fire, or not to keep silent");
    }
    let explained: BTreeSet<&str> = runbook.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    ensure!(explained == names, "the runbook explains {explained:?}, the alerts are {names:?}");

    for rule in all.iter().filter(|rule| rule["alert"].is_null()) {
        let name = word(rule, "record")?;
        let read = alerts.iter().any(|alert| alert["expr"].as_str().is_some_and(|expr| expr.contains(name)));
        ensure!(read || asked.contains(name), "{name} is neither read nor tested");
    }
    Ok(())
}
