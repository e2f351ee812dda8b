//! One climb, by what a rung tells it.

use std::process::{Child, Command};
use std::sync::Mutex;

use mlh_detect::{Cleared, ProcessKey, Spare, Stage};
use mlh_stacks::trace::Frame;
use mlh_targets::process::ProcessReading;
use mlh_targets::sweep::ProcSweep;

use super::super::case::tests::of_process;
use super::super::knowledge::Lead;
use super::super::turns::Need;
use super::*;
use crate::hunt::settings::HuntSettings;

/// Sees what it is told to see.
#[derive(Default)]
struct Fake {
    keeps: bool,
    /// Whom it sees may not be the one.
    doubts: bool,
    /// What it sees are blocks.
    blocks: bool,
    /// Of the time, so much it was away.
    away: f64,
    paid: Duration,
    at: Duration,
    rests: bool,
    /// It cannot go on.
    refuses: bool,
    /// It will say whether what is kept is in use.
    awaited: bool,
    /// It is about to find somebody.
    seeks: bool,
    /// It wants nobody else to read, from its next step on, and from now on.
    begins: bool,
    quiet: bool,
    /// What it was told of that.
    hushed: Arc<Mutex<Vec<bool>>>,
}

impl Look for Fake {
    fn rung(&self) -> Rung {
        Rung::GrowthStacks
    }

    fn source(&self) -> &'static str {
        if self.blocks { "blocks" } else { "pages" }
    }

    fn sees_blocks(&self) -> bool {
        self.blocks
    }

    fn step(&mut self, _: Duration, _: &[u32]) {
        self.quiet |= std::mem::take(&mut self.begins);
    }

    fn see(&mut self, now: Duration) {
        self.at = now;
    }

    fn says(&self, _: Option<u32>) -> Vec<Testimony> {
        let says = Says::Kept { velocity: 1.0, interval: (0.5, 1.5), share: 1.0 };
        let watched = Duration::from_secs(30);
        let said = Testimony { rung: self.rung(), source: "fake", at: self.at, watched, says };
        self.keeps.then_some(said).into_iter().collect()
    }

    fn leads(&self, _: Option<u32>) -> Vec<Lead> {
        let trace = mlh_stacks::trace::Trace { frames: vec![Frame::default()], ..Default::default() };
        self.keeps
            .then(|| Lead { trace, bytes: 1, doubted: self.doubts, ..Lead::default() })
            .into_iter()
            .collect()
    }

    fn rest(&mut self, _: Duration) {
        self.rests = true;
    }

    fn go_on(&mut self, _: Duration, _: &[u32]) -> Result<(), String> {
        self.rests = false;
        if self.refuses { Err("no more".to_owned()) } else { Ok(()) }
    }

    fn not_seen(&self) -> &[String] {
        &[]
    }

    fn paid(&self) -> Paid {
        Paid { target: self.paid, kernel_bytes: 7 }
    }

    fn growth(&self) -> &[GrowthStack] {
        &[]
    }

    fn watched_share(&self) -> f64 {
        1.0 - self.away
    }

    fn is_awaited(&self) -> bool {
        self.awaited
    }

    fn seeks(&self) -> bool {
        self.seeks
    }

    fn wants_quiet(&self) -> bool {
        self.quiet
    }

    fn hush(&mut self, quiet: bool) {
        self.hushed.lock().unwrap().push(quiet);
    }
}

