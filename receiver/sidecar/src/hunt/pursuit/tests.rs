mod profiles;

use std::thread::{self, JoinHandle};

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use tokio::sync::mpsc::{Receiver, channel};

use super::*;
use crate::hunt::settings::{Budget, HuntSettings};
use crate::investigate::plan::Target;
use crate::investigate::testing::{Kernel, Waiting, open_ringing, plan};
use crate::semconv;

/// Nothing passes or fails by it on a machine that works.
const ROOM: usize = 1024;

fn wanted(plan: Option<Plan>) -> Wanted {
    let settings = HuntSettings { investigate: plan, ..HuntSettings::default() };
    Wanted { budget: Budget::Share(1.0), ..Wanted::of(&settings) }
}

/// A pursuer at work, with a kernel's side that does as it is told.
struct Working {
    desk: Arc<Desk>,
    seat: Arc<Seat>,
    records: Receiver<ResourceLogs>,
    metrics: Arc<Metrics>,
    thread: JoinHandle<Pursuit>,
}

impl Working {
    fn new(wanted: Wanted, kernel: &Kernel) -> Self {
        Self::with(Pursuit::new(wanted, Arc::default()), kernel, |_| ())
    }

    fn with(pursuit: Pursuit, kernel: &Kernel, first: impl FnOnce(&mut Pursuer) + Send + 'static) -> Self {
        let (out, records) = channel(ROOM);
        let (desk, seat) = (Arc::<Desk>::default(), pursuit.seat());
        let metrics = Arc::new(Metrics::new(&HostIdentity::default()));
        let mut pursuer = Pursuer::new(pursuit, Arc::clone(&metrics), out);
        let kernel = kernel.clone();
        pursuer.open = Box::new(move |plan, scope, bell| open_ringing(plan, scope, bell, &kernel));
        let sitting = Arc::clone(&desk);
        let (ready, is_ready) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            first(&mut pursuer);
            ready.send(()).unwrap();
            pursuer.run(&sitting)
        });
        is_ready.recv().unwrap();
        while !desk.is_attended() {
            thread::yield_now();
        }
        Self { desk, seat, records, metrics, thread }
    }

    fn orders(&self, pid: u32, seconds: u64) -> Result<Status, OrderError> {
        self.desk.start(Order {
            target: Target::Pid(pid),
            rung: None,
            duration: Some(Duration::from_secs(seconds)),
            min_allocation_size: Some(4 << 20),
            origin: Origin::Control { uid: 7 },
        })
    }

    /// The next record: its mode, the reason, and who asked.
    fn told(&mut self) -> [String; 3] {
        let logs = self.records.blocking_recv().unwrap();
        let record = &logs.scope_logs[0].log_records[0];
        assert_eq!(record.event_name, "memory_leak_hunter.mode.changed");
        [semconv::MODE, semconv::REASON, semconv::ASKED_BY].map(|key| {
            let found = record.attributes.iter().find(|attribute| attribute.key == key).unwrap();
            match found.value.as_ref().and_then(|value| value.value.as_ref()) {
                Some(Value::StringValue(text)) => text.clone(),
                other => panic!("{other:?}"),
            }
        })
    }

    fn stop(self) -> (Pursuit, Receiver<ResourceLogs>) {
        self.seat.hand_in(Request::Stop);
        (self.thread.join().unwrap(), self.records)
    }
}

fn said(told: [&str; 3]) -> [String; 3] {
    told.map(str::to_owned)
}

const CONTROL: &str = "control (uid 7)";

/// Guarantees: an order places probes, is told, and shows in the status, with what it leaves open taken from the
/// configuration; when its time is over the sidecar goes back by itself, and tells that.
#[test]
fn an_order_and_its_end() {
    let (process, kernel) = (Waiting::start(), Kernel::default());
    let mut working = Working::new(wanted(None), &kernel);
    assert_eq!(working.desk.status().mode, Mode::GrowthDetection);
    let status = working.orders(process.pid(), 1).unwrap();
    assert_eq!(status.mode, Mode::Investigating(Rung::Targeted));
    assert_eq!(status.target, Some(format!("pid {}", process.pid())));
    assert_eq!(status.asked_by.as_deref(), Some(CONTROL));
    assert!(status.remaining.is_some_and(|left| left <= SECOND));
    assert_eq!(status.report.unwrap().members[0].pid, process.pid());
    assert_eq!(working.told(), said(["targeted", "asked", CONTROL]));
    kernel.with(|fake| fake.sink = None);
    assert_eq!(working.told(), said(["growth_detection", "elapsed", CONTROL]));
    assert_eq!(working.desk.status().mode, Mode::GrowthDetection);
    assert_eq!(working.desk.release(Origin::Command), Err(OrderError::NoTarget));
    working.stop();
}

