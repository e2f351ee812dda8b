use super::*;

const MIB: f64 = 1_048_576.0;

/// A number between -1 and 1 that looks like chance, the same each time.
fn noise(step: u64) -> f64 {
    let mut x = step.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^= x >> 31;
    x = x.wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((x >> 40) as f64 / f64::from(1u32 << 24)) * 2.0 - 1.0
}

/// A reading every ten seconds: MiB in use, held and charged, by the seconds.
fn watch(series: &mut Series, readings: u64, mib: impl Fn(f64) -> (f64, f64, f64), collections: Option<u64>) {
    for step in 0..readings {
        let at = Duration::from_secs(step * 10);
        let (in_use, held, charged) = mib(at.as_secs_f64());
        let bytes = |mib: f64| (mib.max(0.0) * MIB) as u64;
        series.note(
            at,
            &Look {
                in_use: Some(bytes(in_use)),
                held: Some(bytes(held)),
                collections: collections.map(|every| step / every),
                charged: bytes(charged),
                ..Look::default()
            },
        );
    }
}

fn says(series: &Series, readings: u64) -> Option<Says> {
    series.testimony(Duration::from_secs(readings * 10)).map(|testimony| testimony.says)
}

/// Guarantees: a heap whose chunks in use grow as the process does is kept, at its true speed, which the interval holds,
/// through noise of several times a step.
#[test]
fn kept_through_noise() {
    let mut series = Series::new("glibc_census", Spare::Retained);
    let in_use = |s: f64| 50.0 + s / 10.0 * 0.2 + noise(s as u64) * 0.4;
    watch(&mut series, 30, |s| (in_use(s), 60.0 + s * 0.02, 80.0 + s * 0.02), None);
    let Some(Says::Kept { velocity, interval, share }) = says(&series, 30) else { panic!("{series:?}") };
    let truth = 0.02 * MIB;
    assert!((velocity / truth - 1.0).abs() < 0.25, "{velocity}");
    assert!(interval.0 <= truth && truth <= interval.1, "{interval:?}");
    assert!(share > 0.7, "{share}");
}

/// Guarantees: an allocator that holds more and more for the same in use retains it; where the rest of the process grows
/// instead, nothing is said of that.
#[test]
fn retained_or_elsewhere() {
    let mut series = Series::new("glibc_census", Spare::Retained);
    watch(&mut series, 20, |s| (50.0 + noise(s as u64) * 0.01, 60.0 + s * 0.1, 80.0 + s * 0.1), None);
    assert_eq!(says(&series, 20), Some(Says::Spare(Spare::Retained)));
    let mut series = Series::new("glibc_census", Spare::Retained);
    watch(&mut series, 20, |s| (50.0 + noise(s as u64) * 0.01, 60.0, 80.0 + s * 0.1), None);
    assert!(matches!(says(&series, 20), Some(Says::Unclear(why)) if why.contains("outside")));
}

/// Guarantees: where a little stays of all that is given back, that holds the rest fast: an allocator is not said to retain it; of a
/// collected heap, which is made compact, or collected again, the rest is garbage all the same.
#[test]
fn fragments() {
    let pinned = |spare| {
        let mut series = Series::new("glibc_census", spare);
        watch(&mut series, 20, |s| (5.0 + s * 0.001, 10.0 + s * 0.1, 20.0 + s * 0.1), Some(1));
        says(&series, 20)
    };
    assert!(matches!(pinned(Spare::Retained), Some(Says::Unclear(why)) if why.contains("grows as well")));
    assert_eq!(pinned(Spare::Garbage), Some(Says::Spare(Spare::Garbage)));
}

