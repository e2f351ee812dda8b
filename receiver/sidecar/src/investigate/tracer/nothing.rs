//! No probes at all: for a look that needs none.

use std::path::Path;
use std::time::Duration;

use mlh_bpf::alloc::heard::{AllocCounters, CallSite, HitCosts, LiveBlock, Slot, Totals};
use mlh_bpf::alloc::point::{FrameSize, Point, Wrapper};
use mlh_bpf::python::PythonLayout;

use super::{Placed, Sink, Tracer};

/// Whom it was asked to look at.
struct Nothing {
    slots: u32,
    /// Lets its listeners wait until the look is over.
    _sink: Sink,
}

pub(super) fn open(sink: Sink) -> Box<dyn Tracer> {
    Box::new(Nothing { slots: 0, _sink: sink })
}

impl Tracer for Nothing {
    fn admit(&mut self, _pid: u32) -> Result<Slot, String> {
        self.slots = self.slots.wrapping_add(1);
        Ok(Slot(self.slots))
    }

    fn attach(&mut self, _slot: Slot, _image: &Path, _points: &[Point]) -> Result<Placed, String> {
        Ok(Placed::default())
    }

    fn attach_usdt(&mut self, _slot: Slot, _image: &Path) -> Result<(), String> {
        Ok(())
    }

    fn wrappers(&mut self, _slot: Slot, _wrappers: &[Wrapper]) -> Result<(), String> {
        Ok(())
    }

    fn least(&mut self, _slot: Slot, _bytes: u64) -> Result<(), String> {
        Ok(())
    }

    fn walk(&mut self, _slot: Slot, _by_kernel: bool) -> Result<(), String> {
        Ok(())
    }

    fn tell_apart(&mut self, _slot: Slot, _frames: &[FrameSize]) -> Result<(), String> {
        Ok(())
    }

    fn set_python(&mut self, _slot: Slot, _layout: &PythonLayout) -> Result<(), String> {
        Ok(())
    }

    fn allow(&mut self, _cost: Option<Duration>) -> Result<(), String> {
        Ok(())
    }

    fn closed_since(&self) -> Result<Option<Duration>, String> {
        Ok(None)
    }

    fn pause(&mut self, _now: Duration) -> Result<(), String> {
        Ok(())
    }

    fn begin(&mut self) -> Result<(), String> {
        Ok(())
    }

    fn release(&mut self, _slot: Slot) {}

    fn forget(&mut self, _slot: Slot) {}

    fn call_sites(&self) -> Result<Vec<(CallSite, Totals)>, String> {
        Ok(Vec::new())
    }

    fn live(&self) -> Result<Vec<LiveBlock>, String> {
        Ok(Vec::new())
    }

    fn counters(&self) -> Result<AllocCounters, String> {
        Ok(AllocCounters::default())
    }

    fn kernel_bytes(&self) -> u64 {
        0
    }

    fn costs(&self) -> HitCosts {
        HitCosts { emulated: 0, stepped: 0, returned: 0 }
    }
}
