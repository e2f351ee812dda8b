//! The kernel's side of a look, as much of it as is used here.

use std::path::Path;
use std::time::Duration;

use mlh_bpf::alloc::heard::{AllocCounters, CallSite, Heard, HitCosts, LiveBlock, Slot, Totals};
use mlh_bpf::alloc::point::{FrameSize, Point, Wrapper};
use mlh_bpf::python::PythonLayout;

use super::investigation::OpenError;
use super::plan::{Plan, Rung};

#[cfg(all(target_os = "linux", feature = "ebpf"))]
mod kernel;

#[cfg(not(all(target_os = "linux", feature = "ebpf")))]
mod kernel {
    use super::{OpenError, Plan, Sink, Tracer};

    pub(super) fn open(_: &Plan, _: Sink) -> Result<Box<dyn Tracer>, OpenError> {
        let reason = "looking at allocations needs Linux and a build with eBPF (feature `ebpf`)";
        Err(OpenError::Host(reason.to_owned()))
    }
}

mod nothing;

#[cfg(all(target_os = "linux", feature = "ebpf"))]
pub(crate) use kernel::allow_open_files;

/// Where what the kernel tells is handed to, on a thread of its own.
pub(super) type Sink = Box<dyn FnMut(Heard) + Send>;

/// What became of probes that were to be placed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Placed {
    /// So many are in place.
    pub(super) placed: usize,
    /// Why others are not.
    pub(super) refused: Vec<(Point, String)>,
}

/// The probes of one look. Dropping it takes all of them out, and ends the sink once all that was told is handed over.
/// Errors are sentences.
pub(super) trait Tracer: Send {
    /// Takes a process under observation.
    fn admit(&mut self, pid: u32) -> Result<Slot, String>;
    /// Places probes in a file that it maps.
    fn attach(&mut self, slot: Slot, image: &Path, points: &[Point]) -> Result<Placed, String>;
    /// Places those of the USDT `otel_memory`.
    fn attach_usdt(&mut self, slot: Slot, image: &Path) -> Result<(), String>;
    /// Sets the calls out of functions that only pass on.
    fn wrappers(&mut self, slot: Slot, wrappers: &[Wrapper]) -> Result<(), String>;
    /// Does not track its smaller allocations: the probes do not see all of their frees.
    fn least(&mut self, slot: Slot, bytes: u64) -> Result<(), String>;
    /// The kernel follows the frame pointers of its stacks instead of copying them.
    fn walk(&mut self, slot: Slot, by_kernel: bool) -> Result<(), String>;
    /// Call sites are told apart by their callers, over these frames.
    fn tell_apart(&mut self, slot: Slot, frames: &[FrameSize]) -> Result<(), String>;
    /// Its stacks tell what Python was running.
    fn set_python(&mut self, slot: Slot, layout: &PythonLayout) -> Result<(), String>;
    /// From now on the probes may cost so much more, `None`: without limit. Once that is spent they see nothing and come out.
    fn allow(&mut self, cost: Option<Duration>) -> Result<(), String>;
    /// Since when, since boot, nothing is seen of anybody; `None`: what is in place sees.
    fn closed_since(&self) -> Result<Option<Duration>, String>;
    /// Nothing is seen from `now` on, and all probes are out by the end of this. What is known stays.
    fn pause(&mut self, now: Duration) -> Result<(), String>;
    /// After a pause: forgets all blocks, and lets probes come again.
    fn begin(&mut self) -> Result<(), String>;
    /// Takes its probes out; what is known of it stays.
    fn release(&mut self, slot: Slot);
    /// Removes what is known of it.
    fn forget(&mut self, slot: Slot);
    /// What each call site has done.
    fn call_sites(&self) -> Result<Vec<(CallSite, Totals)>, String>;
    /// Every block in the table.
    fn live(&self) -> Result<Vec<LiveBlock>, String>;
    /// What has been counted.
    fn counters(&self) -> Result<AllocCounters, String>;
    /// Kernel memory of all maps, bytes.
    fn kernel_bytes(&self) -> u64;
    /// What a hit costs the target.
    fn costs(&self) -> HitCosts;
}

/// Loads the programs for a look; nothing is attached yet.
pub(super) fn open(plan: &Plan, sink: Sink) -> Result<Box<dyn Tracer>, OpenError> {
    if plan.rung == Rung::GrowthStacks { Ok(nothing::open(sink)) } else { kernel::open(plan, sink) }
}
