//! The queue between a pipeline and a slow destination, and its consumers.
//!
//! An exporter takes every request: from then on it answers for it, and `consume` succeeds. A full queue loses what
//! comes, as stage `queue_full`. What is still there when the service's patience at shutdown ends is dropped, and
//! dropping it counts it.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::courier::{Courier, Parcel};
use super::{RetryConfig, Sender};
use crate::component::{BuildContext, BuiltConsumer, Component, ComponentError, Consumer, Refused, stage};
use crate::config::Settings;
use crate::data::Data;

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
        let courier = Arc::new(Courier::new(context, sender, self.retry));
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
                    self.courier.lose(parcel.custody, stage::QUEUE_FULL, "the sending queue is full");
                }
                Err(mpsc::error::TrySendError::Closed(parcel)) => drop(parcel),
            }
        }
        let waiting = self.sender.max_capacity() - self.sender.capacity();
        self.courier.usage(waiting, self.sender.max_capacity());
        Ok(())
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
        let _rest = Rest(Arc::clone(&self.courier));
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                return Err(self
                    .courier
                    .reporter()
                    .error(format!("a consumer of the queue failed: {error}")));
            }
        }
        Ok(())
    }
}

/// What a shutdown leaves behind when the service does not wait for its end. Dropping the parcels counts them; here
/// it is said how many items they are.
struct Rest(Arc<Courier>);

impl Drop for Rest {
    fn drop(&mut self) {
        let items = self.0.held();
        if items > 0 {
            let id = self.0.reporter().id();
            let stage = stage::SHUTDOWN;
            tracing::warn!(component = %id, stage, items, "the time to drain is over: what is left is lost");
        }
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
