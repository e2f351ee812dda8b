//! What a pair of malloc and free costs a program that is looked at.

use mlh_integration::pairs::{Kind, Pairs};
use mlh_integration::scenario::World;
use mlh_integration::statistics::paired_ratio;
use mlh_integration::table::{Table, Verdict};

use crate::look::{DEBUG, Look, TARGETED, hits};
use crate::subject::{Paired, Slices, Subject as _, base, nanoseconds, times, with};

const ROUNDS: usize = 15;
const SIZES: [u32; 3] = [64, 2048, 16_384];
/// What the thread cache hides: these pairs are to cost what they do without probes.
const HIDDEN: u32 = 1024;

fn start(world: &World, kind: Kind, size: u32) -> anyhow::Result<Slices> {
    let name = format!("{kind:?}-{size}").to_lowercase();
    Ok(Slices::new(Pairs::start(world, &name)?, kind, size))
}

/// Targeted mode from 10 KiB on, debug mode with the stacks that it copies, and debug mode without any.
pub(crate) fn measure(world: &World, table: &mut Table) -> anyhow::Result<()> {
    for size in SIZES {
        targeted(world, table, size)?;
    }
    for size in SIZES {
        debug(world, table, size)?;
    }
    every_stack(world, table)
}

fn targeted(world: &World, table: &mut Table, size: u32) -> anyhow::Result<()> {
    let mut slices = start(world, Kind::Malloc, size)?;
    let mut look = Look::prepare(slices.pid(), &TARGETED)?;
    let paired = look.compare(&mut slices, true, ROUNDS)?;
    let what = format!("malloc and free of {size} B, targeted mode from 10 KiB, {ROUNDS} pairs");
    if size < HIDDEN {
        let ratio = paired_ratio(&paired);
        table.judged(what, "1.00 times, to 2 %", times(&ratio), Verdict::at_most(1.02, &ratio));
    } else {
        let cost = with(&paired);
        table.judged(what, "<= 2,500 ns", nanoseconds(&cost), Verdict::at_most(2500.0, &cost));
    }
    let hits = hits_a_pair(&mut look, &mut slices)?;
    let beside = format!("{:.1} ns; {hits:.3} hits each; {}", base(&paired), look.placements());
    table.beside("  without probes; with them", beside);
    Ok(())
}

fn debug(world: &World, table: &mut Table, size: u32) -> anyhow::Result<()> {
    let mut slices = start(world, Kind::Malloc, size)?;
    let paired = Look::prepare(slices.pid(), &DEBUG)?.compare(&mut slices, true, ROUNDS)?;
    let cost = with(&paired);
    let what = format!("malloc and free of {size} B, debug mode, each 64th stack copied, {ROUNDS} pairs");
    table.judged(what, "<= 5,000 ns", nanoseconds(&cost), Verdict::at_most(5000.0, &cost));

    let paired = without_stacks(&mut slices)?;
    let cost = with(&paired);
    table.judged("  no stack copied", "<= 3,000 ns", nanoseconds(&cost), Verdict::at_most(3000.0, &cost));
    table.beside("  without probes", format!("{:.1} ns", base(&paired)));
    Ok(())
}

/// In debug mode while nobody reads the ring: once it is full, which takes a while, no stack is copied.
fn without_stacks(slices: &mut Slices) -> anyhow::Result<Paired> {
    let mut round = |_| {
        // the call site's first stack needs an empty ring: else each of its hits would try to copy one
        let mut look = Look::held_up(slices.pid(), &DEBUG, drop)?;
        let with = look.during(|probes| {
            while probes.counters()?.ring_full == 0 {
                slices.cost()?;
            }
            slices.cost()
        })?;
        drop(look);
        Ok((with, slices.cost()?))
    };
    (0..ROUNDS).map(&mut round).collect()
}

/// The worst case: each call comes from a call site that was never seen before, so that its stack is copied.
fn every_stack(world: &World, table: &mut Table) -> anyhow::Result<()> {
    let mut slices = start(world, Kind::Elsewhere, 64)?;
    let mut look = Look::prepare(slices.pid(), &DEBUG)?;
    let paired = look.compare(&mut slices, false, ROUNDS)?;
    let lost = look.probes.counters()?.ring_full;
    let what = format!("malloc and free of 64 B, debug mode, every stack copied, {ROUNDS} pairs");
    table.beside(what, format!("{}; {lost} lost", nanoseconds(&with(&paired))));
    Ok(())
}

/// What the gates of targeted mode do not save: counted, without a goal.
pub(crate) fn ungated(world: &World, table: &mut Table) -> anyhow::Result<()> {
    for (kind, size, what) in [
        (Kind::Calloc, 64, "calloc and free of 64 B"),
        (Kind::Replaced, 2000, "replacing one of 4,096 blocks of 16 to 2,015 B at random"),
    ] {
        let mut slices = start(world, kind, size)?;
        let mut look = Look::prepare(slices.pid(), &TARGETED)?;
        let paired = look.compare(&mut slices, true, ROUNDS)?;
        let hits = hits_a_pair(&mut look, &mut slices)?;
        let what = format!("{what}, targeted mode from 10 KiB, {ROUNDS} pairs");
        table.beside(what, format!("{} times; {hits:.3} hits each", times(&paired_ratio(&paired))));
    }
    Ok(())
}

fn hits_a_pair(look: &mut Look, slices: &mut Slices) -> anyhow::Result<f64> {
    look.during(|probes| {
        let before = hits(probes)?;
        slices.cost()?;
        Ok((hits(probes)? - before) as f64 / slices.last as f64)
    })
}
