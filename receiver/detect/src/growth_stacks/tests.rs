//! Programs that touch memory, as a sampler would tell of them.

use std::collections::HashMap;
use std::time::Duration;

use super::{Answer, LOOKS, Page, PageSizes, PageSurvival, Pattern, Touch};

const SIZES: PageSizes = PageSizes { base: 4096, huge: 2 << 20 };
const LEAK: u32 = 1;
const SAWTOOTH: u32 = 2;
const START_UP: u32 = 3;
const CACHE: u32 = 4;

fn ms(time: u64) -> Duration {
    Duration::from_millis(time)
}

/// A process of which every fault is known, and one in some told.
struct World {
    random: fastrand::Rng,
    survival: PageSurvival<u32>,
    now: u64,
    /// Who touched what is there.
    there: HashMap<u64, u32>,
    period: u64,
    next_look: u64,
    fresh: u64,
}

impl World {
    fn new(seed: u64, period: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let survival = PageSurvival::new(ms(0), SIZES, random.u64(..));
        Self { random, survival, now: 0, there: HashMap::new(), period, next_look: 500, fresh: 1 << 30 }
    }

    /// A page that was never touched before.
    fn fresh(&mut self) -> u64 {
        self.fresh += 4096;
        self.fresh
    }

    fn touch(&mut self, address: u64, key: u32) {
        if self.there.contains_key(&address) {
            return;
        }
        self.there.insert(address, key);
        if self.random.u64(0..self.period) == 0 {
            let page = Page { space: 0, address: address + 8 };
            self.survival.touch(&Touch { at: ms(self.now), page, key, weight: self.period });
        }
    }

    fn give_back(&mut self, address: u64) {
        self.there.remove(&address);
    }

    /// A millisecond later.
    fn tick(&mut self) {
        self.now += 1;
        if self.now < self.next_look {
            return;
        }
        for (page, _) in self.survival.pages() {
            let there = self.there.contains_key(&page.address);
            self.survival.answer(page, if there { Answer::There } else { Answer::Gone });
        }
        self.survival.looked(ms(self.now));
        self.next_look = self.now + self.random.u64(1..2000);
    }

    fn held(&self, key: u32) -> u64 {
        self.there.values().filter(|owner| **owner == key).count() as u64 * 4096
    }
}

/// Half a minute of a leak of 100 kB/s beside a sawtooth of 4 MB, three a second, of the same heap, of which the floor
/// is not trimmed; all else as `extra` does, each millisecond.
fn beside_a_sawtooth(seed: u64, period: u64, mut extra: impl FnMut(&mut World)) -> World {
    let mut world = World::new(seed, period);
    let heap = 1_u64 << 40;
    while world.now < 30_000 {
        if world.now.is_multiple_of(40) {
            let page = world.fresh();
            world.touch(page, LEAK);
        }
        match world.now % 300 {
            // up, page by page, and down again but for the floor
            step @ 0..250 => (step * 4..step * 4 + 4).for_each(|n| world.touch(heap + n * 4096, SAWTOOTH)),
            299 => (16..1000).for_each(|n| world.give_back(heap + n * 4096)),
            _ => {}
        }
        extra(&mut world);
        world.tick();
    }
    world
}

