//! The threads between the kernel and the ledger: one takes in what is told, one gives stacks their names. Naming a large file
//! takes seconds; nothing waits for it but the end of a look.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::bell::Bell;
use super::inbox::Inbox;
use super::ledger::Ledger;
use super::plan::{End, Plan};
use super::tracer::Sink;

/// At the end of a look its last stacks get so long to be named.
const LAST_NAMES: Duration = Duration::from_secs(30);
/// Where the sidecar itself is to end, somebody waits for that.
const LAST_NAMES_OF_ALL: Duration = Duration::from_secs(2);

/// The ledger and the threads that fill it.
pub(super) struct Listening {
    shared: Arc<Shared>,
    inbox: Arc<Inbox>,
    hears: Option<thread::JoinHandle<()>>,
    names: Option<thread::JoinHandle<()>>,
}

struct Shared {
    ledger: Mutex<Ledger>,
    /// There is something to name, or nothing is left; or it is over.
    changed: Condvar,
}

/// Closes the inbox when the last who might put something in is gone.
struct Slit(Arc<Inbox>);

impl Drop for Slit {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Listening {
    /// Starts the threads. The one that hears what is put into the sink ends when that is gone and all is heard.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn start(plan: &Plan, bell: Arc<Bell>) -> std::io::Result<(Self, Sink)> {
        let shared = Arc::new(Shared { ledger: Mutex::new(Ledger::new(plan)), changed: Condvar::new() });
        let inbox = Arc::<Inbox>::default();
        let names = {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name("mlh-names".to_owned()).spawn(move || name(&shared))?
        };
        let mut new = Self { shared, inbox, hears: None, names: Some(names) };
        let (shared, emptied) = (Arc::clone(&new.shared), Arc::clone(&new.inbox));
        let work = move || listen(&emptied, &shared, &bell);
        new.hears = Some(thread::Builder::new().name("mlh-heard".to_owned()).spawn(work)?);
        let slit = Slit(Arc::clone(&new.inbox));
        Ok((new, Box::new(move |heard| slit.0.put(heard))))
    }

    /// How full the inbox was at its fullest since this was asked last, 0..=1.
    pub(super) fn fullest(&self) -> f64 {
        self.inbox.fullest()
    }

    /// For one who only looks. After what may have added something to be named, see [`wake`](Self::wake).
    pub(super) fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.shared.lock()
    }

    /// There may be something to name.
    pub(super) fn wake(&self) {
        self.shared.changed.notify_all();
    }

    /// Waits until all stacks that have come have their names, `patience` at most.
    pub(super) fn settle_names(&self, patience: Duration) {
        let until = Instant::now() + patience;
        let mut ledger = self.lock();
        self.wake();
        while ledger.is_naming() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            ledger = self.shared.changed.wait_timeout(ledger, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until all that was put in is heard.
    #[cfg(all(test, target_os = "linux"))]
    pub(super) fn settle(&self) {
        self.inbox.settle();
        self.settle_names(LAST_NAMES);
    }

    /// Waits until all is heard. The sink must be gone by now.
    pub(super) fn finish(&mut self) {
        joined(self.hears.take(), "listens to the probes");
    }

    /// Waits until what has been heard is named, as far as there is time for it.
    pub(super) fn finish_names(&self, end: &End) {
        self.settle_names(if *end == End::Shutdown { LAST_NAMES_OF_ALL } else { LAST_NAMES });
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.lock().stop_naming();
        self.wake();
        // one that is reading a large file just now may take a while: nobody waits for it
        drop(self.names.take());
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn joined(thread: Option<thread::JoinHandle<()>>, does: &str) {
    if thread.is_some_and(|thread| thread.join().is_err()) {
        tracing::error!("the thread that {does} had panicked");
    }
}

fn listen(inbox: &Inbox, shared: &Shared, bell: &Bell) {
    // a panic here must not leave the ring's thread waiting for ever
    let deserted = Deserted(inbox);
    while let Some(records) = deserted.0.take() {
        for heard in records {
            if shared.lock().hear(&heard) {
                bell.ring();
            }
        }
        shared.changed.notify_all();
    }
}

fn name(shared: &Shared) {
    // nor one here those who wait for names
    let over = Over(shared);
    let mut ledger = over.0.lock();
    while !ledger.has_stopped_naming() {
        let Some((job, stack)) = ledger.next_to_name() else {
            over.0.changed.notify_all();
            ledger = over.0.changed.wait(ledger).unwrap_or_else(PoisonError::into_inner);
            continue;
        };
        drop(ledger);
        let trace = stack.trace();
        ledger = over.0.lock();
        ledger.named(&job, trace);
    }
}

struct Deserted<'a>(&'a Inbox);

impl Drop for Deserted<'_> {
    fn drop(&mut self) {
        self.0.desert();
    }
}

struct Over<'a>(&'a Shared);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.lock().stop_naming();
        self.0.changed.notify_all();
    }
}