/// Guarantees: of a collected heap only what a collection leaves counts: garbage that piles up between them is none that is
/// kept, also when it is read many times before it goes, and without a collection nothing is said.
#[test]
fn garbage_is_not_kept() {
    // grows by 3 MiB each reading and falls back every sixth, when it has been collected
    let saw = |s: f64| 20.0 + (s / 10.0) % 6.0 * 3.0;
    let mut series = Series::new("go_heap", Spare::Garbage);
    watch(&mut series, 60, |s| (saw(s), 60.0 + s * 0.1, 80.0 + s * 0.1), Some(6));
    assert_eq!(says(&series, 60), Some(Says::Spare(Spare::Garbage)));
    let mut series = Series::new("go_heap", Spare::Garbage);
    watch(&mut series, 60, |s| (saw(s) + s * 0.09, 60.0 + s * 0.1, 80.0 + s * 0.1), Some(6));
    assert!(matches!(says(&series, 60), Some(Says::Kept { share, .. }) if share > 0.8), "{series:?}");
    let mut series = Series::new("go_heap", Spare::Garbage);
    watch(&mut series, 60, |s| (20.0 + s, 60.0 + s, 80.0 + s), Some(1000));
    assert!(matches!(says(&series, 60), Some(Says::Unclear(why)) if why.contains("collections")));
}

/// Guarantees: room for garbage that a collected heap takes as what lives grows is due to what lives, and to the kinds that grow; an
/// allocator's is not.
#[test]
fn room_for_garbage() {
    for (spare, expected) in [(Spare::Garbage, 0.8), (Spare::Retained, 0.4)] {
        let mut series = Series::new("go_heap", spare);
        for step in 0..10 {
            let (in_use, held) = (Some(step * 1000), Some(step * 2000));
            let classes = [("remember", step * 800, step)];
            let look = Look { in_use, held, classes: &classes, charged: step * 2000, ..Look::default() };
            series.note(Duration::from_secs(step * 10), &look);
        }
        let growing = series.growing();
        assert!((growing[0].share - expected).abs() < 0.01, "{growing:?}");
    }
    for (spare, expected) in [(Spare::Garbage, 1.0), (Spare::Retained, 0.5)] {
        let mut series = Series::new("go_heap", spare);
        watch(&mut series, 20, |s| (20.0 + s * 0.1, 40.0 + s * 0.2, 60.0 + s * 0.2), Some(1));
        let Some(Says::Kept { velocity, share, .. }) = says(&series, 20) else { panic!("{series:?}") };
        assert!((velocity / (0.1 * MIB) - 1.0).abs() < 0.01, "{velocity}");
        assert!((share - expected).abs() < 0.01, "{share}");
    }
}

/// Guarantees: one step is no growth, a process that does not grow leaves nothing to explain, and a source that tells
/// nothing in use explains nothing.
#[test]
fn nothing_to_say() {
    let mut series = Series::new("glibc_census", Spare::Retained);
    watch(&mut series, 12, |s| if s < 60.0 { (50.0, 60.0, 80.0) } else { (70.0, 80.0, 100.0) }, None);
    assert!(matches!(says(&series, 12), Some(Says::Unclear(_))));
    // it is as old as the reading that it rests on
    let at = |seconds| series.testimony(Duration::from_secs(seconds)).map(|testimony| testimony.at);
    assert_eq!(at(115), Some(Duration::from_secs(110)));
    let mut series = Series::new("glibc_census", Spare::Retained);
    watch(&mut series, 12, |_| (50.0, 60.0, 80.0), None);
    assert!(matches!(says(&series, 12), Some(Says::Unclear(why)) if why.contains("not grow")));
    let mut series = Series::new("glibc_census", Spare::Retained);
    for step in 0..12 {
        series.note(Duration::from_secs(step), &Look { charged: step << 20, ..Look::default() });
    }
    assert_eq!(series.testimony(Duration::from_secs(10)), None, "too early");
    let says = series.testimony(Duration::from_secs(30)).unwrap().says;
    assert_eq!(says, Says::Unclear("what is in use was not told"));
}

/// Guarantees: a few bytes are not kept however surely they grow, and a testimony is as old as the collection that it rests on.
#[test]
fn little_and_old() {
    let mut series = Series::new("go_heap", Spare::Garbage);
    watch(&mut series, 12, |s| (20.0 + s * 0.0001, 60.0, 80.0), Some(1));
    assert!(matches!(says(&series, 12), Some(Says::Unclear(_))), "{series:?}");
    let mut series = Series::new("go_heap", Spare::Garbage);
    watch(&mut series, 12, |s| (20.0 + s * 0.1, 60.0 + s * 0.1, 80.0 + s * 0.1), Some(2));
    let testimony = series.testimony(Duration::from_secs(200)).unwrap();
    assert!(matches!(testimony.says, Says::Kept { .. }));
    assert_eq!((testimony.at, testimony.watched), (Duration::from_secs(100), Duration::from_secs(100)));
}

