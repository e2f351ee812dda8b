//! What a receiver leaves behind when its configuration is replaced, so that the next one goes on where it was: a leak
//! under suspicion stays one.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};

use mlh_pipeline::component::ComponentId;

use super::judge::{Bench, Judge};
use super::pursuit::Pursuit;
use super::scout::{WAKES, Wake};
use crate::ladder::Ladder;
use crate::observe::{self, Listen, ObserveError, Observer, Options};

/// The estate of one receiver.
pub(super) struct Estate {
    /// All that is known of the processes, and what must not repeat or start afresh in the records.
    pub(super) judge: Judge,
    /// What the kernel has told and nobody has heard yet waits here.
    pub(super) ears: Ears,
    /// What has been opened, where it could be.
    pub(super) eyes: Option<Eyes>,
}

/// Where the one who makes the passes is woken.
pub(super) struct Ears {
    pub(super) wake: SyncSender<Wake>,
    pub(super) wakes: Receiver<Wake>,
}

/// A way to look at the host that has been opened, and how.
pub(super) struct Eyes {
    pub(super) options: Options,
    pub(super) observer: Box<dyn Observer>,
    /// What it has been asked to tell by itself.
    pub(super) listening: Option<Listen>,
}

impl Estate {
    /// Of one who has seen nothing yet.
    pub(super) fn new(bench: &Bench) -> Self {
        Self { judge: Judge::new(bench), ears: Ears::new(), eyes: None }
    }

    /// For an heir with other settings. What was opened with other options will not do: it is given up, and opened anew
    /// here, as the judge has to know beforehand whether the processes will be those that it knows.
    pub(super) fn adapt(self, bench: &Bench, options: &Options) -> Self {
        self.adapt_by(bench, options, Eyes::open)
    }

    fn adapt_by(
        mut self,
        bench: &Bench,
        options: &Options,
        open: impl FnOnce(&Options) -> Result<Eyes, ObserveError>,
    ) -> Self {
        const KEPT: &str = "what is known of processes and containers is kept";
        self.judge.reconfigure(bench);
        if self.eyes.as_ref().is_some_and(|eyes| eyes.options == *options) {
            tracing::info!("{KEPT}");
            return self;
        }
        let before = self.eyes.take().map(|eyes| eyes.observer.describe());
        // who goes on from here tries again, and tells why it fails
        self.eyes = open(options).ok();
        let now = self.eyes.as_ref().map(|eyes| eyes.observer.describe());
        // start times differ by the way of looking, and with them who is who
        if now.is_none() || now != before {
            let [before, now] = [before, now].map(|way| way.unwrap_or("not at all"));
            tracing::info!(
                before,
                now,
                "processes are seen in another way: what was known of them is forgotten"
            );
            self.judge.forget(bench);
        } else {
            tracing::info!("{KEPT}");
        }
        self
    }
}

impl Ears {
    pub(super) fn new() -> Self {
        let (wake, wakes) = sync_channel(WAKES);
        Self { wake, wakes }
    }
}

impl Eyes {
    pub(super) fn open(options: &Options) -> Result<Self, ObserveError> {
        let (observer, choice) = observe::open(options)?;
        tracing::info!("{choice}");
        Ok(Self { options: options.clone(), observer, listening: None })
    }
}

/// Where estates wait for their heirs: the receivers of the same ids in the next configuration.
#[derive(Default)]
pub struct Estates {
    waiting: Mutex<HashMap<ComponentId, Estate>>,
    pursuits: Mutex<HashMap<ComponentId, Pursuit>>,
    ladders: Mutex<HashMap<ComponentId, Ladder>>,
}

