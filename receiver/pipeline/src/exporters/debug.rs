//! `debug`: prints what comes through the pipeline to standard output, for a person to read.
//!
//! `basic` counts; `normal` prints a line for each log record or profile and leaves metrics to the log's debug level, so
//! that a terminal stays readable; `detailed` prints everything.

mod profiles;
mod render;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Mutex;

use crate::component::{
    BuildContext, BuiltConsumer, Component, ComponentError, Consumer, Description, ExporterBlueprint,
    ExporterFactory, Refused, Stability, Telemetry, stage,
};
use crate::config::{Choice, Settings};
use crate::custody::Custody;
use crate::data::{Data, Signal};
use crate::reporter::Reporter;

pub use render::lines;

/// Makes debug exporters.
pub struct Factory;

impl ExporterFactory for Factory {
    fn describe(&self) -> Description {
        Description {
            kind: "debug",
            aliases: &[],
            signals: &[
                (Signal::Logs, Stability::Beta),
                (Signal::Metrics, Stability::Beta),
                (Signal::Profiles, Stability::Development),
            ],
        }
    }

    fn configure(&self, settings: &mut Settings<'_>) -> Box<dyn ExporterBlueprint> {
        Box::new(Blueprint { verbosity: settings.get("verbosity", Verbosity::Normal) })
    }
}

/// How much is printed.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Verbosity {
    Basic,
    Normal,
    Detailed,
}

impl Choice for Verbosity {
    const WORDS: &'static [(&'static str, Self)] =
        &[("basic", Verbosity::Basic), ("normal", Verbosity::Normal), ("detailed", Verbosity::Detailed)];
}

struct Blueprint {
    verbosity: Verbosity,
}

impl ExporterBlueprint for Blueprint {
    fn build(self: Box<Self>, context: BuildContext) -> Result<BuiltConsumer, ComponentError> {
        Ok(self.build_on(&context, Box::new(tokio::io::stdout())))
    }
}

impl Blueprint {
    fn build_on(&self, context: &BuildContext, out: Box<dyn AsyncWrite + Send + Unpin>) -> BuiltConsumer {
        let printer = Arc::new(Printer {
            verbosity: self.verbosity,
            out: Mutex::new(out),
            telemetry: Arc::clone(&context.telemetry),
            reporter: Reporter::new(context),
        });
        BuiltConsumer { consumer: Arc::clone(&printer) as _, component: Box::new(Debug { printer }) }
    }
}

struct Printer {
    verbosity: Verbosity,
    out: Mutex<Box<dyn AsyncWrite + Send + Unpin>>,
    telemetry: Arc<dyn Telemetry>,
    reporter: Reporter,
}

#[async_trait]
impl Consumer for Printer {
    async fn consume(&self, data: Data) -> Result<(), Refused> {
        let custody = Custody::of(&data, Arc::clone(&self.telemetry), stage::DEBUG);
        let text = match self.verbosity {
            Verbosity::Basic => render::summary(&data),
            Verbosity::Normal => render::lines(&data),
            Verbosity::Detailed => render::everything(&data),
        };
        if text.is_empty() {
            tracing::debug!(component = %self.reporter.id(), "{}", render::summary(&data).trim_end());
        }
        // A reader that has gone away must not end the program: its data is counted as lost, and that is all.
        match self.print(&text).await {
            Ok(()) => {
                custody.delivered(self.reporter.id());
                self.reporter.ok();
            }
            Err(error) => {
                custody.lost(stage::DEBUG);
                self.reporter.failing(&format!("standard output: {error}"));
            }
        }
        Ok(())
    }
}

impl Printer {
    async fn print(&self, text: &str) -> std::io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        let mut out = self.out.lock().await;
        out.write_all(text.as_bytes()).await?;
        out.flush().await
    }
}

struct Debug {
    printer: Arc<Printer>,
}

#[async_trait]
impl Component for Debug {
    async fn start(&mut self) -> Result<(), ComponentError> {
        Ok(())
    }

    async fn shutdown(&mut self) -> Result<(), ComponentError> {
        // Every request is flushed as it comes; this waits for one that is being printed.
        drop(self.printer.out.lock().await);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
