//! What a look costs its target stays within the budget, whatever the target does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::ensure;
use mlh_integration::hunter::{Hunter, custom, number};
use mlh_integration::need;
use mlh_integration::pairs::{Kind, Pairs};
use mlh_integration::scenario::scenario;

/// The budget is of a minute; this is a bit more than one.
const LOOK: Duration = Duration::from_secs(70);

/// Guarantees: a target that allocates and frees some millions of times a second, with each of its calls probed, pays no more than the
/// budget over the look, of which the record says the share that was watched; the look is not ended for it.
/// Needs: root, eBPF, gcc.
#[test]
fn millions_of_allocations_a_second() {
    scenario(|world| {
        need::ebpf()?;
        let mut pairs = Pairs::start(world, "pairs")?;
        let alone = pairs.slice(64, 1000)?;
        let settings = format!(
            "mode: targeted, target_pid: {}, target_duration: {}s, overhead_budget: 0.1%, min_allocation_size: 0, \
             large_allocation_size: 0, sampling_rate: 1",
            pairs.pid(),
            LOOK.as_secs()
        );
        let mut hunter = Hunter::start(world, "hunter", &settings)?;
        hunter.in_mode("targeted")?;
        let (pid, over) = (pairs.pid(), AtomicBool::new(false));
        let (last, events) = thread::scope(|scope| {
            let works = scope.spawn(|| {
                let mut last = pairs.slice_of(Kind::Malloc, 64, 1000)?;
                while !over.load(Ordering::Relaxed) {
                    last = pairs.slice_of(Kind::Malloc, 64, 1000)?;
                }
                anyhow::Ok(last)
            });
            let until = Instant::now() + LOOK;
            while Instant::now() < until && !works.is_finished() {
                thread::sleep(Duration::from_secs(1));
            }
            let events = hunter.tells(10, pid, 2);
            over.store(true, Ordering::Relaxed);
            let last = works.join().map_err(|_| anyhow::anyhow!("the target's driver has panicked"))?;
            anyhow::Ok((last?, events?))
        })?;
        let ended = &events[1];
        ensure!(custom(ended, "reason")? == "elapsed", "{ended}");
        let (overhead, watched) = (number(ended, "overhead")?, number(ended, "watched_share")?);
        ensure!(overhead > 0.0 && overhead <= 0.001, "{ended}");
        ensure!(watched > 0.0 && watched < 0.2, "{ended}");
        ensure!(number(ended, "probe_hits")? > 100.0, "{ended}");
        eprintln!(
            "overhead {:.4} %, watched {:.3} %, {:.1} ns a pair before and {:.1} ns after",
            overhead * 100.0,
            watched * 100.0,
            alone.cost,
            last.cost
        );
        Ok(())
    });
}
