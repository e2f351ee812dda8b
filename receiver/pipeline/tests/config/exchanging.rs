//! One configuration takes another's place: who stops and starts when, and what happens when it goes wrong.

use std::future::{Future, pending, ready};
use std::sync::Arc;
use std::time::Duration;

use mlh_pipeline::component::{Status, Telemetry};
use mlh_pipeline::service::{Exchanged, Service, exchange};
use tokio::time::Instant;

use crate::fakes::{Journal, NoTelemetry, Usages, factories};
use crate::{effective, load_into};

const PATIENCE: Duration = Duration::from_secs(20);

/// Another configuration than `SOUND`, with parts of the same kinds.
const OTHER: &str = "yaml:
receivers: {source/new: }
exporters: {sink/new: }
extensions: {probe/new: }
service:
  extensions: [probe/new]
  pipelines: {logs: {receivers: [source/new], exporters: [sink/new]}}
";

/// Of `SOUND` and `OTHER`.
const STOPS: [&str; 5] = ["stop source", "stop memory_limiter", "stop pass", "stop sink", "stop probe"];
const STARTS: [&str; 5] = ["start probe", "start sink", "start pass", "start memory_limiter", "start source"];
const NEW_STARTS: [&str; 3] = ["start probe/new", "start sink/new", "start source/new"];

struct Bench {
    journal: Arc<Journal>,
    old: Service,
    new: Service,
}

impl Bench {
    /// With the old service running.
    async fn new(old_sets: &[&str], new_sets: &[&str]) -> Self {
        let journal = Arc::default();
        let build = |sources: &[&str], sets: &[&str]| {
            load_into(&journal, sources, sets).unwrap().build(Arc::new(NoTelemetry)).unwrap()
        };
        let (mut old, new) = (build(&[], old_sets), build(&[OTHER], new_sets));
        old.start().await.unwrap();
        assert_eq!(journal.take(), STARTS);
        Self { journal, old, new }
    }

    /// The old configuration would start again.
    async fn exchange<S>(self, stop: impl Future<Output = S>) -> (Exchanged<S>, Vec<String>) {
        let again = || {
            let loaded = load_into(&self.journal, &[], &[]).map_err(|problems| problems.to_string())?;
            loaded.build(Arc::new(NoTelemetry)).map_err(|error| error.to_string())
        };
        let exchanged = exchange(self.old, self.new, again, PATIENCE, stop).await;
        (exchanged, self.journal.take())
    }
}

fn well(service: &Service) -> bool {
    service.host().statuses().iter().all(|(_, status, _)| *status == Status::Ok)
}

/// Guarantees: the old parts have all stopped before the first new one starts; then the new ones run, and their real
/// states are told.
#[tokio::test]
async fn old_before_new() {
    let bench = Bench::new(&[], &[]).await;
    let journal = Arc::clone(&bench.journal);
    let (exchanged, happened) = bench.exchange(pending::<()>()).await;
    assert_eq!(happened, [&STOPS[..], &NEW_STARTS].concat());
    let Exchanged::Done(mut service) = exchanged else { panic!("no exchange") };
    assert!(well(&service));
    let host = Arc::clone(&journal.hosts("sink/new")[0]);
    service.shutdown(PATIENCE).await.unwrap();
    assert!(host.statuses().iter().all(|(_, status, _)| *status == Status::Stopped));
}

