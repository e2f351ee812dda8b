//! For tests: a kernel's side that does as it is told, and processes to look at.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mlh_bpf::alloc::heard::{AllocCounters, CallSite, Heard, HitCosts, LiveBlock, Slot, Sums, Totals};
use mlh_bpf::alloc::point::{FrameSize, Operation, Point, Wrapper};
use mlh_bpf::python::PythonLayout;

use super::bell::Bell;
use super::investigation::{Investigation, OpenError};
use super::plan::{Filters, Origin, Plan, Rung, Target};
use super::tracer::{Placed, Sink, Tracer};
use crate::hunt::scope::Scope;

/// Where the fake's blocks are allocated.
pub(crate) const SITE: u64 = 0x1000;

/// What the kernel's side has done, and what it is to say.
#[derive(Default)]
pub(crate) struct Fake {
    pub(crate) sink: Option<Sink>,
    pub(crate) admitted: Vec<u32>,
    pub(crate) attached: Vec<Point>,
    pub(crate) walks: Vec<(Slot, bool)>,
    pub(crate) pythons: Vec<Slot>,
    pub(crate) apart: Vec<(Slot, Vec<FrameSize>)>,
    pub(crate) released: Vec<Slot>,
    pub(crate) forgotten: Vec<Slot>,
    pub(crate) call_sites: Vec<(CallSite, Totals)>,
    pub(crate) live: Vec<LiveBlock>,
    pub(crate) counters: AllocCounters,
    pub(crate) refuses: Option<&'static str>,
    pub(crate) allowed: Option<Duration>,
    /// Since when nothing is seen.
    pub(crate) closed: Option<Duration>,
    /// Bursts that have begun after a pause.
    pub(crate) begun: usize,
}

#[derive(Clone, Default)]
pub(crate) struct Kernel(Arc<Mutex<Fake>>);

impl Kernel {
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut Fake) -> R) -> R {
        act(&mut self.0.lock().unwrap())
    }

    /// Says something, and waits until it has been heard.
    pub(crate) fn says(&self, look: &Investigation, heard: Heard) {
        self.with(|fake| fake.sink.as_mut().unwrap()(heard));
        look.listened();
    }

    /// `count` blocks of `size` bytes that are there since `born`.
    pub(crate) fn holds(&self, slot: Slot, count: u64, size: u64, born: Duration) {
        let call_site = CallSite { slot, ip: SITE, depth: 64 };
        let allocated_bytes = count * size;
        let exact = Sums { allocated: count, allocated_bytes, ..Sums::default() };
        let block = |n| LiveBlock {
            call_site,
            address: 0x7000_0000 + n * size,
            size,
            weight: 1,
            born,
            operation: Operation::Malloc,
        };
        self.with(|fake| {
            fake.call_sites = vec![(call_site, Totals { exact, ..Totals::default() })];
            fake.live = (0..count).map(block).collect();
            fake.counters.tracked = count;
        });
    }
}

impl Tracer for Kernel {
    fn admit(&mut self, pid: u32) -> Result<Slot, String> {
        self.with(|fake| {
            fake.admitted.push(pid);
            Ok(Slot(u32::try_from(fake.admitted.len()).unwrap() << 8))
        })
    }

    fn attach(&mut self, _: Slot, _: &Path, points: &[Point]) -> Result<Placed, String> {
        self.with(|fake| match fake.refuses {
            Some(reason) => Err(reason.to_owned()),
            None => {
                fake.attached.extend_from_slice(points);
                Ok(Placed { placed: points.len(), refused: Vec::new() })
            }
        })
    }

    fn attach_usdt(&mut self, _: Slot, _: &Path) -> Result<(), String> {
        Ok(())
    }

    fn wrappers(&mut self, _: Slot, _: &[Wrapper]) -> Result<(), String> {
        Ok(())
    }

    fn least(&mut self, _: Slot, _: u64) -> Result<(), String> {
        Ok(())
    }

    fn walk(&mut self, slot: Slot, by_kernel: bool) -> Result<(), String> {
        self.with(|fake| fake.walks.push((slot, by_kernel)));
        Ok(())
    }

    fn tell_apart(&mut self, slot: Slot, frames: &[FrameSize]) -> Result<(), String> {
        self.with(|fake| fake.apart.push((slot, frames.to_vec())));
        Ok(())
    }

