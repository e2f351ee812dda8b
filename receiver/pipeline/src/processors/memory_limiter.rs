//! `memory_limiter`: refuses data while the process uses too much memory. Belongs first in a pipeline.
//!
//! The resident memory is read every `check_interval`. Above `limit_mib - spike_limit_mib` data is refused with
//! a retryable error, until it is below again; the spike covers what may still come between two readings.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::component::{
    BuildContext, BuiltConsumer, Component, ComponentError, Consumer, Description, ProcessorBlueprint,
    ProcessorFactory, Refused, Stability,
};
use crate::config::Settings;
use crate::data::{Data, Signal};
use crate::reporter::Reporter;

const MIB: u64 = 1024 * 1024;

/// How the memory in use is learnt: resident bytes, or why they cannot be read.
type Reading = Arc<dyn Fn() -> Result<u64, String> + Send + Sync>;

/// Makes memory limiters.
pub struct Factory;

impl ProcessorFactory for Factory {
    fn describe(&self) -> Description {
        Description {
            kind: "memory_limiter",
            aliases: &[],
            signals: &[(Signal::Logs, Stability::Beta), (Signal::Metrics, Stability::Beta)],
        }
    }

    fn configure(&self, settings: &mut Settings<'_>) -> Box<dyn ProcessorBlueprint> {
        Box::new(Config::read(settings))
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Config {
    check_interval: Duration,
    limit_mib: u64,
    spike_limit_mib: u64,
}

impl Config {
    fn read(settings: &mut Settings<'_>) -> Self {
        let check_interval =
            settings.get_in("check_interval", Duration::from_secs(1), Duration::from_millis(1)..);
        let limit_mib: u32 = settings.get_in("limit_mib", 128, 1..);
        let spike_limit_mib = settings.get("spike_limit_mib", limit_mib / 5);
        if spike_limit_mib >= limit_mib {
            settings.reject("spike_limit_mib", format!("less than limit_mib ({limit_mib})"));
        }
        let (limit_mib, spike_limit_mib) = (limit_mib.into(), spike_limit_mib.into());
        Self { check_interval, limit_mib, spike_limit_mib }
    }

    /// At and above this many resident bytes data is refused.
    fn soft_limit(&self) -> u64 {
        self.limit_mib.saturating_sub(self.spike_limit_mib) * MIB
    }

    fn build_with(self, context: &BuildContext, next: Arc<dyn Consumer>, read: Reading) -> BuiltConsumer {
        let gate = Arc::new(Gate { next, closed: AtomicBool::new(false), soft_limit: self.soft_limit() });
        let watch = Watch { gate: Arc::clone(&gate), read, reporter: Reporter::new(context) };
        let component = Limiter { watch: Arc::new(watch), check_interval: self.check_interval, task: None };
        BuiltConsumer { consumer: gate, component: Box::new(component) }
    }
}

impl ProcessorBlueprint for Config {
    fn build(&self, context: BuildContext, next: Arc<dyn Consumer>) -> Result<BuiltConsumer, ComponentError> {
        Ok(self.build_with(&context, next, Arc::new(resident_bytes)))
    }
}

/// The resident memory of this process.
#[cfg(target_os = "linux")]
fn resident_bytes() -> Result<u64, String> {
    let statm =
        procfs::process::Process::myself().and_then(|me| me.statm()).map_err(|error| error.to_string())?;
    Ok(statm.resident * procfs::page_size())
}

/// The resident memory of this process: not known here.
#[cfg(not(target_os = "linux"))]
fn resident_bytes() -> Result<u64, String> {
    Err("it cannot be read on this platform".to_owned())
}

/// The side that data passes through.
struct Gate {
    next: Arc<dyn Consumer>,
    closed: AtomicBool,
    soft_limit: u64,
}

#[async_trait]
impl Consumer for Gate {
    async fn consume(&self, data: Data) -> Result<(), Refused> {
        if self.closed.load(Ordering::Relaxed) {
            return Err(Refused::Retryable(format!(
                "memory in use is above the limiter's {} MiB",
                self.soft_limit / MIB
            )));
        }
        self.next.consume(data).await
    }
}

/// Opens and closes the gate.
struct Watch {
    gate: Arc<Gate>,
    read: Reading,
    reporter: Reporter,
}

impl Watch {
    /// Reads once. False when reading is of no use any more.
    fn check(&self) -> bool {
        let used = match (self.read)() {
            Ok(used) => used,
            Err(reason) => {
                let id = self.reporter.id();
                tracing::warn!(component = %id, reason, "memory in use is not known: nothing will be refused");
                self.gate.closed.store(false, Ordering::Relaxed);
                return false;
            }
        };
        let over = used >= self.gate.soft_limit;
        let was_over = self.gate.closed.swap(over, Ordering::Relaxed);
        match (was_over, over) {
            (false, true) => {
                let (used, limit) = (used / MIB, self.gate.soft_limit / MIB);
                self.reporter.failing(&format!("{used} MiB are in use: from {limit} MiB on data is refused"));
            }
            (true, false) => self.reporter.ok(),
            _ => {}
        }
        true
    }
}

/// The side that is started and shut down.
struct Limiter {
    watch: Arc<Watch>,
    check_interval: Duration,
    task: Option<JoinHandle<()>>,
}

#[async_trait]
impl Component for Limiter {
    async fn start(&mut self) -> Result<(), ComponentError> {
        let watch = Arc::clone(&self.watch);
        let mut ticks = tokio::time::interval(self.check_interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        self.task = Some(tokio::spawn(async move {
            loop {
                ticks.tick().await;
                if !watch.check() {
                    break;
                }
            }
        }));
        Ok(())
    }

    async fn shutdown(&mut self) -> Result<(), ComponentError> {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        // What drains down at the end has to get through.
        self.watch.gate.closed.store(false, Ordering::Relaxed);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
