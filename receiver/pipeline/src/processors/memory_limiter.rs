//! `memory_limiter`: refuses data while the process uses too much memory. Belongs first in a pipeline.
//!
//! What counts is the memory that the process holds for itself: anonymous, shared, and swapped out. Pages of files, such
//! as those of its own program, do not: the kernel takes them back when it needs them. It is read when data comes and the
//! last reading is `check_interval` old: an idle pipeline costs nothing, and there is nothing to refuse while nothing
//! comes. Above `limit_mib - spike_limit_mib` data is refused with a retryable error, until it is below again; the spike
//! covers what may still come between two readings.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use crate::component::{
    BuildContext, BuiltConsumer, Component, ComponentError, Consumer, Description, ProcessorBlueprint,
    ProcessorFactory, Refused, Stability,
};
use crate::config::Settings;
use crate::data::{Data, Signal};
use crate::reporter::Reporter;

const MIB: u64 = 1024 * 1024;

/// How the memory in use is learnt: bytes, or why they cannot be read.
type Reading = Arc<dyn Fn() -> Result<u64, String> + Send + Sync>;

/// Makes memory limiters.
pub struct Factory;

impl ProcessorFactory for Factory {
    fn describe(&self) -> Description {
        Description {
            kind: "memory_limiter",
            aliases: &[],
            signals: &[
                (Signal::Logs, Stability::Beta),
                (Signal::Metrics, Stability::Beta),
                (Signal::Profiles, Stability::Development),
            ],
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
            let allowed = format!("less than limit_mib ({limit_mib})");
            settings.reject_beside("spike_limit_mib", "limit_mib", allowed);
        }
        let (limit_mib, spike_limit_mib) = (limit_mib.into(), spike_limit_mib.into());
        Self { check_interval, limit_mib, spike_limit_mib }
    }

    /// At and above this many bytes in use data is refused.
    fn soft_limit(&self) -> u64 {
        self.limit_mib.saturating_sub(self.spike_limit_mib) * MIB
    }

    fn build_with(self, context: &BuildContext, next: Arc<dyn Consumer>, read: Reading) -> BuiltConsumer {
        let gate = Arc::new(Gate {
            next,
            read,
            reporter: Reporter::new(context),
            check_interval: self.check_interval,
            soft_limit: self.soft_limit(),
            state: Mutex::new(State::default()),
        });
        BuiltConsumer { consumer: gate.clone(), component: Box::new(Limiter { gate }) }
    }
}

impl ProcessorBlueprint for Config {
    fn build(&self, context: BuildContext, next: Arc<dyn Consumer>) -> Result<BuiltConsumer, ComponentError> {
        Ok(self.build_with(&context, next, Arc::new(bytes_in_use)))
    }
}

/// What this process holds for itself; where the kernel does not tell it apart, all that is resident.
#[cfg(target_os = "linux")]
fn bytes_in_use() -> Result<u64, String> {
    let status =
        procfs::process::Process::myself().and_then(|me| me.status()).map_err(|error| error.to_string())?;
    let parts = [status.rssanon, status.rssshmem, status.vmswap];
    let kib = parts.into_iter().sum::<Option<u64>>().or(status.vmrss);
    kib.map(|kib| kib * 1024).ok_or_else(|| "the kernel does not tell".to_owned())
}

/// What this process holds for itself: not known here.
#[cfg(not(target_os = "linux"))]
fn bytes_in_use() -> Result<u64, String> {
    Err("it cannot be read on this platform".to_owned())
}

/// The side that data passes through.
struct Gate {
    next: Arc<dyn Consumer>,
    read: Reading,
    reporter: Reporter,
    check_interval: Duration,
    soft_limit: u64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    checked: Option<Instant>,
    closed: bool,
    /// Shut down, or reading is of no use: everything gets through.
    off: bool,
}

#[async_trait]
impl Consumer for Gate {
    async fn consume(&self, data: Data) -> Result<(), Refused> {
        if self.is_closed() {
            return Err(Refused::Retryable(format!(
                "memory in use is above the limiter's {} MiB",
                self.soft_limit / MIB
            )));
        }
        self.next.consume(data).await
    }
}

impl Gate {
    /// Whether data is refused now, by the last reading or a new one.
    fn is_closed(&self) -> bool {
        let mut state = self.state();
        let now = Instant::now();
        let recent = |checked: Instant| now.duration_since(checked) < self.check_interval;
        if !state.off && !state.checked.is_some_and(recent) {
            state.checked = Some(now);
            self.check(&mut state);
        }
        state.closed && !state.off
    }

    fn check(&self, state: &mut State) {
        let used = match (self.read)() {
            Ok(used) => used,
            Err(reason) => {
                let id = self.reporter.id();
                tracing::warn!(component = %id, reason, "memory in use is not known: nothing will be refused");
                state.off = true;
                return;
            }
        };
        let was_closed = std::mem::replace(&mut state.closed, used >= self.soft_limit);
        match (was_closed, state.closed) {
            (false, true) => {
                let (used, limit) = (used / MIB, self.soft_limit / MIB);
                self.reporter.failing(&format!("{used} MiB are in use: from {limit} MiB on data is refused"));
            }
            (true, false) => self.reporter.ok(),
            _ => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The side that is started and shut down.
struct Limiter {
    gate: Arc<Gate>,
}

#[async_trait]
impl Component for Limiter {
    async fn start(&mut self) -> Result<(), ComponentError> {
        *self.gate.state() = State::default();
        Ok(())
    }

    async fn shutdown(&mut self) -> Result<(), ComponentError> {
        // What drains down at the end has to get through.
        self.gate.state().off = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