/// Guarantees: what is released is let go and told; an order that cannot be carried out says why, and the look of before
/// goes on; one that can takes its place, both being told.
#[test]
fn orders_follow_one_another() {
    let (one, mut other, kernel) = (Waiting::start(), Waiting::start(), Kernel::default());
    let mut working = Working::new(wanted(None), &kernel);
    working.orders(one.pid(), 600).unwrap();
    assert_eq!(working.told(), said(["targeted", "asked", CONTROL]));
    let gone = {
        let ended = Waiting::start();
        ended.pid()
    };
    let refused = working.orders(gone, 600).unwrap_err();
    assert!(
        matches!(&refused, OrderError::Target(reason) if reason.contains(&gone.to_string())),
        "{refused}"
    );
    assert_eq!(working.desk.status().target, Some(format!("pid {}", one.pid())));
    kernel.with(|fake| fake.sink = None);
    working.orders(other.pid(), 600).unwrap();
    assert_eq!(working.told(), said(["growth_detection", "replaced", CONTROL]));
    assert_eq!(working.told(), said(["targeted", "asked", CONTROL]));
    kernel.with(|fake| fake.sink = None);
    assert_eq!(working.desk.release(Origin::Command).unwrap().mode, Mode::GrowthDetection);
    assert_eq!(working.told(), said(["growth_detection", "released", CONTROL]));
    working.orders(other.pid(), 600).unwrap();
    assert_eq!(working.told(), said(["targeted", "asked", CONTROL]));
    other.end();
    kernel.with(|fake| fake.sink = None);
    assert_eq!(working.told(), said(["growth_detection", "target_gone", CONTROL]));
    working.stop();
}

/// Guarantees: a configuration's target is looked at from the start, and the look goes on under the next configuration
/// where that says the same of targets; where it does not, the look ends, told as replaced.
#[test]
fn configurations_follow_one_another() {
    let (process, kernel) = (Waiting::start(), Kernel::default());
    let same = || wanted(Some(plan(process.pid(), Rung::Debug)));
    let mut first = Working::new(same(), &kernel);
    assert_eq!(first.told(), said(["debug", "asked", "configuration"]));
    let (pursuit, _) = first.stop();
    let next = same();
    let second = Working::with(pursuit, &kernel, move |pursuer| pursuer.adapt(next));
    assert_eq!(second.desk.status().mode, Mode::Investigating(Rung::Debug));
    assert_eq!(kernel.with(|fake| fake.admitted.len()), 1);
    let (pursuit, mut records) = second.stop();
    assert!(records.try_recv().is_err(), "nothing has changed, so nothing is told");
    kernel.with(|fake| fake.sink = None);
    let mut third = Working::with(pursuit, &kernel, |pursuer| pursuer.adapt(wanted(None)));
    assert_eq!(third.told(), said(["growth_detection", "replaced", "configuration"]));
    assert_eq!(third.desk.status().mode, Mode::GrowthDetection);
    third.stop();
}

/// Guarantees: the end of the sidecar is told as that; a configured target that is not there keeps nobody from giving
/// orders.
#[test]
fn the_end_of_the_sidecar() {
    let (process, mut absent, kernel) = (Waiting::start(), Waiting::start(), Kernel::default());
    absent.end();
    let mut working = Working::new(wanted(Some(plan(absent.pid(), Rung::Debug))), &kernel);
    assert_eq!(working.desk.status().mode, Mode::GrowthDetection);
    working.orders(process.pid(), 600).unwrap();
    assert_eq!(working.told(), said(["debug", "asked", CONTROL]), "as close as the configuration says");
    let look = working.metrics.collect().unwrap();
    let text = serde_json::to_string(&look).unwrap();
    assert!(text.contains("memory_leak_hunter_target_seconds"), "{text}");
    working.desk.close();
    kernel.with(|fake| fake.sink = None);
    let (_, mut records) = working.stop();
    let record = records.try_recv().unwrap();
    let told = serde_json::to_string(&record).unwrap();
    assert!(told.contains("\"shutdown\"") && told.contains("growth_detection"), "{told}");
}
