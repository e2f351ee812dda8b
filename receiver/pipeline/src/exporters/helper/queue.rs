//! The queue between a pipeline and a slow destination, and its consumers.
//!
//! An exporter takes every request: from then on it answers for it, and `consume` succeeds. A request ends as
//! delivered or as lost, with its stage: `queue_full`, `refused` (the destination never will take it),
//! `rejected` (it took the request and threw items away), `retry_exhausted`, or `shutdown`.
//! At shutdown every request that is left gets one attempt, at once. What is still there when the service's
//! patience ends is dropped, and dropping it counts it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use backon::Retryable;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{Accepted, Failure, RetryConfig, Sender};
use crate::component::{
    BuildContext, BuiltConsumer, Component, ComponentError, Consumer, Refused, Telemetry,
};
use crate::config::Settings;
use crate::custody::Custody;
use crate::data::Data;
use crate::log_gate::LogGate;
use crate::reporter::Reporter;

const QUEUE_FULL: &str = "queue_full";
const REFUSED: &str = "refused";
const REJECTED: &str = "rejected";
const RETRY_EXHAUSTED: &str = "retry_exhausted";
const SHUTDOWN: &str = "shutdown";

/// `sending_queue`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct QueueConfig {
    /// Without the queue the pipeline waits for each request, retries included.
    pub(crate) enabled: bool,
    pub(crate) num_consumers: usize,
    /// Requests.
    pub(crate) queue_size: usize,
    /// A full queue makes the pipeline wait, instead of losing what comes.
    pub(crate) block_on_overflow: bool,
}

impl Default for QueueConfig {
    fn default() -> Self {
        Self { enabled: true, num_consumers: 10, queue_size: 1000, block_on_overflow: false }
    }
}

impl QueueConfig {
    pub(crate) fn read(settings: &mut Settings<'_>) -> Self {
        let default = Self::default();
        Self {
            enabled: settings.get("enabled", default.enabled),
            num_consumers: settings.get_in("num_consumers", default.num_consumers, 1..=1000),
            queue_size: settings.get_in("queue_size", default.queue_size, 1..=1_000_000),
            block_on_overflow: settings.get("block_on_overflow", default.block_on_overflow),
        }
    }
}

/// A sender with its retries and its queue: the consumer and the component of an exporter.
pub(crate) struct Exporting {
    pub(crate) queue: QueueConfig,
    pub(crate) retry: RetryConfig,
}

impl Exporting {
    pub(crate) fn build(self, context: &BuildContext, sender: Arc<dyn Sender>) -> BuiltConsumer {
        let courier = Arc::new(Courier {
            sender,
            retry: self.retry,
            telemetry: Arc::clone(&context.telemetry),
            reporter: Reporter::new(context),
            draining: CancellationToken::new(),
            losses: LogGate::default(),
        });
        if !self.queue.enabled {
            let component = Unqueued { courier: Arc::clone(&courier) };
            return BuiltConsumer { consumer: courier, component: Box::new(component) };
        }
        let (sender, receiver) = mpsc::channel(self.queue.queue_size);
        let inlet = Inlet { sender, block: self.queue.block_on_overflow, courier: Arc::clone(&courier) };
        let component = Queue {
            courier,
            consumers: self.queue.num_consumers,
            waiting: Some(receiver),
            tasks: JoinSet::new(),
        };
        BuiltConsumer { consumer: Arc::new(inlet), component: Box::new(component) }
    }
}

/// A request on its way.
struct Parcel {
    data: Data,
    custody: Custody,
}

/// Takes requests to their destination.
struct Courier {
    sender: Arc<dyn Sender>,
    retry: RetryConfig,
    telemetry: Arc<dyn Telemetry>,
    reporter: Reporter,
    /// Shutdown has begun: nothing is waited for any more.
    draining: CancellationToken,
    losses: LogGate,
}

impl Courier {
    fn parcel(&self, data: Data) -> Parcel {
        let custody = Custody::of(&data, Arc::clone(&self.telemetry), SHUTDOWN);
        Parcel { data, custody }
    }

    async fn deliver(&self, parcel: Parcel) {
        let Parcel { data, mut custody } = parcel;
        match self.send(&data).await {
            Ok(accepted) => {
                if accepted.rejected > 0 || !accepted.message.is_empty() {
                    self.log_loss(REJECTED, accepted.rejected, &accepted.message);
                }
                custody.lose(REJECTED, accepted.rejected);
                custody.delivered(self.reporter.id());
            }
            Err(failure) => {
                let stage = match failure {
                    Failure::Permanent { .. } => REFUSED,
                    Failure::Retryable { .. } if self.draining.is_cancelled() => SHUTDOWN,
                    Failure::Retryable { .. } => RETRY_EXHAUSTED,
                };
                self.log_loss(stage, custody.items(), failure.reason());
                custody.lost(stage);
            }
        }
    }

