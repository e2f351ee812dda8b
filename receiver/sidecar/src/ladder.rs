//! The ladder: what follows from a suspicion with no hand on it. The judge hands a case in, its process or container is looked at more
//! closely, the cheapest way first, what was seen goes back to the judge, and the look ends with the case.
//!
//! Read in this order: a `Case` comes in by the `Docket`; a `climb` takes it up, one `rung` beside the other, each a small module with
//! the same contract (`outside` and `copies`, `coldness`, `growth_stacks` with its `heap` and `writers`, `probes`); [`Knowledge`] is who is to blame, kept among the `KnownStacks` for the
//! verdict; `cooldown` remembers for whom it was climbed, and `turns` says whose turn it is where several are climbed for; the `Board`
//! shows what is being done; the `climber` is the thread. A `Ladder` outlives a configuration.

mod case;
mod docket;
mod knowledge;
mod known;
mod board;
mod cooldown;

mod rung;
mod outside;
mod heap;
mod makers;
mod writers;
mod copies;
mod coldness;
mod growth_stacks;
mod probes;

mod turns;
mod climb;
mod climber;

pub(crate) use board::Board;
pub use board::Climbing;
pub(crate) use case::Case;
pub(crate) use climber::{Climber, Ladder, Outlets, Wanted};
pub(crate) use docket::{Closed, Docket};
pub(crate) use growth_stacks::SOURCE as GROWTH_PAGES;
pub(crate) use growth_stacks::ordered as ordered_growth;
pub use knowledge::{Kind, Knowledge, Lead};
pub(crate) use known::KnownStacks;
pub(crate) use writers::WRITERS as LAST_WRITERS;
