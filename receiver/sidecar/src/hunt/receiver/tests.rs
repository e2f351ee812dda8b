use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use mlh_pipeline::component::{ComponentId, Host};

use super::super::estate::tests::{Did, estate};
use super::*;

/// How long to wait for a thread; nothing passes or fails by it on a machine that works.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct Reports(Mutex<Vec<Status>>);

impl Host for Reports {
    fn report(&self, _: &ComponentId, status: Status, _: Option<String>) {
        self.0.lock().unwrap().push(status);
    }

    fn statuses(&self) -> Vec<(ComponentId, Status, Option<String>)> {
        Vec::new()
    }
}

fn id() -> ComponentId {
    ComponentId::parse("memory_leak_hunter").unwrap()
}

/// Runs a receiver until `wait` is over.
async fn run(factory: &Factory, yaml: &str, wait: impl FnOnce()) -> Vec<Status> {
    // nothing is to be left on the machine that the test runs on
    let yaml = &format!("state: {{path: \"\"}}\n{yaml}");
    let (blueprint, _) = Settings::of_text(yaml, |settings| factory.configure(settings)).unwrap();
    let host: Arc<Reports> = Arc::default();
    let telemetry = Arc::<Metrics>::clone(&factory.metrics);
    let context = BuildContext { id: id(), telemetry, host: host.clone() };
    let mut hunter = blueprint.build(context, Outputs::default()).unwrap();
    hunter.start().await.unwrap();
    wait();
    hunter.shutdown().await.unwrap();
    hunter.shutdown().await.unwrap();
    host.0.lock().unwrap().clone()
}

/// Guarantees: a receiver takes over what the one before it left, looks through the same observer, has it tell
/// something else only where that was asked for, and leaves it again; with another `btf_path` it opens an observer
/// of its own; a replay touches nothing of it.
#[tokio::test]
async fn estates_are_handed_on() {
    let host = Arc::<HostIdentity>::default();
    let (metrics, estates) = (Arc::new(Metrics::new(&host)), Arc::<Estates>::default());
    let findings = Arc::default();
    let desk = Arc::default();
    let factory = Factory { metrics, host, estates: Arc::clone(&estates), findings, desk };
    let (sender, did) = channel();
    estates.leave(&id(), estate(sender));
    // the first sweep is made at once
    let pass = || {
        let mut before = Vec::new();
        loop {
            match did.recv_timeout(PATIENCE).unwrap() {
                Did::Pass => return before,
                Did::Listen(wish) => before.push(wish),
            }
        }
    };
    let tracepoint = "rss_source: tracepoint\nrss_growth_threshold: 7";
    let crossings = Some(Crossings { threshold: 7, watched_only: false });
    let suspects = "rss_source: tracepoint\nrss_tracepoint_scope: suspects";
    for (yaml, asked) in [
        ("rss_check_interval: 1h", vec![Listen { crossings: None }]),
        ("collection_interval: 5s", Vec::new()),
        (tracepoint, vec![Listen { crossings }]),
        (tracepoint, Vec::new()),
        (suspects, vec![Listen { crossings: Some(Crossings { threshold: 256, watched_only: true }) }]),
    ] {
        let statuses = run(&factory, yaml, || assert_eq!(pass(), asked, "{yaml}")).await;
        assert_eq!(statuses, [Status::Ok], "{yaml}");
    }
    run(&factory, "replay: /dev/null", || ()).await;
    run(&factory, "btf_path: /absent", || while did.recv_timeout(PATIENCE).is_ok() {}).await;
    let estate = estates.take(&id()).unwrap();
    assert_eq!(estate.eyes.unwrap().options.btf_path, Some("/absent".into()));
}
