//! What is told through the ring: nothing is lost that fits, and what does not fit is counted to the last record.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::ensure;
use mlh_bpf::alloc::heard::Heard;
use mlh_bpf::alloc::probes::Probes;
use mlh_integration::gate::Gate;
use mlh_integration::need;
use mlh_integration::pairs::Pairs;
use mlh_integration::scenario::scenario;
use mlh_integration::wait::until;
use mlh_stacks::modules::Modules;
use mlh_targets::points::{Wish, find};

use super::harm::everything;

/// A stack of a call site is copied at every 64th hit.
const COPY_EVERY: u64 = 64;
/// And those of its first operations.
const COPY_FIRST: u64 = 8;

#[derive(Default)]
struct Taken {
    blocks: AtomicU64,
    stacks: AtomicU64,
    lost: AtomicU64,
}

impl Taken {
    fn delivered(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed) + self.stacks.load(Ordering::Relaxed)
    }

    fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// Guarantees: of a process that does pairs of malloc and free as fast as it can, every record is delivered or counted
/// as lost, whether the reader keeps up or is held up until the ring is full; while it keeps up none is lost.
/// Needs: root, eBPF, gcc.
#[test]
fn produced_is_delivered_and_dropped() {
    scenario(|world| {
        need::ebpf()?;
        let mut pairs = Pairs::start(world, "pairs")?;
        let pid = pairs.pid();
        let (gate, taken) = (Arc::new(Gate::default()), Arc::new(Taken::default()));
        let sink = {
            let (gate, taken) = (Arc::clone(&gate), Arc::clone(&taken));
            move |heard: Heard| {
                gate.pass();
                match heard {
                    Heard::Block(_) => taken.blocks.fetch_add(1, Ordering::Relaxed),
                    Heard::Stack(_) => taken.stacks.fetch_add(1, Ordering::Relaxed),
                    Heard::Lost(count) => taken.lost.fetch_add(count, Ordering::Relaxed),
                    Heard::Mapping(_) | Heard::Process(_) => 0,
                };
            }
        };
        let mut options = everything();
        options.emit = true;
        let mut probes = Probes::load(&options, sink)?;
        let points = find(pid, &Modules::read(pid)?, &Wish { min_allocation_size: 0 });
        let slot = probes.admit(pid)?;
        let mut work = || -> anyhow::Result<u64> {
            for image in &points.images {
                probes.attach(slot, &image.opened.path(), &image.points)?;
            }
            let mut done = 0;
            while probes.counters()?.ring_full == 0 {
                done += pairs.slice(64, 20)?.pairs;
            }
            Ok(done)
        };
        let done = work();
        // whatever has gone wrong: who reads may go on
        gate.open();
        let mut done = done?;
        let produced = |pairs: u64| 2 * pairs + pairs / COPY_EVERY + COPY_FIRST;
        let all_heard = |pairs: u64| {
            until("every record being heard", Duration::from_secs(60), || {
                Ok((taken.delivered() + taken.lost() == produced(pairs)).then_some(()))
            })
        };
        let heard = all_heard(done);
        let told = (taken.delivered(), taken.lost(), probes.counters()?.ring_full);
        ensure!(heard.is_ok(), "{} produced; delivered, lost, counted: {told:?}", produced(done));
        ensure!(told.1 > 0 && told.1 == told.2, "delivered, lost, counted: {told:?}");

        for _ in 0..50 {
            done += pairs.slice(64, 1)?.pairs;
            all_heard(done)?;
        }
        ensure!(taken.lost() == told.1, "{} more were lost while the reader kept up", taken.lost() - told.1);
        Ok(())
    });
}
