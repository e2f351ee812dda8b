//! A look without a kernel's side: this very process touches memory, and says so itself.

use std::collections::BTreeSet;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mlh_bpf::capture::Capture;
use mlh_bpf::faults::{FAULT_COST, Heard, Options, SAMPLE_COST, Touch, Whom};
use mlh_bpf::python::PythonLayout;
use mlh_detect::growth_stacks::{LOOKS, PageSizes};

use mlh_stacks::unwind::Library;

use super::book::Book;
use super::look::{GrowthLook, Outcome};
use super::names::Ended;
use super::process::{Capturing, Shared};
use super::sampler::{Sampler, Sink};
use crate::investigate::plan::{Filters, Origin, Plan, Rung, Target};

const SIZES: PageSizes = PageSizes { base: 4096, huge: 2 << 20 };

fn seconds(s: u64) -> Duration {
    Duration::from_secs(s)
}

/// Memory of so many pages, all of them touched.
fn touched(pages: usize) -> Vec<u8> {
    vec![1; pages * 4096]
}

/// A fault on each of its pages but for the first and the last, by a stack that is one address.
fn faults(memory: &[u8], pid: u32, at: Duration, ip: u64) -> impl Iterator<Item = Heard> {
    let begin = memory.as_ptr() as u64;
    let pages = (1..memory.len() as u64 / 4096 - 1).map(move |page| begin + page * 4096);
    pages.map(move |address| {
        let capture = Capture { ip, truncated: true, ..Capture::default() };
        Heard::Touch(Touch { at, pid, thread: pid, address, weight: 1, one_of: 1, capture })
    })
}

/// An address in this process's code.
fn code() -> u64 {
    seconds as *const () as u64
}

fn looks(book: &mut Book) {
    for second in 0..u64::from(LOOKS) {
        book.look(seconds(50 + second));
    }
}

fn sleeper() -> Child {
    Command::new("sleep").arg("600").stdout(Stdio::null()).spawn().unwrap()
}

/// Guarantees: memory that is kept is told with its stack, bytes and name, memory that was given back is not; what is told
/// of a child counts as such.
#[test]
fn kept_and_given_back() {
    let pid = std::process::id();
    let shared = Shared { max_frames: 64, ..Shared::default() };
    let mut book = Book::new(seconds(0), SIZES, shared, false);
    assert!(book.admit(pid) && book.knows(pid));
    book.set_members(BTreeSet::from([pid]));
    // so much that no allocator keeps it
    let (kept, given_back) = (touched(100), touched(10_000));
    faults(&kept, pid, seconds(1), code()).for_each(|fault| book.hear(&fault));
    faults(&given_back, pid, seconds(2), code() + 1).take(298).for_each(|fault| book.hear(&fault));
    faults(&kept, pid + 1, seconds(2), code()).for_each(|fault| book.hear(&fault));
    drop(given_back);
    looks(&mut book);
    let found = book.found(seconds(60), 10);
    let told: Vec<_> = found.iter().map(|it| (it.pid, it.figures.bytes, it.figures.survivors)).collect();
    assert_eq!(told, [(pid, 98 * 4096, 98)]);
    let trace = found[0].stack.trace();
    assert!(trace.frames[0].function.as_ref().is_some_and(|name| name.contains("seconds")), "{trace:?}");
    assert_eq!((book.losses().children, book.sums().samples), (98, 98 + 298));
}

