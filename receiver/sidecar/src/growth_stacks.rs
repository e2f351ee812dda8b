//! Growth by stack, of a process or a container, in any language and with no probe in the target: sampled page faults, and which
//! of their pages are still there later (`mlh_detect::growth_stacks`).
//!
//! Read in this order: the `sampler` is the kernel's side and `opening` how it is opened, a `process` unwinds its stacks and knows its pages, the `book` holds
//! what is known of all of them; one thread (`mlh-growth`) fills it and looks at the pages, at random moments. Where it is asked for, `watching` learns who writes last to
//! what stays, and `nursery` who makes objects that stay where a collector moves them, for both of which the `watcher` is the kernel's side. [`GrowthLook`] is
//! one look from its beginning to its end; its stacks get their `names` after that.

mod sampler;
mod watcher;
mod opening;
mod process;
mod nursery;
mod watching;
mod book;
mod names;
mod look;

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

pub use look::{GrowthLook, Outcome};
pub use names::{Ended, Names};
