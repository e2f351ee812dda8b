//! What an address space holds and who is to blame for it, from the events and tables of a close look at one target.
//!
//! Pure as the rest of the crate. Call sites are opaque keys. Read in this order: a [`Block`] is what was allocated and is
//! not freed; [`SiteTotals`] say what a call site has done and an [`Estimate`] what that stands for; a [`Tally`] follows them
//! over time. [`Mappings`] is the ledger of an address space, fed with each [`MapChange`]. [`Unfreed`] says which stacks to
//! tell of now, [`Cohorts`] what becomes of blocks with their age, [`Remains`] which of them are
//! still there when nobody watches, [`Governor`] when the probes may be in place for what they cost.

mod block;
mod totals;
mod tally;
mod change;
mod regions;
mod debts;
mod sums;
mod book;
mod mappings;
mod unfreed;
mod survival;
mod cohorts;
mod remains;
mod spent;
mod governor;

pub use block::{AGE_LIMITS, Ages, Block, ages};
pub use change::MapChange;
pub use cohorts::Cohorts;
pub use governor::{Governor, Turn};
pub use mappings::{MappedSite, Mappings};
pub use remains::Remains;
pub use spent::{HitCosts, Spent};
pub use sums::{MapCounts, MappedSums};
pub use survival::{Pattern, Survival};
pub use tally::{Evidence, Tally};
pub use totals::{Counts, Estimate, SiteTotals};
pub use unfreed::{Overdue, Unfreed};