impl Estates {
    pub(super) fn leave(&self, id: &ComponentId, estate: Estate) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), estate);
    }

    pub(super) fn take(&self, id: &ComponentId) -> Option<Estate> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }

    pub(super) fn leave_pursuit(&self, id: &ComponentId, pursuit: Pursuit) {
        self.pursuits.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), pursuit);
    }

    pub(super) fn take_pursuit(&self, id: &ComponentId) -> Option<Pursuit> {
        self.pursuits.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }

    pub(super) fn leave_ladder(&self, id: &ComponentId, ladder: Ladder) {
        self.ladders.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), ladder);
    }

    pub(super) fn take_ladder(&self, id: &ComponentId) -> Option<Ladder> {
        self.ladders.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }

    /// Gives up what nobody took over, and with it what it holds of the kernel. For when a configuration has started.
    pub fn clear(&self) {
        let given_up = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        drop(given_up);
        let given_up = std::mem::take(&mut *self.pursuits.lock().unwrap_or_else(PoisonError::into_inner));
        drop(given_up);
        let given_up = std::mem::take(&mut *self.ladders.lock().unwrap_or_else(PoisonError::into_inner));
        drop(given_up);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::ops::Range;
    use std::sync::mpsc::Sender;
    use std::time::{Duration, SystemTime};

    use mlh_detect::Pass;
    use mlh_targets::host::HostClock;
    use mlh_targets::process::ProcessReading;

    use super::super::judge::{Detail, Seen};
    use super::super::scope::Scope;
    use super::*;
    use crate::observe::{BlindSpot, Observation, Sink, WatchedCgroup};
    use crate::semconv;

    /// Sees nothing, in a way of its own, and says what it was asked to do.
    struct Blind {
        did: Sender<Did>,
        way: &'static str,
    }

    #[derive(Debug, Clone, Copy, PartialEq)]
    pub(in super::super) enum Did {
        Pass,
        Listen(Listen),
    }

    impl Observer for Blind {
        fn full(&mut self) -> Result<Observation, ObserveError> {
            // whoever planted it may not wait for every pass
            let _ = self.did.send(Did::Pass);
            Err(ObserveError::Kernel("it is blind".to_owned()))
        }

        fn watched(&mut self, _: &[u32], _: &[WatchedCgroup]) -> Result<Observation, ObserveError> {
            self.full()
        }

        fn listen(&mut self, wish: &Listen, _: Sink) -> Vec<BlindSpot> {
            let _ = self.did.send(Did::Listen(*wish));
            Vec::new()
        }

        fn describe(&self) -> &'static str {
            self.way
        }
    }

    pub(in super::super) fn bench(growth_threshold: u64) -> Bench {
        Bench {
            host: std::sync::Arc::default(),
            page_size: 4096,
            growth_threshold,
            oom_horizon: Duration::from_secs(3600),
            max_events_per_second: Some(1000),
            detail: Detail::Recorded,
            scope: Scope::default(),
        }
    }

    fn eyes(did: Sender<Did>, way: &'static str) -> Eyes {
        Eyes { options: Options::default(), observer: Box::new(Blind { did, way }), listening: None }
    }

    /// One that looks through a [`Blind`] observer.
    pub(in super::super) fn estate(did: Sender<Did>) -> Estate {
        Estate { eyes: Some(eyes(did, "blindly")), ..Estate::new(&bench(1)) }
    }

    fn other() -> Options {
        Options { btf_path: Some("/btf".into()), ..Options::default() }
    }

    /// Name and event id of what the judge says of a process that has grown by 2 MiB at each sweep, every 15 s, and by
    /// some `more`.
    fn records(judge: &mut Judge, sweeps: Range<u64>, more: u64) -> Vec<(String, String)> {
        records_of(judge, 0, sweeps, more)
    }

    /// The same of one that started at `start_ns`.
    fn records_of(judge: &mut Judge, start_ns: u64, sweeps: Range<u64>, more: u64) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for sweep in sweeps {
            let anon = (sweep << 21) + more;
            let readings = [ProcessReading { pid: 1, start_ns, anon, ..ProcessReading::default() }];
            let at = Duration::from_secs(100 + sweep * 15);
            let seen = Seen { readings: &readings, ..Seen::empty(at, Pass::Full) };
            let outcome = judge.pass(&seen, &HostClock::starting_at(SystemTime::UNIX_EPOCH));
            for record in
                outcome.records.iter().flat_map(|logs| &logs.scope_logs).flat_map(|s| &s.log_records)
            {
                let id = record.attributes.iter().find(|attribute| attribute.key == semconv::EVENT_ID);
                found.push((record.event_name.clone(), format!("{:?}", id.unwrap().value)));
            }
        }
        found
    }

    fn count(records: &[(String, String)], name: &str) -> usize {
        records.iter().filter(|(found, _)| found.ends_with(name)).count()
    }

    /// A judge who has just come to suspect the process, what it said, and the sweeps that it has seen.
    fn suspicious() -> (Judge, Vec<(String, String)>, u64) {
        let mut judge = Judge::new(&bench(512));
        let (mut before, mut sweeps) = (Vec::new(), 0);
        while count(&before, "leak.suspected") == 0 {
            before.extend(records(&mut judge, sweeps..sweeps + 1, 0));
            sweeps += 1;
            assert!(sweeps < 20, "no suspicion: {before:?}");
        }
        (judge, before, sweeps)
    }

    /// Guarantees: under another configuration the judge goes on with what it knows: a suspicion is not told again
    /// and becomes the verdict, no event id repeats, and the new threshold holds.
    #[test]
    fn the_judge_goes_on() {
        let (judge, before, sweeps) = suspicious();
        assert_eq!(count(&before, "leak.detected"), 0, "{before:?}");

        let heir = |judge, threshold| {
            let (did, _receiver) = std::sync::mpsc::channel();
            Estate { judge, ..estate(did) }.adapt(&bench(threshold), &Options::default()).judge
        };
        let mut judge = heir(judge, 512);
        let at_once = records(&mut judge, sweeps - 1..sweeps, 2 << 20);
        assert_eq!(count(&at_once, "rss.growth"), 1, "{at_once:?}");
        assert!(before.iter().all(|(_, id)| *id != at_once[0].1), "{at_once:?} in {before:?}");

        let mut judge = heir(judge, 1 << 30);
        let after = records(&mut judge, sweeps..80, 2 << 20);
        let names: Vec<_> = after.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["memory_leak_hunter.leak.detected"]);
    }

    /// Guarantees: when the host is seen in another way from now on, or nobody knows in which, what was known of
    /// processes is forgotten: nothing is told of them, growth counts from the first sight, and no event id repeats. When
    /// it is seen in the same way, what is known stays.
    #[test]
    fn another_way_of_looking_begins_anew() {
        for (way, forgotten) in [(Some("blindly"), false), (Some("otherwise"), true), (None, true)] {
            let (judge, before, sweeps) = suspicious();
            let (did, _receiver) = std::sync::mpsc::channel();
            let heir = Estate { judge, ..estate(did.clone()) }.adapt_by(&bench(512), &other(), |_| {
                way.map(|way| eyes(did, way)).ok_or_else(|| ObserveError::Kernel("no eyes".to_owned()))
            });
            assert_eq!(heir.eyes.map(|eyes| eyes.observer.describe()), way);
            let mut judge = heir.judge;
            assert_eq!(judge.standing().suspects, u64::from(!forgotten), "{way:?}");
            if forgotten {
                let after = records_of(&mut judge, 1, sweeps - 2..sweeps, 0);
                let names: Vec<_> = after.iter().map(|(name, _)| name.as_str()).collect();
                assert_eq!(names, ["memory_leak_hunter.rss.growth"], "{way:?}");
                assert!(before.iter().all(|(_, id)| *id != after[0].1), "{after:?} in {before:?}");
            } else {
                let after = records_of(&mut judge, 1, sweeps..sweeps + 1, 0);
                assert_eq!(count(&after, "leak.cleared"), 1, "{after:?}");
            }
        }
    }

    /// Guarantees: the observer goes to the heir who would have opened it the same way; for another it is given up, and
    /// another opened after that.
    #[test]
    fn the_observer_goes_to_who_can_use_it() {
        for (options, kept) in [(Options::default(), true), (other(), false)] {
            let (did, receiver) = std::sync::mpsc::channel();
            let mut opened = None;
            let heir = estate(did).adapt_by(&bench(1), &options, |options| {
                opened = Some((options.clone(), receiver.try_recv()));
                Err(ObserveError::Kernel("no eyes".to_owned()))
            });
            assert_eq!(heir.eyes.is_some(), kept, "{options:?}");
            let given_up = Err(std::sync::mpsc::TryRecvError::Disconnected);
            assert_eq!(opened, (!kept).then_some((options, given_up)));
        }
    }

    /// Guarantees: an estate goes to the receiver of its id, once; what nobody takes is given up, observer and all.
    #[test]
    fn estates_wait_for_their_heirs() {
        let id = |text| ComponentId::parse(text).unwrap();
        let (passes, receiver) = std::sync::mpsc::channel();
        let estates = Estates::default();
        estates.leave(&id("memory_leak_hunter/a"), estate(passes));
        assert!(estates.take(&id("memory_leak_hunter/b")).is_none());
        let taken = estates.take(&id("memory_leak_hunter/a")).unwrap();
        assert!(estates.take(&id("memory_leak_hunter/a")).is_none());
        estates.leave(&id("memory_leak_hunter/a"), taken);
        assert_eq!(receiver.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty));
        estates.clear();
        assert_eq!(receiver.try_recv(), Err(std::sync::mpsc::TryRecvError::Disconnected));
    }
}
