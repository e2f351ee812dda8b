use super::*;
use crate::testing::{
    Ledger, Sink, complaints, configure_processor, context, gauge, logs, metrics_of, settle,
};

struct Rig {
    built: BuiltConsumer,
    sink: Arc<Sink>,
    ledger: Arc<Ledger>,
}

fn rig(yaml: &str) -> Rig {
    let (context, ledger, _) = context("batch");
    let sink = Arc::new(Sink::default());
    let blueprint = configure_processor(&Factory, yaml).map_err(|problems| problems.to_string()).unwrap();
    let built = blueprint.build(context, sink.clone()).unwrap();
    Rig { built, sink, ledger }
}

impl Rig {
    async fn put(&self, data: Data) {
        self.built.consumer.consume(data).await.unwrap();
    }
}

/// Guarantees: the defaults are the Collector's, and a maximum below the size is refused.
#[test]
fn settings() {
    let default = Settings::of_text("", Config::read).unwrap().0;
    let expected =
        Config { timeout: Duration::from_millis(200), send_batch_size: 8192, send_batch_max_size: 0 };
    assert_eq!(default, expected);
    let complaint =
        complaints(configure_processor(&Factory, "{send_batch_size: 10, send_batch_max_size: 9}"));
    assert!(complaint.contains("0 for no limit, or at least send_batch_size (10)"), "{complaint}");
}

/// Guarantees: requests are joined until the size is reached, and leave at once then.
#[tokio::test(start_paused = true)]
async fn leaves_by_size() {
    let rig = rig("{timeout: 10s, send_batch_size: 5}");
    rig.put(logs(2)).await;
    rig.put(logs(2)).await;
    assert!(rig.sink.sizes().is_empty());
    rig.put(logs(2)).await;
    assert_eq!(rig.sink.sizes(), [6]);
}

/// Guarantees: a batch leaves `timeout` after its first item, not before, and a later one has its own time.
#[tokio::test(start_paused = true)]
async fn leaves_by_time() {
    let mut rig = rig("{timeout: 200ms}");
    rig.built.component.start().await.unwrap();
    for round in 1..=2 {
        rig.put(logs(1)).await;
        tokio::time::sleep(Duration::from_millis(150)).await;
        rig.put(logs(1)).await;
        tokio::time::sleep(Duration::from_millis(49)).await;
        settle().await;
        assert_eq!(rig.sink.sizes().len(), round - 1);
        tokio::time::sleep(Duration::from_millis(2)).await;
        settle().await;
        assert_eq!(rig.sink.sizes(), vec![2; round]);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// Guarantees: with a timeout of zero nothing waits.
#[tokio::test(start_paused = true)]
async fn no_timeout_sends_at_once() {
    let rig = rig("{timeout: 0s}");
    rig.put(logs(1)).await;
    rig.put(logs(1)).await;
    assert_eq!(rig.sink.sizes(), [1, 1]);
}

/// Guarantees: no batch is larger than the maximum, what is left over waits for more, and no record is lost,
/// doubled or moved to another resource.
#[tokio::test(start_paused = true)]
async fn splits_logs() {
    let rig = rig("{timeout: 10s, send_batch_size: 3, send_batch_max_size: 4}");
    let bodies: Vec<String> = (0..9).map(|n| n.to_string()).collect();
    let all = crate::testing::logs_of(&bodies.iter().map(String::as_str).collect::<Vec<_>>());
    rig.put(all.clone()).await;
    assert_eq!(rig.sink.sizes(), [4, 4]);
    let taken = rig.sink.taken.lock().unwrap().clone();
    let rejoined = taken.into_iter().flat_map(|data| match data {
        Data::Logs(logs) => logs.resource_logs,
        _ => Vec::new(),
    });
    let (Data::Logs(all), rejoined) = (all, rejoined.collect::<Vec<_>>()) else { unreachable!() };
    let records = |logs: &[opentelemetry_proto::tonic::logs::v1::ResourceLogs]| {
        logs.iter().flat_map(|r| r.scope_logs[0].log_records.clone()).collect::<Vec<_>>()
    };
    assert_eq!(records(&rejoined), records(&all.resource_logs)[..8]);
    assert!(rejoined.iter().all(|logs| logs.resource == all.resource_logs[0].resource));
    assert!(rejoined.iter().all(|logs| logs.scope_logs[0].scope == all.resource_logs[0].scope_logs[0].scope));
}

/// Guarantees: metrics are counted and cut by data points, and a metric that is cut keeps its name and kind.
#[tokio::test(start_paused = true)]
async fn splits_metrics() {
    let mut rig = rig("{timeout: 10s, send_batch_size: 4, send_batch_max_size: 4}");
    rig.put(metrics_of(vec![gauge("a", 3), gauge("b", 4)])).await;
    assert_eq!(rig.sink.sizes(), [4]);
    rig.built.component.shutdown().await.unwrap();
    assert_eq!(rig.sink.sizes(), [4, 3]);
    let taken = rig.sink.taken.lock().unwrap().clone();
    let points: Vec<(String, usize)> = taken
        .iter()
        .flat_map(|data| match data {
            Data::Metrics(metrics) => metrics.resource_metrics[0].scope_metrics[0].metrics.clone(),
            _ => Vec::new(),
        })
        .map(|metric| {
            let name = metric.name.clone();
            (name, metrics_of(vec![metric]).items())
        })
        .collect();
    assert_eq!(points, [("a".to_owned(), 3), ("b".to_owned(), 1), ("b".to_owned(), 3)]);
}

/// Guarantees: shutdown sends what waits, is safe without a start and a second time, and what comes later does
/// not get stuck.
#[tokio::test(start_paused = true)]
async fn shutdown_flushes() {
    let mut rig = rig("{timeout: 10s}");
    rig.put(logs(3)).await;
    rig.built.component.shutdown().await.unwrap();
    assert_eq!(rig.sink.sizes(), [3]);
    rig.built.component.shutdown().await.unwrap();
    rig.put(logs(1)).await;
    assert_eq!(rig.sink.sizes(), [3, 1]);
}

/// Guarantees: what the next part refuses is counted, whatever the kind of refusal, and later data goes on.
#[tokio::test(start_paused = true)]
async fn refusals_are_counted() {
    let rig = rig("{timeout: 0s}");
    for refused in [Refused::Retryable("full".to_owned()), Refused::Permanent("no".to_owned())] {
        *rig.sink.refuse.lock().unwrap() = Some(refused);
        rig.put(logs(2)).await;
    }
    *rig.sink.refuse.lock().unwrap() = None;
    rig.put(logs(1)).await;
    assert_eq!((rig.ledger.lost("batch"), rig.ledger.all_lost(), rig.sink.sizes()), (4, 4, vec![1]));
}

/// Guarantees: two signals in one instance are never joined, and neither is lost.
#[tokio::test(start_paused = true)]
async fn signals_stay_apart() {
    let mut rig = rig("{timeout: 10s}");
    rig.put(logs(2)).await;
    rig.put(metrics_of(vec![gauge("a", 3)])).await;
    rig.built.component.shutdown().await.unwrap();
    assert_eq!(rig.sink.sizes(), [2, 3]);
}

/// Guarantees: what a shutdown never flushed, because its time ran out, is counted.
#[tokio::test(start_paused = true)]
async fn left_behind() {
    let rig = rig("{timeout: 10s}");
    rig.put(logs(3)).await;
    drop(rig.built);
    assert_eq!((rig.ledger.lost("batch"), rig.ledger.all_lost()), (3, 3));
}
