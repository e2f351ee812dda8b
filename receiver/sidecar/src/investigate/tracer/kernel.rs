//! By the BPF programs.

use std::path::Path;
use std::time::Duration;

use mlh_bpf::alloc::heard::{AllocCounters, CallSite, HitCosts, LiveBlock, Slot, Totals};
use mlh_bpf::alloc::point::{FrameSize, Point, Wrapper};
use mlh_bpf::alloc::probes::{AllocOptions, Probes};
use mlh_bpf::python::PythonLayout;

use super::{Placed, Sink, Tracer};
use crate::investigate::investigation::OpenError;
use crate::investigate::plan::{Plan, Rung};

pub(super) fn open(plan: &Plan, sink: Sink) -> Result<Box<dyn Tracer>, OpenError> {
    allow_open_files();
    let filters = &plan.filters;
    let debug = plan.rung == Rung::Debug;
    let options = AllocOptions {
        btf_path: filters.btf_path.clone(),
        debug,
        min_allocation_size: filters.min_allocation_size,
        large_allocation_size: filters.large_allocation_size,
        sampling_rate: filters.sampling_rate,
        max_tracked_allocations: filters.max_tracked_allocations,
        emit: plan.emits(),
        max_events_per_second: filters.max_events_per_second,
    };
    let probes = Probes::load(&options, sink).map_err(|error| OpenError::Host(error.to_string()))?;
    Ok(Box::new(KernelTracer(probes)))
}

/// Many files of a target are open at once, and on older kernels each probe is one. What everybody gets by default (1,024) is
/// little, and more is there for the asking.
pub(crate) fn allow_open_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard) } else { Ok(()) }
    });
    if let Err(error) = raised {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

struct KernelTracer(Probes);

impl Tracer for KernelTracer {
    fn admit(&mut self, pid: u32) -> Result<Slot, String> {
        self.0.admit(pid).map_err(|error| error.to_string())
    }

    fn attach(&mut self, slot: Slot, image: &Path, points: &[Point]) -> Result<Placed, String> {
        let attached = self.0.attach(slot, image, points).map_err(|error| error.to_string())?;
        Ok(Placed { placed: attached.placed, refused: attached.refused })
    }

    fn attach_usdt(&mut self, slot: Slot, image: &Path) -> Result<(), String> {
        self.0.attach_usdt(slot, image).map_err(|error| error.to_string())
    }

    fn wrappers(&mut self, slot: Slot, wrappers: &[Wrapper]) -> Result<(), String> {
        self.0.wrappers(slot, wrappers).map_err(|error| error.to_string())
    }

    fn least(&mut self, slot: Slot, bytes: u64) -> Result<(), String> {
        self.0.least(slot, bytes).map_err(|error| error.to_string())
    }

    fn walk(&mut self, slot: Slot, by_kernel: bool) -> Result<(), String> {
        self.0.walk(slot, by_kernel).map_err(|error| error.to_string())
    }

    fn tell_apart(&mut self, slot: Slot, frames: &[FrameSize]) -> Result<(), String> {
        self.0.tell_apart(slot, frames).map_err(|error| error.to_string())
    }

    fn set_python(&mut self, slot: Slot, layout: &PythonLayout) -> Result<(), String> {
        self.0.set_python(slot, Some(layout)).map_err(|error| error.to_string())
    }

    fn allow(&mut self, cost: Option<Duration>) -> Result<(), String> {
        self.0.allow(cost).map_err(|error| error.to_string())
    }

    fn closed_since(&self) -> Result<Option<Duration>, String> {
        self.0.closed_since().map_err(|error| error.to_string())
    }

    fn pause(&mut self, now: Duration) -> Result<(), String> {
        self.0.pause(now).map_err(|error| error.to_string())
    }

    fn begin(&mut self) -> Result<(), String> {
        self.0.begin().map_err(|error| error.to_string())
    }

    fn release(&mut self, slot: Slot) {
        self.0.release(slot);
    }

    fn forget(&mut self, slot: Slot) {
        self.0.forget(slot);
    }

    fn call_sites(&self) -> Result<Vec<(CallSite, Totals)>, String> {
        self.0.call_sites().map_err(|error| error.to_string())
    }

    fn live(&self) -> Result<Vec<LiveBlock>, String> {
        self.0.live().map_err(|error| error.to_string())
    }

    fn counters(&self) -> Result<AllocCounters, String> {
        self.0.counters().map_err(|error| error.to_string())
    }

    fn kernel_bytes(&self) -> u64 {
        self.0.kernel_bytes()
    }

    fn costs(&self) -> HitCosts {
        self.0.costs()
    }
}
