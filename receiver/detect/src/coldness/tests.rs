use super::*;

const MIB: f64 = 1_048_576.0;
const LENGTH: u64 = 20;

/// So many windows, a second apart, of a process that grows by this many MiB a window, which leaves what `cold` says cold of it,
/// beside a base of which 40 MiB are cold.
fn references(count: u64, grows: f64, cold: impl Fn(u64) -> f64) -> References {
    let mut references = References::default();
    let mut left = 0.0;
    for index in 0..count {
        let began = Duration::from_secs(100 + index * (LENGTH + 1));
        let resident = ((100.0 + grows * index as f64) * MIB) as u64;
        let held = Held { resident, huge: 0, charged: resident, old: None };
        left += if index == 0 { 0.0 } else { grows * cold(index) };
        let ended = began + Duration::from_secs(LENGTH);
        let cold = ((40.0 + left) * MIB) as u64;
        references.note(Window { began, ended, held, cold, walked: Some(false) });
    }
    references
}

fn said(references: &References) -> Says {
    references.testimony().expect("two windows").says
}

/// Guarantees: what is never referenced again is kept, as fast as it grows, whatever lies cold or warm beside it; the second
/// window tells it, and the testimony is as old as the last one.
#[test]
fn leak_is_cold() {
    for grows in [0.3, 2.0, 30.0] {
        let leak = references(3, grows, |_| 1.0);
        let Says::Kept { velocity, interval, share } = said(&leak) else { panic!("{:?}", said(&leak)) };
        let expected = grows * MIB / (LENGTH + 1) as f64;
        assert!((velocity / expected - 1.0).abs() < 0.01 && share > 0.99, "{velocity} {share}");
        assert!(interval.0 <= velocity && velocity <= interval.1 && interval.0 > 0.0);
    }
    assert_eq!(references(1, 2.0, |_| 1.0).testimony(), None);
    let told = references(2, 2.0, |_| 1.0).testimony().expect("two windows");
    assert!(matches!(told.says, Says::Kept { .. }));
    assert_eq!((told.at.as_secs(), told.watched.as_secs()), (141, 41));
}

/// Guarantees: what is referenced again is in use, a tenth of it left cold or not, once two steps show it, or long ones; in between nothing is said, nor where one step
/// says something else than the next, nor where memory beside it warms up or cools down.
#[test]
fn cache_is_warm() {
    for cold in [-0.2, 0.0, 0.1, 0.25] {
        assert_eq!(said(&references(3, 2.0, |_| cold)), Says::Spare(Spare::InUse), "{cold}");
        assert!(matches!(said(&references(2, 2.0, |_| cold)), Says::Unclear(_)), "{cold}");
    }
    for cold in [0.4, 0.6, -2.0, 3.0] {
        let says = said(&references(3, 2.0, |_| cold));
        assert!(matches!(says, Says::Unclear(_)), "{cold} {says:?}");
    }
    let mut long = references(2, 2.0, |_| 0.0);
    long.windows[1].began += Duration::from_secs(LENGTH);
    long.windows[1].ended += Duration::from_secs(LENGTH);
    assert_eq!(said(&long), Says::Spare(Spare::InUse), "long windows need no third one");
    let walked_once = references(4, 2.0, |index| if index == 3 { 0.0 } else { 1.0 });
    assert!(matches!(said(&walked_once), Says::Unclear(_)));
}

/// Guarantees: the newest steps speak: who begins to use what it keeps, or to leak, is told by what it does now.
#[test]
fn newest_speak() {
    assert_eq!(said(&references(12, 2.0, |index| f64::from(index < 9))), Says::Spare(Spare::InUse));
    assert!(matches!(said(&references(12, 2.0, |index| f64::from(index >= 9))), Says::Kept { .. }));
}

/// Guarantees: slow growth is summed up over several windows until there is enough of it, and else nothing is said.
#[test]
fn slow_growth_takes_longer() {
    assert!(matches!(said(&references(2, 0.1, |_| 1.0)), Says::Unclear(_)));
    assert!(matches!(said(&references(6, 0.1, |_| 1.0)), Says::Kept { .. }));
    assert_eq!(said(&references(8, 0.1, |_| 0.0)), Says::Spare(Spare::InUse));
    assert!(matches!(said(&references(6, 0.0, |_| 0.0)), Says::Unclear(_)));
}

/// Guarantees: of memory that is not marked nothing is said; huge pages that are cold are kept, and those that are warm say nothing.
#[test]
fn beside_the_point() {
    let with = |cold: f64, change: fn(&mut Held, u64)| {
        let mut references = references(3, 4.0, |_| cold);
        for (index, window) in references.windows.iter_mut().enumerate() {
            change(&mut window.held, index as u64 * 4 * MIB as u64);
        }
        said(&references)
    };
    let shared = with(0.0, |held, grown| held.charged += 2 * grown);
    assert_eq!(shared, Says::Unclear("what grows is not its own memory"));
    let huge = |held: &mut Held, grown| held.huge = grown;
    assert!(matches!(with(1.0, huge), Says::Kept { .. }));
    assert_eq!(with(0.0, huge), Says::Unclear("it grows by huge pages, which are referenced as a whole"));
}

