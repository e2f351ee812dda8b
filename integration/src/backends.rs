//! A real Collector, a real Prometheus and a real log store, built by `backends/build.sh`.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::Signal;
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

/// Where `collector.yaml` takes its addresses from.
const VARIABLES: [&str; 3] = ["E2E_OTLP", "E2E_HEALTH", "E2E_PROMETHEUS_EXPORTER"];

/// A running OpenTelemetry Collector.
pub struct Collector {
    /// Where it takes OTLP over gRPC, `host:port` without TLS.
    pub otlp: String,
    /// The port of its Prometheus exporter.
    pub prometheus_port: u16,
    /// The file its file exporter writes.
    pub file: PathBuf,
    health: String,
    command: Command,
    process: Process,
}

impl Collector {
    /// Starts it; metrics also go to a Prometheus on `prometheus_otlp` by OTLP.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(world: &World, prometheus_otlp: u16) -> anyhow::Result<Self> {
        Self::with(world, prometheus_otlp, None)
    }

    /// The same, and log records also go to a log store.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_with_logs(world: &World, prometheus_otlp: u16, logs: &VictoriaLogs) -> anyhow::Result<Self> {
        Self::with(world, prometheus_otlp, Some(logs))
    }

    /// The same as [`start`](Self::start), with a pipeline for profiles into `profiles`.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_with_profiles(world: &World, prometheus_otlp: u16, profiles: &Path) -> anyhow::Result<Self> {
        let mut command = Self::command(world, prometheus_otlp)?;
        command
            .arg("--config")
            .arg(repository().join("integration/backends/collector-profiles.yaml"))
            .arg("--feature-gates=service.profilesSupport")
            .env("E2E_PROFILES", profiles);
        Self::run(world, command, VARIABLES)
    }

    fn with(world: &World, prometheus_otlp: u16, logs: Option<&VictoriaLogs>) -> anyhow::Result<Self> {
        let mut command = Self::command(world, prometheus_otlp)?;
        if let Some(logs) = logs {
            let config = repository().join("integration/backends/collector-logs.yaml");
            command.arg("--config").arg(config).env("E2E_LOGS", logs.address());
        }
        Self::run(world, command, VARIABLES)
    }

    fn command(world: &World, prometheus_otlp: u16) -> anyhow::Result<Command> {
        let configs = repository().join("integration/backends");
        let mut command = Command::new(folder()?.join("otelcol-e2e"));
        command
            .arg("--config")
            .arg(configs.join("collector.yaml"))
            .env("E2E_FILE", world.path("collector.jsonl"))
            .env("E2E_PROMETHEUS", format!("127.0.0.1:{prometheus_otlp}"));
        Ok(command)
    }

    /// Starts it on the `collector.yaml` that users are given, with a log store at `logs` (`host:port`), which need
    /// not be up. It writes no file; what it could not deliver it sends when it is started again.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn shipped(world: &World, logs: &str) -> anyhow::Result<Self> {
        let mut command = Command::new(folder()?.join("otelcol-e2e"));
        command
            .arg("--config")
            .arg(repository().join("otel-config/collector.yaml"))
            // its own metrics have a fixed port, which another test may have
            .arg("--set=service::telemetry::metrics::level=none")
            .env("STORAGE_DIRECTORY", world.path("collector-storage"))
            .env("LOG_STORE", format!("http://{logs}/insert/opentelemetry/v1/logs"));
        Self::run(world, command, ["OTLP_LISTEN", "HEALTH_LISTEN", "PROMETHEUS_LISTEN"])
    }

    /// Starts it, with the addresses for OTLP, health and Prometheus in the variables of these names.
    fn run(world: &World, mut command: Command, addresses: [&str; 3]) -> anyhow::Result<Self> {
        let ports = [free_port()?, free_port()?, free_port()?];
        for (variable, port) in addresses.into_iter().zip(ports) {
            command.env(variable, format!("127.0.0.1:{port}"));
        }
        let [otlp, health, prometheus_port] = ports;
        let health = format!("http://127.0.0.1:{health}/");
        let mut process = world.spawn("collector", &mut command)?;
        up("the Collector", &mut process, &health)?;
        let file = world.path("collector.jsonl");
        Ok(Self { otlp: format!("127.0.0.1:{otlp}"), prometheus_port, file, health, command, process })
    }

    /// Sends it a signal: `SIGSTOP` makes it hang.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        self.process.signal(signal)
    }

    /// Ends it in order: what it was given is in its file then.
    ///
    /// # Errors
    /// When it does not end.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::SIGTERM)?;
        self.process.end(Duration::from_secs(30)).map(drop)
    }

    /// Starts it again after [`stop`](Self::stop), at the same addresses and with another file: it would empty the old one.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_again(&mut self, world: &World) -> anyhow::Result<()> {
        self.file.set_extension("again.jsonl");
        self.command.env("E2E_FILE", &self.file);
        self.process = world.spawn("collector-again", &mut self.command)?;
        up("the Collector", &mut self.process, &self.health)
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
        Self::start_with(world, port, &world.write("prometheus.yml", &config)?)
    }

    /// Starts it on `port` with a configuration of its own.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_with(world: &World, port: u16, config: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new(folder()?.join("prometheus"));
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", world.path("prometheus").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--web.enable-otlp-receiver");
        let mut process = world.spawn("prometheus", &mut command)?;
        up("Prometheus", &mut process, &format!("http://127.0.0.1:{port}/-/ready"))?;
        Ok(Self { port, _process: process })
    }

    /// The `data` of any page of its HTTP interface, such as `rules`.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn page(&self, name: &str) -> anyhow::Result<Value> {
        let answer = web::query(&format!("http://127.0.0.1:{}/api/v1/{name}", self.port), &[])?;
        Ok(answer["data"].clone())
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

/// A running VictoriaLogs: the log store that the queries we ship are tried on.
pub struct VictoriaLogs {
    port: u16,
    _process: Process,
}

impl VictoriaLogs {
    /// Starts it, empty.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start(world: &World) -> anyhow::Result<Self> {
        Self::start_on(world, free_port()?)
    }

    /// The same, on a port of the caller's choice.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn start_on(world: &World, port: u16) -> anyhow::Result<Self> {
        let mut command = Command::new(folder()?.join("victoria-logs"));
        command
            .arg(format!("-storageDataPath={}", world.path("victoria-logs").display()))
            .arg(format!("-httpListenAddr=127.0.0.1:{port}"))
            .arg("-retentionPeriod=2d");
        let mut process = world.spawn("victoria-logs", &mut command)?;
        up("VictoriaLogs", &mut process, &format!("http://127.0.0.1:{port}/health"))?;
        Ok(Self { port, _process: process })
    }

    /// Where it listens, `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The rows that a `LogsQL` query answers with. The store keeps every value as text; a record is found some
    /// seconds after it came.
    ///
    /// # Errors
    /// When it does not take the query.
    pub fn query(&self, query: &str) -> anyhow::Result<Vec<Value>> {
        let url = format!("http://{}/select/logsql/query", self.address());
        let mut answer = ureq::get(url).query("query", query).call().with_context(|| query.to_owned())?;
        let lines = answer.body_mut().read_to_string()?;
        Ok(lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }
}

/// Waits until a server's page answers.
fn up(name: &str, process: &mut Process, page: &str) -> anyhow::Result<()> {
    until(name, Duration::from_secs(60), || {
        process.lives()?;
        Ok(web::get(page).ok())
    })?;
    Ok(())
}
