//! `batch`: gathers small requests into larger ones.
//!
//! A batch leaves when it holds `send_batch_size` items (log records, data points), or `timeout` after its
//! first item. With `send_batch_max_size` above 0 no batch is larger: requests are split. A `timeout` of 0 sends
//! at once. The next part is waited for, so a slow pipeline slows its receivers and the batch never grows.
//! What the next part refuses is lost here, and counted as stage `batch`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::{Mutex, Notify};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::component::{
    BuildContext, BuiltConsumer, Component, ComponentError, ComponentId, Consumer, Description,
    ProcessorBlueprint, ProcessorFactory, Refused, Stability, Telemetry, stage,
};
use crate::config::Settings;
use crate::custody::Custody;
use crate::data::{Data, Signal, merge, split};

/// Makes batch processors.
pub struct Factory;

impl ProcessorFactory for Factory {
    fn describe(&self) -> Description {
        Description {
            kind: "batch",
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
    timeout: Duration,
    send_batch_size: usize,
    /// 0: no limit.
    send_batch_max_size: usize,
}

impl Config {
    fn read(settings: &mut Settings<'_>) -> Self {
        let timeout = settings.get("timeout", Duration::from_millis(200));
        let send_batch_size = settings.get("send_batch_size", 8192);
        let send_batch_max_size = settings.get("send_batch_max_size", 0);
        if send_batch_max_size > 0 && send_batch_max_size < send_batch_size {
            let allowed = format!("0 for no limit, or at least send_batch_size ({send_batch_size})");
            settings.reject_beside("send_batch_max_size", "send_batch_size", allowed);
        }
        Self { timeout, send_batch_size, send_batch_max_size }
    }
}

impl ProcessorBlueprint for Config {
    fn build(&self, context: BuildContext, next: Arc<dyn Consumer>) -> Result<BuiltConsumer, ComponentError> {
        let batcher = Arc::new(Batcher {
            config: *self,
            id: context.id,
            telemetry: context.telemetry,
            next,
            pending: Mutex::new(Pending::default()),
            begun: Notify::new(),
        });
        let component = Batch { batcher: Arc::clone(&batcher), timer: None };
        Ok(BuiltConsumer { consumer: batcher, component: Box::new(component) })
    }
}

/// What waits to leave.
#[derive(Default)]
struct Pending {
    data: Option<Data>,
    items: usize,
    /// When it leaves at the latest.
    due: Option<Instant>,
    /// Nothing waits any more: shutdown has flushed.
    closed: bool,
}

struct Batcher {
    config: Config,
    id: ComponentId,
    telemetry: Arc<dyn Telemetry>,
    next: Arc<dyn Consumer>,
    /// Held while the next part works: batches keep their order and only one exists at a time.
    pending: Mutex<Pending>,
    begun: Notify,
}

#[async_trait]
impl Consumer for Batcher {
    async fn consume(&self, data: Data) -> Result<(), Refused> {
        let items = data.items();
        if items == 0 {
            return Ok(());
        }
        // A caller that gives up while it waits here must not lose data in silence.
        let custody = self.custody(&data);
        let mut pending = self.pending.lock().await;
        if pending.data.as_ref().is_some_and(|waiting| waiting.signal() != data.signal()) {
            self.flush(&mut pending).await;
        }
        pending.data = Some(match pending.data.take() {
            Some(waiting) => merge(waiting, data),
            None => data,
        });
        pending.items += items;
        custody.handed_on();

        if self.config.timeout.is_zero() || pending.closed {
            self.flush(&mut pending).await;
        } else {
            self.send_full(&mut pending).await;
            if pending.items > 0 && pending.due.is_none() {
                pending.due = Some(Instant::now() + self.config.timeout);
                self.begun.notify_one();
            }
        }
        Ok(())
    }
}

/// What a shutdown that ran out of time has left behind is counted as well.
impl Drop for Batcher {
    fn drop(&mut self) {
        if let Some(data) = self.pending.get_mut().data.take() {
            self.custody(&data).lost(stage::BATCH);
        }
    }
}

impl Batcher {
    fn custody(&self, data: &Data) -> Custody {
        Custody::of(data, Arc::clone(&self.telemetry), stage::BATCH)
    }

    /// Sends as long as there is a full batch.
    async fn send_full(&self, pending: &mut Pending) {
        while pending.items > 0 && pending.items >= self.config.send_batch_size {
            self.send_one(pending).await;
        }
    }

    /// Sends all there is.
    async fn flush(&self, pending: &mut Pending) {
        while pending.items > 0 {
            self.send_one(pending).await;
        }
    }

    /// Sends one batch, of the greatest size allowed.
    async fn send_one(&self, pending: &mut Pending) {
        pending.due = None;
        let Some(data) = pending.data.take() else {
            pending.items = 0;
            return;
        };
        let max = self.config.send_batch_max_size;
        let batch = if max > 0 && pending.items > max {
            let (head, rest) = split(data, max);
            pending.data = Some(rest);
            pending.items -= max;
            head
        } else {
            pending.items = 0;
            data
        };
        let custody = self.custody(&batch);
        match self.next.consume(batch).await {
            Ok(()) => custody.handed_on(),
            Err(refused) => {
                tracing::warn!(component = %self.id, items = custody.items(), %refused, "a batch was lost");
                custody.lost(stage::BATCH);
            }
        }
    }

    /// Sends what has waited for long enough, for ever.
    async fn keep_time(&self) {
        loop {
            let due = self.pending.lock().await.due;
            match due {
                None => self.begun.notified().await,
                Some(due) => {
                    tokio::time::sleep_until(due).await;
                    let mut pending = self.pending.lock().await;
                    if pending.due.is_some_and(|due| due <= Instant::now()) {
                        self.flush(&mut pending).await;
                    }
                }
            }
        }
    }
}

/// The side that is started and shut down.
struct Batch {
    batcher: Arc<Batcher>,
    timer: Option<JoinHandle<()>>,
}

#[async_trait]
impl Component for Batch {
    async fn start(&mut self) -> Result<(), ComponentError> {
        let batcher = Arc::clone(&self.batcher);
        self.timer = Some(tokio::spawn(async move { batcher.keep_time().await }));
        Ok(())
    }

    async fn shutdown(&mut self) -> Result<(), ComponentError> {
        // The lock first: the timer must not be stopped while it hands a batch on.
        let mut pending = self.batcher.pending.lock().await;
        pending.closed = true;
        if let Some(timer) = self.timer.take() {
            timer.abort();
        }
        self.batcher.flush(&mut pending).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
