//! Whether blocks are still there that somebody was given, or for which he touched memory first: a walk over the target's heap, now and
//! then.
//!
//! Memory that comes and goes is touched first by whoever needs the most of it at once; what is leaked comes to lie where that was, and
//! touches nothing. A walk tells the two apart, of glibc's malloc. It cannot tell who was given the memory then: probes can, in bursts, and
//! a walk tells what is left of a burst later.

use std::collections::HashMap;
use std::time::Duration;

use mlh_detect::growth_stacks::Lies;
use mlh_targets::outside::OutsideError;
use mlh_targets::outside::census::{Census, Occupant};

/// Between two walks, at least,
const SPACING: Duration = Duration::from_secs(5);
/// and so many times what one took: a hundredth of a CPU.
const SPARING: u32 = 100;

pub(super) struct Heap {
    census: Census,
    due: Duration,
    /// The newest walk found nothing that it knows.
    unknown: bool,
}

impl Heap {
    /// Of a process. `None`: it may not be read.
    pub(super) fn of(pid: u32, now: Duration) -> Option<Self> {
        let census = Census::of(pid).ok()?;
        Some(Self { census, due: now, unknown: false })
    }

    /// It tells whose blocks lie in it, or will once it is walked.
    pub(super) fn tells(&self) -> bool {
        !self.unknown
    }

    /// It is time to walk.
    pub(super) fn is_due(&self, now: Duration) -> bool {
        now >= self.due
    }

    /// Walks, and hands what lies at these addresses, which are in order, to `take`. False: nothing will come of it any more.
    pub(super) fn walk(
        &mut self,
        now: Duration,
        addresses: Vec<u64>,
        take: impl FnOnce(&HashMap<u64, Lies>),
    ) -> bool {
        let walked = self.census.at(&addresses);
        self.unknown = matches!(walked, Err(OutsideError::Unknown(_)));
        match walked {
            Ok((found, cost)) => {
                self.due = now + (cost * SPARING).max(SPACING);
                let lies = found.into_iter().map(|occupant| match occupant {
                    Occupant::Block(begins) => Lies::Block(begins),
                    Occupant::Free => Lies::Free,
                    Occupant::Elsewhere => Lies::Elsewhere,
                });
                take(&addresses.into_iter().zip(lies).collect());
                true
            }
            // it may pass
            Err(OutsideError::Unknown(_)) => {
                self.due = now + SPACING;
                true
            }
            Err(OutsideError::Gone | OutsideError::Refused(_)) => false,
        }
    }
}
