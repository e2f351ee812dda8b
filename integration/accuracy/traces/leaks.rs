//! Programs that leak, each shape at random speeds: from 0.2 MiB a minute, the slowest that must be found within an hour.

use fastrand::Rng;

use super::sketch::{MIB, Sketch, Trace, log_uniform, uniform};

type Draw = fn(&mut Sketch<'_>);

/// How long a leak is watched once it has leaked 1 MiB, seconds.
pub(crate) const WATCHED: usize = 3600;

/// All shapes.
pub(crate) const SHAPES: [(&str, Draw); 15] = [
    ("steady", steady),
    ("slow", slow),
    ("per request", per_request),
    ("day and night load", day_and_night),
    ("bursts", bursts),
    ("a step per event", steps),
    ("under a collector", under_collector),
    ("after a warm-up", after_warm_up),
    ("late onset", late),
    ("accelerating", accelerating),
    ("huge pages", huge_pages),
    ("threads never joined", threads),
    ("fragmentation", fragmentation),
    ("swapped out", swapped),
    ("shared memory under churn", shared_under_churn),
];

/// Draws one.
pub(crate) fn draw(rng: &mut Rng, index: usize) -> Trace {
    let (name, draw) = SHAPES[index % SHAPES.len()];
    let mut sketch = Sketch::new(rng, 3 * WATCHED);
    draw(&mut sketch);
    let mut trace = sketch.finish(name);
    let end = trace.leaked_at.map_or(trace.seconds.len(), |at| at + WATCHED + 1);
    trace.seconds.truncate(end);
    trace
}

/// Bytes a second.
fn speed(rng: &mut Rng, from: f64, to: f64) -> f64 {
    log_uniform(rng, from, to) * MIB / 60.0
}

/// Leaks in proportion to the load.
fn with_load(sketch: &mut Sketch<'_>, speed: f64) {
    let load = sketch.load.clone();
    sketch.leak(|t| speed * load[t as usize]);
}

fn steady(sketch: &mut Sketch<'_>) {
    let speed = speed(sketch.rng, 0.5, 60.0);
    sketch.leak(|_| speed);
}

fn slow(sketch: &mut Sketch<'_>) {
    let speed = speed(sketch.rng, 0.2, 0.5);
    with_load(sketch, speed);
}

/// Requests come at random, some leak a block.
fn per_request(sketch: &mut Sketch<'_>) {
    let (speed, block) = (speed(sketch.rng, 0.5, 20.0), log_uniform(sketch.rng, 256.0, 256.0 * 1024.0));
    let mut blocks = Vec::with_capacity(sketch.len());
    for t in 0..sketch.len() {
        let expected = speed * sketch.load[t] / block;
        let mut count = expected.floor();
        count += f64::from(u8::from(sketch.rng.f64() < expected - count));
        blocks.push(count * block);
    }
    sketch.leak(|t| blocks[t as usize]);
}

/// The working set follows the load as well.
fn day_and_night(sketch: &mut Sketch<'_>) {
    let (period, depth) = (uniform(sketch.rng, 1200.0, 5400.0), uniform(sketch.rng, 0.2, 0.8));
    sketch.days(period, depth);
    let (speed, per_load) = (speed(sketch.rng, 1.0, 20.0), uniform(sketch.rng, 0.0, 10.0) * MIB);
    with_load(sketch, speed);
    let load = sketch.load.clone();
    sketch.hold(|t| per_load * load[t as usize]);
}

fn bursts(sketch: &mut Sketch<'_>) {
    let (speed, every) = (speed(sketch.rng, 1.0, 30.0), uniform(sketch.rng, 10.0, 60.0));
    sketch.leak(|t| if t % every < 3.0 { speed * every / 3.0 } else { 0.0 });
}

fn steps(sketch: &mut Sketch<'_>) {
    let (speed, every) = (speed(sketch.rng, 0.5, 10.0), uniform(sketch.rng, 10.0, 90.0));
    let mut next = uniform(sketch.rng, 1.0, every) as usize;
    let mut at = vec![false; sketch.len()];
    while next < at.len() {
        at[next] = true;
        next += uniform(sketch.rng, 0.5 * every, 1.5 * every).max(1.0) as usize;
    }
    sketch.leak(|t| if at[t as usize] { speed * every } else { 0.0 });
}

fn under_collector(sketch: &mut Sketch<'_>) {
    let (speed, period) = (speed(sketch.rng, 1.0, 20.0), log_uniform(sketch.rng, 3.0, 60.0));
    let height = uniform(sketch.rng, 1.0, 30.0) * MIB;
    let phase = sketch.rng.f64();
    with_load(sketch, speed);
    sketch.hold(|t| height * (t / period + phase).fract());
}

fn after_warm_up(sketch: &mut Sketch<'_>) {
    let (tau, size) = (log_uniform(sketch.rng, 3.0, 200.0), log_uniform(sketch.rng, 5.0, 200.0) * MIB);
    let speed = speed(sketch.rng, 0.5, 30.0);
    sketch.age = 0;
    sketch.hold(|t| size * (1.0 - (-t / tau).exp()));
    with_load(sketch, speed);
}

fn late(sketch: &mut Sketch<'_>) {
    let (speed, onset) = (speed(sketch.rng, 0.5, 30.0), uniform(sketch.rng, 600.0, 5400.0));
    let load = sketch.load.clone();
    sketch.leak(|t| if t < onset { 0.0 } else { speed * load[t as usize] });
}

fn accelerating(sketch: &mut Sketch<'_>) {
    let (speed, doubles_in) = (speed(sketch.rng, 0.2, 4.0), uniform(sketch.rng, 900.0, 3600.0));
    sketch.leak(|t| speed * (t / doubles_in).exp2());
}

fn huge_pages(sketch: &mut Sketch<'_>) {
    let speed = speed(sketch.rng, 2.0, 40.0);
    sketch.huge = true;
    with_load(sketch, speed);
}

/// Each thread touches some of its stack and never ends.
fn threads(sketch: &mut Sketch<'_>) {
    let (every, each) = (log_uniform(sketch.rng, 0.5, 10.0), uniform(sketch.rng, 40.0, 150.0) * 1024.0);
    sketch.leak(|t| if (t / every).floor() > ((t - 1.0) / every).floor() { each } else { 0.0 });
    for (t, threads) in sketch.threads.iter_mut().enumerate() {
        *threads += t as f64 / every;
    }
}

/// Each hole that fits nothing makes the next a little less likely.
fn fragmentation(sketch: &mut Sketch<'_>) {
    let (speed, power) = (speed(sketch.rng, 1.0, 10.0), uniform(sketch.rng, 0.8, 0.95));
    sketch.leak(|t| speed * power * ((t + 60.0) / 600.0).powf(power - 1.0));
}

fn swapped(sketch: &mut Sketch<'_>) {
    let speed = speed(sketch.rng, 1.0, 30.0);
    sketch.swapped = uniform(sketch.rng, 0.3, 0.95);
    with_load(sketch, speed);
}

fn shared_under_churn(sketch: &mut Sketch<'_>) {
    let (speed, swing) = (speed(sketch.rng, 2.0, 30.0), uniform(sketch.rng, 0.2, 2.0) * MIB);
    let memory = uniform(sketch.rng, 2.0, 30.0);
    let churn = super::sketch::wander(sketch.rng, sketch.held.len(), swing, memory);
    sketch.shared = 1.0;
    sketch.hold(|t| churn[t as usize]);
    sketch.leak(|_| speed);
}
