//! The service built from a sound configuration: who gets what, who starts and stops when, who is told.

use std::sync::Arc;
use std::time::Duration;

use mlh_pipeline::component::{ComponentId, Outputs, Refused, Status};
use mlh_pipeline::data::Data;
use mlh_pipeline::service::Service;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use tokio::time::Instant;

use crate::fakes::{Journal, NoTelemetry};
use crate::load_into;

const DEADLINE: Duration = Duration::from_secs(20);

/// Two pipelines for logs and one for metrics, sharing the receiver `source` and the exporter `sink`.
const SHARED: &str = "yaml:
receivers: {source: , source/off: {enabled: false}}
processors: {memory_limiter: , pass: , pass/b: }
exporters: {sink: , sink/b: , sink/off: }
extensions: {probe: , probe/b: }
service:
  extensions: [probe/b, probe]
  pipelines:
    logs: {receivers: [source, source/off], processors: [memory_limiter, pass], exporters: [sink, sink/b]}
    logs/b: {receivers: [source], exporters: [sink]}
    metrics: {receivers: [source], processors: [pass, pass/b], exporters: [sink]}
    metrics/off: {receivers: [source/off], processors: [pass], exporters: [sink/off]}
";

fn service(journal: &Arc<Journal>, sources: &[&str], sets: &[&str]) -> Service {
    load_into(journal, sources, sets).unwrap().build(Arc::new(NoTelemetry)).unwrap()
}

fn logs() -> Data {
    Data::Logs(ExportLogsServiceRequest::default())
}

async fn send_logs(outputs: &Outputs) -> Result<(), Refused> {
    outputs.logs.as_ref().unwrap().consume(logs()).await
}

fn id(text: &str) -> ComponentId {
    ComponentId::parse(text).unwrap()
}

fn status(service: &Service, component: &str) -> (Status, Option<String>) {
    let (_, status, reason) =
        service.host().statuses().into_iter().find(|(known, ..)| *known == id(component)).unwrap();
    (status, reason)
}

/// Guarantees: extensions start first and in the service's order, then exporters, processors from the end of
/// their pipeline, receivers; shutdown follows the data; what only a disabled receiver would feed is not built.
#[tokio::test]
async fn order() {
    let journal = Arc::default();
    let mut service = service(&journal, &[SHARED], &[]);
    service.start().await.unwrap();
    let started = journal.take();
    let order = [
        "start probe/b",
        "start probe",
        "start sink",
        "start sink/b",
        "start pass",
        "start memory_limiter",
        "start pass/b",
        "start pass",
        "start source",
    ];
    assert_eq!(started, order);
    assert!(service.host().statuses().iter().all(|(_, status, _)| *status == Status::Ok));
    service.shutdown(DEADLINE).await.unwrap();
    let stopped: Vec<_> = journal.take().iter().map(|line| line.replace("stop", "start")).collect();
    // Parts that do not depend on one another do not wait for one another either.
    let place = |list: &[String], name: &str| list.iter().position(|line| line == name).unwrap();
    assert_eq!(stopped.len(), started.len());
    for (before, after) in [
        ("start source", "start memory_limiter"),
        ("start memory_limiter", "start sink"),
        ("start memory_limiter", "start sink/b"),
        ("start pass/b", "start sink"),
        ("start sink", "start probe"),
        ("start sink/b", "start probe/b"),
    ] {
        assert!(place(&stopped, before) < place(&stopped, after), "{before} before {after} in {stopped:?}");
    }
    assert!(service.host().statuses().iter().all(|(_, status, _)| *status == Status::Stopped));
}

/// Guarantees: one receiver serves every pipeline that names it, by signal, through that pipeline's processors in
/// their order, to each of its exporters; a signal that nobody takes is `None`.
#[tokio::test]
async fn data_path() {
    let journal = Arc::default();
    let _service = service(&journal, &[SHARED], &[]);
    let outputs = journal.outputs("source");
    send_logs(&outputs).await.unwrap();
    let path =
        ["memory_limiter got logs", "pass got logs", "sink got logs", "sink/b got logs", "sink got logs"];
    assert_eq!(journal.take(), path);
    outputs.metrics.unwrap().consume(Data::Metrics(ExportMetricsServiceRequest::default())).await.unwrap();
    assert_eq!(journal.take(), ["pass got metrics", "pass/b got metrics", "sink got metrics"]);
    let _service = service(&journal, &[], &[]);
    assert!(journal.outputs("source").metrics.is_none());
}

