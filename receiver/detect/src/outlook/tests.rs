use std::f64::consts::TAU;

use super::*;
use crate::rooms::Rooms;
use crate::sample::{Limit, Room};
use crate::work::Work;

const MIB: f64 = 1024.0 * 1024.0;

/// Bytes used up in the second from `t` on, as a share of the mean.
type Pace = fn(f64, &mut fastrand::Rng) -> f64;

const STEADY: Pace = |_, _| 1.0;
const NOISY: Pace = |_, dice| 2.0 * dice.f64();
const LOAD: Pace = |t, dice| 1.0 + 0.8 * (TAU * t / 240.0).sin() + 0.2 * (dice.f64() - 0.5);
const ACCELERATING: Pace = |t, _| 0.5 + (t % 1000.0) / 300.0;
const STEPS: Pace = |t, _| if t % 25.0 == 0.0 { 25.0 } else { 0.0 };
/// Three seconds of each thirty, at no certain moment of them.
const BURSTS: Pace = |t, dice| if t % 30.0 < 3.0 && dice.u8(..8) > 0 { 11.4 } else { 0.0 };
/// One tide in so long that its end is never seen.
const TIDE: Pace = |t, _| 1.0 + 0.6 * (TAU * t / 1500.0).sin();

fn trend(velocity: f64) -> Trend {
    let window = Duration::from_secs(60);
    Trend { velocity, interval: (0.9 * velocity, 1.1 * velocity), window, grown: 0, samples: 8 }
}

fn onset() -> Point {
    Point { at_s: 0.0, bytes: 0.0, work: Work::default() }
}

fn room(left: f64) -> Room {
    let limit = Limit { kind: LimitKind::Max, bytes: 1 << 40, cgroup_id: Some(7) };
    Room { limit, left: left.max(0.0) as u64, fresh: true }
}

/// What is told after `seen` seconds of a room that is used up at this pace, and what was left in truth, seconds.
fn told(pace: Pace, seen: u32, ends: f64, dice: &mut fastrand::Rng) -> Option<(Exhaustion, f64)> {
    let velocity = (0.05 + 2.0 * dice.f64()) * MIB;
    let phase = dice.u32(..1500);
    let (mut rooms, mut left, mut found) = (Rooms::new(1), velocity * ends, None);
    for second in 0..100_000_u32 {
        if left <= 0.0 {
            return found.map(|end| (end, f64::from(second - seen)));
        }
        let at = Duration::from_secs(second.into());
        rooms.observe(at, &room(left));
        if second == seen {
            let around = [Some(room(left)), None, None, None, None];
            found = rooms.exhaustion(at, &around, &onset(), &trend(velocity));
        }
        // where a program is in its ups and downs when its memory begins to grow is chance
        left -= velocity * pace(f64::from(second + phase), dice).max(0.0);
    }
    None
}

/// How many of the ends lie in what was told, and half the width of the interval over the time left, in the median.
fn scored(pace: Pace) -> (f64, f64) {
    let (mut inside, mut widths) = (0, Vec::new());
    for seed in 0..200 {
        let mut dice = fastrand::Rng::with_seed(seed);
        // what is near is told early
        let (seen, longest) = [(50, 130.0), (90, 130.0), (130, 500.0), (200, 1000.0)][dice.usize(..4)];
        let ends = f64::from(seen) + 30.0 + longest * dice.f64();
        let Some((end, left)) = told(pace, seen, ends, &mut dice) else { continue };
        inside += usize::from(end.earliest_s <= left && left <= end.latest_s);
        widths.push((end.latest_s - end.earliest_s) / 2.0 / left);
    }
    widths.sort_by(f64::total_cmp);
    (inside as f64 / widths.len() as f64, widths[widths.len() / 2])
}

/// Guarantees: nine of ten ends lie in the interval that is called so, and hardly fewer where only a part of a tide has been seen
/// that a later one goes against; it is narrow where the pace is even, and wider where it is not.
#[test]
fn nine_of_ten_end_inside() {
    let shapes: [(&str, Pace, f64); 7] = [
        ("steady", STEADY, 0.15),
        ("noisy", NOISY, 0.2),
        ("steps", STEPS, 0.7),
        ("bursts", BURSTS, 0.7),
        ("accelerating", ACCELERATING, 0.7),
        ("tide", TIDE, 0.8),
        ("load", LOAD, f64::INFINITY),
    ];
    let scores: Vec<_> = shapes.iter().map(|(name, pace, _)| (name, scored(*pace))).collect();
    for ((name, (inside, width)), (_, _, widest)) in scores.iter().zip(&shapes) {
        assert!(*inside >= 0.8 && width <= widest, "{name}: {scores:#?}");
    }
    let inside = scores.iter().map(|(_, (inside, _))| inside).sum::<f64>() / scores.len() as f64;
    assert!(inside >= 0.9, "{inside}: {scores:#?}");
}