/// Guarantees: pages that are charged while those mapped stay as many are copies; growth of pages is never said to be kept by
/// whoever sees pages alone.
#[test]
fn copies() {
    let mut series = Series::new("shared_pages", Spare::Copies);
    watch(&mut series, 12, |s| (200.0, 20.0 + s * 0.5, 20.0 + s * 0.5), None);
    assert_eq!(says(&series, 12), Some(Says::Spare(Spare::Copies)));
    let mut series = Series::new("shared_pages", Spare::Copies);
    watch(&mut series, 12, |s| (200.0 + s * 0.5, 20.0 + s * 0.5, 20.0 + s * 0.5), None);
    assert!(matches!(says(&series, 12), Some(Says::Unclear(_))));
}

/// Guarantees: the kind that grows comes first, with its share; what churns and what shrinks does not come at all, but
/// what grows by steps does. Two kinds of one name are one.
#[test]
fn kinds_that_grow() {
    let mut series = Series::new("glibc_census", Spare::Retained);
    for step in 0..20 {
        let churn = (500_000.0 + noise(step) * 400_000.0) as u64;
        let classes = [
            ("churn", churn, 1),
            ("shop::Order", 40_000 * step, step),
            ("shop::Line", 5_000 * step, step),
            ("shop::Line", 5_000 * step, step),
            ("gone", 900_000 - 40_000 * step, 1),
            ("sampled", step / 4 * 2_000, step / 4),
        ];
        let charged = 10_000_000 + 100_000 * step;
        series.note(
            Duration::from_secs(step * 10),
            &Look { in_use: Some(charged), classes: &classes, charged, ..Look::default() },
        );
    }
    let growing = series.growing();
    let told: Vec<_> = growing.iter().map(|it| (it.name.as_str(), it.bytes_per_second.round())).collect();
    assert_eq!(told[..2], [("shop::Order", 4000.0), ("shop::Line", 1000.0)]);
    assert_eq!((told[2].0, told.len()), ("sampled", 3));
    assert!((growing[0].share - 0.4).abs() < 0.01, "{growing:?}");
}

/// Guarantees: however many readings and kinds there are, whatever their names, the memory is bounded, and the newest readings
/// are kept.
#[test]
fn bounded() {
    let mut series = Series::new("glibc_census", Spare::Retained);
    let names: Vec<String> = (0..150).map(|index| format!("{index}{}", "é".repeat(500))).collect();
    for step in 0..200_u64 {
        let classes: Vec<_> = names.iter().map(|name| (name.as_str(), step, step)).collect();
        let in_use = Some(step << 20);
        series.note(Duration::from_secs(step), &Look { in_use, classes: &classes, ..Look::default() });
    }
    assert!(series.noted.len() <= MAX_READINGS);
    assert_eq!(series.noted.last().map(|noted| noted.at), Some(Duration::from_secs(199)));
    assert_eq!(series.classes.each().count(), 128);
    assert!(series.classes.each().all(|(name, points)| name.len() <= 256 && points.len() <= 32));
}

/// Guarantees: of a heap that is collected rarely, two collections that have left the same tell that nothing is kept, and of one that
/// leaks they do not; where the rest of the process grows nothing is said.
#[test]
fn two_collections_may_do() {
    let sparse = |in_use: fn(f64) -> f64, held: fn(f64) -> f64| {
        let mut series = Series::new("go_heap", Spare::Garbage);
        watch(&mut series, 25, |s| (in_use(s), held(s), 10.0 + s * 0.1), Some(9));
        says(&series, 25)
    };
    assert_eq!(sparse(|_| 18.0, |s| 20.0 + s * 0.1), Some(Says::Spare(Spare::Garbage)));
    let few = Some(Says::Unclear("too few collections so far"));
    assert_eq!(sparse(|s| 18.0 + s * 0.05, |s| 20.0 + s * 0.1), few);
    assert_eq!(sparse(|_| 18.0, |_| 20.0), few);
}