/// Guarantees: two windows convict only if next to nothing was referenced again; what was now and then is kept only if four windows show
/// it.
#[test]
fn rarely_read_takes_longer() {
    assert!(matches!(said(&references(2, 2.0, |_| 0.95)), Says::Kept { .. }));
    for count in [2, 3] {
        let says = said(&references(count, 2.0, |_| 0.8));
        assert!(matches!(says, Says::Unclear(_)), "{count} {says:?}");
    }
    assert!(matches!(said(&references(4, 2.0, |_| 0.8)), Says::Kept { .. }));
}

/// The same windows, with what is known of walks; a walk leaves nothing cold.
fn walked(references: References, walked: impl Fn(usize) -> Option<bool>) -> References {
    let mut walks = references;
    for (index, window) in walks.windows.iter_mut().enumerate() {
        window.walked = walked(index);
        window.cold = if window.walked == Some(true) { 0 } else { window.cold };
    }
    walks
}

/// Guarantees: what is referenced again where no collector walked is in use; where one did, or nobody knows, that says nothing, and what
/// is cold is kept all the same. A walk between two windows does not make them say something else.
#[test]
fn between_walks() {
    let (cache, leak) = (|| references(5, 2.0, |_| 0.1), || references(4, 2.0, |_| 1.0));
    assert_eq!(said(&walked(cache(), |index| Some(index == 2))), Says::Spare(Spare::InUse));
    assert_eq!(said(&walked(cache(), |_| None)), Says::Unclear(WALKED));
    assert_eq!(said(&walked(cache(), |index| (index != 1).then_some(false))), Says::Unclear(WALKED));
    assert_eq!(said(&walked(leak(), |_| Some(true))), Says::Unclear(WALKED), "all that leaks was walked");
    for of_leak in [walked(leak(), |index| Some(index == 2)), walked(leak(), |_| None)] {
        assert!(matches!(said(&of_leak), Says::Kept { .. }), "{:?}", said(&of_leak));
    }
}

/// Guarantees: a table that is rebuilt while little is there does not make what leaks look as if it was in use: two steps show that, and
/// beside a collector three.
#[test]
fn rebuilt_tables() {
    let rebuilt = |count, heap| {
        // all that had been cold is warm in the second window, and cold again in the third
        let mut references = references(count, 6.0, |_| 1.0);
        references.heap = heap;
        for (index, window) in references.windows.iter_mut().enumerate() {
            window.held.old = Some(index as u64 * 6 * MIB as u64);
            window.cold = [2, 0, 14, 20][index] * MIB as u64;
        }
        said(&references)
    };
    let in_use = |count| said(&References { heap: Heap::Counted, ..references(count, 2.0, |_| 0.1) });
    assert!(matches!(in_use(3), Says::Unclear(_)));
    assert_eq!(in_use(4), Says::Spare(Spare::InUse));
    let short = [Heap::Plain, Heap::Counted, Heap::Collected].map(|heap| (2, heap));
    for (count, heap) in short.into_iter().chain([(3, Heap::Counted), (3, Heap::Collected)]) {
        assert!(matches!(rebuilt(count, heap), Says::Unclear(_)), "{count} {heap:?}");
    }
}

/// Guarantees: in a heap with garbage what is cold says nothing, and what is warm is in use if it is the old generation that grew, which
/// is known since the last walk.
#[test]
fn beside_garbage() {
    let of_heap = |cold: f64, old: f64, walked_in: usize| {
        let mut references = walked(references(6, 2.0, |_| cold), |index| Some(index == walked_in));
        references.heap = Heap::Collected;
        for (index, window) in references.windows.iter_mut().enumerate() {
            window.held.old = Some((old * 2.0 * MIB * index as f64) as u64);
        }
        references
    };
    assert_eq!(said(&of_heap(1.0, 1.0, 0)), Says::Unclear(GARBAGE));
    assert_eq!(said(&of_heap(0.1, 1.0, 0)), Says::Spare(Spare::InUse));
    assert_eq!(said(&of_heap(0.1, 1.0, 1)), Says::Spare(Spare::InUse));
    assert_eq!(
        said(&of_heap(0.1, 1.0, 4)),
        Says::Unclear("some of what it grows by is referenced again, and some is not")
    );
    assert_eq!(said(&of_heap(0.1, 0.4, 0)), Says::Unclear(YOUNG));
    assert_eq!(said(&of_heap(0.1, 2.0, 0)), Says::Unclear(YOUNG));
    let mut untold = of_heap(0.1, 1.0, 0);
    untold.windows[5].held.old = None;
    assert_eq!(said(&untold), Says::Unclear(YOUNG));
}
