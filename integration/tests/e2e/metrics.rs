//! The metrics page as Prometheus and its own linter read it.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use mlh_integration::scenario::{World, free_port, scenario};
use mlh_integration::{backends, sidecar, web};

/// The ten of the specification, as they are named in Prometheus.
pub(crate) const NAMES: [&str; 10] = [
    "memory_leak_hunter_events_processed_total",
    "memory_leak_hunter_errors_total",
    "memory_leak_hunter_processing_duration_ms",
    "memory_leak_hunter_dropped_events_total",
    "memory_leak_hunter_buffer_usage",
    "memory_leak_hunter_allocations_tracked_total",
    "memory_leak_hunter_deallocations_tracked_total",
    "memory_leak_hunter_rss_growth_detected_total",
    "memory_leak_hunter_unfreed_memory_bytes",
    "memory_leak_hunter_largest_allocation_bytes",
];

/// A series that the metric has: a histogram is stored in parts.
pub(crate) fn series(name: &str) -> String {
    let part = if name.ends_with("_duration_ms") { "_count" } else { "" };
    format!("{name}{part}")
}

/// Starts a sidecar with a metrics pipeline only.
fn serving(world: &World, port: u16) -> anyhow::Result<mlh_integration::process::Process> {
    let config = format!(
        "receivers: {{memory_leak_hunter: {{collection_interval: 1s, state: {{path: ''}}}}}}
exporters: {{prometheus: {{endpoint: '127.0.0.1:{port}'}}}}
service: {{pipelines: {{metrics: {{receivers: [memory_leak_hunter], exporters: [prometheus]}}}}}}
"
    );
    sidecar::start(world, "sidecar", &config, port)
}

/// Guarantees: the page is OpenMetrics where that is accepted and classic text elsewhere, both hold the ten metrics
/// from the start, and no label names a pid.
/// Needs: nothing but this host.
#[test]
fn the_page_speaks_both_formats() {
    scenario(|world| {
        let port = free_port()?;
        let _hunter = serving(world, port)?;
        let url = format!("http://127.0.0.1:{port}/metrics");
        let accept = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.7,text/plain;q=0.3";
        let (kind, open) = web::get_as(&url, accept)?;
        ensure!(kind.starts_with("application/openmetrics-text"), "content type: {kind}");
        ensure!(open.ends_with("# EOF\n"), "OpenMetrics ends with # EOF");
        let (kind, classic) = web::get_as(&url, "text/plain;version=0.0.4")?;
        ensure!(kind.starts_with("text/plain"), "content type: {kind}");
        ensure!(!classic.contains("# EOF"), "classic text has no # EOF");
        for page in [&open, &classic] {
            for name in NAMES {
                ensure!(sidecar::value(page, &series(name)).is_some(), "{name} is not on the page:\n{page}");
            }
            ensure!(!page.contains("pid=\""), "a pid is a label:\n{page}");
        }
        Ok(())
    });
}

/// Guarantees: `promtool check metrics` has nothing to say, except that the specification's `_ms` is no base unit.
/// Needs: the test servers (promtool is one of them).
#[test]
fn promtool_has_nothing_to_say() {
    scenario(|world| {
        let promtool = backends::folder()?.join("promtool");
        let port = free_port()?;
        let _hunter = serving(world, port)?;
        let (_, page) = web::get_as(&format!("http://127.0.0.1:{port}/metrics"), "text/plain")?;
        let mut check = Command::new(promtool)
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        check.stdin.take().context("no input")?.write_all(page.as_bytes())?;
        let output = check.wait_with_output()?;
        let said = sidecar::text(&output.stderr) + &sidecar::text(&output.stdout);
        let beyond: Vec<_> = said
            .lines()
            .filter(|line| !line.starts_with("memory_leak_hunter_processing_duration_ms"))
            .collect();
        ensure!(beyond.is_empty(), "promtool: {beyond:?}");
        ensure!(!said.is_empty(), "promtool said nothing about `_ms`: did it read the page?");
        Ok(())
    });
}
