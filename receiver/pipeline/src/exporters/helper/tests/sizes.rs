//! Requests that are too large for the destination.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::{Accepted, Failure, QueueConfig, RetryConfig, exact, permanent, retryable, rig};
use crate::component::Status;
use crate::data::Data;
use crate::testing::{Logbook, gauge, logs_of, metrics_of, settle};

/// The bodies of the log records in `requests`, in order.
fn bodies(requests: &[Data]) -> Vec<String> {
    let mut bodies = Vec::new();
    for request in requests {
        let Data::Logs(logs) = request else { panic!("no logs") };
        for scope in logs.resource_logs.iter().flat_map(|resource| &resource.scope_logs) {
            let records = scope.log_records.iter();
            bodies.extend(records.map(|record| crate::exporters::text::value(record.body.as_ref())));
        }
    }
    bodies
}

/// Guarantees: a request that is too large goes in parts that are not, in order, every record once and unchanged; it
/// is no outage, and the log gives advice, once.
#[tokio::test(start_paused = true)]
async fn large_requests_go_in_parts() {
    let logbook = Logbook::open();
    let names: Vec<_> = (0..100).map(|n| format!("record {n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut rig = rig(QueueConfig::default(), exact(), vec![]);
    rig.script.capacity.store(7, Ordering::SeqCst);
    rig.built.component.start().await.unwrap();
    rig.built.consumer.consume(logs_of(&names)).await.unwrap();
    settle().await;
    let taken = rig.script.taken.lock().unwrap().clone();
    assert_eq!(bodies(&taken), names);
    assert!(taken.iter().all(|request| request.items() <= 7));
    assert_eq!((rig.ledger.delivered(), rig.ledger.all_lost()), (100, 0));
    assert_eq!(rig.board.statuses_reported(), [Status::Ok]);
    let lines = logbook.lines("goes in halves");
    assert!(lines.len() == 1 && lines[0].contains("send_batch_max_size"), "{lines:?}");
}

/// Guarantees: the item that alone is too large is lost, with its stage, in the log too; its neighbours are not.
#[tokio::test(start_paused = true)]
async fn an_item_that_is_too_large_is_lost_alone() {
    let logbook = Logbook::open();
    let too_large = || Err(Failure::TooLarge { reason: "9 MiB".to_owned() });
    // The second of four: refused as one of four, as one of two, and alone.
    let answers = vec![too_large(), too_large(), Ok(Accepted::default()), too_large()];
    let mut rig = rig(QueueConfig::default(), exact(), answers);
    rig.built.component.start().await.unwrap();
    rig.built.consumer.consume(logs_of(&["a", "b", "c", "d"])).await.unwrap();
    settle().await;
    assert_eq!(bodies(&rig.script.taken.lock().unwrap()), ["a", "c", "d"]);
    assert_eq!((rig.ledger.lost("too_large"), rig.ledger.all_lost(), rig.ledger.delivered()), (1, 1, 3));
    let lines = logbook.lines("items were lost");
    assert!(lines.len() == 1 && lines[0].contains("too_large") && lines[0].contains("9 MiB"), "{lines:?}");
}

/// Guarantees: metrics are halved between data points as well.
#[tokio::test(start_paused = true)]
async fn metrics_go_in_parts() {
    let mut rig = rig(QueueConfig::default(), exact(), vec![]);
    rig.script.capacity.store(2, Ordering::SeqCst);
    rig.built.component.start().await.unwrap();
    rig.built.consumer.consume(metrics_of(vec![gauge("a", 5), gauge("b", 2)])).await.unwrap();
    settle().await;
    assert_eq!((rig.ledger.delivered(), rig.ledger.all_lost()), (7, 0));
    assert!(rig.script.taken.lock().unwrap().iter().all(|request| (1..=2).contains(&request.items())));
}

/// Guarantees: each part has its own fate: one is retried, one refused, the others delivered.
#[tokio::test(start_paused = true)]
async fn parts_have_their_own_fate() {
    let answers = vec![retryable(), Ok(Accepted::default()), permanent()];
    let mut rig = rig(QueueConfig::default(), exact(), answers);
    rig.script.capacity.store(2, Ordering::SeqCst);
    rig.built.component.start().await.unwrap();
    let begin = Instant::now();
    rig.put(8).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!((rig.ledger.delivered(), rig.ledger.lost("refused"), rig.ledger.all_lost()), (6, 2, 2));
    assert_eq!(rig.attempts_since(begin), [0.0, 0.0, 0.0, 5.0, 5.0, 5.0, 5.0, 5.0]);
}

/// Guarantees: parts have no more time than the whole request: what is not delivered by then is exhausted, to the
/// item.
#[tokio::test(start_paused = true)]
async fn parts_share_the_time() {
    let retry = RetryConfig { max_elapsed_time: Duration::from_secs(30), ..exact() };
    let mut rig = rig(QueueConfig::default(), retry, vec![]);
    rig.script.capacity.store(4, Ordering::SeqCst);
    *rig.script.always.lock().unwrap() = retryable();
    rig.built.component.start().await.unwrap();
    let begin = Instant::now();
    rig.put(8).await;
    tokio::time::sleep(Duration::from_secs(600)).await;
    // The first half tries after 5 s, 7.5 s and 11.25 s; for the second one only 5 s fit into what is left.
    assert_eq!(rig.attempts_since(begin), [0.0, 0.0, 5.0, 12.5, 23.75, 23.75, 28.75]);
    assert_eq!((rig.ledger.lost("retry_exhausted"), rig.ledger.all_lost()), (8, 8));
}

/// Guarantees: a deadline that comes between the parts counts each item once.
#[tokio::test(start_paused = true)]
async fn a_deadline_between_parts() {
    let mut rig = rig(QueueConfig::default(), exact(), vec![Ok(Accepted::default()), retryable()]);
    rig.script.capacity.store(2, Ordering::SeqCst);
    rig.built.component.start().await.unwrap();
    rig.put(8).await;
    settle().await;
    assert_eq!((rig.ledger.delivered(), rig.ledger.all_lost()), (2, 0));
    rig.hang();
    let late = tokio::time::timeout(Duration::from_secs(1), rig.built.component.shutdown()).await;
    assert!(late.is_err());
    drop(rig.built);
    settle().await;
    assert_eq!((rig.ledger.delivered(), rig.ledger.lost("shutdown"), rig.ledger.all_lost()), (2, 6, 6));
}
