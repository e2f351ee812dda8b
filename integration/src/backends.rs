//! A real Collector and a real Prometheus, built by `backends/build.sh`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use crate::need::Skip;
use crate::process::Process;
use crate::scenario::{World, free_port, repository};
use crate::wait::until;
use crate::web;

/// The folder with the servers.
///
/// # Errors
/// A [`Skip`] where they have not been built: `make test` builds them, and a single test does not take minutes for it.
pub fn folder() -> anyhow::Result<PathBuf> {
    let script = repository().join("integration/backends/build.sh");
    let output = Command::new(script).arg("--where").output()?;
    if !output.status.success() {
        return Err(Skip::because(
            "needs the test servers: `integration/backends/build.sh` (with Go) builds them",
        )
        .into());
    }
    Ok(PathBuf::from(String::from_utf8(output.stdout)?.trim()))
}

/// A running OpenTelemetry Collector.
pub struct Collector {
    /// Where it takes OTLP over gRPC, `host:port` without TLS.
    pub otlp: String,
    /// The port of its Prometheus exporter.
    pub prometheus_port: u16,
    /// The file its file exporter writes.
    pub file: PathBuf,
    process: Process,
}

impl Collector {
    /// Starts it; metrics also go to a Prometheus on `prometheus_otlp` by OTLP.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(world: &World, prometheus_otlp: u16) -> anyhow::Result<Self> {
        let (otlp, health, prometheus_port) = (free_port()?, free_port()?, free_port()?);
        let file = world.path("collector.jsonl");
        let mut command = Command::new(folder()?.join("otelcol-e2e"));
        command
            .arg("--config")
            .arg(repository().join("integration/backends/collector.yaml"))
            .env("E2E_FILE", &file)
            .env("E2E_OTLP", format!("127.0.0.1:{otlp}"))
            .env("E2E_HEALTH", format!("127.0.0.1:{health}"))
            .env("E2E_PROMETHEUS_EXPORTER", format!("127.0.0.1:{prometheus_port}"))
            .env("E2E_PROMETHEUS", format!("127.0.0.1:{prometheus_otlp}"));
        let mut process = world.spawn("collector", &mut command)?;
        until("the Collector", Duration::from_secs(60), || {
            process.lives()?;
            Ok(web::get(&format!("http://127.0.0.1:{health}/")).ok())
        })?;
        Ok(Self { otlp: format!("127.0.0.1:{otlp}"), prometheus_port, file, process })
    }

    /// Fails if it has ended.
    ///
    /// # Errors
    /// When it has ended.
    pub fn lives(&mut self) -> anyhow::Result<()> {
        self.process.lives()
    }
}

/// A running Prometheus that scrapes each second.
pub struct Prometheus {
    port: u16,
    _process: Process,
}

impl Prometheus {
    /// Starts it on `port` with jobs of one port each. A scrape reads whatever is there by then.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(world: &World, port: u16, jobs: &[(&str, u16)]) -> anyhow::Result<Self> {
        let mut config = "global: {scrape_interval: 1s}\nscrape_configs:\n".to_owned();
        for (job, port) in jobs {
            config +=
                &format!("- {{job_name: {job}, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}\n");
        }
        let config = world.write("prometheus.yml", &config)?;
        let mut command = Command::new(folder()?.join("prometheus"));
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", world.path("prometheus").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--web.enable-otlp-receiver");
        let mut process = world.spawn("prometheus", &mut command)?;
        until("Prometheus", Duration::from_secs(60), || {
            process.lives()?;
            Ok(web::get(&format!("http://127.0.0.1:{port}/-/ready")).ok())
        })?;
        Ok(Self { port, _process: process })
    }

    /// The names of the series that match a selector.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn names(&self, selector: &str) -> anyhow::Result<Vec<String>> {
        let url = format!("http://127.0.0.1:{}/api/v1/label/__name__/values", self.port);
        let answer = web::query(&url, &[("match[]", selector)])?;
        let names = answer["data"].as_array().context("no list of names")?;
        Ok(names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    /// The results of an instant query.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn query(&self, query: &str) -> anyhow::Result<Vec<Value>> {
        let url = format!("http://127.0.0.1:{}/api/v1/query", self.port);
        let answer = web::query(&url, &[("query", query)])?;
        Ok(answer["data"]["result"].as_array().cloned().unwrap_or_default())
    }
}
