//! Whether those who touched memory first still have the blocks for which they did: a walk over the target's heap, now and then.
//!
//! Memory that comes and goes is touched first by whoever needs the most of it at once; what is leaked comes to lie where that was, and
//! touches nothing. A walk tells the two apart, of glibc's malloc. It cannot tell who was given the memory then.

use std::time::Duration;

use mlh_detect::growth_stacks::Lies;
use mlh_targets::outside::OutsideError;
use mlh_targets::outside::census::{Census, Occupant};

use crate::growth_stacks::GrowthLook;

/// Between two walks, at least,
const SPACING: Duration = Duration::from_secs(5);
/// and so many times what one took: a hundredth of a CPU.
const SPARING: u32 = 100;

pub(super) struct Heap {
    census: Census,
    due: Duration,
}

impl Heap {
    /// Of a process; what its faults are known by is `look`. `None`: it may not be read.
    pub(super) fn of(pid: u32, look: &GrowthLook, now: Duration) -> Option<Self> {
        let census = Census::of(pid).ok()?;
        look.follow_blocks(pid);
        Some(Self { census, due: now })
    }

    /// Walks, if it is time to. False: nothing will come of it any more.
    pub(super) fn walk(&mut self, now: Duration, look: &GrowthLook) -> bool {
        if now < self.due {
            return true;
        }
        let addresses = look.block_addresses();
        match self.census.at(&addresses) {
            Ok((found, cost)) => {
                self.due = now + (cost * SPARING).max(SPACING);
                let lies = found.into_iter().map(|occupant| match occupant {
                    Occupant::Block(begins) => Lies::Block(begins),
                    Occupant::Free => Lies::Free,
                    Occupant::Elsewhere => Lies::Elsewhere,
                });
                look.walked(&addresses.into_iter().zip(lies).collect());
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
