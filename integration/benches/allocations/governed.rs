//! What a governed look costs a program that allocates as fast as it can.

use std::time::{Duration, Instant};

use mlh_integration::hunter::{Hunter, number};
use mlh_integration::pairs::{Kind, Pairs};
use mlh_integration::scenario::World;
use mlh_integration::statistics::{average, paired_ratio};
use mlh_integration::table::{Table, Verdict};

use crate::subject::times;

const ROUNDS: usize = 5;
/// The budget is of a minute.
const WINDOW: Duration = Duration::from_secs(62);
const SLICE_MS: u32 = 1000;

/// Nanoseconds of CPU time a pair, over a window.
fn window(pairs: &mut Pairs, length: Duration) -> anyhow::Result<f64> {
    let until = Instant::now() + length;
    let (mut spent, mut done) = (0.0, 0.0);
    while Instant::now() < until {
        let slice = pairs.slice_of(Kind::Malloc, 64, SLICE_MS)?;
        spent += slice.cost * slice.pairs as f64;
        done += slice.pairs as f64;
    }
    Ok(spent / f64::max(done, 1.0))
}

/// Windows in which every call may be probed, and windows without a look, in turns.
pub(crate) fn measure(world: &World, table: &mut Table) -> anyhow::Result<()> {
    let mut pairs = Pairs::start(world, "governed")?;
    let seconds = WINDOW.as_secs() - 2;
    let settings =
        "min_allocation_size: 0, large_allocation_size: 0, sampling_rate: 1, overhead_budget: 0.1%";
    let mut hunter = Hunter::start(world, "governor", settings)?;
    let (pid, length) = (pairs.pid().to_string(), format!("{seconds}s"));
    let mut paired = Vec::new();
    for round in 0..ROUNDS {
        let mut with = |pairs: &mut Pairs| {
            hunter.order(&["target", "--pid", &pid, "--duration", &length])?;
            window(pairs, WINDOW)
        };
        // which comes first alternates: a machine that warms up must not look like a cost
        paired.push(if round.is_multiple_of(2) {
            let with = with(&mut pairs)?;
            (with, window(&mut pairs, WINDOW)?)
        } else {
            let without = window(&mut pairs, WINDOW)?;
            (with(&mut pairs)?, without)
        });
    }
    let events = hunter.tells(10, pairs.pid(), 2 * ROUNDS)?;
    let ended: Vec<_> = events.iter().skip(1).step_by(2).collect();
    let told =
        |name: &str| ended.iter().map(|event| number(event, name)).collect::<anyhow::Result<Vec<f64>>>();
    let (ratio, overhead) = (paired_ratio(&paired), average(&told("overhead")?));
    let what = format!(
        "millions of pairs a second, every call probed within 0.1 %, {ROUNDS} windows of {seconds} s"
    );
    table.judged(what, "< 1.01 times", times(&ratio), Verdict::at_most(1.01, &ratio));
    let computed = format!(
        "{:.3} % ({:.3} to {:.3})",
        overhead.mean * 100.0,
        overhead.low * 100.0,
        overhead.high * 100.0
    );
    table.judged("  as it is computed", "<= 0.1 %", computed, Verdict::at_most(0.001, &overhead));
    let watched = average(&told("watched_share")?);
    table.beside("  share of the time watched", format!("{:.2} %", watched.mean * 100.0));
    Ok(())
}
