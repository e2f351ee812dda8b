//! Watches without a kernel's side: this very process has the memory, and the test says who writes to it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mlh_bpf::capture::Capture;
use mlh_bpf::faults::{Heard, Touch};
use mlh_bpf::python::PythonLayout;
use mlh_bpf::watch::{self, WRITE_COST, Write};
use mlh_detect::growth_stacks::{Lies, PageSizes};
use mlh_targets::host::HostClock;

use super::super::book::{Book, Told};
use super::super::process::Shared;
use super::super::watcher::Watcher;
use super::{LEAST, MOST};

const PAGE: u64 = 4096;

/// What was asked of the kernel.
#[derive(Default)]
struct Asked {
    watched: Vec<(u64, u64, u32)>,
    released: Vec<u64>,
    /// No thread that comes can be covered.
    is_full: bool,
}

struct Fake(Arc<Mutex<Asked>>);

impl Watcher for Fake {
    fn watch(&mut self, number: u64, address: u64, writes: u32) -> Result<u32, String> {
        self.0.lock().unwrap().watched.push((number, address, writes));
        Ok(writes / 2)
    }

    fn watch_once(&mut self, number: u64, address: u64, _: u32) -> Result<(), String> {
        self.0.lock().unwrap().watched.push((number, address, 1));
        Ok(())
    }

    fn cover(&mut self) -> Result<(), Vec<u64>> {
        let asked = self.0.lock().unwrap();
        if asked.is_full { Err(asked.watched.iter().map(|(number, ..)| *number).collect()) } else { Ok(()) }
    }

    fn release(&mut self, number: u64) {
        self.0.lock().unwrap().released.push(number);
    }

    fn walk(&mut self, _: bool) -> Result<(), String> {
        Ok(())
    }

    fn set_python(&mut self, _: Option<&PythonLayout>) -> Result<(), String> {
        Ok(())
    }

    fn kernel_bytes(&self) -> u64 {
        9
    }
}

/// A book of this process, and memory of it.
struct Scene {
    book: Book,
    asked: Arc<Mutex<Asked>>,
    memory: Vec<u8>,
    began: Duration,
}

impl Scene {
    /// Since so many seconds ago, with this budget.
    fn new(budget: Option<f64>, is_walked: bool, ago: u64) -> Self {
        let pid = std::process::id();
        let began = HostClock::now_boot().unwrap();
        let sizes = PageSizes { base: PAGE, huge: 2 << 20 };
        let mut book = Book::new(began, sizes, Shared { max_frames: 64, ..Shared::default() }, false);
        book.set_members(BTreeSet::from([pid]));
        assert!(book.admit(pid));
        if is_walked {
            book.follow_blocks(pid);
        }
        book.watch(pid, budget, is_walked);
        let asked = Arc::new(Mutex::new(Asked::default()));
        let fake = Box::new(Fake(Arc::clone(&asked)));
        book.take_watcher(Ok(fake), began.saturating_sub(Duration::from_secs(ago)));
        Self { book, asked, memory: vec![1; 40 * PAGE as usize], began }
    }

    fn at(&self, second: u64) -> Duration {
        self.began + Duration::from_secs(second)
    }

    /// Touches a page by code at this distance, and sees to the watches.
    fn touch(&mut self, page: u64, ip: u64, second: u64) {
        let address = self.memory.as_ptr() as u64 + page * PAGE;
        let pid = std::process::id();
        let capture = Capture { ip: code() + ip, truncated: true, ..Capture::default() };
        let at = self.at(second);
        self.book.take_in(&Told::Fault(Heard::Touch(Touch {
            at,
            pid,
            thread: pid,
            address,
            weight: 1,
            one_of: 1,
            capture,
        })));
        self.book.see_to_watches(at);
    }

    fn write(&mut self, watch: u64, ip: u64, second: u64) {
        let pid = std::process::id();
        let capture = Capture { ip: code() + ip, truncated: true, ..Capture::default() };
        let at = self.at(second);
        self.book.take_in(&Told::Watch(watch::Heard::Write(Write { at, pid, thread: pid, watch, capture })));
    }