/// Guarantees: a drain is given no more time than it has, the new service starts also when the old one did not stop
/// in order, and all the while those who ask hear that the parts are well.
#[tokio::test(start_paused = true)]
async fn a_drain_is_bounded_and_no_fault() {
    let bench = Bench::new(&["receivers.source.behaviour=hangs_in_shutdown"], &[]).await;
    let host = Arc::clone(&bench.journal.hosts("source")[0]);
    let begin = Instant::now();
    let exchanging = tokio::spawn(bench.exchange(pending::<()>()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let statuses = host.statuses();
    assert!(
        statuses.len() == 5 && statuses.iter().all(|(_, status, _)| *status == Status::Ok),
        "{statuses:?}"
    );
    let (exchanged, happened) = exchanging.await.unwrap();
    assert!(begin.elapsed() <= PATIENCE, "{:?}", begin.elapsed());
    assert_eq!(happened[5..], NEW_STARTS);
    let Exchanged::Done(service) = exchanged else { panic!("no exchange") };
    assert!(well(&service));
}

/// Guarantees: parts that are still to start are no fault either, while a real trouble is told at once.
#[tokio::test(start_paused = true)]
async fn a_start_is_no_fault() {
    let sets =
        ["exporters.sink/new.behaviour=reports_trouble", "receivers.source/new.behaviour=hangs_in_start"];
    let bench = Bench::new(&[], &sets).await;
    let host = Arc::clone(&bench.journal.hosts("source/new")[0]);
    let exchanging = tokio::spawn(bench.exchange(pending::<()>()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    let shown: Vec<_> = host.statuses().into_iter().map(|(id, status, _)| (id.to_string(), status)).collect();
    let expected = [
        ("probe/new".to_owned(), Status::Ok),
        ("sink/new".to_owned(), Status::RecoverableError),
        ("source/new".to_owned(), Status::Ok),
    ];
    assert_eq!(shown, expected);
    exchanging.abort();
}

/// Guarantees: where the new service cannot start, what of it had started is stopped before the old configuration
/// starts again, and the reason is returned.
#[tokio::test]
async fn undone() {
    let bench = Bench::new(&[], &["exporters.sink/new.behaviour=fails_to_start"]).await;
    let (exchanged, happened) = bench.exchange(pending::<()>()).await;
    let stops = ["stop source/new", "stop sink/new", "stop probe/new"];
    assert_eq!(happened, [&STOPS[..], &NEW_STARTS[..2], &stops, &STARTS].concat());
    let Exchanged::Undone(service, error) = exchanged else { panic!("not undone") };
    assert_eq!(error.to_string(), "sink/new: port taken");
    assert!(well(&service));
}

/// Guarantees: where neither can start, both reasons are returned and nothing is left running.
#[tokio::test]
async fn neither() {
    let Bench { journal, old, new } =
        Bench::new(&[], &["receivers.source/new.behaviour=fails_to_start"]).await;
    let broken = || {
        let loaded = load_into(&journal, &[], &["exporters.sink.behaviour=fails_to_start"]).unwrap();
        loaded.build(Arc::new(NoTelemetry)).map_err(|error| error.to_string())
    };
    let exchanged = exchange(old, new, broken, PATIENCE, pending::<()>()).await;
    let Exchanged::Failed { new, old } = exchanged else { panic!("something runs") };
    assert_eq!((new.to_string().as_str(), old.as_str()), ("source/new: port taken", "sink: port taken"));
    let lines = journal.take();
    for part in ["probe", "probe/new", "sink/new"] {
        let last = lines.iter().rfind(|line| line.split(' ').next_back() == Some(part));
        assert_eq!(last.unwrap(), &format!("stop {part}"));
    }

    let Bench { old, new, .. } = Bench::new(&[], &["receivers.source/new.behaviour=fails_to_start"]).await;
    let gone = || Err("no certificate".to_owned());
    let exchanged = exchange(old, new, gone, PATIENCE, pending::<()>()).await;
    let Exchanged::Failed { old, .. } = exchanged else { panic!("something runs") };
    assert_eq!(old, "no certificate");
}

/// Guarantees: whoever asks to stop during the drain waits for it to end, and then nothing is started; one who asks
/// during the start does not wait for that, and what had started is stopped. Whether the old parts stopped in order
/// is told.
#[tokio::test(start_paused = true)]
async fn stopped_meanwhile() {
    let (exchanged, happened) = Bench::new(&[], &[]).await.exchange(ready("SIGTERM")).await;
    assert_eq!(happened[..5], STOPS);
    assert!(happened[5..].iter().all(|line| line.starts_with("stop")), "{happened:?}");
    assert!(matches!(exchanged, Exchanged::Stopped { asked: "SIGTERM", clean: true }));

    let bench = Bench::new(
        &["exporters.sink.behaviour=fails_to_stop"],
        &["receivers.source/new.behaviour=hangs_in_start"],
    )
    .await;
    let later = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        "SIGINT"
    };
    let (exchanged, happened) = bench.exchange(later).await;
    let stops = ["stop source/new", "stop sink/new", "stop probe/new"];
    assert_eq!(happened, [&STOPS[..], &NEW_STARTS, &stops].concat());
    assert!(matches!(exchanged, Exchanged::Stopped { asked: "SIGINT", clean: false }));
}

/// Guarantees: a configuration that was kept can be loaded again as it was, references replaced, whatever has become
/// of its sources.
#[test]
fn kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kept.yaml");
    let text = crate::fakes::SOUND.replace("  source:\n", "  source: {rate: '${env:FIVE}'}\n");
    std::fs::write(&path, text).unwrap();
    let journal = Arc::default();
    let loaded = load_into(&journal, &[path.to_str().unwrap()], &["source.size=1KiB"]).unwrap();
    std::fs::remove_file(&path).unwrap();
    let again = loaded.kept().load(&factories(&journal)).ok().unwrap();
    assert_eq!(again.effective, loaded.effective);
    assert_eq!(effective(&again, "receivers.source.rate"), "5");
    let third = again.kept().load(&factories(&journal)).ok().unwrap();
    assert_eq!(third.effective, loaded.effective);
}

/// Guarantees: the queue of a part that is gone holds nothing any more, also when the part was given up.
#[tokio::test(start_paused = true)]
async fn queues_that_are_gone_are_empty() {
    let usages: Arc<Usages> = Arc::default();
    let loaded = load_into(&Arc::default(), &[], &["exporters.sink.behaviour=hangs_in_shutdown"]).unwrap();
    let mut service = loaded.build(usages.clone()).unwrap();
    service.start().await.unwrap();
    usages.queue_usage(&mlh_pipeline::component::ComponentId::parse("sink").unwrap(), 0.9);
    service.shutdown(PATIENCE).await.unwrap_err();
    assert_eq!(usages.0.lock().unwrap()["sink"], 0.0);
}