/// Guarantees: what a thread touches of its own stack is counted for whoever made the thread, who touched its end; what it touches
/// elsewhere is its own, and so is a stack whose end nobody is known to have touched.
#[test]
fn stacks_of_threads() {
    let pid = std::process::id();
    let told = |made: bool, sp: u64| {
        let mut book = Book::new(seconds(0), SIZES, Shared { max_frames: 64, ..Shared::default() }, false);
        book.set_members(BTreeSet::from([pid]));
        let stack = touched(12);
        let mut touches: Vec<_> = faults(&stack, pid, seconds(1), code()).collect();
        let end = touches.pop().filter(|_| made);
        let begin = stack.as_ptr() as u64;
        let by_thread = touches.into_iter().filter_map(|heard| {
            let Heard::Touch(touch) = heard else { return None };
            let capture = Capture { ip: code() + 1, sp: begin + sp, ..touch.capture };
            Some(Heard::Touch(Touch { capture, ..touch }))
        });
        end.into_iter().chain(by_thread).for_each(|heard| book.hear(&heard));
        looks(&mut book);
        let mut told: Vec<_> = book.found(seconds(60), 10).iter().map(|it| it.figures.survivors).collect();
        told.sort_unstable();
        told
    };
    assert_eq!(told(true, 4096), [10], "all are the maker's");
    assert_eq!(told(true, 1 << 30), [1, 9]);
    assert_eq!(told(false, 4096), [9]);
}

/// Guarantees: in a group whoever is told of belongs to it; one that has ended is forgotten while another lives, and the last one
/// is told of as it was.
#[test]
fn ends() {
    let (mut first, mut second) = (sleeper(), sleeper());
    let mut book = Book::new(seconds(0), SIZES, Shared { max_frames: 64, ..Shared::default() }, true);
    for child in [&first, &second] {
        // its stack is there
        let maps = mlh_stacks::modules::Modules::read(child.id()).unwrap();
        let stack = maps.anonymous.iter().find(|region| region.name == "[stack]").unwrap();
        let (pid, address) = (child.id(), stack.end - 4096);
        let capture = Capture { ip: 0x1000, truncated: true, ..Capture::default() };
        book.hear(&Heard::Touch(Touch {
            at: seconds(1),
            pid,
            thread: pid,
            address,
            weight: 7,
            one_of: 1,
            capture,
        }));
    }
    looks(&mut book);
    let pids = |book: &Book| book.found(seconds(60), 10).iter().map(|it| it.pid).collect::<BTreeSet<_>>();
    assert_eq!(pids(&book), BTreeSet::from([first.id(), second.id()]));
    first.kill().unwrap();
    first.wait().unwrap();
    book.look(seconds(55));
    assert_eq!((pids(&book), book.knows(first.id())), (BTreeSet::from([second.id()]), false));
    second.kill().unwrap();
    second.wait().unwrap();
    book.look(seconds(56));
    assert_eq!(pids(&book), BTreeSet::from([second.id()]), "the last one");
}

/// Guarantees: a fault on a page of a file costs something and is nobody's memory.
#[test]
fn files() {
    let pid = std::process::id();
    let mut book = Book::new(seconds(0), SIZES, Shared { max_frames: 64, ..Shared::default() }, false);
    assert!(book.admit(pid));
    let capture = Capture { ip: code(), truncated: true, ..Capture::default() };
    let fault = Touch { at: seconds(1), pid, thread: pid, address: code(), weight: 3, one_of: 1, capture };
    book.hear(&Heard::Touch(fault));
    let toll = book.toll();
    assert_eq!((book.sums().samples, toll.samples, toll.faults), (0, 1, 3));
}

