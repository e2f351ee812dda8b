//! Where the running sidecar takes orders: the control socket hands them in, the thread `mlh-target` carries them out.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::bell::Bell;
use super::plan::{Mode, Origin, Rung, Target};
use super::report::Report;
use crate::ladder::Climbing;

/// Placing probes takes a second or so; a large executable several.
const PATIENCE: Duration = Duration::from_secs(120);
/// For an answer that needs no probe placed.
const GLANCE: Duration = Duration::from_secs(10);

/// What somebody asks for; what is absent is as the configuration says.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// Whom to look at.
    pub target: Target,
    /// How closely.
    pub rung: Option<Rung>,
    /// For how long.
    pub duration: Option<Duration>,
    /// Bytes.
    pub min_allocation_size: Option<u64>,
    /// Who asks.
    pub origin: Origin,
}

/// Why an order is not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// No receiver runs that could.
    #[error("no memory_leak_hunter receiver is running that could look at a target")]
    NobodyHome,
    /// There is no such target, or it cannot be looked at: the reason, and what to do.
    #[error("{0}")]
    Target(String),
    /// There is nothing to release.
    #[error("no target is being looked at")]
    NoTarget,
}

/// What the sidecar is doing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Status {
    /// The mode.
    pub mode: Mode,
    /// The target, in words.
    pub target: Option<String>,
    /// Who asked, in words.
    pub asked_by: Option<String>,
    /// Until it goes back by itself.
    pub remaining: Option<Duration>,
    /// What is known of the target by now; stacks: the ten that hold the most.
    pub report: Option<Report>,
    /// What follows from suspicions meanwhile.
    pub climbs: Vec<Climbing>,
}

/// The desk. One for the process, whatever its configuration.
#[derive(Debug, Default)]
pub struct Desk {
    seat: Mutex<Option<Arc<Seat>>>,
    /// What was said last, for when whoever sits there is busy.
    last: Mutex<Status>,
    closing: AtomicBool,
}

impl Desk {
    /// Looks at a target from now on, in place of the one before. Waits until the probes are in place.
    ///
    /// # Errors
    /// See [`OrderError`]; then the look of before goes on.
    pub fn start(&self, order: Order) -> Result<Status, OrderError> {
        self.ask(PATIENCE, |answer| Request::Start(Box::new(order), answer))?
    }

    /// Back to growth detection.
    ///
    /// # Errors
    /// Nobody runs, or there is no target.
    pub fn release(&self, origin: Origin) -> Result<Status, OrderError> {
        self.ask(PATIENCE, |answer| Request::Release(origin, answer))?
    }

    /// What is being done now.
    #[must_use]
    pub fn status(&self) -> Status {
        match self.ask(GLANCE, Request::Status) {
            Ok(status) => {
                lock(&self.last).clone_from(&status);
                status
            }
            // nobody sits there, so nothing is done
            Err(OrderError::NobodyHome) => Status::default(),
            Err(_) => lock(&self.last).clone(),
        }
    }

    /// The sidecar ends: whoever gets up now is followed by nobody, and has to leave everything in order.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// Sits down, where nobody does.
    pub(crate) fn attend(&self, seat: &Arc<Seat>) -> bool {
        let mut taken = lock(&self.seat);
        let free = taken.is_none();
        if free {
            *taken = Some(Arc::clone(seat));
        }
        free
    }

    #[cfg(all(test, target_os = "linux"))]
    pub(crate) fn is_attended(&self) -> bool {
        lock(&self.seat).is_some()
    }

    /// Gets up when this goes, also where that is by a panic.
    pub(crate) fn leaving<'a>(&'a self, seat: &'a Arc<Seat>) -> Leaving<'a> {
        Leaving { desk: self, seat }
    }

