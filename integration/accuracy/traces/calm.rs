//! Programs whose memory grows, swings and jumps, and that leak nothing.

use fastrand::Rng;

use super::sketch::{MIB, Sketch, Trace, log_uniform, uniform, wander};

type Draw = fn(&mut Sketch<'_>);

/// How long each is watched, seconds: longer than anything here takes to fill.
pub(crate) const WATCHED: usize = 3 * 3600;

/// All shapes.
pub(crate) const SHAPES: [(&str, Draw); 19] = [
    ("idle", idle),
    ("churn", churn),
    ("warm-up", warm_up),
    ("warm-up that slows down for long", long_warm_up),
    ("cache that fills evenly", even_cache),
    ("cache of random keys", random_cache),
    ("collected heap", collected),
    ("collected heap that finds its size", collected_grows),
    ("pool that grows with its threads", pool),
    ("day and night load", day_and_night),
    ("load that rises", rising_load),
    ("batches", batches),
    ("buffer that is reset", resets),
    ("steps", steps),
    ("huge pages", huge_pages),
    ("arenas retained at the peak", retained),
    ("page cache and mapped reads", page_cache),
    ("bursts freed at once", bursts),
    ("shrinks", shrinks),
];

/// Draws one.
pub(crate) fn draw(rng: &mut Rng, index: usize) -> Trace {
    let (name, draw) = SHAPES[index % SHAPES.len()];
    let mut sketch = Sketch::new(rng, WATCHED);
    draw(&mut sketch);
    sketch.finish(name)
}

fn size(rng: &mut Rng, from: f64, to: f64) -> f64 {
    log_uniform(rng, from, to) * MIB
}

fn idle(_: &mut Sketch<'_>) {}

fn churn(sketch: &mut Sketch<'_>) {
    let (swing, memory) = (size(sketch.rng, 0.3, 20.0), log_uniform(sketch.rng, 2.0, 300.0));
    let churn = wander(sketch.rng, sketch.held.len(), swing, memory);
    sketch.hold(|t| churn[t as usize]);
}

fn warm_up(sketch: &mut Sketch<'_>) {
    let (size, tau) = (size(sketch.rng, 5.0, 200.0), log_uniform(sketch.rng, 2.0, 300.0));
    sketch.age = 0;
    sketch.hold(|t| size * (1.0 - (-t / tau).exp()));
}

/// As of a program that meets ever fewer things it has not met before: by a power of time, or its logarithm.
fn long_warm_up(sketch: &mut Sketch<'_>) {
    let (size, end) = (size(sketch.rng, 10.0, 100.0), log_uniform(sketch.rng, 300.0, 5400.0));
    sketch.age = 0;
    if sketch.rng.bool() {
        let power = uniform(sketch.rng, 0.25, 0.6);
        sketch.hold(|t| size * (t.min(end) / end).powf(power));
    } else {
        let tau = log_uniform(sketch.rng, 5.0, 60.0);
        sketch.hold(|t| size * (1.0 + t.min(end) / tau).ln() / (1.0 + end / tau).ln());
    }
}

/// Each request adds an entry until it is full: the hardest of all, for until then it does just what a leak does.
fn even_cache(sketch: &mut Sketch<'_>) {
    let (size, full) = (size(sketch.rng, 5.0, 300.0), log_uniform(sketch.rng, 60.0, 5400.0));
    let onset = if sketch.age == 0 { 0.0 } else { uniform(sketch.rng, 0.0, 1800.0) };
    sketch.hold(|t| size * ((t - onset) / full).clamp(0.0, 1.0));
}

/// A request finds its key the more often the fuller it is.
fn random_cache(sketch: &mut Sketch<'_>) {
    let (size, tau) = (size(sketch.rng, 5.0, 300.0), log_uniform(sketch.rng, 30.0, 1500.0));
    let mut filled = 0.0;
    let fill: Vec<f64> = sketch
        .load
        .iter()
        .map(|load| {
            filled += (1.0 - filled) * load / tau;
            size * filled
        })
        .collect();
    sketch.hold(|t| fill[t as usize]);
}

fn saw(sketch: &mut Sketch<'_>, live: impl Fn(f64) -> f64) {
    let (period, height) = (log_uniform(sketch.rng, 2.0, 120.0), size(sketch.rng, 1.0, 60.0));
    let jitter = uniform(sketch.rng, 0.0, 0.3);
    let (mut teeth, mut inside) = (Vec::with_capacity(sketch.len()), 0.0);
    let mut length = period;
    for _ in 0..sketch.len() {
        inside += 1.0 / length;
        if inside >= 1.0 {
            inside = 0.0;
            length = period * uniform(sketch.rng, 1.0 - jitter, 1.0 + jitter);
        }
        teeth.push(height * inside);
    }
    sketch.hold(|t| live(t) + teeth[t as usize]);
}

fn collected(sketch: &mut Sketch<'_>) {
    saw(sketch, |_| 0.0);
}

fn collected_grows(sketch: &mut Sketch<'_>) {
    let (size, tau) = (size(sketch.rng, 5.0, 80.0), log_uniform(sketch.rng, 30.0, 600.0));
    saw(sketch, |t| size * (1.0 - (-t / tau).exp()));
}

/// A connection at a time, each with a thread and its buffers, until as many as are needed are there.
fn pool(sketch: &mut Sketch<'_>) {
    let (each, most) = (uniform(sketch.rng, 0.1, 2.0) * MIB, f64::from(sketch.rng.u32(10..200)));
    let full = log_uniform(sketch.rng, 60.0, 1800.0);
    let begin = uniform(sketch.rng, 0.0, 1800.0);
    let connections = move |t: f64| (most * ((t - begin) / full).clamp(0.0, 1.0)).floor();
    sketch.hold(|t| each * connections(t));
    for (t, threads) in sketch.threads.iter_mut().enumerate() {
        *threads += connections(t as f64);
    }
    for (t, load) in sketch.load.iter_mut().enumerate() {
        *load *= 0.3 + 0.7 * connections(t as f64) / most;
    }
}

fn follow_load(sketch: &mut Sketch<'_>) {
    let per_load = size(sketch.rng, 5.0, 100.0);
    let mut smooth = sketch.load[0];
    let held: Vec<f64> = sketch
        .load
        .iter()
        .map(|load| {
            smooth += (load - smooth) / 20.0;
            per_load * smooth
        })
        .collect();
    sketch.hold(|t| held[t as usize]);
}

fn day_and_night(sketch: &mut Sketch<'_>) {
    let (period, depth) = (uniform(sketch.rng, 1200.0, 5400.0), uniform(sketch.rng, 0.3, 0.9));
    sketch.days(period, depth);
    follow_load(sketch);
}

fn rising_load(sketch: &mut Sketch<'_>) {
    let (begin, lasts) = (uniform(sketch.rng, 0.0, 1800.0), log_uniform(sketch.rng, 120.0, 3600.0));
    let factor = uniform(sketch.rng, 1.5, 6.0);
    for (t, load) in sketch.load.iter_mut().enumerate() {
        *load *= 1.0 + (factor - 1.0) * ((t as f64 - begin) / lasts).clamp(0.0, 1.0);
    }
    follow_load(sketch);
}

/// Every few minutes a job takes memory, works, and gives it back.
fn batches(sketch: &mut Sketch<'_>) {
    let (every, size) = (log_uniform(sketch.rng, 120.0, 1800.0), size(sketch.rng, 2.0, 200.0));
    let (climb, stay) = (every * uniform(sketch.rng, 0.05, 0.4), every * uniform(sketch.rng, 0.05, 0.3));
    let phase = uniform(sketch.rng, 0.0, every);
    let inside = move |t: f64| (t + phase) % every;
    let busy = move |t: f64| inside(t) < climb + stay;
    sketch.hold(|t| if busy(t) { size * (inside(t) / climb).min(1.0) } else { 0.0 });
    for (t, load) in sketch.load.iter_mut().enumerate() {
        *load *= if busy(t as f64) { 1.0 } else { 0.2 };
    }
}

/// Fills evenly and is emptied at once: one long tooth after the other.
fn resets(sketch: &mut Sketch<'_>) {
    let (every, size) = (log_uniform(sketch.rng, 60.0, 900.0), size(sketch.rng, 3.0, 100.0));
    let phase = sketch.rng.f64();
    sketch.hold(|t| size * (t / every + phase).fract());
}

fn steps(sketch: &mut Sketch<'_>) {
    for _ in 0..sketch.rng.u32(1..5) {
        let (at, size) = (uniform(sketch.rng, 10.0, 9000.0), size(sketch.rng, 0.5, 60.0));
        let takes = log_uniform(sketch.rng, 0.5, 20.0);
        sketch.hold(|t| size * ((t - at) / takes).clamp(0.0, 1.0));
    }
}

fn huge_pages(sketch: &mut Sketch<'_>) {
    sketch.huge = true;
    churn(sketch);
}

/// What was once taken at a peak stays with the allocator: higher peaks come ever more rarely.
fn retained(sketch: &mut Sketch<'_>) {
    let (size, every) = (size(sketch.rng, 1.0, 30.0), log_uniform(sketch.rng, 5.0, 120.0));
    let (mut top, mut held) = (0.0_f64, Vec::with_capacity(sketch.len()));
    for _ in 0..sketch.len() {
        if sketch.rng.f64() < 1.0 / every {
            top = top.max(size * (1.0 + 0.4 * wander(sketch.rng, 1, 1.0, 1.0)[0]));
        }
        held.push(top);
    }
    sketch.hold(|t| held[t as usize]);
}

fn page_cache(sketch: &mut Sketch<'_>) {
    sketch.file = size(sketch.rng, 10.0, 2000.0);
}

fn bursts(sketch: &mut Sketch<'_>) {
    let (every, size) = (log_uniform(sketch.rng, 5.0, 120.0), size(sketch.rng, 1.0, 60.0));
    let (mut left, mut height, mut held) = (0.0, 0.0, Vec::with_capacity(sketch.len()));
    for _ in 0..sketch.len() {
        if left <= 0.0 && sketch.rng.f64() < 1.0 / every {
            (left, height) = (uniform(sketch.rng, 1.0, 15.0), size * sketch.rng.f64());
        }
        held.push(if left > 0.0 { height } else { 0.0 });
        left -= 1.0;
    }
    sketch.hold(|t| held[t as usize]);
}

fn shrinks(sketch: &mut Sketch<'_>) {
    let (size, tau) = (size(sketch.rng, 5.0, 100.0), log_uniform(sketch.rng, 100.0, 5000.0));
    sketch.hold(|t| size * (-t / tau).exp());
}