/// Guarantees: where the first reading tells what a collection had left, the next collection is the second one; where it tells what is
/// there at the moment, garbage in it would look like memory that is given back, and nothing is said.
#[test]
fn one_collection_may_do() {
    let sparse = |as_collected, in_use: fn(f64) -> f64| {
        let mut series = Series::new("go_heap", Spare::Garbage).told_as_collected(as_collected);
        watch(&mut series, 20, |s| (in_use(s), 20.0 + s * 0.1, 10.0 + s * 0.1), Some(16));
        says(&series, 20)
    };
    assert_eq!(sparse(true, |_| 18.0), Some(Says::Spare(Spare::Garbage)));
    let few = Some(Says::Unclear("too few collections so far"));
    assert_eq!(sparse(false, |_| 18.0), few);
    assert_eq!(sparse(true, |s| 18.0 + (s / 160.0).floor() * 8.0), few, "it leaks");
}

/// Guarantees: a heap that has not been collected since the process began holds garbage, as far as anybody knows, until it is collected, or has
/// not been for very long; nothing is said of memory for which it has no room, of stacks, nor where a first reading tells less.
#[test]
fn never_collected() {
    let told = |as_collected, held: f64, stacks: u64, collections: u64| {
        let mut series = Series::new("go_heap", Spare::Garbage).told_as_collected(as_collected);
        for step in 0..12 {
            let (held, charged) = (Some((held * MIB) as u64), 2_000_000 + step * 100_000);
            let (in_use, collections) = (Some(step * stacks), Some(collections));
            let look = Look { in_use, held, collections, charged, ..Look::default() };
            series.note(Duration::from_secs(step * 10), &look);
        }
        let says = says(&series, 12);
        let look = Look { in_use: Some(0), held: Some(8 << 20), collections: Some(1), ..Look::default() };
        series.note(Duration::from_secs(120), &Look { charged: 3_200_000, ..look });
        (says, series.testimony(Duration::from_secs(121)).map(|testimony| testimony.says))
    };
    let (garbage, few) = (Says::Spare(Spare::Garbage), Says::Unclear("too few collections so far"));
    assert_eq!(told(true, 8.0, 0, 0), (Some(garbage), Some(few)));
    assert_eq!(told(true, 8.0, 50_000, 0).0, Some(few), "goroutines pile up");
    assert_eq!(told(true, 2.0, 0, 0).0, Some(few), "it grows elsewhere");
    assert_eq!(told(true, 8.0, 0, 1), (Some(few), Some(few)));
    assert_eq!(told(false, 8.0, 0, 0), (Some(few), Some(few)));
    let mut series = Series::new("go_heap", Spare::Garbage).told_as_collected(true);
    watch(&mut series, 100, |s| (0.0, 200.0, s * 0.1), Some(1000));
    assert_eq!(says(&series, 100), Some(few), "its collector is off");
}

/// Guarantees: a heap that grows by its youngest objects alone has nothing to keep yet, whatever has been collected; when it has, that is
/// believed for a while.
#[test]
fn what_is_new() {
    let mut series = Series::new("jvm_counters", Spare::Garbage);
    for step in 0..12 {
        let used = if step < 6 { step << 20 } else { 0 };
        let collections = u64::from(step >= 6);
        let young = Some(Young { used, room: 6 << 20, collections, old: 0 });
        let charged = (50 + step.min(6)) << 20;
        let look = Look { in_use: Some(0), collections: Some(0), young, charged, ..Look::default() };
        series.note(Duration::from_secs(step * 10), &look);
        if step * 10 >= MIN_WATCHED.as_secs() {
            assert_eq!(says(&series, step), Some(Says::Spare(Spare::Garbage)), "{step}");
        }
    }
    assert!(matches!(says(&series, 12), Some(Says::Unclear(_))));
}
