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

/// A receiver that leaves nothing on the machine, unless it is told to.
fn hunter(factory: &Factory, yaml: &str, host: &Arc<Reports>) -> Box<dyn Component> {
    let state = if yaml.contains("state:") { "" } else { "state: {path: \"\"}\n" };
    let configure = |settings: &mut Settings<'_>| factory.configure(settings);
    let (blueprint, _) = Settings::of_text(&format!("{state}{yaml}"), configure).unwrap();
    let telemetry = Arc::<Metrics>::clone(&factory.metrics);
    let context = BuildContext { id: id(), telemetry, host: host.clone() };
    blueprint.build(context, Outputs::default()).unwrap()
}

/// Runs a receiver until `wait` is over.
async fn run(factory: &Factory, yaml: &str, wait: impl FnOnce()) -> Vec<Status> {
    let host: Arc<Reports> = Arc::default();
    let mut hunter = hunter(factory, yaml, &host);
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

/// Guarantees: what is known of leaks is kept where `state::path` says, nowhere where that is empty or a trace is judged;
/// damage is set aside and stops nobody; another place than the usual one that cannot be had is an error that names
/// the setting.
#[tokio::test]
async fn leaks_are_kept_where_it_is_asked_for() {
    let host = Arc::<HostIdentity>::default();
    let estates = Arc::<Estates>::default();
    let factory = Factory {
        metrics: Arc::new(Metrics::new(&host)),
        host,
        estates: Arc::clone(&estates),
        findings: Arc::default(),
        desk: Arc::default(),
    };
    let (sender, _did) = channel();
    estates.leave(&id(), estate(sender));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).join("state.jsonl");
    let yaml = |name: &str| format!("state: {{path: '{}'}}", path(name).display());
    run(&factory, "rss_check_interval: 1h", || ()).await;
    run(&factory, &format!("replay: /dev/null\n{}", yaml("trace")), || ()).await;
    assert!(!folder.path().join("trace").exists());
    run(&factory, &yaml("kept"), || assert!(path("kept").exists())).await;
    let kept = std::fs::read(path("kept")).unwrap();
    std::fs::write(path("kept"), "damaged").unwrap();
    run(&factory, &yaml("kept"), || ()).await;
    assert_eq!(std::fs::read(path("kept")).unwrap(), kept);
    assert!(folder.path().join("kept/state.jsonl.damaged").exists());

    std::fs::write(folder.path().join("file"), "").unwrap();
    let refused = hunter(&factory, &yaml("file"), &Arc::default()).start().await.unwrap_err();
    assert!(refused.reason.starts_with("state::path: "), "{}", refused.reason);
}
