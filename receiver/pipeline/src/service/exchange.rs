//! One service takes another's place, or hands it back.

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use super::Service;
use crate::component::ComponentError;

/// What came of an exchange.
pub enum Exchanged<S> {
    /// The new service runs.
    Done(Service),
    /// The new one could not start, for this reason; the old configuration runs again.
    Undone(Service, ComponentError),
    /// Nothing runs: the new one could not start, and then the old one could not either.
    Failed {
        /// Why the new one could not.
        new: ComponentError,
        /// Why the old one could not.
        old: String,
    },
    /// Nothing runs: the program was asked to stop meanwhile.
    Stopped {
        /// What it was asked by.
        asked: S,
        /// Every part of the old service was shut down in order and in time.
        clean: bool,
    },
}

/// Shuts `old` down, so that what is on its way drains, then starts `new`. Where that fails, `again` builds the old
/// configuration once more, and that is started. When `stop` resolves nothing further is started.
///
/// Both were built before, so that a part that cannot exist disturbs nothing. They never run at the same time, for
/// they may share ports and files. Each shutdown is bounded by `patience`; what fails in it is logged. While it
/// lasts, parts that stop and start are shown as well to those who ask the service's host.
pub async fn exchange<S>(
    mut old: Service,
    mut new: Service,
    again: impl FnOnce() -> Result<Service, String>,
    patience: Duration,
    stop: impl Future<Output = S>,
) -> Exchanged<S> {
    let mut stop = pin!(stop);
    old.board.set_exchanging(true);
    let clean = end(&mut old, patience).await;
    drop(old);
    let error = match begin(&mut new, patience, stop.as_mut()).await {
        Ok(()) => return Exchanged::Done(new),
        Err(Halt::Asked(asked)) => return Exchanged::Stopped { asked, clean },
        Err(Halt::Failed(error)) => error,
    };
    drop(new);
    tracing::warn!("{error}; starting the old configuration again");
    let mut restored = match again() {
        Ok(service) => service,
        Err(old) => return Exchanged::Failed { new: error, old },
    };
    match begin(&mut restored, patience, stop).await {
        Ok(()) => Exchanged::Undone(restored, error),
        Err(Halt::Asked(asked)) => Exchanged::Stopped { asked, clean },
        Err(Halt::Failed(old)) => Exchanged::Failed { new: error, old: old.to_string() },
    }
}

/// Why a start came to nothing.
enum Halt<S> {
    Failed(ComponentError),
    Asked(S),
}

/// Starts a service, or leaves nothing of it behind.
async fn begin<S>(
    service: &mut Service,
    patience: Duration,
    stop: Pin<&mut impl Future<Output = S>>,
) -> Result<(), Halt<S>> {
    service.board.set_exchanging(true);
    let started = tokio::select! {
        biased;
        asked = stop => Err(Halt::Asked(asked)),
        started = service.start() => started.map_err(Halt::Failed),
    };
    service.board.set_exchanging(started.is_err());
    if started.is_err() {
        end(service, patience).await;
    }
    started
}

/// True where every part was shut down in order and in time.
async fn end(service: &mut Service, patience: Duration) -> bool {
    let result = service.shutdown(patience).await;
    for error in result.as_ref().err().into_iter().flatten() {
        tracing::error!("while stopping: {error}");
    }
    result.is_ok()
}
