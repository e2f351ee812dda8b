//! Where the judge hands in cases for the one who climbs, and gets back what was seen. Neither waits for the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mlh_detect::{About, Cleared, ProcessKey, Stage, Testimony};

use super::case::Case;
use crate::investigate::bell::Bell;
use crate::records::{KnownSubjects, Subject};

/// Cases that may wait.
pub(super) const MOST: usize = 256;

/// How a case has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Closed {
    /// By a verdict that tells who is to blame.
    Verdict,
    /// It was taken back.
    Cleared(Cleared),
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Docket {
    entries: Mutex<Entries>,
    bell: Arc<Bell>,
}

#[derive(Debug, Default)]
struct Entries {
    waiting: HashMap<About, Case>,
    /// What is being climbed for.
    taken: HashMap<About, Taken>,
    /// What the judge has handed in and not closed, waiting or not.
    open: HashMap<About, Case>,
    stopping: bool,
    heard: Vec<(About, Testimony)>,
}

/// A case that was taken.
#[derive(Debug, Clone, Copy)]
struct Taken {
    /// How far it has come.
    stage: Stage,
    /// How it has ended, where it has.
    closed: Option<Closed>,
    /// Who is to blame will soon be known.
    awaits: bool,
    /// A verdict waits for that.
    due: bool,
}

impl Docket {
    /// Hands a case in, or what it is by now. False: there is no room, and it is lost.
    #[must_use]
    pub(crate) fn offer(&self, case: Case) -> bool {
        let mut entries = self.lock();
        if entries.open.len() < MOST || entries.open.contains_key(&case.about) {
            entries.open.insert(case.about, case.clone());
        }
        if let Some(taken) = entries.taken.get_mut(&case.about) {
            taken.stage = taken.stage.max(case.stage);
            drop(entries);
            self.bell.ring();
            return true;
        }
        if entries.waiting.len() >= MOST && !entries.waiting.contains_key(&case.about) {
            return false;
        }
        entries.waiting.insert(case.about, case);
        drop(entries);
        self.bell.ring();
        true
    }

    /// The case has ended.
    pub(crate) fn close(&self, about: &About, how: Closed) {
        let mut entries = self.lock();
        entries.waiting.remove(about);
        entries.open.remove(about);
        if let Some(taken) = entries.taken.get_mut(about) {
            taken.closed = Some(how);
            drop(entries);
            self.bell.ring();
        }
    }

    /// The open cases that a look at these processes is about, `whole`: at all that this container holds. Each with the process that
    /// it is about, of a container the one that grew most; `None`: all of it.
    pub(crate) fn concerned(
        &self,
        pids: &KnownSubjects,
        whole: Option<&Subject>,
    ) -> Vec<(Case, Option<u32>)> {
        let looked = |key: ProcessKey| {
            let mut subjects = pids.iter().map(|(_, subject)| &subject.reading);
            subjects.any(|it| (it.pid, it.start_ns) == (key.pid, key.start_ns)).then_some(key.pid)
        };
        let entries = self.lock();
        let concerned = entries.open.values().filter_map(|case| {
            let part = match case.about {
                About::Process(key) => Some(looked(key)?),
                About::Container(_) if whole.is_some_and(|whole| is_same(whole, &case.subject)) => None,
                About::Container(_) => Some(looked(case.leader?)?),
            };
            Some((case.clone(), part))
        });
        concerned.collect()
    }

    /// What was seen since this was asked last, in the order in which it was.
    #[must_use]
    pub(crate) fn testimonies(&self) -> Vec<(About, Testimony)> {
        std::mem::take(&mut self.lock().heard)
    }

    pub(super) fn bell(&self) -> Arc<Bell> {
        Arc::clone(&self.bell)
    }