    fn watched(&self) -> Vec<(u64, u64, u32)> {
        self.asked.lock().unwrap().watched.clone()
    }

    /// Votes by where the code lies, of those that have any.
    fn votes(&self) -> Vec<(u64, u64)> {
        let found = self.book.found(self.at(1000), 10);
        let votes = found.iter().filter(|found| found.figures.votes > 0);
        let place = |found: &super::super::book::Found| found.stack.trace().frames[0].address - code();
        votes.map(|found| (place(found), found.figures.votes)).collect()
    }
}

/// An address in this process's code.
fn code() -> u64 {
    Scene::new as *const () as u64
}

/// Guarantees: in pages that were just touched two addresses are watched at once; who writes there last has a vote once they rest, and
/// they are released; another one is watched then.
#[test]
fn the_last_writer_has_the_vote() {
    let mut scene = Scene::new(None, false, 100);
    (1..3).for_each(|page| scene.touch(page, 1, 1));
    // no watch is free, and by the time one is nobody knows who has written there
    scene.touch(3, 1, 1);
    let begin = scene.memory.as_ptr() as u64;
    let watched = scene.watched();
    assert_eq!(watched.iter().map(|(number, ..)| *number).collect::<Vec<_>>(), [1, 2]);
    for ((_, address, writes), page) in watched.iter().zip(1..) {
        let offset = (begin + page * PAGE) / PAGE * PAGE;
        assert!((offset + PAGE / 2..offset + PAGE).contains(address) && *writes == MOST);
    }
    scene.write(1, 2, 2);
    scene.write(1, 3, 3);
    scene.book.see_to_watches(scene.at(18));
    assert_eq!(scene.votes(), [(1, 1)], "nobody has written over the second");
    scene.book.see_to_watches(scene.at(20));
    let mut votes = scene.votes();
    votes.sort_unstable();
    assert_eq!(votes, [(1, 1), (3, 1)]);
    scene.touch(9, 1, 21);
    let asked = scene.asked.lock().unwrap();
    assert_eq!((asked.watched.len(), &asked.released[..]), (3, &[2, 1][..]));
}

/// Guarantees: no more writes are asked for than the process can pay for, with all else that it pays and those asked for before; where
/// that is too little nothing is watched. What was told, and what was lost, is in the cost.
#[test]
fn within_the_budget() {
    // 0.1 % of 10 s are 1428 writes; of those a fault costs one, and half of the others is spared
    let mut scene = Scene::new(Some(0.001), false, 10);
    scene.touch(1, 1, 0);
    scene.touch(2, 1, 0);
    let asked: Vec<u32> = scene.watched().iter().map(|(.., writes)| *writes).collect();
    assert!(asked.len() == 1 && (LEAST..=714).contains(&asked[0]), "{asked:?}");
    let before = scene.book.toll().cost();
    scene.write(1, 1, 0);
    scene.book.take_in(&Told::Watch(watch::Heard::Lost(3)));
    assert_eq!(scene.book.toll().cost() - before, WRITE_COST * 4);
    let mut poor = Scene::new(Some(0.001), false, 6);
    poor.touch(1, 1, 0);
    assert!(poor.watched().is_empty());
}

/// Guarantees: where the heap is walked a vote waits for it, and counts only if somebody has what lies there; once nobody walks any more
/// it counts as it is.
#[test]
fn who_has_it_is_asked() {
    for (lies, votes) in
        [(Some(Lies::Free), 0), (Some(Lies::Block(1)), 1), (Some(Lies::Elsewhere), 1), (None, 1)]
    {
        let mut scene = Scene::new(None, true, 100);
        scene.touch(1, 1, 1);
        scene.book.see_to_watches(scene.at(18));
        assert!(scene.votes().is_empty());
        let (_, address, _) = scene.watched()[0];
        assert!(scene.book.block_addresses().contains(&address));
        match lies {
            Some(lies) => scene.book.walked(&HashMap::from([(address, lies)])),
            None => scene.book.walked_no_more(),
        }
        assert_eq!(scene.votes().len(), votes, "{lies:?}");
        assert!(!scene.book.block_addresses().contains(&address) || lies.is_none());
    }
}