/// Guarantees: of a leak beside a sawtooth that faults a hundred times as often the leak comes first, is steady, and
/// its figures are right; the sawtooth's floor is constant and does not count as steady.
#[test]
fn a_leak_beside_a_sawtooth() {
    for (seed, period) in [(1, 1), (2, 4), (3, 16)] {
        let world = beside_a_sawtooth(seed, period, |_| ());
        let figures = world.survival.figures(ms(world.now));
        let (key, leak) = &figures[0];
        assert_eq!((*key, leak.pattern), (LEAK, Pattern::Steady), "{figures:#?}");
        let (truth, off) = (world.held(LEAK), leak.bytes.abs_diff(world.held(LEAK)));
        // the youngest pages are not judged yet
        let young = 8 * 102_400;
        assert!(off <= leak.error_bytes + young, "{} +- {} of {truth}", leak.bytes, leak.error_bytes);
        assert!((leak.velocity - 102_400.0).abs() < 0.5 * 102_400.0, "{}", leak.velocity);
        assert_eq!(leak.cohorts.iter().sum::<u64>(), leak.bytes);
        assert!(leak.touched_bytes >= leak.bytes && leak.samples >= leak.survivors);
        let sawtooth = figures.iter().find(|(key, _)| *key == SAWTOOTH);
        let tooth = sawtooth.map_or(0, |(_, it)| it.steady_bytes);
        assert!(leak.steady_bytes > 3 * tooth, "{figures:#?}");
        assert!(world.survival.sums().touched_bytes > 200 << 20, "the sawtooth faults");
        if period == 1 {
            assert_eq!(leak.error_bytes, 0, "nothing was sampled");
        }
    }
}

/// Guarantees: what starts up comes after the leak, however much it is, and so does a cache that is full.
#[test]
fn start_up_and_caches() {
    let world = beside_a_sawtooth(5, 4, |world| {
        let (start, cache) = (world.now < 500, world.now < 10_000 && world.now.is_multiple_of(4));
        for key in [(start, START_UP), (start, START_UP), (cache, CACHE)] {
            if key.0 {
                let page = world.fresh();
                world.touch(page, key.1);
            }
        }
    });
    let figures = world.survival.figures(ms(world.now));
    let of = |key| &figures.iter().find(|it| it.0 == key).unwrap().1;
    assert_eq!(figures[0].0, LEAK, "{figures:#?}");
    assert_eq!((of(START_UP).pattern, of(CACHE).pattern), (Pattern::StartUp, Pattern::Levelled));
    assert!(of(CACHE).bytes > 2 * of(LEAK).bytes, "{figures:#?}");
    assert!(of(START_UP).velocity < 1.0);
}

/// Guarantees: the interval holds the truth in nine of ten cases or more, also where a handful of pages is sampled.
#[test]
fn intervals() {
    for pages in [20_u64, 400] {
        let (mut right, mut told) = (0, 0);
        for seed in 0..200 {
            let mut world = World::new(seed, 16);
            for _ in 0..pages {
                let page = world.fresh();
                world.touch(page, LEAK);
            }
            while world.survival.sums().looks < u64::from(LOOKS) {
                world.tick();
            }
            let figures = world.survival.figures(ms(world.now));
            // nothing at all was sampled: nothing is said
            let Some((_, leak)) = figures.first() else { continue };
            told += 1;
            right += u32::from(leak.bytes.abs_diff(pages * 4096) <= leak.error_bytes);
        }
        assert!(told > 100 && right * 10 >= told * 9, "{pages} pages: {right} of {told}");
    }
}

fn touch(survival: &mut PageSurvival<u32>, at: u64, address: u64, key: u32) -> bool {
    survival.touch(&Touch { at: ms(at), page: Page { space: 0, address }, key, weight: 2 })
}

/// Looks as often as it takes, with the same answer for all pages.
fn look(survival: &mut PageSurvival<u32>, at: u64, answer: Answer) {
    for round in 0..u64::from(LOOKS) {
        for (page, _) in survival.pages() {
            survival.answer(page, answer);
        }
        survival.looked(ms(at + round));
    }
}

/// Guarantees: a page that is touched again is the newest one's, and an older record that comes late changes nothing.
#[test]
fn the_newest_counts() {
    let mut survival = PageSurvival::new(ms(0), SIZES, 1);
    touch(&mut survival, 10, 0x5008, 1);
    touch(&mut survival, 20, 0x5ff8, 2);
    touch(&mut survival, 15, 0x5010, 3);
    look(&mut survival, 30, Answer::There);
    let figures = survival.figures(ms(100));
    assert_eq!(
        figures.iter().map(|(key, it)| (*key, it.bytes, it.samples)).collect::<Vec<_>>(),
        [(2, 8192, 1)]
    );
    assert_eq!(survival.sums().samples, 3);
    survival.answer(Page { space: 0, address: 0x5000 }, Answer::Gone);
    assert!(survival.figures(ms(100)).is_empty());
}