/// Guarantees: a process that has ended before any of its pages was followed is kept no longer than until the next look, nor is one
/// that belongs to the target no more; of a group with too many processes so many are looked at, and the rest is told to be left out.
#[test]
fn bounds() {
    let mut book = Book::new(seconds(0), SIZES, Shared { max_frames: 64, ..Shared::default() }, true);
    let (mut ends, mut leaves, mut stays) = (sleeper(), sleeper(), sleeper());
    assert!([&ends, &leaves, &stays].iter().all(|child| book.admit(child.id())));
    book.set_members(BTreeSet::from([leaves.id(), stays.id()]));
    ends.kill().unwrap();
    ends.wait().unwrap();
    book.look(seconds(1));
    assert!(!book.knows(ends.id()) && book.knows(leaves.id()));
    book.set_members(BTreeSet::from([stays.id()]));
    assert!(!book.knows(leaves.id()) && book.knows(stays.id()));
    book.look(seconds(2));
    let mut many: Vec<Child> = (0..256).map(|_| sleeper()).collect();
    let admitted = many.iter().filter(|child| book.admit(child.id())).count();
    assert_eq!(admitted, 255);
    assert!(book.notes().iter().any(|note| note.contains("known of 256 processes")), "{:?}", book.notes());
    for child in many.iter_mut().chain([&mut leaves, &mut stays]) {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// What the look has asked of the kernel.
#[derive(Default)]
struct Asked {
    sampled: Vec<Whom>,
    followed: Vec<u32>,
    released: Vec<u32>,
    pythons: Vec<(u32, Option<PythonLayout>)>,
    refuses: bool,
    /// Who cannot be followed.
    unwilling: Vec<u32>,
}

struct Fake {
    asked: Arc<Mutex<Asked>>,
    _sink: Sink,
}

impl Sampler for Fake {
    fn follow(&mut self, pid: u32) -> Result<(), String> {
        let mut asked = self.asked.lock().unwrap();
        asked.followed.push(pid);
        if asked.unwilling.contains(&pid) { Err("it will not".to_owned()) } else { Ok(()) }
    }

    fn release(&mut self, pid: u32) {
        self.asked.lock().unwrap().released.push(pid);
    }

    fn walk(&mut self, _pid: u32, _by_kernel: bool) -> Result<(), String> {
        Ok(())
    }

    fn set_python(&mut self, pid: u32, layout: Option<&PythonLayout>) -> Result<(), String> {
        self.asked.lock().unwrap().pythons.push((pid, layout.copied()));
        Ok(())
    }

    fn kernel_bytes(&self) -> u64 {
        77
    }
}

fn plan(target: Target) -> Plan {
    let (rung, duration, origin) = (Rung::GrowthStacks, Some(seconds(60)), Origin::Command);
    Plan { target, rung, duration, filters: Filters::default(), origin }
}

/// Guarantees: whoever joins is sampled and whoever leaves is no more; all that was told before the end is taken in, and losses and
/// a look that was too short are said.
#[test]
fn from_beginning_to_end() {
    let (mut staying, mut leaving, mut late) = (sleeper(), sleeper(), sleeper());
    let asked = Arc::new(Mutex::new(Asked::default()));
    let memory = touched(50);
    let told: Vec<Heard> = faults(&memory, staying.id(), seconds(1), 0x1000).collect();
    let kernel = Arc::clone(&asked);
    let open = move |options: &Options, mut sink: Sink| -> Result<Box<dyn Sampler>, String> {
        kernel.lock().unwrap().sampled.push(options.whom.clone());
        told.iter().cloned().for_each(&mut sink);
        sink(Heard::Lost(5));
        Ok(Box::new(Fake { asked: Arc::clone(&kernel), _sink: sink }))
    };
    // there is no such group by now
    let target = Target::CgroupId(u64::MAX);
    let mut look = GrowthLook::begin_with(
        &plan(target),
        &[staying.id(), leaving.id()],
        Library::default(),
        Box::new(open),
    )
    .unwrap();
    look.step(&[staying.id(), late.id()]);
    let outcome = look.close(seconds(60), 10).named(seconds(30));
    {
        let asked = asked.lock().unwrap();
        assert_eq!(asked.sampled, [Whom::Processes(vec![staying.id(), leaving.id()])]);
        assert_eq!((&asked.followed, &asked.released), (&vec![late.id()], &vec![leaving.id()]));
    }
    assert_eq!((outcome.samples, outcome.kernel_bytes, outcome.stacks.len()), (48, 77, 0));
    assert_eq!(outcome.cost, 48 * (SAMPLE_COST + FAULT_COST));
    let said = outcome.not_seen.join("\n");
    assert!(
        said.contains("5 sampled page faults were lost") && said.contains("takes 4 to judge one"),
        "{said}"
    );
    for child in [&mut staying, &mut leaving, &mut late] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// Guarantees: while it rests nothing is sampled, and then the same processes and who has come meanwhile are; time in which nothing
/// was sampled is not reckoned with: what grew before and after it has grown steadily, and no slower.
#[test]
fn a_rest() {
    let (mut first, mut second) = (sleeper(), sleeper());
    let asked = Arc::new(Mutex::new(Asked::default()));
    let mut look = quiet(&[first.id()], &asked);
    let now = |after| mlh_targets::host::HostClock::now_boot().unwrap() + seconds(after);
    look.rest(now(1));
    look.step(&[first.id(), second.id()]);
    assert_eq!((look.kernel_bytes(), asked.lock().unwrap().followed.len()), (0, 0));
    look.go_on(now(2), &[first.id(), second.id()]).unwrap();
    look.step(&[first.id(), second.id()]);
    let sampled = [vec![first.id()], vec![first.id(), second.id()]].map(Whom::Processes);
    assert_eq!((look.kernel_bytes(), &asked.lock().unwrap().sampled[..]), (77, &sampled[..]));
    drop(look);
    for child in [&mut first, &mut second] {
        child.kill().unwrap();
        child.wait().unwrap();
    }

    let pid = std::process::id();
    let mut book = Book::new(seconds(0), SIZES, Shared { max_frames: 64, ..Shared::default() }, false);
    book.set_members(BTreeSet::from([pid]));
    let memory = touched(122);
    let mut told = faults(&memory, pid, seconds(0), code());
    let mut touch = |book: &mut Book, second| {
        for fault in told.by_ref().take(6) {
            let Heard::Touch(fault) = fault else { panic!("{fault:?}") };
            book.hear(&Heard::Touch(Touch { at: seconds(second), ..fault }));
        }
    };
    (0..10).for_each(|second| touch(&mut book, second));
    book.rest(seconds(10));
    book.look(seconds(100));
    book.go_on(seconds(250));
    (250..260).for_each(|second| touch(&mut book, second));
    (256..260).for_each(|second| book.look(seconds(second)));
    let figures = book.found(seconds(260), 10).remove(0).figures;
    assert_eq!(figures.pattern.name(), "steady");
    assert!((figures.velocity - 6.0 * 4096.0).abs() < 4096.0, "{figures:?}");
}

/// A look at these, of which the kernel tells nothing.
fn quiet(pids: &[u32], asked: &Arc<Mutex<Asked>>) -> GrowthLook {
    let asked = Arc::clone(asked);
    let open = move |options: &Options, sink: Sink| -> Result<Box<dyn Sampler>, String> {
        asked.lock().unwrap().sampled.push(options.whom.clone());
        Ok(Box::new(Fake { asked: Arc::clone(&asked), _sink: sink }))
    };
    GrowthLook::begin_with(&plan(Target::CgroupId(u64::MAX)), pids, Library::default(), Box::new(open))
        .unwrap()
}

/// Guarantees: who could not be followed is tried again, is told of, and is not released; once it is followed it is not again.
#[test]
fn the_unwilling() {
    let (mut staying, mut late) = (sleeper(), sleeper());
    let asked = Arc::new(Mutex::new(Asked { unwilling: vec![late.id()], ..Asked::default() }));
    let mut look = quiet(&[staying.id()], &asked);
    look.step(&[staying.id(), late.id()]);
    look.step(&[staying.id()]);
    assert!(asked.lock().unwrap().released.is_empty());
    asked.lock().unwrap().unwilling.clear();
    for _ in 0..2 {
        look.step(&[staying.id(), late.id()]);
    }
    assert_eq!(asked.lock().unwrap().followed, [late.id(), late.id()]);
    let outcome = look.close(seconds(60), 10).named(seconds(30));
    assert!(outcome.not_seen.iter().any(|said| said.contains("was not sampled: it will not")), "{outcome:?}");
    for child in [&mut staying, &mut late] {
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// Guarantees: once a process runs a program without Python, what the kernel knew of its interpreter is taken away; of one that has ended
/// all is, although it was never among the members.
#[test]
fn an_exec_takes_python_away() {
    let asked = Arc::new(Mutex::new(Asked::default()));
    let mut look = quiet(&[], &asked);
    let layout = PythonLayout { interpreters: 7, ..PythonLayout::default() };
    let of = |pid, python| Capturing { pid, by_kernel: false, python };
    let members = BTreeSet::from([1]);
    look.capture(vec![of(1, Some(layout)), of(2, None)], &members);
    // between two programs nobody knows it
    look.capture(Vec::new(), &members);
    look.capture(vec![of(1, None)], &members);
    look.capture(vec![of(1, None)], &members);
    let asked = asked.lock().unwrap();
    assert_eq!(asked.pythons, [(1, Some(layout)), (1, None)]);
    assert!(asked.released.contains(&2) && !asked.released.contains(&1), "{:?}", asked.released);
}

/// Guarantees: where there is no time for names the figures are told nevertheless, and that the names are missing is.
#[test]
fn no_time_for_names() {
    let pid = std::process::id();
    let shared = Shared { max_frames: 64, ..Shared::default() };
    let mut book = Book::new(seconds(0), SIZES, shared, false);
    assert!(book.admit(pid));
    let kept = touched(20);
    faults(&kept, pid, seconds(1), code()).for_each(|fault| book.hear(&fault));
    looks(&mut book);
    let ended = Ended { found: book.found(seconds(60), 10), outcome: Outcome::default() };
    let outcome = ended.named(Duration::ZERO);
    let told: Vec<_> =
        outcome.stacks.iter().map(|it| (it.pid, it.figures.bytes, it.trace.frames.len())).collect();
    assert_eq!(told, [(pid, 18 * 4096, 0)]);
    assert!(outcome.not_seen[0].starts_with("1 stacks of growth by page have no names"), "{outcome:?}");
}

/// Guarantees: a step does not wait for a book that somebody is busy with.
#[test]
fn a_step_does_not_wait() {
    let mut child = sleeper();
    let asked = Arc::new(Mutex::new(Asked::default()));
    let mut look = quiet(&[child.id()], &asked);
    let book = look.book();
    let busy = book.lock().unwrap();
    look.step(&[]);
    assert!(asked.lock().unwrap().released.is_empty());
    drop(busy);
    // the look's own thread may have it for a moment
    while asked.lock().unwrap().released.is_empty() {
        look.step(&[]);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Guarantees: who is not there, or cannot be sampled, is a reason and not a look.
#[test]
fn refusals() {
    let refused = |pid: u32, asked: &Arc<Mutex<Asked>>| {
        let asked = Arc::clone(asked);
        let open = move |_: &Options, sink: Sink| -> Result<Box<dyn Sampler>, String> {
            let fake = Fake { asked: Arc::clone(&asked), _sink: sink };
            if asked.lock().unwrap().refuses { Err("no".to_owned()) } else { Ok(Box::new(fake)) }
        };
        GrowthLook::begin_with(&plan(Target::Pid(pid)), &[pid], Library::default(), Box::new(open)).err()
    };
    let asked = Arc::new(Mutex::new(Asked::default()));
    let mut child = sleeper();
    assert_eq!(refused(child.id(), &asked), None);
    asked.lock().unwrap().refuses = true;
    assert_eq!(refused(child.id(), &asked).as_deref(), Some("no"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(refused(child.id(), &asked).is_some_and(|reason| reason.contains("has ended")));
}
