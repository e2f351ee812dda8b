//! The one who climbs, without a kernel's side.

use std::process::{Child, Command};

use mlh_detect::Cleared;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use tokio::sync::mpsc::{Receiver, channel};

use super::super::climb::tests::{case_of, idle};
use super::super::docket::Closed;
use super::*;
use crate::semconv;

/// Three processes that are suspected, and the one who climbs for them, without a kernel's side.
struct Scene {
    children: Vec<Child>,
    cases: Vec<Case>,
    climber: Climber,
    records: Receiver<ResourceLogs>,
}

impl Drop for Scene {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Scene {
    fn new(escalation: Escalation) -> Self {
        let sleep = |_| Command::new("sleep").arg("600").spawn().unwrap();
        let children: Vec<_> = (0..3).map(sleep).collect();
        let cases = children.iter().map(case_of).collect();
        let (records, told) = channel(64);
        let metrics = Arc::new(Metrics::new(&HostIdentity::default()));
        let wanted = Wanted::of(&HuntSettings { escalation, ..HuntSettings::default() });
        let ladder = Ladder::new(wanted, Arc::default());
        let mut climber = Climber::new(ladder, Outlets { metrics, records, profiles: None }, false);
        climber.begin = |case, target, _, now| Ok(idle(case, target, now));
        Self { children, cases, climber, records: told }
    }

    fn offer(&self, index: usize) {
        assert!(self.climber.ladder.docket.offer(self.cases[index].clone()));
    }

    /// Goes on, at this second, and tells how many have their turn.
    fn tick(&mut self, second: u64) -> usize {
        self.climber.tick(Duration::from_secs(second));
        self.turns().len()
    }

    /// Whose turn it is.
    fn turns(&self) -> Vec<mlh_detect::About> {
        let climbs = self.climber.ladder.climbs.iter().map(|running| &running.climb);
        climbs.filter(|climb| climb.has_turn()).map(|climb| climb.case.about).collect()
    }

    fn clear(&self, index: usize) {
        self.climber.ladder.docket.close(&self.cases[index].about, Closed::Cleared(Cleared::Stopped));
    }

    /// Modes and reasons, as they were told.
    fn told(&mut self) -> Vec<[String; 2]> {
        let mut told = Vec::new();
        while let Ok(logs) = self.records.try_recv() {
            let record = &logs.scope_logs[0].log_records[0];
            told.push([semconv::MODE, semconv::REASON].map(|key| {
                let found = record.attributes.iter().find(|attribute| attribute.key == key).unwrap();
                match found.value.as_ref().and_then(|value| value.value.as_ref()) {
                    Some(Value::StringValue(text)) => text.clone(),
                    other => panic!("{other:?}"),
                }
            }));
        }
        told
    }
}

/// Guarantees: no more have their turn at once than `max_concurrent_targets` says; whoever waits has it as soon as there is room;
/// beginning and end of it are told, and the board shows what is being done.
#[test]
fn as_many_at_once_as_may_be() {
    for (most, climbed) in [(1, 1), (2, 2), (16, 3)] {
        let mut scene = Scene::new(Escalation { max_concurrent_targets: most, ..Escalation::default() });
        (0..3).for_each(|index| scene.offer(index));
        assert_eq!(scene.tick(100), climbed, "{most}");
        let shown = scene.climber.ladder.board.climbs();
        assert_eq!(shown.iter().filter(|climb| !climb.rungs.is_empty()).count(), climbed);
        assert_eq!(scene.told(), vec![["growth_stacks", "suspected"].map(str::to_owned); climbed]);
        (0..3).for_each(|index| scene.clear(index));
        assert_eq!(scene.tick(101), 0);
        assert_eq!(scene.told(), vec![["growth_detection", "cleared"].map(str::to_owned); climbed]);
        assert!(scene.climber.ladder.board.climbs().is_empty());
    }
    let mut scene = Scene::new(Escalation::default());
    (0..2).for_each(|index| scene.offer(index));
    scene.tick(100);
    let first = scene.turns();
    scene.climber.ladder.docket.close(&first[0], Closed::Verdict);
    assert_eq!(scene.tick(101), 1, "the other one");
    assert_ne!(scene.turns(), first);
}

/// Guarantees: a climb that ends with nothing new makes room for the others, says so, and has its turn again after them.
#[test]
fn turns_go_round() {
    let mut scene = Scene::new(Escalation::default());
    (0..3).for_each(|index| scene.offer(index));
    let mut had = Vec::new();
    for second in 100..400 {
        assert_eq!(scene.tick(second), 1);
        let now = scene.turns();
        if had.last() != Some(&now) {
            had.push(now);
        }
    }
    let mut all = had[..3].to_vec();
    all.sort_by_key(|turns| format!("{turns:?}"));
    all.dedup();
    assert_eq!((all.len(), had.len(), &had[0]), (3, 5, &had[3]), "{had:?}");
    let told = scene.told();
    let count = |what: [&str; 2]| told.iter().filter(|it| **it == what).count();
    let [begun, over] = [["growth_stacks", "suspected"], ["growth_detection", "yielded"]];
    assert_eq!((count(begun), count(over), told.len()), (5, 4, 9));
}

/// Guarantees: within `cooldown` the same process is not climbed for again.
#[test]
fn a_cooldown_is_kept() {
    for (cooldown, climbed) in [(1800, 0), (0, 1)] {
        let cooldown = Duration::from_secs(cooldown);
        let mut scene = Scene::new(Escalation { cooldown, ..Escalation::default() });
        scene.offer(0);
        assert_eq!(scene.tick(100), 1);
        scene.clear(0);
        assert_eq!(scene.tick(101), 0);
        scene.offer(0);
        assert_eq!(scene.tick(102), climbed, "{cooldown:?}");
    }
}

/// Guarantees: who is looked at by order is not climbed for until that is over; another configuration ends the climbs.
#[test]
fn orders_and_configurations_come_first() {
    let mut scene = Scene::new(Escalation::default());
    scene.climber.ladder.board.order([scene.children[0].id()]);
    scene.offer(0);
    assert_eq!(scene.tick(100), 0);
    scene.climber.ladder.board.order([]);
    assert_eq!(scene.tick(101), 1);
    scene.climber.end_all(&End::Replaced);
    let last = scene.told().pop().unwrap();
    assert_eq!(last, ["growth_detection", "replaced"].map(str::to_owned));
}
