//! Which leak is it? What several verdicts say of one leak is put together: over the processes and containers that have it
//! now, over their restarts, and by an id that is the same on every host.
//!
//! Read in this order: `identity` says what makes two leaks the same, `leak` what is kept of one, `registry` how verdicts
//! become leaks and leaks become old.

mod identity;
mod leak;
mod recent;
mod registry;
#[cfg(test)]
mod tests;

pub use identity::{LeakId, Place, Program};
pub use leak::{End, Leak, Member, Recognised, Sighting};
pub use recent::Recent;
pub use registry::{Bounds, Registry};