struct Scene {
    child: Child,
    climb: Climb,
    docket: Docket,
    known: KnownStacks,
    board: Board,
    wanted: Wanted,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A climb that sees nothing.
pub(in crate::ladder) fn idle(case: Case, target: Target, now: Duration) -> Climb {
    Climb::with(case, target, now, vec![Box::new(Fake::default())])
}

/// The case against a process that runs.
pub(in crate::ladder) fn case_of(child: &Child) -> Case {
    let mut sweep = ProcSweep::open().unwrap();
    let reading: ProcessReading = sweep.only(&[child.id()], &[]).unwrap().processes.remove(0);
    let about = About::Process(ProcessKey { pid: reading.pid, start_ns: reading.start_ns });
    let subject = Arc::new(Subject { reading, ..Subject::default() });
    Case { about, subject, ..of_process(child.id()) }
}

impl Scene {
    fn new(look: Fake) -> Self {
        let child = Command::new("sleep").arg("600").spawn().unwrap();
        let (docket, case) = (Docket::default(), case_of(&child));
        assert!(docket.offer(case.clone()));
        let case = docket.take(|_| true).unwrap();
        let mut climb = Climb::with(case, Target::Pid(child.id()), at(100), vec![Box::new(look)]);
        let wanted = Wanted::of(&HuntSettings::default());
        climb.take_turn(at(100), &wanted, &docket.bell());
        Self { child, climb, docket, known: KnownStacks::default(), board: Board::default(), wanted }
    }

    fn step(&mut self, second: u64) -> Option<End> {
        self.crowded_step(second, false)
    }

