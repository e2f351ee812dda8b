//! A running configuration: parts joined into pipelines, started from the exporters up, stopped from the
//! receivers down.

mod build;
mod fanout;
mod board;
mod exchange;

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::time::{Instant, timeout_at};

use crate::component::{Component, ComponentError, ComponentId, Host, Status, Telemetry};
use board::{Board, Seat};
pub use exchange::{Exchanged, exchange};

/// The longest shutdown; keeps the arithmetic of any deadline within bounds.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Everything that was built from one configuration. Start it once, and shut it down also when the start failed.
pub struct Service {
    /// In the order of shutdown, which follows the data.
    stages: Vec<Stage>,
    board: Arc<Board>,
    telemetry: Arc<dyn Telemetry>,
}

/// Parts of one kind. Lanes do not depend on one another; within a lane data flows from the first to the last.
struct Stage {
    lanes: Vec<Vec<Part>>,
    /// By which share of the deadline it has to be shut down, counted from the beginning of the shutdown. What a
    /// quick stage leaves, the next one has; a stuck one cannot take the exporters' time to drain.
    share: f64,
}

struct Part {
    seat: Seat,
    component: Box<dyn Component>,
}

impl Service {
    /// Starts extensions, exporters, processors and receivers, in this order: nothing is sent to a part that
    /// does not run yet.
    ///
    /// # Errors
    /// The first part that could not start; those after it were not tried.
    pub async fn start(&mut self) -> Result<(), ComponentError> {
        for part in self
            .stages
            .iter_mut()
            .rev()
            .flat_map(|stage| &mut stage.lanes)
            .flat_map(|lane| lane.iter_mut().rev())
        {
            part.start().await?;
        }
        Ok(())
    }

    /// Shuts receivers, processors, exporters and extensions down, in this order, so that what is on its way
    /// drains down. Returns within `deadline`, started or not, and a second time.
    ///
    /// # Errors
    /// Every part that failed to stop or was not done in time.
    pub async fn shutdown(&mut self, deadline: Duration) -> Result<(), Vec<ComponentError>> {
        let (begin, deadline) = (Instant::now(), deadline.min(LONGEST));
        let mut errors = Vec::new();
        for stage in &mut self.stages {
            let until = begin + deadline.mul_f64(stage.share);
            let lanes = stage.lanes.iter_mut().map(|lane| async move {
                let mut errors = Vec::new();
                for part in lane {
                    errors.extend(part.shutdown(until).await.err());
                }
                errors
            });
            errors.extend(join_all(lanes).await.into_iter().flatten());
        }
        for part in self.stages.iter().flat_map(|stage| &stage.lanes).flatten() {
            // one that was given up has not said that its queue is gone, and another service may follow this one
            self.telemetry.queue_usage(part.id(), 0.0);
        }
        if errors.is_empty() { Ok(()) } else { Err(errors) }
    }

    /// Resolves once a part has reported [`Status::FatalError`], and never otherwise.
    pub fn failed(&self) -> impl Future<Output = ComponentError> + Send + use<> {
        let mut fatal = self.board.fatal();
        async move {
            let news = fatal.wait_for(Option::is_some).await.ok().and_then(|news| news.clone());
            match news {
                Some((component, reason)) => ComponentError { component, reason },
                // The board is gone, and with it everything that could fail.
                None => pending().await,
            }
        }
    }

    /// The states of the parts.
    #[must_use]
    pub fn host(&self) -> Arc<dyn Host> {
        Arc::clone(&self.board) as Arc<dyn Host>
    }

    /// True where no receiver runs, because each is disabled.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.stages.first().is_none_or(|receivers| receivers.lanes.is_empty())
    }
}

impl Part {
    fn id(&self) -> &ComponentId {
        self.seat.id()
    }

    async fn start(&mut self) -> Result<(), ComponentError> {
        self.seat.set(Status::Starting, None);
        match self.component.start().await {
            Ok(()) => {
                self.seat.started();
                Ok(())
            }
            Err(error) => {
                self.seat.set(Status::PermanentError, Some(error.reason.clone()));
                Err(error)
            }
        }
    }

    async fn shutdown(&mut self, until: Instant) -> Result<(), ComponentError> {
        self.seat.set(Status::Stopping, None);
        let result = timeout_at(until, self.component.shutdown()).await.unwrap_or_else(|_| {
            let reason = "not shut down in time; what it held is lost".to_owned();
            Err(ComponentError { component: self.id().clone(), reason })
        });
        match &result {
            Ok(()) => self.seat.set(Status::Stopped, None),
            Err(error) => self.seat.set(Status::PermanentError, Some(error.reason.clone())),
        }
        result
    }
}