/// Guarantees: an exporter that refuses keeps data from nobody else; the refusals come back as one, which is
/// permanent if one of them is.
#[tokio::test]
async fn refusals() {
    let cases = [
        ("well", "refuses", Err(Refused::Retryable("sink/b is full".to_owned()))),
        ("refuses", "well", Err(Refused::Retryable("sink is full; sink is full".to_owned()))),
        ("well", "refuses_for_ever", Err(Refused::Permanent("sink/b cannot".to_owned()))),
        (
            "refuses",
            "refuses_for_ever",
            Err(Refused::Permanent("sink is full; sink/b cannot; sink is full".to_owned())),
        ),
        ("well", "well", Ok(())),
    ];
    for (sink, other, expected) in cases {
        let journal = Arc::default();
        let sets =
            [format!("exporters.sink.behaviour={sink}"), format!("exporters.sink/b.behaviour={other}")];
        let _service = service(&journal, &[SHARED], &[&sets[0], &sets[1]]);
        assert_eq!(send_logs(&journal.outputs("source")).await, expected);
        let takers = journal.take();
        assert_eq!(takers.iter().filter(|line| line.starts_with("sink got")).count(), 2, "{takers:?}");
        assert_eq!(takers.iter().filter(|line| line.starts_with("sink/b got")).count(), 1, "{takers:?}");
    }
}

/// Guarantees: a part that hangs in its shutdown is given up by the deadline, and those after it still get their
/// time; each that failed is named, and the others are shut down all the same.
#[tokio::test(start_paused = true)]
async fn deadline() {
    let journal = Arc::default();
    let sets = ["receivers.source.behaviour=hangs_in_shutdown", "exporters.sink.behaviour=hangs_in_shutdown"];
    let mut hung = service(&journal, &[SHARED], &sets);
    hung.start().await.unwrap();
    let begin = Instant::now();
    let errors = hung.shutdown(DEADLINE).await.unwrap_err();
    let took = begin.elapsed();
    // The exporters' stage ends at 95 % of the deadline; timers have a granularity of a millisecond.
    assert!((Duration::from_secs(19)..=Duration::from_millis(19_010)).contains(&took), "{took:?}");
    let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
    let late = "not shut down in time; what it held is lost";
    assert_eq!(errors, [format!("source: {late}"), format!("sink: {late}")]);
    assert_eq!(journal.take().iter().filter(|line| line.starts_with("stop")).count(), 9);
    assert_eq!(status(&hung, "sink").0, Status::PermanentError);
    assert_eq!(status(&hung, "sink/b").0, Status::Stopped);

    let mut failing = service(&journal, &[], &["exporters.sink.behaviour=fails_to_stop"]);
    failing.start().await.unwrap();
    let begin = Instant::now();
    assert_eq!(failing.shutdown(Duration::MAX).await.unwrap_err()[0].to_string(), "sink: disk full");
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

/// Guarantees: shutdown is safe without a start, a second time, and after a start that failed; such a start stops
/// at the part that failed and names it.
#[tokio::test]
async fn shutdown_at_any_time() {
    let journal = Arc::default();
    let mut idle = service(&journal, &[], &[]);
    idle.shutdown(DEADLINE).await.unwrap();
    idle.shutdown(DEADLINE).await.unwrap();
    journal.take();
    let mut broken = service(&journal, &[], &["exporters.sink.behaviour=fails_to_start"]);
    assert_eq!(broken.start().await.unwrap_err().to_string(), "sink: port taken");
    assert_eq!(journal.take(), ["start probe", "start sink"]);
    assert_eq!(status(&broken, "sink"), (Status::PermanentError, Some("port taken".to_owned())));
    broken.shutdown(DEADLINE).await.unwrap();
    assert_eq!(journal.take().len(), 5);
}

/// Guarantees: a part that cannot be built is named with its reason, whatever kind it is.
#[test]
fn cannot_be_built() {
    for key in ["receivers.source", "processors.pass", "exporters.sink", "extensions.probe"] {
        let loaded = load_into(&Arc::default(), &[], &[&format!("{key}.behaviour=cannot_be_built")]).unwrap();
        let error = loaded.build(Arc::new(NoTelemetry)).err().unwrap();
        assert_eq!(error.to_string(), format!("{}: no such device", key.split('.').next_back().unwrap()));
    }
}

/// Guarantees: the first fatal error wakes whoever waits for it, also one who waits afterwards; lesser ones wake
/// nobody.
#[tokio::test(start_paused = true)]
async fn fatal_error() {
    let journal: Arc<Journal> = Arc::default();
    let mut service = service(&journal, &[], &[]);
    service.start().await.unwrap();
    let failed = tokio::spawn(service.failed());
    let host = Arc::clone(&journal.hosts("source")[0]);
    host.report(&id("source"), Status::PermanentError, Some("half of it".to_owned()));
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!failed.is_finished());
    host.report(&id("source"), Status::FatalError, Some("ring gone".to_owned()));
    journal.hosts("sink")[0].report(&id("sink"), Status::FatalError, Some("too".to_owned()));
    assert_eq!(failed.await.unwrap().to_string(), "source: ring gone");
    assert_eq!(service.failed().await.to_string(), "source: ring gone");
    assert_eq!(status(&service, "source"), (Status::FatalError, Some("ring gone".to_owned())));
}

