//! What the ring bears: how fast its records are taken out and decoded, and whether each is delivered or counted as dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mlh_bpf::alloc::heard::Heard;
use mlh_bpf::alloc::probes::AllocOptions;
use mlh_integration::pairs::Pairs;
use mlh_integration::scenario::World;
use mlh_integration::table::{Table, Verdict};
use mlh_integration::wait::until;

use crate::look::{DEBUG, Look};
use crate::subject::alone;

const ROUNDS: usize = 9;
/// A stack of a call site is copied at every 64th hit.
const COPY_EVERY: u64 = 64;
/// And at its first ones.
const COPY_FIRST: u64 = 8;
/// With their records, and the stacks among these, a half of the ring's 8 MiB.
const FITTING: u64 = 20_000;
const STORM_MS: u32 = 2000;

/// Every block is told, however many there are.
const ALL: AllocOptions = AllocOptions { max_events_per_second: 0, ..DEBUG };

#[derive(Default)]
struct Taken {
    blocks: AtomicU64,
    stacks: AtomicU64,
    dropped: AtomicU64,
}

impl Taken {
    fn take(&self, heard: &Heard) {
        match heard {
            Heard::Block(_) => self.blocks.fetch_add(1, Ordering::Relaxed),
            Heard::Stack(_) => self.stacks.fetch_add(1, Ordering::Relaxed),
            Heard::Lost(count) => self.dropped.fetch_add(*count, Ordering::Relaxed),
            Heard::Mapping(_) | Heard::Process(_) => 0,
        };
    }

    fn delivered(&self) -> u64 {
        self.blocks.load(Ordering::Relaxed) + self.stacks.load(Ordering::Relaxed)
    }

    fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// A program and probes of its own, whose records are held up until they are let through.
struct Storm<'a> {
    pairs: &'a mut Pairs,
    look: Look,
    taken: Arc<Taken>,
}

impl<'a> Storm<'a> {
    fn brewing(pairs: &'a mut Pairs) -> anyhow::Result<Self> {
        let taken = Arc::new(Taken::default());
        let sink = {
            let taken = Arc::clone(&taken);
            // all of it is made, though little of it is looked at
            move |heard: Heard| taken.take(&std::hint::black_box(heard))
        };
        Ok(Self { look: Look::held_up(pairs.pid(), &ALL, sink)?, pairs, taken })
    }

    /// Pairs in slices of some time, as long as there are to be more.
    fn rage(&mut self, milliseconds: u32, more: impl Fn(u64, u64) -> bool) -> anyhow::Result<u64> {
        let pairs = &mut *self.pairs;
        self.look.during(|probes| {
            let mut done = 0;
            while more(done, probes.counters()?.ring_full) {
                done += pairs.slice(64, milliseconds)?.pairs;
            }
            Ok(done)
        })
    }

    /// What so many pairs have the kernel tell, once all of it is accounted for; else what is, after a while.
    fn settled(&self, pairs: u64) -> (u64, u64, u64) {
        // allocated, freed, and the stacks
        let produced = 2 * pairs + pairs / COPY_EVERY + COPY_FIRST;
        let accounted = || (self.taken.delivered(), self.taken.dropped());
        let all = || Ok((accounted().0 + accounted().1 == produced).then_some(()));
        // if it never is, the numbers say so
        let _ = until("every record being accounted for", Duration::from_secs(20), all);
        (produced, accounted().0, accounted().1)
    }
}

/// CPU time of the thread that reads the ring, which this process has one of.
fn reader_cpu() -> anyhow::Result<Duration> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if std::fs::read_to_string(task.join("comm"))?.trim() == "mlh-events" {
            let times = std::fs::read_to_string(task.join("schedstat"))?;
            let time = times.split_whitespace().next().context("schedstat")?;
            return Ok(Duration::from_nanos(time.parse()?));
        }
    }
    anyhow::bail!("nobody reads the ring")
}

/// The rate, below capacity, and beyond it.
pub(crate) fn measure(world: &World, table: &mut Table) -> anyhow::Result<()> {
    let mut pairs = Pairs::start(world, "pairs-ring")?;
    let mut rates = Vec::new();
    for _ in 0..ROUNDS {
        rates.push(rate(&mut pairs)?);
    }
    let rate = alone(rates.into_iter());
    let what = format!(
        "records taken from the ring and decoded by one core, stacks among them, {ROUNDS} full rings"
    );
    let shown = format!("{:.0} /s ({:.0} to {:.0})", rate.mean, rate.low, rate.high);
    table.judged(what, ">= 500,000 /s", shown, Verdict::at_least(500_000.0, &rate));

    let mut storm = Storm::brewing(&mut pairs)?;
    let done = storm.rage(5, |done, _| done < FITTING)?;
    storm.look.open();
    let (produced, delivered, dropped) = storm.settled(done);
    let met = delivered == produced && dropped == 0;
    let told = format!("{produced}: {delivered} and {dropped}");
    table.goal("records that fit the ring: delivered, dropped", "all, 0", told, met);
    drop(storm);

    let mut storm = Storm::brewing(&mut pairs)?;
    let full = storm.rage(20, |_, dropped| dropped == 0)?;
    storm.look.open();
    exact(table, "records of a ring that nobody reads: delivered, dropped", storm.settled(full));
    drop(storm);

    let mut storm = Storm::brewing(&mut pairs)?;
    storm.look.open();
    let begun = Instant::now();
    let done = storm.rage(STORM_MS, |done, _| done == 0)?;
    let took = begun.elapsed().as_secs_f64();
    let accounts = storm.settled(done);
    exact(table, "records of a storm that is read: delivered, dropped", accounts);
    table.beside("  that was", format!("{:.0} records/s", accounts.0 as f64 / took));
    Ok(())
}

fn exact(table: &mut Table, what: &str, (produced, delivered, dropped): (u64, u64, u64)) {
    let told = format!("{produced}: {delivered} and {dropped}");
    table.goal(what, "together all", told, delivered + dropped == produced);
}

/// Of a ring that is full: records a second of the reader's CPU time.
fn rate(pairs: &mut Pairs) -> anyhow::Result<f64> {
    let mut storm = Storm::brewing(pairs)?;
    let done = storm.rage(20, |_, dropped| dropped == 0)?;
    let before = reader_cpu()?;
    storm.look.open();
    let (_, delivered, _) = storm.settled(done);
    Ok(delivered as f64 / (reader_cpu()? - before).as_secs_f64())
}