    fn set_python(&mut self, slot: Slot, _: &PythonLayout) -> Result<(), String> {
        self.with(|fake| fake.pythons.push(slot));
        Ok(())
    }

    fn allow(&mut self, cost: Option<Duration>) -> Result<(), String> {
        self.with(|fake| fake.allowed = cost);
        Ok(())
    }

    fn closed_since(&self) -> Result<Option<Duration>, String> {
        Ok(self.with(|fake| fake.closed))
    }

    fn pause(&mut self, now: Duration) -> Result<(), String> {
        self.with(|fake| {
            fake.closed.get_or_insert(now);
            fake.attached.clear();
        });
        Ok(())
    }

    fn begin(&mut self) -> Result<(), String> {
        self.with(|fake| {
            fake.begun += 1;
            fake.closed = None;
            fake.live.clear();
        });
        Ok(())
    }

    fn release(&mut self, slot: Slot) {
        self.with(|fake| fake.released.push(slot));
    }

    fn forget(&mut self, slot: Slot) {
        self.with(|fake| {
            fake.forgotten.push(slot);
            fake.call_sites.retain(|(site, _)| site.slot != slot);
            fake.live.retain(|block| block.call_site.slot != slot);
        });
    }

    fn call_sites(&self) -> Result<Vec<(CallSite, Totals)>, String> {
        Ok(self.with(|fake| fake.call_sites.clone()))
    }

    fn live(&self) -> Result<Vec<LiveBlock>, String> {
        Ok(self.with(|fake| fake.live.clone()))
    }

    fn counters(&self) -> Result<AllocCounters, String> {
        Ok(self.with(|fake| fake.counters))
    }

    fn kernel_bytes(&self) -> u64 {
        4096
    }

    fn costs(&self) -> HitCosts {
        HitCosts { emulated: 1000, stepped: 10_000, returned: 1000 }
    }
}

/// A process that waits, and ends with the test.
pub(crate) struct Waiting(Child);

impl Waiting {
    pub(crate) fn start() -> Self {
        let mut command = Command::new("cat");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        // once it answers it has loaded what it needs
        child.stdin.as_mut().unwrap().write_all(b"x\n").unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 2]).unwrap();
        Self(child)
    }

    /// A Python interpreter, once it runs a program.
    pub(crate) fn python() -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", "import sys\nprint(1, flush=True)\nsys.stdin.read()"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = [0; 2];
        child.stdout.as_mut().unwrap().read_exact(&mut line).unwrap();
        Self(child)
    }

    /// A program that is static and stripped. `None`: none can be made here.
    pub(crate) fn nameless() -> Option<Self> {
        let room = tempfile::tempdir().unwrap();
        let (source, program) = (room.path().join("a.c"), room.path().join("nameless"));
        std::fs::write(
            &source,
            "#include <unistd.h>\nint main(void) { char c; write(1, \"x\", 1); return read(0, &c, 1); }",
        )
        .unwrap();
        let made =
            Command::new("cc").args(["-static", "-s", "-o"]).args([&program, &source]).output().ok()?;
        if !made.status.success() {
            return None;
        }
        let mut child = Command::new(&program).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Some(Self(child))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn end(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.end();
    }
}

pub(crate) fn plan(pid: u32, rung: Rung) -> Plan {
    let filters = Filters { overhead_budget: None, ..Filters::default() };
    Plan { target: Target::Pid(pid), rung, duration: None, filters, origin: Origin::Configuration }
}

pub(crate) fn try_open(plan: &Plan, scope: &Scope, kernel: &Kernel) -> Result<Investigation, OpenError> {
    open_ringing(plan, scope, Arc::default(), kernel)
}

/// A look with this kernel's side.
pub(crate) fn open_ringing(
    plan: &Plan,
    scope: &Scope,
    bell: Arc<Bell>,
    kernel: &Kernel,
) -> Result<Investigation, OpenError> {
    let fake = kernel.clone();
    Investigation::open_with(plan, scope, bell, move |_, sink| {
        fake.with(|fake| fake.sink = Some(sink));
        Ok(Box::new(fake))
    })
}

pub(crate) fn open(plan: &Plan, kernel: &Kernel) -> Investigation {
    try_open(plan, &Scope::default(), kernel).unwrap()
}
