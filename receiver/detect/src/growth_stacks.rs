//! Growth by stack without a probe: who touched the memory that is still there.
//!
//! Whoever touches a new page takes a page fault, and the kernel tells one in so many of them, with its stack. Most of that
//! memory is given back: who faults is not who leaks. So it is asked at several random later moments which of these pages
//! are still there; what is left, with each fault counted for those it stands for, is the net growth by stack.
//!
//! Pure as the rest of the crate. Read in this order: a [`Touch`] comes in and [`PageSurvival`] keeps it, says which
//! [`Page`]s to ask about and takes each [`Answer`]; [`Figures`] say what has come of a stack and its [`Pattern`] in time. Where the
//! heap can be walked, [`BlockSurvival`] says whether who touched a page first still has the block for which it did;
//! where single addresses can be watched, [`Writers`] say who wrote last to what stays.
//!
//! What this cannot tell apart: a heap that gives no page back has everybody's pages survive, and one that is reused without
//! leaving memory has no faults at all. A page that was sampled, given back, and touched again by another stack whose fault was
//! not sampled counts for the first until a look finds it gone in between. Large folios of other sizes than the huge page's
//! count as single pages.

mod page;
mod blocks;
mod figures;
mod survival;
mod writers;
#[cfg(test)]
mod tests;

pub use blocks::{BlockSurvival, Blocks, Lies};
pub use figures::{Figures, Pattern};
pub use page::{Answer, Page, PageSizes, Touch};
pub use survival::{LOOKS, PageSurvival, Sums};
pub use writers::{Says, Watched, Writers, address_in};
