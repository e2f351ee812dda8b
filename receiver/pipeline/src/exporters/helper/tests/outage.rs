//! What is said of a destination that is away.

use std::time::Duration;

use tokio::time::Instant;

use super::{Accepted, QueueConfig, RetryConfig, exact, retryable, rig};
use crate::component::Status;
use crate::exporters::helper::outage::Outage;
use crate::reporter::Reporter;
use crate::testing::{Logbook, context, settle};

/// Guarantees: the log says once that a destination is away (which one, since when, that it is tried again), once
/// more every five minutes, and once that it is back; an attempt that was under way when it went is no recovery.
#[tokio::test(start_paused = true)]
async fn an_outage_is_told() {
    let logbook = Logbook::open();
    let retry = RetryConfig { max_elapsed_time: Duration::ZERO, ..exact() };
    let mut rig = rig(QueueConfig { num_consumers: 2, ..QueueConfig::default() }, retry, vec![]);
    *rig.script.always.lock().unwrap() = retryable();
    rig.built.component.start().await.unwrap();
    rig.put(1).await;
    rig.put(1).await;
    tokio::time::sleep(Duration::from_secs(700)).await;
    let reports = rig.board.reports.lock().unwrap().clone();
    assert_eq!(reports.len(), 3, "{reports:?}");
    for (status, reason) in &reports {
        let reason = reason.as_deref().unwrap();
        assert_eq!(*status, Status::RecoverableError);
        assert!(reason.starts_with("collector:4317 has taken nothing since 2"), "{reason}");
        assert!(reason.ends_with("Z; trying again: down"), "{reason}");
    }
    let lines = logbook.lines("collector:4317 has taken nothing since 2");
    assert_eq!(lines.len(), 2, "the first line is the host's own: {lines:?}");
    *rig.script.always.lock().unwrap() = Ok(Accepted::default());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.board.statuses_reported()[3..], [Status::Ok]);
    assert_eq!(rig.ledger.delivered(), 2);
}

/// Guarantees: without retries the log does not promise any.
#[tokio::test(start_paused = true)]
async fn an_outage_without_retries() {
    let retry = RetryConfig { enabled: false, ..exact() };
    let mut rig = rig(QueueConfig::default(), retry, vec![retryable()]);
    rig.built.component.start().await.unwrap();
    rig.put(1).await;
    settle().await;
    let reports = rig.board.reports.lock().unwrap().clone();
    let reason = reports[0].1.as_deref().unwrap();
    assert!(reason.ends_with("what it does not take is lost: down"), "{reason}");
}

/// Guarantees: an attempt that was begun before the destination failed and is answered after it is no recovery.
#[tokio::test(start_paused = true)]
async fn a_late_answer_is_no_recovery() {
    let (context, _, board) = context("otlp_grpc");
    let outage = Outage::new(Reporter::new(&context), "collector:4317".to_owned());
    let begun = Instant::now();
    tokio::time::advance(Duration::from_secs(1)).await;
    outage.goes_on(&retryable().unwrap_err(), true);
    outage.over(begun);
    assert_eq!(board.statuses_reported(), [Status::RecoverableError]);
    outage.over(Instant::now());
    assert_eq!(board.statuses_reported(), [Status::RecoverableError, Status::Ok]);
}