/// Guarantees: a fault that gave a huge page counts as one; one of several in such a page does not, for they made it
/// small by small; a new fault where a huge page was says that it is gone.
#[test]
fn huge_pages() {
    let huge = 2_u64 << 20;
    let mut survival = PageSurvival::new(ms(0), SIZES, 1);
    touch(&mut survival, 10, 8 * huge + 0x3000, 1);
    touch(&mut survival, 10, 9 * huge + 0x3000, 2);
    touch(&mut survival, 10, 9 * huge + 0x4000, 2);
    look(&mut survival, 30, Answer::Huge);
    let figures = survival.figures(ms(100));
    let told: Vec<_> = figures.iter().map(|(key, it)| (*key, it.bytes, it.touched_bytes)).collect();
    assert_eq!(told, [(1, 2 * huge, 2 * huge), (2, 16_384, 16_384)]);
    assert_eq!(survival.sums().bytes, 2 * huge + 16_384);
    touch(&mut survival, 50, 8 * huge + 0x9000, 3);
    assert_eq!(survival.figures(ms(100)).len(), 1, "{:?}", survival.pages());
}

/// Guarantees: with room for few pages the estimates stay right, with an interval that says how much less is known.
#[test]
fn few_of_many_pages() {
    let mut right = 0;
    for salt in 0..50 {
        let mut survival = PageSurvival::new(ms(0), SIZES, salt * 7919).with_room(256);
        for n in 0..4000_u64 {
            assert!(touch(&mut survival, n, (n + 1) * 4096, u32::from(n % 4 == 0)));
        }
        assert!(survival.pages().len() <= 256);
        look(&mut survival, 5000, Answer::There);
        let sums = survival.sums();
        assert!(matches!(sums.followed_of, 16 | 32), "{}", sums.followed_of);
        assert_eq!((sums.samples, sums.touched_bytes), (4000, 4000 * 8192));
        let figures = survival.figures(ms(6000));
        right += figures
            .iter()
            .filter(|(key, it)| {
                let truth = if *key == 1 { 1000 } else { 3000 } * 8192;
                it.bytes.abs_diff(truth) <= it.error_bytes
            })
            .count();
    }
    assert!(right >= 90, "{right} of 100");
}

/// Guarantees: stacks are bounded; those without a page make room, and what found none is counted.
#[test]
fn too_many_stacks() {
    let mut survival = PageSurvival::new(ms(0), SIZES, 1);
    let page = |n: u32| u64::from(n + 1) * 4096;
    assert!((0..8192).all(|key| touch(&mut survival, 1, page(key), key)));
    assert!((20_000..20_100).all(|key| !touch(&mut survival, 2, page(key), key)));
    assert_eq!(survival.sums().not_fitted, 100);
    survival.answer(Page { space: 0, address: page(5) }, Answer::Gone);
    survival.looked(ms(3));
    assert!(touch(&mut survival, 4, page(30_000), 30_000));
    let held = survival.held();
    assert!(!held.contains(&5) && held.contains(&6) && held.contains(&30_000));
}

/// Guarantees: an address space that is gone takes its pages along, and nobody else's.
#[test]
fn an_end() {
    let mut survival = PageSurvival::new(ms(0), SIZES, 1);
    for space in 0..3 {
        survival.touch(&Touch { at: ms(1), page: Page { space, address: 4096 }, key: space, weight: 1 });
    }
    survival.forget(1);
    assert_eq!(survival.pages().iter().map(|(page, _)| page.space).collect::<Vec<_>>(), [0, 2]);
}
