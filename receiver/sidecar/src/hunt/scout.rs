//! The thread that makes the passes. It owns the observer, since what the kernel handed out belongs to one thread.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Instant;

use mlh_detect::Pass;
use mlh_pipeline::component::{Loss, Telemetry};
use mlh_pipeline::data::Signal;
use mlh_targets::host::HostClock;
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::judge::{Judge, Seen};
use super::schedule::Schedule;
use crate::metrics::{Metrics, stage};
use crate::observe::{Observation, ObserveError, Observer};

pub(super) struct Scout {
    pub(super) observer: Box<dyn Observer>,
    pub(super) judge: Judge,
    pub(super) metrics: Arc<Metrics>,
    pub(super) interval: std::time::Duration,
    pub(super) out: Sender<ResourceLogs>,
}

impl Scout {
    /// Makes passes until the other end of `stop` is gone.
    pub(super) fn run(mut self, stop: &Receiver<()>) {
        let began = Instant::now();
        let mut schedule = Schedule::new(began.elapsed(), self.interval);
        let mut healthy = true;
        let mut greeted = false;
        loop {
            let (pass, wait) = schedule.next(began.elapsed(), self.judge.watch_again_in());
            if stop.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            if pass == Pass::Full {
                schedule.swept(began.elapsed());
            }
            match self.observe(pass) {
                Ok(observation) => {
                    self.judge(pass, &observation);
                    if !std::mem::replace(&mut greeted, true) {
                        tracing::info!(processes = observation.readings.len(), "the first sweep is done");
                    }
                    healthy = true;
                }
                Err(error) => {
                    self.metrics.errors(stage::SWEEP, 1);
                    // a host that cannot be swept says so once, not every second
                    if std::mem::take(&mut healthy) {
                        tracing::warn!(%error, "a pass over the processes failed; trying again at the next one");
                    }
                }
            }
        }
    }

    fn observe(&mut self, pass: Pass) -> Result<Observation, ObserveError> {
        if pass == Pass::Full {
            return self.observer.full();
        }
        let pids: Vec<u32> = self.judge.watched().iter().map(|key| key.pid).collect();
        self.observer.watched(&pids)
    }

    fn judge(&mut self, pass: Pass, observation: &Observation) {
        let began = Instant::now();
        let Ok(clock) = HostClock::read() else {
            self.metrics.errors(stage::SWEEP, 1);
            return;
        };
        for (stage, count) in &observation.errors {
            self.metrics.errors(stage, *count);
        }
        let seen = Seen {
            at: observation.at,
            pass,
            host: Some(observation.host),
            readings: &observation.readings,
            exits: &[],
        };
        let outcome = self.judge.pass(&seen, &clock);
        self.metrics.events_processed(observation.readings.len() as u64);
        self.metrics.rss_growth_detected(outcome.growth);
        self.lost(stage::RATE_LIMIT, outcome.dropped);
        self.lost(stage::TABLE, outcome.unfollowed);
        // nothing changes between two full sweeps without a record, and counting walks over every process
        if pass == Pass::Full || !outcome.records.is_empty() {
            let standing = self.judge.standing();
            self.metrics.set_watch(standing.suspects, standing.leaks, standing.velocities);
        }
        for record in outcome.records {
            match self.out.try_send(record) {
                Ok(()) | Err(TrySendError::Closed(_)) => {}
                Err(TrySendError::Full(_)) => self.lost(stage::CHANNEL, 1),
            }
        }
        self.metrics.sweep_duration(observation.took);
        self.metrics.processing_duration(began.elapsed());
        let capacity = self.out.max_capacity().max(1);
        self.metrics.buffer_usage(1.0 - self.out.capacity() as f64 / capacity as f64);
    }

    fn lost(&self, stage: &'static str, count: u64) {
        if count > 0 {
            self.metrics.lost(Signal::Logs, Loss { stage, count });
        }
    }
}