/// Guarantees: when a thread begins, or something is lost, who wrote before is nobody to blame until somebody writes again; what cannot
/// be watched on the new thread is given up, as is what is there no more. A rest leaves votes as they are, and nothing watched.
#[test]
fn what_may_have_been_missed() {
    let born = || Told::Watch(watch::Heard::Born { at: Duration::ZERO, thread: 1 });
    let mut scene = Scene::new(None, false, 100);
    scene.touch(1, 1, 1);
    scene.book.take_in(&born());
    scene.book.see_to_watches(scene.at(30));
    assert!(scene.votes().is_empty());
    scene.write(1, 2, 31);
    scene.book.see_to_watches(scene.at(48));
    assert_eq!(scene.votes(), [(2, 1)]);
    scene.touch(2, 1, 50);
    scene.asked.lock().unwrap().is_full = true;
    scene.book.take_in(&born());
    scene.write(2, 2, 51);
    scene.book.see_to_watches(scene.at(70));
    assert_eq!(scene.votes(), [(2, 1)]);
    assert_eq!(scene.book.watcher_bytes(), 9);
    assert!(scene.book.unwatch(scene.at(71)).is_some() && scene.book.watcher_bytes() == 0);
    scene.touch(3, 1, 72);
    assert_eq!((scene.votes(), scene.watched().len()), (vec![(2, 1)], 2));
}

/// Guarantees: once a write was lost nothing that is watched is believed any more; a write of a thread to its own stack counts towards what the thread may tell, and nobody is blamed for it; what is
/// touched while nothing is watched is not watched later.
#[test]
fn what_tells_nothing_any_more() {
    let mut scene = Scene::new(None, false, 100);
    scene.touch(1, 1, 1);
    scene.book.take_in(&Told::Watch(watch::Heard::Lost(1)));
    assert_eq!(scene.asked.lock().unwrap().released, [1]);
    scene.write(1, 2, 2);
    scene.book.see_to_watches(scene.at(30));
    assert!(scene.votes().is_empty());

    let mut scene = Scene::new(None, false, 100);
    scene.touch(1, 1, 1);
    let (_, address, writes) = scene.watched()[0];
    for _ in 0..writes / 2 {
        let pid = std::process::id();
        let capture = Capture { ip: code() + 2, sp: address - 8, truncated: true, ..Capture::default() };
        let write = Write { at: scene.at(2), pid, thread: pid, watch: 1, capture };
        scene.book.take_in(&Told::Watch(watch::Heard::Write(write)));
    }
    scene.book.see_to_watches(scene.at(30));
    assert!(scene.votes().is_empty() && scene.asked.lock().unwrap().released == [1]);

    let mut scene = Scene::new(None, false, 100);
    assert!(scene.book.unwatch(scene.at(1)).is_some());
    scene.touch(1, 1, 1);
    let fake = Box::new(Fake(Arc::clone(&scene.asked)));
    scene.book.take_watcher(Ok(fake), scene.at(1));
    scene.book.see_to_watches(scene.at(1));
    assert!(scene.watched().is_empty());
}

/// Guarantees: where the heap whose objects are moved is not found nothing is watched after a few tries, in no later turn either, and
/// it is said why.
#[test]
fn a_heap_that_is_not_known() {
    let mut scene = Scene::new(None, false, 100);
    scene.book.watch_makers(std::process::id(), None, false);
    let turn = |scene: &mut Scene| {
        let fake = Box::new(Fake(Arc::clone(&scene.asked)));
        scene.book.take_watcher(Ok(fake), scene.began);
    };
    turn(&mut scene);
    for second in 0..20 {
        scene.book.see_to_watches(scene.at(second));
    }
    assert!(
        scene.book.notes().iter().any(|note| note.contains("no heap of V8's")),
        "{:?}",
        scene.book.notes()
    );
    let before = scene.watched().len();
    scene.book.unwatch(scene.at(20));
    turn(&mut scene);
    scene.touch(1, 1, 21);
    assert_eq!((scene.watched().len(), scene.book.see_to_watches(scene.at(22))), (before, None));
    assert!(scene.book.made().is_none());
}
