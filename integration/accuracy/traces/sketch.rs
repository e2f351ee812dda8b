//! A program's memory, second by second, drawn from parts: what it leaks, what it holds, and the noise of a real host.

use std::f64::consts::TAU;

use fastrand::Rng;

pub(crate) const MIB: f64 = 1024.0 * 1024.0;

/// Bytes from which on the clock of a leak runs.
const COUNTS_FROM: f64 = MIB;

/// What a pass would read of the program in one second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Second {
    pub(crate) anon: u64,
    pub(crate) swap: u64,
    pub(crate) shmem: u64,
    pub(crate) file: u64,
    pub(crate) cpu_ns: u64,
    pub(crate) threads: u32,
}

/// A trace of one program.
#[derive(Debug, Clone)]
pub(crate) struct Trace {
    pub(crate) shape: &'static str,
    /// The second by which it had leaked 1 MiB; `None`: it does not leak.
    pub(crate) leaked_at: Option<usize>,
    /// How old it was when the trace began, seconds.
    pub(crate) age: u32,
    pub(crate) seconds: Vec<Second>,
}

/// A trace being drawn: bytes and load by the second.
pub(crate) struct Sketch<'a> {
    pub(crate) rng: &'a mut Rng,
    /// Requests, or whatever the program does, relative to a usual day.
    pub(crate) load: Vec<f64>,
    pub(crate) held: Vec<f64>,
    pub(crate) leaked: Vec<f64>,
    pub(crate) threads: Vec<f64>,
    /// File pages read by the end: evenly over time.
    pub(crate) file: f64,
    /// Of what is leaked, so much is shared memory.
    pub(crate) shared: f64,
    /// Of what is older than five minutes, so much is swapped out.
    pub(crate) swapped: f64,
    /// Heap is taken in huge pages.
    pub(crate) huge: bool,
    pub(crate) age: u32,
}

impl<'a> Sketch<'a> {
    /// An idle program: a base of 3 to 300 MiB, and an even load with some noise.
    pub(crate) fn new(rng: &'a mut Rng, seconds: usize) -> Self {
        let base = log_uniform(rng, 3.0, 300.0) * MIB;
        let (swing, memory) = (uniform(rng, 0.02, 0.2), uniform(rng, 5.0, 60.0));
        let load = wander(rng, seconds, swing, memory).into_iter().map(|x| (1.0 + x).max(0.05)).collect();
        let age = if rng.bool() { 0 } else { rng.u32(300..90_000) };
        let threads = f64::from(rng.u32(1..40));
        Self {
            rng,
            load,
            held: vec![base; seconds],
            leaked: vec![0.0; seconds],
            threads: vec![threads; seconds],
            file: 10.0 * MIB,
            shared: 0.0,
            swapped: 0.0,
            huge: false,
            age,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    /// Holds so much more at each second.
    pub(crate) fn hold(&mut self, bytes: impl Fn(f64) -> f64) {
        for (t, held) in self.held.iter_mut().enumerate() {
            *held += bytes(t as f64);
        }
    }

    /// Leaks at this many bytes a second.
    pub(crate) fn leak(&mut self, rate: impl Fn(f64) -> f64) {
        let mut sum = 0.0;
        for (t, leaked) in self.leaked.iter_mut().enumerate() {
            sum += rate(t as f64);
            *leaked += sum;
        }
    }

    /// A day that takes `period` seconds: the load swings by `depth` around what it is.
    pub(crate) fn days(&mut self, period: f64, depth: f64) {
        let phase = self.rng.f64();
        for (t, load) in self.load.iter_mut().enumerate() {
            *load *= 1.0 + depth * (TAU * (t as f64 / period + phase)).sin();
        }
    }

    /// Finishes it: noise of the allocator and of the kernel's pages, CPU time by load.
    pub(crate) fn finish(self, shape: &'static str) -> Trace {
        let Self { rng, load, held, leaked, threads, file, shared, swapped, huge, age } = self;
        let seconds = held.len();
        let size = held[0];
        let swing = (0.002 * size).min(0.4 * MIB) * uniform(rng, 0.1, 1.0);
        let memory = uniform(rng, 2.0, 40.0);
        let drift = wander(rng, seconds, swing, memory);
        let cost = log_uniform(rng, 0.005, 0.8) * 1e9;
        let idle = cost * uniform(rng, 0.0, 0.3);
        let mut cpu = f64::from(age) * cost;
        let mut huge_top: f64 = 0.0;
        let values = (0..seconds).map(|t| {
            cpu += (idle + cost * load[t]) * uniform(rng, 0.9, 1.1);
            let in_shm = leaked[t] * shared;
            let mut heap = (held[t] + leaked[t] - in_shm + drift[t]).max(MIB);
            if huge {
                // a page of 2 MiB is there at the first touch, and stays until much of it is free
                let given_back = huge_top * 2.0 * MIB - heap > 6.0 * MIB;
                huge_top = (heap / (2.0 * MIB)).ceil().max(huge_top - f64::from(u8::from(given_back)));
                heap = huge_top * 2.0 * MIB;
            }
            let old = t.checked_sub(300).map_or(0.0, |old| leaked[old] * swapped);
            let page = |bytes: f64| (bytes.max(0.0) as u64) & !4095;
            Second {
                anon: page(heap - old),
                swap: page(old),
                shmem: page(in_shm),
                file: page(file * t as f64 / seconds as f64),
                cpu_ns: cpu as u64,
                threads: threads[t].max(1.0) as u32,
            }
        });
        let values: Vec<Second> = values.collect();
        let leaked_at = leaked.iter().position(|leaked| *leaked >= COUNTS_FROM);
        Trace { shape, leaked_at, age, seconds: values }
    }
}

pub(crate) fn uniform(rng: &mut Rng, from: f64, to: f64) -> f64 {
    from + (to - from) * rng.f64()
}

/// As likely between 1 and 2 as between 10 and 20.
pub(crate) fn log_uniform(rng: &mut Rng, from: f64, to: f64) -> f64 {
    from * (to / from).powf(rng.f64())
}

/// Noise around 0 with this standard deviation, which forgets itself within `memory` seconds.
pub(crate) fn wander(rng: &mut Rng, seconds: usize, deviation: f64, memory: f64) -> Vec<f64> {
    let keep = (-1.0 / memory.max(0.1)).exp();
    let fresh = deviation * (1.0 - keep * keep).sqrt();
    let mut x = deviation * normal(rng);
    (0..seconds)
        .map(|_| {
            x = x * keep + fresh * normal(rng);
            x
        })
        .collect()
}

fn normal(rng: &mut Rng) -> f64 {
    (-2.0 * (1.0 - rng.f64()).ln()).sqrt() * (TAU * rng.f64()).cos()
}