/// Guarantees: what counts is how the room shrinks, not how the case grows: the kernel's own memory and neighbours beneath the
/// same limit are in it.
#[test]
fn all_that_is_charged_counts() {
    let mut rooms = Rooms::new(2);
    for second in 0..100_u32 {
        rooms.observe(Duration::from_secs(second.into()), &room((500.0 - f64::from(second)) * MIB));
    }
    let (now, around) = (Duration::from_secs(99), [Some(room(401.0 * MIB)), None, None, None, None]);
    let end = rooms.exhaustion(now, &around, &onset(), &trend(0.25 * MIB)).expect("a limit");
    assert!((395.0..405.0).contains(&end.expected_s), "{end:?}");
    // later, when nothing new was read, it is nearer by as much
    let later = rooms.exhaustion(now + Duration::from_secs(30), &around, &onset(), &trend(0.25 * MIB));
    assert!(later.is_some_and(|later| (end.expected_s - later.expected_s - 30.0).abs() < 0.1));
}

/// Guarantees: of several limits the one told is the one that is reached first, not the one with the least room; one that is
/// approached by nobody else is divided by the case's own growth, and its latest moment is not told.
#[test]
fn the_first_to_be_reached() {
    let other = |left: f64| Room { limit: Limit { cgroup_id: Some(8), ..room(left).limit }, ..room(left) };
    let mut rooms = Rooms::new(2);
    for second in 0..100_u32 {
        let (at, used) = (Duration::from_secs(second.into()), f64::from(second) * MIB);
        rooms.observe(at, &room(200.0 * MIB - 0.5 * used));
        rooms.observe(at, &other(500.0 * MIB - 3.0 * used));
    }
    let around = [Some(room(150.5 * MIB)), Some(other(203.0 * MIB)), None, None, None];
    let end = rooms.exhaustion(Duration::from_secs(99), &around, &onset(), &trend(0.5 * MIB));
    assert!(
        end.is_some_and(|end| end.limit.cgroup_id == Some(8) && (end.expected_s - 67.7).abs() < 2.0),
        "{end:?}"
    );

    let still = rooms.exhaustion(
        Duration::ZERO,
        &[
            Some(Room { limit: Limit { bytes: 5, ..room(0.0).limit }, ..room(100.0 * MIB) }),
            None,
            None,
            None,
            None,
        ],
        &onset(),
        &trend(0.5 * MIB),
    );
    assert!(still.is_some_and(|end| (end.expected_s - 200.0).abs() < 0.1 && end.latest_s.is_infinite()));
}

/// Guarantees: a limit that was not seen by a pass over everything is forgotten, one too many is not followed, and what an
/// earlier pass saw is not taken for news.
#[test]
fn what_is_followed_is_bounded() {
    let mut rooms = Rooms::new(1);
    let other = Room { limit: Limit { cgroup_id: Some(8), ..room(0.0).limit }, ..room(5.0 * MIB) };
    let shrink = |rooms: &mut Rooms, kept: Room| {
        for second in 0..60_u32 {
            let left = kept.left - u64::from(second) * 10_240;
            rooms.observe(Duration::from_secs(second.into()), &Room { left, ..kept });
        }
        let around = [Some(kept), None, None, None, None];
        let end = rooms.exhaustion(Duration::from_secs(59), &around, &onset(), &trend(1.0));
        end.expect("a limit").latest_s.is_finite()
    };
    assert!(!shrink(&mut rooms, Room { fresh: false, ..room(6.0 * MIB) }));
    assert!(shrink(&mut rooms, room(6.0 * MIB)));
    assert!(!shrink(&mut rooms, other));
    rooms.forget_unseen(Duration::from_secs(60));
    assert!(shrink(&mut rooms, other));
}

/// Guarantees: a limit that slows down is told as well as the one behind it that kills, once each.
#[test]
fn high_hides_no_max() {
    let end = |kind, expected_s| {
        let limit = Limit { kind, bytes: 1, cgroup_id: None };
        Exhaustion { expected_s, earliest_s: 0.0, latest_s: 1e6, limit }
    };
    let high = end(LimitKind::High, 100.0);
    assert!(is_news(&high, None) && !is_news(&high, Some(&high)));
    assert!(is_news(&end(LimitKind::Max, 900.0), Some(&high)));
    assert!(!is_news(&end(LimitKind::Max, 800.0), Some(&end(LimitKind::Max, 900.0))));
    assert!(is_news(&end(LimitKind::Max, 400.0), Some(&end(LimitKind::Max, 900.0))));
}

/// Guarantees: no points, equal moments, a room that grows and numbers beyond all bounds give no number that is none.
#[test]
fn degenerate() {
    let at = |at_s: f64, bytes: f64| Point { at_s, bytes, work: Work::default() };
    assert_eq!(foresee(&[]), None);
    assert_eq!(foresee(&[at(1.0, 5.0); 12]), None);
    let grows: Vec<_> = (0..20).map(|n| at(f64::from(n), f64::from(n))).collect();
    assert_eq!(foresee(&grows), None);
    for most in [f64::MAX, 1e300, 0.0] {
        let wild: Vec<_> = (0..20).map(|n| at(f64::from(n), if n % 2 == 0 { most } else { 0.0 })).collect();
        let told = foresee(&wild).map(|end| end.after(Duration::ZERO));
        assert!(told.is_none_or(|end| !end.expected_s.is_nan() && end.earliest_s >= 0.0), "{told:?}");
    }
    let endless = by_trend(5, &trend(0.0));
    assert!(endless.expected_s.is_infinite() && endless.latest_s.is_infinite());
}