    /// Gets up. What has been asked and not been answered never is.
    pub(crate) fn leave(&self, seat: &Arc<Seat>) {
        let mut taken = lock(&self.seat);
        if taken.as_ref().is_some_and(|sitting| Arc::ptr_eq(sitting, seat)) {
            *taken = None;
        }
        drop(taken);
        lock(&seat.requests).clear();
    }

    fn ask<T>(
        &self,
        patience: Duration,
        request: impl FnOnce(SyncSender<T>) -> Request,
    ) -> Result<T, OrderError> {
        let seat = lock(&self.seat).clone().ok_or(OrderError::NobodyHome)?;
        let (answer, answered) = sync_channel(1);
        seat.hand_in(request(answer));
        drop(seat);
        answered.recv_timeout(patience).map_err(|error| match error {
            std::sync::mpsc::RecvTimeoutError::Timeout => {
                let seconds = patience.as_secs();
                OrderError::Target(format!("the sidecar is busy: it has not answered within {seconds} s"))
            }
            std::sync::mpsc::RecvTimeoutError::Disconnected => OrderError::NobodyHome,
        })
    }
}

/// See [`Desk::leaving`].
pub(crate) struct Leaving<'a> {
    desk: &'a Desk,
    seat: &'a Arc<Seat>,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.desk.leave(self.seat);
    }
}

/// What is asked, each with where to answer. Whoever asked may have gone.
#[derive(Debug)]
pub(crate) enum Request {
    Start(Box<Order>, SyncSender<Result<Status, OrderError>>),
    Release(Origin, SyncSender<Result<Status, OrderError>>),
    Status(SyncSender<Status>),
    /// Get up.
    Stop,
}

/// Where the one who carries orders out waits for them, and for whatever else rings the bell.
#[derive(Debug, Default)]
pub(crate) struct Seat {
    requests: Mutex<VecDeque<Request>>,
    bell: Arc<Bell>,
}

impl Seat {
    pub(crate) fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }

    pub(crate) fn hand_in(&self, request: Request) {
        lock(&self.requests).push_back(request);
        self.bell.ring();
    }

    pub(crate) fn next(&self) -> Option<Request> {
        lock(&self.requests).pop_front()
    }

    /// Waits until something is asked, or the bell is rung; `timeout` at most, `None`: for however long it takes.
    /// True: it did not come to that.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> bool {
        self.bell.wait(timeout)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn order() -> Order {
        let (target, origin) = (Target::Pid(7), Origin::Command);
        Order { target, rung: None, duration: None, min_allocation_size: None, origin }
    }

    /// Guarantees: where nobody sits nothing is ordered, nothing hangs, and nothing is being done.
    #[test]
    fn nobody_is_home() {
        let desk = Desk::default();
        assert_eq!(desk.start(order()), Err(OrderError::NobodyHome));
        assert_eq!(desk.release(Origin::Command), Err(OrderError::NobodyHome));
        assert_eq!(desk.status(), Status::default());
    }

    /// Guarantees: one sits there at a time; an order comes to whoever does, the answer to whoever gave it; who gets up
    /// leaves nobody waiting.
    #[test]
    fn orders_are_carried_out() {
        let (desk, seat) = (Arc::new(Desk::default()), Arc::new(Seat::default()));
        assert!(desk.attend(&seat));
        assert!(!desk.attend(&Arc::default()));
        let asking = Arc::clone(&desk);
        let asked = thread::spawn(move || (asking.start(order()), asking.release(Origin::Command)));
        seat.wait(None);
        let Some(Request::Start(taken, answer)) = seat.next() else { panic!("no order") };
        assert_eq!(*taken, order());
        answer.send(Err(OrderError::Target("no".to_owned()))).unwrap();
        while lock(&seat.requests).is_empty() {
            seat.wait(None);
        }
        desk.leave(&seat);
        let (started, released) = asked.join().unwrap();
        assert_eq!(started, Err(OrderError::Target("no".to_owned())));
        assert_eq!(released, Err(OrderError::NobodyHome));
        assert!(desk.attend(&Arc::default()));
    }
}
