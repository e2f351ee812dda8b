//! Operations that are to be told, until the stacks that did them have names.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlh_bpf::alloc::heard::Slot;
use mlh_stacks::trace::Trace;

use super::space::Place;
use super::told::{Operation, Told};

/// Records between two steps, beside what `max_events_per_second` lets through.
const MAX: usize = 1 << 14;
/// For so long an operation waits for the names of its stack, and with it those that came later.
const PATIENCE: Duration = Duration::from_secs(5);

/// See the module. In the order in which they happened.
#[derive(Default)]
pub(super) struct Pending(VecDeque<Waiting>);

struct Waiting {
    slot: Slot,
    place: Place,
    since: Instant,
    /// Its address space is gone, and all that is known of its stack is in it.
    settled: bool,
    operation: Box<Operation>,
}

/// What is known of the stack at a place.
pub(super) enum Known {
    /// There is a stack, and no names for it yet.
    Waits,
    /// Its names; `None` where no stack has come.
    Trace(Option<Arc<Trace>>),
}

impl Pending {
    /// Adds one. False: there is no room.
    pub(super) fn push(&mut self, slot: Slot, place: Place, operation: Operation) -> bool {
        if self.0.len() >= MAX {
            return false;
        }
        let operation = Box::new(operation);
        self.0.push_back(Waiting { slot, place, since: Instant::now(), settled: false, operation });
        true
    }

    /// Those that can be told by now, in their order.
    pub(super) fn take(&mut self, known: impl Fn(Slot, Place) -> Known) -> Vec<Told> {
        let mut told = Vec::new();
        while let Some(front) = self.0.front_mut() {
            if !front.settle(&known) && front.since.elapsed() < PATIENCE {
                break;
            }
            told.extend(self.0.pop_front().map(|waiting| Told::Operation(waiting.operation)));
        }
        told
    }

    /// An address space comes to its end: nothing more will be known of its stacks.
    pub(super) fn end(&mut self, slot: Slot, known: impl Fn(Slot, Place) -> Known) {
        for waiting in self.0.iter_mut().filter(|waiting| waiting.slot == slot) {
            waiting.settle(&known);
            waiting.settled = true;
        }
    }
}

impl Waiting {
    /// Fills in what is known of its stack. False: it still waits.
    fn settle(&mut self, known: &impl Fn(Slot, Place) -> Known) -> bool {
        if self.settled {
            return true;
        }
        let Known::Trace(trace) = known(self.slot, self.place) else { return false };
        if let Some(ip) = trace.as_ref().and_then(|trace| trace.caller_ip()) {
            self.operation.caller_ip = ip;
        }
        self.operation.trace = trace;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Subject;

    const SLOT: Slot = Slot(7);

    fn pending(addresses: &[u64]) -> Pending {
        let mut pending = Pending::default();
        for &address in addresses {
            let operation = Operation {
                at: Duration::ZERO,
                subject: Arc::new(Subject::default()),
                name: "malloc",
                freed: false,
                address,
                size: 1,
                weight: 1,
                caller_ip: 0,
                trace: None,
                rss_pages: 0,
                rss_growth: 0,
            };
            assert!(pending.push(SLOT, (address, 0), operation));
        }
        pending
    }

    fn named(ip: u64) -> Known {
        let frames = vec![mlh_stacks::trace::Frame { address: ip, ..Default::default() }];
        Known::Trace(Some(Arc::new(Trace { frames, culprit: Some(0), ..Trace::default() })))
    }

    fn callers(told: &[Told]) -> Vec<u64> {
        let caller = |told: &Told| if let Told::Operation(it) = told { Some(it.caller_ip) } else { None };
        told.iter().filter_map(caller).collect()
    }

    /// Guarantees: nothing is told before what stands in front of it, and each with the names of its stack.
    #[test]
    fn waits_in_order() {
        let mut pending = pending(&[1, 2, 3]);
        let told = pending.take(|_, (ip, _)| if ip == 2 { Known::Waits } else { named(ip) });
        assert_eq!(callers(&told), [1]);
        assert_eq!(callers(&pending.take(|_, (ip, _)| named(ip))), [2, 3]);
        assert!(pending.take(|_, _| Known::Waits).is_empty());
    }

    /// Guarantees: who waits too long is told without names.
    #[test]
    fn does_not_wait_for_ever() {
        let mut pending = pending(&[1]);
        pending.0[0].since = Instant::now().checked_sub(PATIENCE).unwrap();
        assert_eq!(callers(&pending.take(|_, _| Known::Waits)), [0]);
    }

    /// Guarantees: what was known at the end of an address space is kept, and what was not is waited for no longer.
    #[test]
    fn ends() {
        let mut pending = pending(&[1, 2]);
        pending.end(SLOT, |_, (ip, _)| if ip == 2 { Known::Waits } else { named(ip) });
        assert_eq!(callers(&pending.take(|_, _| Known::Waits)), [1, 0]);
    }

    /// Guarantees: what does not fit is refused.
    #[test]
    fn is_bounded() {
        let mut pending = pending(&vec![1; MAX]);
        let Some(Told::Operation(one)) = pending.take(|_, _| named(1)).pop() else { panic!("nothing told") };
        for _ in 0..MAX {
            assert!(pending.push(SLOT, (1, 0), one.as_ref().clone()));
        }
        assert!(!pending.push(SLOT, (1, 0), *one));
    }
}
