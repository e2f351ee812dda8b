//! Takes requests to their destination, and answers for them.
//!
//! A request ends as delivered or as lost, with its stage: `refused` (the destination never will take it), `rejected`
//! (it took the request and threw items away), `too_large`, `retry_exhausted`, or `shutdown`.
//! One that is too large is halved as often as need be; what is lost then is the item that alone is too large.
//! At shutdown every request that is left gets one attempt, at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use backon::Retryable;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::outage::Outage;
use super::{Accepted, Failure, RetryConfig, Sender};
use crate::component::{BuildContext, ComponentId, Consumer, Loss, Refused, Telemetry, stage};
use crate::custody::Custody;
use crate::data::{Data, Signal, split};
use crate::log_gate::LogGate;
use crate::reporter::Reporter;

/// A request on its way.
pub(super) struct Parcel {
    pub(super) data: Data,
    pub(super) custody: Custody,
}

impl Parcel {
    fn halve(mut self) -> (Self, Self) {
        let half = self.data.items().div_ceil(2);
        let (first, second) = split(self.data, half);
        let custody = self.custody.part(second.items() as u64);
        (Self { data: first, custody: self.custody }, Self { data: second, custody })
    }
}

pub(super) struct Courier {
    sender: Arc<dyn Sender>,
    retry: RetryConfig,
    tally: Arc<Tally>,
    outage: Outage,
    /// Shutdown has begun: nothing is waited for any more.
    pub(super) draining: CancellationToken,
    lines: LogGate,
}

impl Courier {
    pub(super) fn new(context: &BuildContext, sender: Arc<dyn Sender>, retry: RetryConfig) -> Self {
        let outage = Outage::new(Reporter::new(context), sender.destination().to_owned());
        let tally = Tally { telemetry: Arc::clone(&context.telemetry), held: AtomicU64::new(0) };
        Self {
            sender,
            retry,
            tally: Arc::new(tally),
            outage,
            draining: CancellationToken::new(),
            lines: LogGate::default(),
        }
    }

    pub(super) fn reporter(&self) -> &Reporter {
        self.outage.reporter()
    }

    /// From here on the exporter answers for the data.
    pub(super) fn parcel(&self, data: Data) -> Parcel {
        self.tally.held.fetch_add(data.items() as u64, Ordering::Relaxed);
        let custody = Custody::of(&data, Arc::clone(&self.tally) as Arc<dyn Telemetry>, stage::SHUTDOWN);
        Parcel { data, custody }
    }

    /// Items that are neither delivered nor lost yet.
    pub(super) fn held(&self) -> u64 {
        self.tally.held.load(Ordering::Relaxed)
    }

    pub(super) fn usage(&self, waiting: usize, capacity: usize) {
        self.tally.queue_usage(self.outage.id(), waiting as f64 / capacity as f64);
    }

    /// Returns when all of it is delivered or lost.
    pub(super) async fn deliver(&self, parcel: Parcel) {
        // Halves have no more time than the whole.
        let begun = Instant::now();
        let mut parcels = vec![parcel];
        while let Some(parcel) = parcels.pop() {
            match self.send(&parcel.data, begun).await {
                Ok(accepted) => self.taken(parcel.custody, &accepted),
                Err(Failure::TooLarge { reason }) if parcel.data.items() > 1 => {
                    self.log_halving(parcel.data.items(), &reason);
                    let (first, second) = parcel.halve();
                    parcels.extend([second, first]);
                }
                Err(failure) => self.lose(parcel.custody, self.stage(&failure), failure.reason()),
            }
        }
    }

    fn taken(&self, mut custody: Custody, accepted: &Accepted) {
        if accepted.rejected > 0 {
            self.log_loss(stage::REJECTED, accepted.rejected.min(custody.items()), &accepted.message);
        } else if !accepted.message.is_empty()
            && let Some(silenced) = self.lines.open("remark")
        {
            let (id, message) = (self.outage.id(), &accepted.message);
            tracing::warn!(component = %id, message, silenced, "the destination took all, with a remark");
        }
        custody.lose(stage::REJECTED, accepted.rejected);
        custody.delivered(self.outage.id());
    }

    pub(super) fn lose(&self, custody: Custody, stage: &'static str, reason: &str) {
        self.log_loss(stage, custody.items(), reason);
        custody.lost(stage);
    }

    fn stage(&self, failure: &Failure) -> &'static str {
        match failure {
            Failure::TooLarge { .. } => stage::TOO_LARGE,
            Failure::Permanent { .. } | Failure::Unserved { .. } => stage::REFUSED,
            Failure::Retryable { .. } if self.draining.is_cancelled() => stage::SHUTDOWN,
            Failure::Retryable { .. } => stage::RETRY_EXHAUSTED,
        }
    }

    /// Sends until it is taken, or until there is no sense or no time in trying again.
    async fn send(&self, data: &Data, begun: Instant) -> Result<Accepted, Failure> {
        // Whether the attempt under way is the last one, which shutdown grants to each request.
        let last = AtomicBool::new(false);
        let attempt = || async {
            last.store(self.draining.is_cancelled(), Ordering::Relaxed);
            let begun = Instant::now();
            let outcome = self.sender.send(data).await;
            self.report(begun, outcome.as_ref());
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

    fn report(&self, begun: Instant, outcome: Result<&Accepted, &Failure>) {
        match outcome {
            Ok(_) => self.outage.over(begun),
            // Its size, or what it is, is the request's affair, not the destination's: all others get through.
            Err(Failure::TooLarge { .. } | Failure::Unserved { .. }) => {}
            Err(failure) => {
                let again = self.retry.enabled && matches!(failure, Failure::Retryable { .. });
                self.outage.goes_on(failure, again);
            }
        }
    }

    fn log_halving(&self, items: usize, reason: &str) {
        if let Some(silenced) = self.lines.open("halved") {
            tracing::warn!(
                component = %self.outage.id(), items, reason, silenced,
                "a request is too large and goes in halves; a smaller send_batch_max_size of batch spares the way"
            );
        }
    }

    fn log_loss(&self, stage: &'static str, items: u64, reason: &str) {
        if let Some(silenced) = self.lines.open(stage) {
            let id = self.outage.id();
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

/// Counts for the telemetry behind it, and so knows what the exporter still answers for.
struct Tally {
    telemetry: Arc<dyn Telemetry>,
    held: AtomicU64,
}

impl Telemetry for Tally {
    fn lost(&self, signal: Signal, loss: Loss) {
        self.held.fetch_sub(loss.count, Ordering::Relaxed);
        self.telemetry.lost(signal, loss);
    }

    fn delivered(&self, signal: Signal, exporter: &ComponentId, items: u64) {
        self.held.fetch_sub(items, Ordering::Relaxed);
        self.telemetry.delivered(signal, exporter, items);
    }

    fn queue_usage(&self, component: &ComponentId, used: f64) {
        self.telemetry.queue_usage(component, used);
    }
}