    /// Of the cases that wait and that may be taken the one that grows the fastest.
    pub(crate) fn take(&self, may: impl Fn(&Case) -> bool) -> Option<Case> {
        let mut entries = self.lock();
        let ready = entries.waiting.values().filter(|case| may(case));
        let about = ready.max_by(|one, other| one.velocity.total_cmp(&other.velocity))?.about;
        let case = entries.waiting.remove(&about)?;
        entries.taken.insert(about, Taken { stage: case.stage, closed: None, awaits: false, due: false });
        Some(case)
    }

    /// Some wait.
    pub(super) fn has_waiting(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    /// Lets go of the cases that wait and are not wanted.
    pub(super) fn drop_unless(&self, wanted: impl Fn(&Case) -> bool) {
        self.lock().waiting.retain(|_, case| wanted(case));
    }

    /// How a case that was taken has ended, where it has.
    pub(crate) fn closed(&self, about: &About) -> Option<Closed> {
        self.lock().taken.get(about)?.closed
    }

    /// Whether it will soon be known who is to blame in a case: a verdict had better wait for that.
    pub(crate) fn awaits(&self, about: &About) -> bool {
        self.lock().taken.get(about).is_some_and(|taken| taken.awaits)
    }

    /// Says so.
    pub(crate) fn set_awaits(&self, about: &About, awaits: bool) {
        if let Some(taken) = self.lock().taken.get_mut(about) {
            taken.awaits = awaits;
        }
    }

    /// Says in which of the cases a verdict waits.
    pub(crate) fn set_due(&self, is_due: impl Fn(&About) -> bool) {
        self.lock().taken.iter_mut().for_each(|(about, taken)| taken.due = is_due(about));
    }

    /// Whether a verdict waits in a case that was taken.
    pub(crate) fn is_due(&self, about: &About) -> bool {
        self.lock().taken.get(about).is_some_and(|taken| taken.due)
    }

    /// How far a case that was taken has come by now.
    pub(super) fn stage(&self, about: &About) -> Option<Stage> {
        self.lock().taken.get(about).map(|taken| taken.stage)
    }

    /// Nobody climbs for it any more.
    pub(super) fn release(&self, about: &About) {
        self.lock().taken.remove(about);
    }

    /// Has the judge hear a testimony at its next pass. Of one source the newest counts.
    pub(crate) fn testify(&self, about: About, testimony: Testimony) {
        let mut entries = self.lock();
        entries.heard.retain(|(other, older)| *other != about || older.source != testimony.source);
        entries.heard.push((about, testimony));
    }

    /// The one who climbs is to end, or has begun anew.
    pub(crate) fn stop(&self, stopping: bool) {
        self.lock().stopping = stopping;
        self.bell.ring();
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.lock().stopping
    }

    /// No other case finds room.
    #[cfg(test)]
    pub(crate) fn fill(&self) {
        for pid in (1..).map(|pid| pid + 1_000_000).take(MOST) {
            assert!(self.offer(super::case::tests::of_process(pid)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same container.
fn is_same(one: &Subject, other: &Subject) -> bool {
    let same = |one: &Option<String>, other: &Option<String>| one.is_some() && one == other;
    same(&one.container_id, &other.container_id) || same(&one.cgroup_path, &other.cgroup_path)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mlh_detect::{Rung, Says};

    use super::super::case::tests::of_process;
    use super::*;

    fn case(pid: u32, velocity: f64) -> Case {
        Case { velocity, ..of_process(pid) }
    }

    /// Guarantees: of the cases that may be taken the fastest is taken, once; a case that waits is replaced by what it is by now, and
    /// goes when it has ended; how one has ended that was taken can be asked until it is released.
    #[test]
    fn cases_are_taken_in_turn() {
        let docket = Docket::default();
        for (pid, velocity) in [(1, 5.0), (2, 7.0), (3, 6.0), (1, 8.0), (4, 9.0)] {
            assert!(docket.offer(case(pid, velocity)));
        }
        docket.close(&case(4, 0.0).about, Closed::Cleared(Cleared::Stopped));
        let first = docket.take(|_| true).unwrap();
        assert_eq!(first, case(1, 8.0));
        assert!(docket.offer(Case { stage: Stage::Leaking, ..case(1, 10.0) }), "it is taken already");
        assert_eq!(docket.stage(&first.about), Some(Stage::Leaking));
        let second = docket.take(|other| other.about != case(2, 0.0).about).unwrap();
        assert_eq!(second.about, case(3, 0.0).about);
        assert_eq!(docket.closed(&first.about), None);
        docket.close(&first.about, Closed::Verdict);
        assert_eq!(docket.closed(&first.about), Some(Closed::Verdict));
        docket.release(&first.about);
        assert_eq!(docket.closed(&first.about), None);
        docket.drop_unless(|_| false);
        assert_eq!(docket.take(|_| true), None);
    }

    /// Guarantees: a look is about the open cases of the processes that it looks at, of their container where that is what is looked at or
    /// its process that grew most is; not about others, not about what has ended, nor about another process with the same pid.
    #[test]
    fn whom_a_look_concerns() {
        let docket = Docket::default();
        let (one, other) = (case(1, 1.0), case(2, 1.0));
        let named = |id: &str| Arc::new(Subject { container_id: Some(id.to_owned()), ..Subject::default() });
        let container = Case {
            about: About::Container(mlh_detect::ContainerKey(9)),
            leader: Some(ProcessKey { pid: 2, start_ns: 1 }),
            subject: named("4f1e"),
            ..case(2, 1.0)
        };
        for case in [&one, &other, &container] {
            assert!(docket.offer(case.clone()));
        }
        let at = |case: &Case| vec![(case.subject.reading.pid, Arc::clone(&case.subject))];
        let told = |pids: &KnownSubjects, whole: Option<&Subject>| {
            let mut told: Vec<_> =
                docket.concerned(pids, whole).into_iter().map(|(case, part)| (case.about, part)).collect();
            told.sort_by_key(|(about, _)| format!("{about:?}"));
            told
        };
        assert_eq!(told(&at(&one), None), [(one.about, Some(1))]);
        assert_eq!(told(&at(&other), None), [(container.about, Some(2)), (other.about, Some(2))]);
        assert_eq!(told(&at(&one), Some(&named("4f1e"))), [(container.about, None), (one.about, Some(1))]);
        assert_eq!(told(&at(&one), Some(&named("5a"))), [(one.about, Some(1))]);
        let reading = mlh_targets::process::ProcessReading { pid: 1, start_ns: 2, ..Default::default() };
        assert_eq!(told(&vec![(1, Arc::new(Subject { reading, ..Subject::default() }))], None), []);
        docket.close(&one.about, Closed::Verdict);
        assert_eq!(told(&at(&one), None), []);
    }

    /// Guarantees: more than there is room for is refused; what is known already finds room.
    #[test]
    fn it_is_bounded() {
        let docket = Docket::default();
        for pid in 1..=u32::try_from(MOST).unwrap() {
            assert!(docket.offer(case(pid, 1.0)));
        }
        assert!(!docket.offer(case(9999, 1.0)));
        assert!(docket.offer(case(1, 2.0)));
    }

    /// Guarantees: a testimony is heard once, and of one source about one case the newest.
    #[test]
    fn testimonies() {
        let docket = Docket::default();
        let testimony = |rung: Rung, at| Testimony {
            rung,
            source: rung.name(),
            at: Duration::from_secs(at),
            watched: Duration::ZERO,
            says: Says::Unclear("test"),
        };
        let about = case(1, 0.0).about;
        docket.testify(about, testimony(Rung::GrowthStacks, 1));
        docket.testify(about, testimony(Rung::Outside, 2));
        docket.testify(about, testimony(Rung::GrowthStacks, 3));
        let heard: Vec<_> = docket.testimonies().iter().map(|(_, it)| (it.rung, it.at.as_secs())).collect();
        assert_eq!(heard, [(Rung::Outside, 2), (Rung::GrowthStacks, 3)]);
        assert!(docket.testimonies().is_empty());
    }
}
