//! The thread that makes the passes. It owns the observer while it runs.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError as Full};
use std::time::Instant;

use mlh_detect::Pass;
use mlh_pipeline::component::{Loss, Telemetry};
use mlh_pipeline::data::Signal;
use mlh_targets::host::HostClock;
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;
use tokio::sync::mpsc::Sender;
use tokio::sync::mpsc::error::TrySendError;

use super::judge::{Judge, Killed, Outcome, Seen};
use super::schedule::Schedule;
use crate::metrics::{Metrics, stage};
use crate::observe::{Listen, Observation, ObserveError, Observer, Sink, Told, key};

/// What wakes the scout before its next pass is due.
#[derive(Debug)]
pub(super) enum Wake {
    /// It is to end.
    Stop,
    /// The kernel told something.
    Told(Box<Told>),
}

/// What may wait for the scout. One is a few hundred bytes.
pub(super) const WAKES: usize = 4096;

/// Places in the channel that growth records leave to verdicts.
const RESERVED: usize = 64;

pub(super) struct Scout {
    pub(super) observer: Box<dyn Observer>,
    pub(super) judge: Judge,
    pub(super) metrics: Arc<Metrics>,
    pub(super) interval: std::time::Duration,
    pub(super) out: Sender<ResourceLogs>,
}

impl Scout {
    /// Has the kernel tell what it tells by itself.
    pub(super) fn listen(&mut self, wish: &Listen, to: SyncSender<Wake>) {
        let metrics = Arc::clone(&self.metrics);
        let sink: Sink = Box::new(move |told| match to.try_send(Wake::Told(Box::new(told))) {
            Ok(()) | Err(Full::Disconnected(_)) => {}
            Err(Full::Full(_)) => metrics.lost(Signal::Logs, Loss { stage: stage::CHANNEL, count: 1 }),
        });
        for spot in self.observer.listen(wish, sink) {
            tracing::warn!(reason = %spot.reason, "not seen on this host: {}", spot.what);
        }
    }

    /// Makes passes until it is told to stop.
    pub(super) fn run(&mut self, wakes: &Receiver<Wake>) {
        let began = Instant::now();
        let mut schedule = Schedule::new(began.elapsed(), self.interval);
        let mut healthy = true;
        let mut greeted = false;
        let mut last = began.elapsed();
        loop {
            let now = began.elapsed();
            // what the kernel tells in between must not put the next look off
            let again = self.judge.watch_again_in().map(|wait| wait.saturating_sub(now.saturating_sub(last)));
            let (pass, wait) = schedule.next(now, again);
            match wakes.recv_timeout(wait) {
                Ok(Wake::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(Wake::Told(first)) => {
                    if !self.hear(*first, wakes) {
                        return;
                    }
                    // a kernel that never stops telling must not keep the passes from being made
                    if began.elapsed() < now.saturating_add(wait) {
                        continue;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            last = began.elapsed();
            if pass == Pass::Full {
                schedule.swept(last);
            }
            match self.sweep(pass) {
                Ok(processes) => {
                    if !std::mem::replace(&mut greeted, true) {
                        tracing::info!(processes, "the first sweep is done");
                    }
                    healthy = true;
                }
                Err(error) => {
                    // a host that cannot be swept says so once, not every second
                    if std::mem::take(&mut healthy) {
                        tracing::warn!(%error, "a pass over the processes failed; trying again at the next one");
                    }
                }
            }
        }
    }

    /// Makes a pass, judges it, and says how many processes it saw.
    fn sweep(&mut self, pass: Pass) -> Result<usize, ObserveError> {
        let observation = self
            .judge
            .look(self.observer.as_mut(), pass)
            .inspect_err(|_| self.metrics.errors(stage::SWEEP, 1))?;
        self.judge(pass, &observation);
        Ok(observation.readings.len())
    }

    /// Takes what the kernel told, with all that waits behind it. False: it is time to stop.
    fn hear(&mut self, first: Told, wakes: &Receiver<Wake>) -> bool {
        let (mut kills, mut grew, mut goes_on) = (Vec::new(), HashMap::new(), true);
        let mut told = first;
        for taken in 1.. {
            match told {
                Told::Killed { at, reading } => kills.push(Killed { at, reading }),
                Told::Grew(reading) => {
                    grew.insert(key(&reading), reading);
                }
                Told::Lost(count) => self.lost(stage::RING, count),
            }
            // and what is heard is judged soon
            match if taken < WAKES { wakes.try_recv().ok() } else { None } {
                Some(Wake::Told(next)) => told = *next,
                Some(Wake::Stop) => {
                    goes_on = false;
                    break;
                }
                None => break,
            }
        }
        // a container that was made, and killed in, since the last sweep is known only now
        if kills.iter().any(|killed| !self.judge.places(&killed.reading))
            && let Err(error) = self.sweep(Pass::Full)
        {
            tracing::debug!(%error, "the pass after a kill failed");
        }
        let readings: Vec<_> = grew.into_values().collect();
        let (Ok(clock), Ok(at)) = (HostClock::read(), HostClock::now_boot()) else {
            self.metrics.errors(stage::SWEEP, 1);
            return goes_on;
        };
        let seen = Seen { readings: &readings, kills: &kills, ..Seen::empty(at, Pass::Told) };
        let outcome = self.judge.pass(&seen, &clock);
        self.deliver(outcome, Pass::Told, readings.len() + kills.len());
        goes_on
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
            host: Some(observation.host),
            readings: &observation.readings,
            cgroups: &observation.cgroups,
            ..Seen::empty(observation.at, pass)
        };
        let outcome = self.judge.pass(&seen, &clock);
        self.deliver(outcome, pass, observation.readings.len());
        self.metrics.sweep_duration(observation.took);
        self.metrics.processing_duration(began.elapsed());
    }

    fn deliver(&mut self, outcome: Outcome, pass: Pass, events: usize) {
        self.metrics.events_processed(events as u64);
        self.metrics.rss_growth_detected(outcome.growth);
        self.metrics.leaks_recurred(outcome.recurred);
        self.lost(stage::RATE_LIMIT, outcome.dropped);
        self.lost(stage::TABLE, outcome.unfollowed);
        if outcome.unclimbed > 0 {
            let cases = outcome.unclimbed;
            tracing::warn!(
                cases,
                "too many suspicions wait to be followed up: these are not; see `escalation`"
            );
            self.lost(stage::DOCKET, cases);
        }
        // nothing changes between two full sweeps without a record, and counting walks over every process
        if pass == Pass::Full || outcome.grave > 0 {
            let standing = self.judge.standing();
            self.metrics.set_watch(
                standing.suspects,
                standing.leaks,
                standing.velocities,
                standing.times_to_oom,
            );
        }
        for (index, record) in outcome.records.into_iter().enumerate() {
            if index >= outcome.grave && self.out.capacity() <= RESERVED {
                self.lost(stage::CHANNEL, 1);
                continue;
            }
            match self.out.try_send(record) {
                Ok(()) | Err(TrySendError::Closed(_)) => {}
                Err(TrySendError::Full(_)) => self.lost(stage::CHANNEL, 1),
            }
        }
        let capacity = self.out.max_capacity().max(1);
        self.metrics.buffer_usage(1.0 - self.out.capacity() as f64 / capacity as f64);
    }

    fn lost(&self, stage: &'static str, count: u64) {
        if count > 0 {
            self.metrics.lost(Signal::Logs, Loss { stage, count });
        }
    }
}