    fn crowded_step(&mut self, second: u64, crowded: bool) -> Option<End> {
        let Self { docket, known, board, .. } = self;
        let doors = Doors { docket, known, board, beside: 1, crowded };
        self.climb.step(at(second), &self.wanted, &doors)
    }
}

fn at(second: u64) -> Duration {
    Duration::from_secs(second)
}

/// Guarantees: a climb ends when the verdict blames somebody, when the case is taken back, when somebody orders a look at the same
/// process, when its time is over, and when the process is gone; each with its reason.
#[test]
fn ends() {
    let about = |scene: &Scene| scene.climb.case.about;
    let mut scene = Scene::new(Fake::default());
    assert_eq!(scene.step(101), None);
    scene.docket.close(&about(&scene), Closed::Verdict);
    assert_eq!(scene.step(102), Some(End::Verdict));
    let mut scene = Scene::new(Fake::default());
    scene.docket.close(&about(&scene), Closed::Cleared(Cleared::Stopped));
    assert_eq!(scene.step(102), Some(End::Cleared(Cleared::Stopped)));
    let mut scene = Scene::new(Fake::default());
    scene.board.order([scene.child.id()]);
    assert_eq!(scene.step(102), Some(End::Replaced));
    scene.board.order([1]);
    assert_eq!((scene.step(399), scene.step(400)), (None, Some(End::Elapsed)));
    scene.child.kill().unwrap();
    scene.child.wait().unwrap();
    assert_eq!(scene.step(401), Some(End::TargetGone));
}

/// Guarantees: a rung that knows what lives says who is to blame before a dearer one that sees pages.
#[test]
fn blocks_come_first() {
    let mut scene = Scene::new(Fake { keeps: true, blocks: true, ..Fake::default() });
    scene.climb.looks.push(Box::new(Fake { keeps: true, ..Fake::default() }));
    assert_eq!(scene.step(105), None);
    assert_eq!(scene.climb.knowledge.as_ref().map(|known| known.source), Some("blocks"));
}

/// Guarantees: while one rung wants the target's memory left alone every other is told so at once, and afterwards that it may be read again.
#[test]
fn nobody_reads_meanwhile() {
    let hushed: Arc<Mutex<Vec<bool>>> = Arc::default();
    let mut scene = Scene::new(Fake { hushed: Arc::clone(&hushed), ..Fake::default() });
    assert_eq!(scene.step(101), None);
    scene.climb.looks.push(Box::new(Fake { begins: true, ..Fake::default() }));
    assert_eq!(scene.step(102), None);
    scene.climb.looks.pop();
    assert_eq!(scene.step(103), None);
    assert_eq!(*hushed.lock().unwrap(), [false, true, false]);
}

/// Guarantees: what is seen is told to the judge after it is known who is to blame; a verdict that had fallen before is over as soon
/// as that is.
#[test]
fn what_is_seen_is_told() {
    let mut scene = Scene::new(Fake { keeps: true, ..Fake::default() });
    assert_eq!(scene.step(104), None);
    assert!(scene.docket.testimonies().is_empty(), "not yet");
    assert_eq!(scene.step(105), None);
    let about = scene.climb.case.about;
    assert_eq!(scene.docket.testimonies().first().map(|(of, said)| (*of, said.at)), Some((about, at(105))));
    assert_eq!(scene.known.of(&about, None).map(|known| known.source), Some("pages"));
    let worse = Case { stage: Stage::Leaking, ..scene.climb.case.clone() };
    assert!(scene.docket.offer(worse));
    assert_eq!(scene.step(106), Some(End::Verdict));
    let shown = scene.climb.shown(at(110));
    assert_eq!((shown.lasted, shown.rungs, shown.culprits.len()), (at(10), vec![Rung::GrowthStacks], 1));
}

/// Guarantees: where somebody is to blame whom there is no doubt about nobody waits for more, nor where no probes are permitted; whom there
/// is a doubt about is looked into further where they are, a verdict waits for that, and what was known stays known; of probes that have
/// been at work for a minute no more is expected.
#[test]
fn doubts_are_looked_into() {
    let climbed = |doubts: bool, max_rung: Rung| {
        let mut scene = Scene::new(Fake { keeps: true, doubts, ..Fake::default() });
        scene.wanted.escalation.max_rung = max_rung;
        scene.climb.highest = Rung::GrowthStacks;
        assert_eq!(scene.step(105), None);
        let awaits = scene.docket.awaits(&scene.climb.case.about);
        let settled =
            |scene: &Scene, second| scene.climb.entrant(at(second), &scene.docket, &scene.wanted).settled;
        let before = settled(&scene, 105);
        assert_eq!(scene.step(140), None);
        assert!(scene.climb.has_leads());
        // where a host has no eBPF they cannot be placed, and no more is expected of them either
        let probes = scene.climb.looks.iter().any(|look| look.rung() == Rung::GateProbes);
        assert_eq!(settled(&scene, 140), !(probes && doubts));
        (awaits, scene.climb.highest, [before, settled(&scene, 201)])
    };
    assert_eq!(climbed(false, Rung::FullProbes), (false, Rung::GrowthStacks, [true; 2]));
    assert_eq!(climbed(true, Rung::GrowthStacks), (false, Rung::GrowthStacks, [true; 2]));
    assert_eq!(climbed(true, Rung::GateProbes), (true, Rung::GateProbes, [false, true]));
}

/// Guarantees: a verdict waits while a rung is about to find somebody, but for no better one than is known; where nobody has been found, it
/// waits for a turn that is still to come, or has not been long, and that turn comes before those of others.
#[test]
fn a_verdict_waits_for_a_turn() {
    let awaits = |scene: &Scene| scene.docket.awaits(&scene.climb.case.about);
    for (look, awaited) in [
        (Fake::default(), [false, true]),
        (Fake { seeks: true, ..Fake::default() }, [true, true]),
        (Fake { seeks: true, keeps: true, ..Fake::default() }, [false, false]),
        (Fake { seeks: true, keeps: true, doubts: true, ..Fake::default() }, [false, false]),
    ] {
        let mut scene = Scene::new(look);
        assert_eq!((scene.step(130), awaits(&scene)), (None, awaited[0]));
        scene.climb.end_turn(at(130));
        assert_eq!((scene.step(131), awaits(&scene)), (None, awaited[1]));
        let about = scene.climb.case.about;
        let need = |scene: &Scene| scene.climb.entrant(at(131), &scene.docket, &scene.wanted).need;
        assert_eq!(need(&scene), Need::Open);
        scene.docket.set_due(|other| *other == about);
        assert_eq!(need(&scene), Need::Due);
        scene.docket.set_due(|_| false);
        scene.climb.looks.insert(0, Box::new(Garbage(at(100))));
        assert_eq!(need(&scene), Need::Spared);
        scene.climb.take_turn(at(140), &scene.wanted, &scene.docket.bell());
        scene.climb.end_turn(at(170));
        assert_eq!((scene.step(171), awaits(&scene)), (None, false), "a minute's turns have found nobody");
    }
}

/// Guarantees: that memory is kept is told to the judge once it is known whether somebody will say that it is in use, and not before.
#[test]
fn what_is_kept_waits_for_what_is_in_use() {
    let mut scene = Scene::new(Fake { keeps: true, ..Fake::default() });
    scene.climb.looks.push(Box::new(Fake { awaited: true, ..Fake::default() }));
    assert_eq!((scene.step(105), scene.docket.testimonies().len()), (None, 0));
    scene.climb.looks.pop();
    assert_eq!((scene.step(110), scene.docket.testimonies().len()), (None, 1));
}

/// Guarantees: a rung that costs the process more than the budget is left, and with the last one the climb ends; within it stays.
#[test]
fn the_budget_holds() {
    // 0.1 % of 100 s
    for (paid, left) in [(99, false), (101, true)] {
        let mut scene = Scene::new(Fake { paid: Duration::from_millis(paid), ..Fake::default() });
        let end = scene.step(200);
        assert_eq!(end, left.then_some(End::OverBudget), "{paid} ms");
        let share = scene.climb.cost(at(200)).target_cpu_share;
        assert!((share - paid as f64 / 1e5).abs() < 1e-9, "{share}");
    }
}

/// Guarantees: what a climb has cost says which share of the time was watched.
#[test]
fn absence_is_told() {
    let mut scene = Scene::new(Fake { away: 0.75, ..Fake::default() });
    assert!((scene.climb.cost(at(200)).watched_share - 0.25).abs() < 1e-9);
    scene.climb.end_turn(at(200));
    assert!((scene.climb.cost(at(300)).watched_share - 0.125).abs() < 1e-9);
}

/// Guarantees: between its turns a climb is in no mode and costs nothing, and goes on to be there: it ends with its case, is not over
/// before its turns have taken as long as it may, or has lasted so long where others find no room, and keeps what it knew; a rung that
/// cannot go on is left with its reason.
#[test]
fn turns_are_taken() {
    let paid = Duration::from_millis(50);
    let mut scene = Scene::new(Fake { keeps: true, paid, ..Fake::default() });
    assert_eq!(
        (scene.step(150), scene.climb.entrant(at(150), &scene.docket, &scene.wanted).began),
        (None, Some(at(100)))
    );
    assert!(
        scene.climb.mode().is_some() && scene.climb.entrant(at(150), &scene.docket, &scene.wanted).settled
    );
    scene.climb.end_turn(at(150));
    let entrant = scene.climb.entrant(at(150), &scene.docket, &scene.wanted);
    assert_eq!((entrant.began, entrant.rested, scene.climb.mode()), (None, Some(at(150)), None));
    assert_eq!((scene.step(500), scene.climb.shown(at(500)).rungs), (None, vec![]));
    assert_eq!(
        (scene.climb.has_leads(), scene.known.of(&scene.climb.case.about, None).is_some()),
        (true, true)
    );
    assert!((scene.climb.cost(at(500)).target_cpu_share - 0.001).abs() < 1e-9);
    assert_eq!(scene.crowded_step(501, true), Some(End::Elapsed));
    scene.climb.take_turn(at(600), &scene.wanted, &scene.docket.bell());
    assert_eq!((scene.step(849), scene.step(850)), (None, Some(End::Elapsed)));
    let mut scene = Scene::new(Fake { refuses: true, ..Fake::default() });
    assert!(matches!(scene.step(101), Some(End::Failed(reason)) if reason.contains("no more")));
}

/// Reads from outside, and sees garbage until it does not.
struct Garbage(Duration);

impl Look for Garbage {
    fn rung(&self) -> Rung {
        Rung::Outside
    }

