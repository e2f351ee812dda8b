//! The states of all parts, and the news that one of them is fatal.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::component::{ComponentId, Host, Status};

/// A component id can have several instances: a processor has one a pipeline. They are told apart by number.
type Instance = (ComponentId, usize);

/// What the newest fatal error was.
type Fatal = Option<(ComponentId, String)>;

/// The states of all parts.
pub(super) struct Board {
    states: Mutex<BTreeMap<Instance, (Status, Option<String>)>>,
    fatal: watch::Sender<Fatal>,
    exchanging: AtomicBool,
}

impl Board {
    pub(super) fn new() -> Arc<Self> {
        let fatal = watch::Sender::new(None);
        Arc::new(Self { states: Mutex::default(), fatal, exchanging: AtomicBool::new(false) })
    }

    /// While one service takes another's place, a part that starts or stops is no fault: whoever asks is told that
    /// it is well, or a probe would have the program restarted for being reconfigured.
    pub(super) fn set_exchanging(&self, exchanging: bool) {
        self.exchanging.store(exchanging, Ordering::Relaxed);
    }

    pub(super) fn fatal(&self) -> watch::Receiver<Fatal> {
        self.fatal.subscribe()
    }

    fn states(&self) -> MutexGuard<'_, BTreeMap<Instance, (Status, Option<String>)>> {
        // A state is replaced as a whole, so a panic elsewhere cannot have left half of one.
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, instance: &Instance, status: Status, reason: Option<String>) {
        let id = &instance.0;
        let before = {
            let mut states = self.states();
            let before = states.get(instance).map(|(status, _)| *status);
            if before.is_some_and(|before| !follows(before, status)) {
                return;
            }
            states.insert(instance.clone(), (status, reason.clone()));
            before
        };
        if before == Some(status) {
            return;
        }
        let reason = reason.unwrap_or_default();
        match status {
            Status::FatalError => {
                tracing::error!(component = %id, reason, "component failed; the service cannot go on");
                // The first one is the cause; what follows may be its consequence.
                self.fatal.send_if_modified(|fatal| {
                    let first = fatal.is_none();
                    fatal.get_or_insert_with(|| (id.clone(), reason));
                    first
                });
            }
            Status::PermanentError => tracing::error!(component = %id, reason, "component failed"),
            Status::RecoverableError => tracing::warn!(component = %id, reason, "component has trouble"),
            Status::Ok if before == Some(Status::RecoverableError) => {
                tracing::info!(component = %id, "component has recovered");
            }
            Status::Starting | Status::Ok | Status::Stopping | Status::Stopped => {
                tracing::debug!(component = %id, ?status, reason, "component changed");
            }
        }
    }
}

/// Whether a part may go from one state to the other. Late reports of tasks that are being stopped would else
/// make a stopping or failed part look well.
fn follows(before: Status, after: Status) -> bool {
    match before {
        Status::Starting | Status::Ok | Status::RecoverableError => true,
        Status::PermanentError | Status::FatalError | Status::Stopping => {
            !matches!(after, Status::Starting | Status::Ok | Status::RecoverableError)
        }
        Status::Stopped => matches!(after, Status::Stopped),
    }
}

/// Which of several instances speaks for the component: the one that is worst off.
fn gravity(status: Status) -> u8 {
    match status {
        Status::FatalError => 6,
        Status::PermanentError => 5,
        Status::RecoverableError => 4,
        Status::Starting => 3,
        Status::Stopping => 2,
        Status::Ok => 1,
        Status::Stopped => 0,
    }
}

/// The service's own view; a report made here is of no instance in particular.
impl Host for Board {
    fn report(&self, component: &ComponentId, status: Status, reason: Option<String>) {
        self.set(&(component.clone(), 0), status, reason);
    }

    fn statuses(&self) -> Vec<(ComponentId, Status, Option<String>)> {
        let exchanging = self.exchanging.load(Ordering::Relaxed);
        let mut list: Vec<(ComponentId, Status, Option<String>)> = Vec::new();
        for ((id, _), (status, reason)) in self.states().iter() {
            let status = match status {
                Status::Starting | Status::Stopping | Status::Stopped if exchanging => Status::Ok,
                status => *status,
            };
            match list.last_mut() {
                Some(last) if last.0 == *id => {
                    if gravity(status) > gravity(last.1) {
                        (last.1, last.2) = (status, reason.clone());
                    }
                }
                _ => list.push((id.clone(), status, reason.clone())),
            }
        }
        list
    }
}

/// The place of one instance on the board.
#[derive(Clone)]
pub(super) struct Seat {
    board: Arc<Board>,
    instance: Instance,
}

impl Seat {
    /// `number` is not 0 and not another instance's.
    pub(super) fn new(board: &Arc<Board>, id: &ComponentId, number: usize) -> Self {
        Self { board: Arc::clone(board), instance: (id.clone(), number) }
    }

    pub(super) fn id(&self) -> &ComponentId {
        &self.instance.0
    }

    pub(super) fn set(&self, status: Status, reason: Option<String>) {
        self.board.set(&self.instance, status, reason);
    }

    /// Well, unless the part has said otherwise while it started.
    pub(super) fn started(&self) {
        let silent =
            self.board.states().get(&self.instance).is_some_and(|(status, _)| *status == Status::Starting);
        if silent {
            self.set(Status::Ok, None);
        }
    }
}

impl Host for Seat {
    fn report(&self, component: &ComponentId, status: Status, reason: Option<String>) {
        self.board.set(&(component.clone(), self.instance.1), status, reason);
    }

    fn statuses(&self) -> Vec<(ComponentId, Status, Option<String>)> {
        self.board.statuses()
    }
}