    /// Sends until it is taken, or until there is no sense or no time in trying again.
    async fn send(&self, data: &Data) -> Result<Accepted, Failure> {
        let begun = Instant::now();
        // Whether the attempt under way is the last one, which shutdown grants to each request.
        let last = AtomicBool::new(false);
        let attempt = || async {
            last.store(self.draining.is_cancelled(), Ordering::Relaxed);
            let outcome = self.sender.send(data).await;
            self.report(outcome.as_ref());
            outcome
        };
        if !self.retry.enabled {
            return attempt().await;
        }
        let draining = self.draining.clone();
        attempt
            .retry(self.retry.delays())
            .sleep(move |delay| {
                let draining = draining.clone();
                async move {
                    tokio::select! {
                        () = tokio::time::sleep(delay) => {}
                        () = draining.cancelled() => {}
                    }
                }
            })
            .when(|failure| matches!(failure, Failure::Retryable { .. }))
            .adjust(|failure, proposed| {
                if self.draining.is_cancelled() {
                    return (!last.load(Ordering::Relaxed)).then_some(Duration::ZERO);
                }
                let Failure::Retryable { after, .. } = failure else { return None };
                self.retry.delay(proposed?, *after, begun.elapsed())
            })
            .await
    }

    fn report(&self, outcome: Result<&Accepted, &Failure>) {
        match outcome {
            Ok(_) => self.reporter.ok(),
            Err(failure) => self.reporter.failing(failure.reason()),
        }
    }

    fn log_loss(&self, stage: &str, items: u64, reason: &str) {
        if let Some(silenced) = self.losses.open() {
            let id = self.reporter.id();
            tracing::warn!(component = %id, stage, items, reason, silenced, "items were lost");
        }
    }
}

/// Without a queue the one who hands a request over waits for its fate.
#[async_trait]
impl Consumer for Courier {
    async fn consume(&self, data: Data) -> Result<(), Refused> {
        self.deliver(self.parcel(data)).await;
        Ok(())
    }
}

struct Unqueued {
    courier: Arc<Courier>,
}

#[async_trait]
impl Component for Unqueued {
    async fn start(&mut self) -> Result<(), ComponentError> {
        Ok(())
    }

    async fn shutdown(&mut self) -> Result<(), ComponentError> {
        self.courier.draining.cancel();
        Ok(())
    }
}

/// The queue's end towards the pipeline.
struct Inlet {
    sender: mpsc::Sender<Parcel>,
    block: bool,
    courier: Arc<Courier>,
}

#[async_trait]
impl Consumer for Inlet {
    async fn consume(&self, data: Data) -> Result<(), Refused> {
        let parcel = self.courier.parcel(data);
        if self.block {
            // An error returns the parcel: the queue is closed, and dropping it counts it.
            drop(self.sender.send(parcel).await);
        } else {
            match self.sender.try_send(parcel) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(parcel)) => {
                    self.courier.log_loss(QUEUE_FULL, parcel.custody.items(), "the sending queue is full");
                    parcel.custody.lost(QUEUE_FULL);
                }
                Err(mpsc::error::TrySendError::Closed(parcel)) => drop(parcel),
            }
        }
        let waiting = self.sender.max_capacity() - self.sender.capacity();
        self.courier.usage(waiting, self.sender.max_capacity());
        Ok(())
    }
}

impl Courier {
    fn usage(&self, waiting: usize, capacity: usize) {
        self.telemetry.queue_usage(self.reporter.id(), waiting as f64 / capacity as f64);
    }
}

/// The queue's consumers.
struct Queue {
    courier: Arc<Courier>,
    consumers: usize,
    /// Until the start.
    waiting: Option<mpsc::Receiver<Parcel>>,
    tasks: JoinSet<()>,
}

#[async_trait]
impl Component for Queue {
    async fn start(&mut self) -> Result<(), ComponentError> {
        if let Some(waiting) = self.waiting.take() {
            let waiting = Arc::new(Mutex::new(waiting));
            for _ in 0..self.consumers {
                self.tasks.spawn(work(Arc::clone(&self.courier), Arc::clone(&waiting)));
            }
        }
        Ok(())
    }

    async fn shutdown(&mut self) -> Result<(), ComponentError> {
        self.courier.draining.cancel();
        // Never started: what waits is dropped, and so counted.
        self.waiting = None;
        // Taken out, so that a service that stops waiting drops them here and now, with all they hold.
        let mut tasks = std::mem::take(&mut self.tasks);
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                return Err(self.courier.reporter.error(format!("a consumer of the queue failed: {error}")));
            }
        }
        Ok(())
    }
}

/// Takes parcels one by one, until the queue is closed and empty.
async fn work(courier: Arc<Courier>, waiting: Arc<Mutex<mpsc::Receiver<Parcel>>>) {
    loop {
        let parcel = {
            let mut waiting = waiting.lock().await;
            let parcel = tokio::select! {
                biased;
                () = courier.draining.cancelled(), if !waiting.is_closed() => {
                    waiting.close();
                    continue;
                }
                parcel = waiting.recv() => parcel,
            };
            courier.usage(waiting.len(), waiting.max_capacity());
            parcel
        };
        match parcel {
            Some(parcel) => courier.deliver(parcel).await,
            None => break,
        }
    }
}
