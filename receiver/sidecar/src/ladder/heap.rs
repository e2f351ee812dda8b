//! Whether blocks are still there that somebody was given, or for which he touched memory first: a walk over the target's heap, now and
//! then.
//!
//! Memory that comes and goes is touched first by whoever needs the most of it at once; what is leaked comes to lie where that was, and
//! touches nothing. A walk tells the two apart, of glibc's malloc; of Go's heap it tells what collections have left. It cannot tell who was
//! given the memory then: probes can, in bursts, and a walk tells what is left of a burst later.

use std::collections::HashMap;
use std::time::Duration;

use mlh_detect::growth_stacks::Lies;
use mlh_stacks::modules::Modules;
use mlh_targets::outside::census::{Census, Occupant};
use mlh_targets::outside::{GoObjects, OutsideError};

/// Between two walks, at least,
const SPACING: Duration = Duration::from_secs(5);
/// and so many times what one took: a hundredth of a CPU.
const SPARING: u32 = 100;
/// Walks in a row that find nothing they know.
const FOREIGN: u32 = 3;

pub(super) struct Heap {
    walker: Walker,
    due: Duration,
    /// So many walks, the newest ones, found nothing that they know.
    unknown: u32,
}

/// Whose heap it is.
enum Walker {
    Glibc(Census),
    Go(GoObjects),
}

impl Walker {
    /// What lies at these addresses, as far as it is known by now, and what it took.
    fn at(&mut self, addresses: Vec<u64>) -> Result<(HashMap<u64, Occupant>, Duration), OutsideError> {
        match self {
            Self::Glibc(census) => {
                census.at(&addresses).map(|(found, cost)| (addresses.into_iter().zip(found).collect(), cost))
            }
            Self::Go(objects) => objects.at(&addresses),
        }
    }
}

impl Heap {
    /// Of a process. `None`: it may not be read.
    pub(super) fn of(pid: u32, now: Duration) -> Option<Self> {
        let go = Modules::read(pid).ok().and_then(|modules| GoObjects::of(pid, &modules));
        let walker = match go {
            Some(objects) => Walker::Go(objects),
            None => Walker::Glibc(Census::of(pid).ok()?),
        };
        Some(Self { walker, due: now, unknown: 0 })
    }

    /// Its collector is known, and what it has left is told.
    pub(super) fn is_collected(&self) -> bool {
        matches!(self.walker, Walker::Go(_))
    }

    /// It tells whose blocks lie in it, or will once it is walked again.
    pub(super) fn tells(&self) -> bool {
        !self.is_foreign()
    }

    /// So often nothing was known there that no C library of ours has it: a walk that meets what is being changed fails once.
    pub(super) fn is_foreign(&self) -> bool {
        self.unknown >= FOREIGN
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
        let walked = self.walker.at(addresses);
        let is_unknown = matches!(walked, Err(OutsideError::Unknown(_)));
        self.unknown = if is_unknown { self.unknown.saturating_add(1) } else { 0 };
        match walked {
            Ok((found, cost)) => {
                self.due = now + (cost * SPARING).max(SPACING);
                let lies = |occupant| match occupant {
                    Occupant::Block(begins) => Lies::Block(begins),
                    Occupant::Free => Lies::Free,
                    Occupant::Elsewhere => Lies::Elsewhere,
                };
                take(&found.into_iter().map(|(address, occupant)| (address, lies(occupant))).collect());
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
