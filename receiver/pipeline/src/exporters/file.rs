//! `file`: appends telemetry to a file, a line at a time.
//!
//! `format: json` writes one OTLP/JSON request a line, of any signal. Any other format is a [`LogEncoder`]
//! that the program brings along, and writes one line a log record; other signals are refused by it for good.
//! Lines are gathered for `flush_interval`. The file is opened anew for every write, so it may be moved or
//! deleted at any time, and a full disk is tried again with the next lines. What cannot be written is lost and
//! counted, as stage `file`.

mod config;
mod format;
mod profiles;
mod rotation;
mod writer;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use self::config::Config;
use self::format::Format;
use self::writer::Writer;
use crate::component::{
    BuildContext, BuiltConsumer, Component, ComponentError, Consumer, Description, ExporterBlueprint,
    ExporterFactory, Refused, Stability, Telemetry, stage,
};
use crate::config::Settings;
use crate::custody::Custody;
use crate::data::{Data, Signal};
use crate::log_gate::LogGate;
use crate::reporter::Reporter;

/// Above this many bytes lines are written without waiting for `flush_interval`.
const ENOUGH: usize = 64 * 1024;

/// A line format for log records.
pub trait LogEncoder: Send + Sync {
    /// The word for it in `format`.
    fn name(&self) -> &'static str;
    /// Appends one record to `out`, as one line without its line break.
    ///
    /// # Errors
    /// Why the record has no line. It is then lost, and what was appended for it is taken back.
    fn encode(
        &self,
        resource: &Resource,
        scope: &InstrumentationScope,
        record: &LogRecord,
        out: &mut String,
    ) -> Result<(), String>;
}

/// Makes file exporters.
pub struct Factory {
    encoders: Vec<Arc<dyn LogEncoder>>,
}

impl Factory {
    /// With the formats there are beside `json`. The first one is the default.
    #[must_use]
    pub fn new(encoders: Vec<Arc<dyn LogEncoder>>) -> Self {
        Self { encoders }
    }
}

impl ExporterFactory for Factory {
    fn describe(&self) -> Description {
        Description {
            kind: "file",
            aliases: &[],
            signals: &[
                (Signal::Logs, Stability::Beta),
                (Signal::Metrics, Stability::Beta),
                (Signal::Profiles, Stability::Development),
            ],
        }
    }

    fn configure(&self, settings: &mut Settings<'_>) -> Box<dyn ExporterBlueprint> {
        Box::new(Blueprint { config: Config::read(settings, &self.encoders) })
    }
}

struct Blueprint {
    /// `None` only where the settings were faulty, and then nothing is built.
    config: Option<Config>,
}

impl ExporterBlueprint for Blueprint {
    fn refuses(&self, signal: Signal) -> Option<String> {
        let format = &self.config.as_ref()?.format;
        (!format.supports(signal)).then(|| format.lacks(signal))
    }

    fn build(self: Box<Self>, context: BuildContext) -> Result<BuiltConsumer, ComponentError> {
        let reporter = Reporter::new(&context);
        let config = self.config.ok_or_else(|| reporter.error("path is missing"))?;
        let file = Arc::new(File {
            format: config.format,
            writer: Arc::new(Mutex::new(Writer::new(config.path, config.append, config.rotation))),
            waiting: tokio::sync::Mutex::new(Waiting::default()),
            telemetry: context.telemetry,
            reporter,
            losses: LogGate::default(),
        });
        let component =
            FileExporter { file: Arc::clone(&file), flush_interval: config.flush_interval, flusher: None };
        Ok(BuiltConsumer { consumer: file, component: Box::new(component) })
    }
}

/// Lines on their way to the file, and who answers for them.
#[derive(Default)]
struct Waiting {
    lines: String,
    custody: Vec<Custody>,
    /// Shutdown has flushed: what still comes is written at once.
    closed: bool,
}

struct File {
    format: Format,
    /// Only ever locked in a blocking task.
    writer: Arc<Mutex<Writer>>,
    waiting: tokio::sync::Mutex<Waiting>,
    telemetry: Arc<dyn Telemetry>,
    reporter: Reporter,
    losses: LogGate,
}

#[async_trait]
impl Consumer for File {
    async fn consume(&self, data: Data) -> Result<(), Refused> {
        if !self.format.supports(data.signal()) {
            let reason = self.format.lacks(data.signal());
            self.reporter.broken(&reason);
            return Err(Refused::Permanent(reason));
        }
        let mut custody = Custody::of(&data, Arc::clone(&self.telemetry), stage::FILE);
        let mut waiting = self.waiting.lock().await;
        let failures = self.format.push(&data, &mut waiting.lines);
        if let Some(reason) = failures.first() {
            self.log_loss(failures.len() as u64, reason);
            custody.lose(stage::FILE, failures.len() as u64);
        }
        waiting.custody.push(custody);
        if waiting.lines.len() >= ENOUGH || waiting.closed {
            self.flush(&mut waiting).await;
        }
        Ok(())
    }
}

impl File {
    /// Writes what waits. Disks can be slow, so it happens outside of the async workers.
    async fn flush(&self, waiting: &mut Waiting) {
        if waiting.custody.is_empty() {
            return;
        }
        let lines = std::mem::take(&mut waiting.lines);
        let custody = std::mem::take(&mut waiting.custody);
        let writer = Arc::clone(&self.writer);
        let written = tokio::task::spawn_blocking(move || {
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            writer.append(lines.as_bytes())
        });
        match written.await.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(()) => {
                custody.into_iter().for_each(|custody| custody.delivered(self.reporter.id()));
                self.reporter.ok();
            }
            Err(error) => {
                let items = custody.iter().map(Custody::items).sum();
                custody.into_iter().for_each(|custody| custody.lost(stage::FILE));
                self.log_loss(items, &error.to_string());
                self.reporter.failing(&error.to_string());
            }
        }
    }

    fn log_loss(&self, items: u64, reason: &str) {
        if let Some(silenced) = self.losses.open(stage::FILE) {
            tracing::warn!(component = %self.reporter.id(), stage = stage::FILE, items, reason, silenced, "items were lost");
        }
    }
}

struct FileExporter {
    file: Arc<File>,
    flush_interval: Duration,
    flusher: Option<JoinHandle<()>>,
}

#[async_trait]
impl Component for FileExporter {
    async fn start(&mut self) -> Result<(), ComponentError> {
        let writer = Arc::clone(&self.file.writer);
        let opened = tokio::task::spawn_blocking(move || {
            writer.lock().unwrap_or_else(PoisonError::into_inner).open_first()
        });
        let opened = opened.await.unwrap_or_else(|error| Err(std::io::Error::other(error)));
        opened.map_err(|error| self.file.reporter.error(error.to_string()))?;

        let file = Arc::clone(&self.file);
        let mut ticks = tokio::time::interval(self.flush_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.flusher = Some(tokio::spawn(async move {
            loop {
                ticks.tick().await;
                let mut waiting = file.waiting.lock().await;
                file.flush(&mut waiting).await;
            }
        }));
        Ok(())
    }

    async fn shutdown(&mut self) -> Result<(), ComponentError> {
        // The lock first: the flusher must not be stopped while it writes.
        let mut waiting = self.file.waiting.lock().await;
        waiting.closed = true;
        if let Some(flusher) = self.flusher.take() {
            flusher.abort();
        }
        self.file.flush(&mut waiting).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