    fn source(&self) -> &'static str {
        "garbage"
    }

    fn step(&mut self, now: Duration, _: &[u32]) {
        self.0 = now;
    }

    fn see(&mut self, _: Duration) {}

    fn says(&self, _: Option<u32>) -> Vec<Testimony> {
        let says = Says::Spare(Spare::Garbage);
        let said = Testimony { rung: self.rung(), source: "garbage", at: self.0, watched: at(60), says };
        (self.0 < at(900)).then_some(said).into_iter().collect()
    }

    fn leads(&self, _: Option<u32>) -> Vec<Lead> {
        Vec::new()
    }

    fn not_seen(&self) -> &[String] {
        &[]
    }

    fn paid(&self) -> Paid {
        Paid::default()
    }

    fn growth(&self) -> &[GrowthStack] {
        &[]
    }
}

/// Guarantees: where it is seen from outside that nothing is kept, that is said for as long as it is so: when its time is over a climb
/// leaves what costs something, and goes on; where others find no room it ends.
#[test]
fn what_is_spared_stays_so() {
    let mut scene = Scene::new(Fake { paid: Duration::from_millis(9), ..Fake::default() });
    scene.climb.looks.insert(0, Box::new(Garbage(at(100))));
    assert_eq!((scene.step(399), scene.climb.turn_ended()), (None, None));
    assert_eq!((scene.step(400), scene.climb.turn_ended()), (None, Some(End::Elapsed)));
    assert_eq!((scene.climb.shown(at(400)).rungs, scene.climb.mode()), (vec![Rung::Outside], None));
    assert!(!scene.climb.wants_turn(&scene.wanted));
    assert_eq!(scene.climb.paid().target, Duration::from_millis(9));
    let _ = scene.docket.testimonies();
    assert_eq!((scene.step(890), scene.docket.testimonies().len()), (None, 1));
    assert_eq!(scene.crowded_step(891, true), Some(End::Elapsed));
    assert_eq!(scene.step(900), Some(End::Elapsed));
}