/// Guarantees: the worst instance speaks for a component; trouble reported while starting is not painted over;
/// trouble passes, permanent failure does not; nothing makes a part that has stopped look well again.
#[tokio::test]
async fn statuses() {
    let journal: Arc<Journal> = Arc::default();
    let mut service = service(&journal, &[SHARED], &["exporters.sink.behaviour=reports_trouble"]);
    service.start().await.unwrap();
    assert_eq!(status(&service, "sink"), (Status::RecoverableError, Some("no answer".to_owned())));
    journal.hosts("sink")[0].report(&id("sink"), Status::Ok, None);
    assert_eq!(status(&service, "sink"), (Status::Ok, None));

    let both = journal.hosts("pass");
    assert_eq!(both.len(), 2);
    for (troubled, well) in [(0, 1), (1, 0)] {
        both[troubled].report(&id("pass"), Status::RecoverableError, Some("full".to_owned()));
        both[well].report(&id("pass"), Status::Ok, None);
        assert_eq!(status(&service, "pass").0, Status::RecoverableError);
        both[troubled].report(&id("pass"), Status::Ok, None);
        assert_eq!(status(&service, "pass").0, Status::Ok);
    }
    both[0].report(&id("pass"), Status::PermanentError, None);
    both[0].report(&id("pass"), Status::Ok, None);
    assert_eq!(status(&service, "pass").0, Status::PermanentError);
    service.shutdown(DEADLINE).await.unwrap();
    journal.hosts("sink")[0].report(&id("sink"), Status::RecoverableError, None);
    assert_eq!(status(&service, "sink").0, Status::Stopped);
    let ids: Vec<_> = service.host().statuses().into_iter().map(|(id, ..)| id).collect();
    assert!(ids.is_sorted() && ids.len() == 8, "{ids:?}");
}

/// Guarantees: a service whose receivers are all disabled says so, and starts and stops like any other.
#[tokio::test]
async fn idle() {
    let journal = Arc::default();
    let mut idle = service(&journal, &[], &["source.enabled=false"]);
    assert!(idle.is_idle() && !service(&journal, &[], &[]).is_idle());
    idle.start().await.unwrap();
    idle.shutdown(DEADLINE).await.unwrap();
    assert_eq!(journal.take(), ["start probe", "stop probe"]);
}