/// The rungs that were tried: at work, or refused on this host.
fn tried(climb: &Climb) -> BTreeSet<&'static str> {
    let at_work = climb.looks.iter().map(|look| look.rung());
    let refused = |rung: &Rung| climb.refused.iter().any(|reason| reason.starts_with(rung.name()));
    at_work.chain(Rung::ALL.into_iter().filter(refused)).map(Rung::name).collect()
}

/// Guarantees: no rung above `max_rung` is tried, neither at the beginning nor when nobody could be blamed; those below are, but
/// for coldness where it is switched off, and after a minute the ones with probes, of which the highest sees all that the other would.
#[test]
fn the_highest_rung_is_the_operators() {
    let begun = |max_rung, coldness| {
        let mut scene = Scene::new(Fake::default());
        (scene.wanted.escalation.max_rung, scene.wanted.escalation.coldness) = (max_rung, coldness);
        let (case, target) = (scene.climb.case.clone(), scene.climb.target.clone());
        let mut climb = Climb::begin(case, target, &scene.wanted, at(100)).unwrap();
        assert!(climb.mode().is_none(), "nothing that costs before its turn");
        climb.take_turn(at(100), &scene.wanted, &scene.docket.bell());
        tried(&climb).into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(begun(Rung::Outside, true), ["outside"]);
    assert_eq!(begun(Rung::Coldness, true), ["coldness", "outside"]);
    assert_eq!(begun(Rung::GrowthStacks, true), ["coldness", "growth_stacks", "outside"]);
    assert_eq!(begun(Rung::GrowthStacks, false), ["growth_stacks", "outside"]);
    for (max_rung, expected) in [
        (Rung::GrowthStacks, &["growth_stacks"][..]),
        (Rung::GateProbes, &["gate_probes", "growth_stacks"]),
        (Rung::FullProbes, &["full_probes", "growth_stacks"]),
    ] {
        let mut scene = Scene::new(Fake::default());
        scene.wanted.escalation.max_rung = max_rung;
        let mut all = BTreeSet::new();
        for second in [101, 159, 160, 161] {
            assert_eq!(scene.step(second), None);
            all.extend(tried(&scene.climb));
            assert_eq!(
                all.contains("gate_probes"),
                max_rung == Rung::GateProbes && second >= 160,
                "{second}"
            );
            assert_eq!(
                all.contains("full_probes"),
                max_rung == Rung::FullProbes && second >= 160,
                "{second}"
            );
        }
        assert_eq!(all.into_iter().collect::<Vec<_>>(), expected);
    }
}
