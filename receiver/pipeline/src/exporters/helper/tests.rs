use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::*;
use crate::component::{BuiltConsumer, Status};
use crate::config::Settings;
use crate::testing::{Board, Ledger, Logbook, context, logs, settle};

mod outage;
mod sizes;

/// Answers from a script, and then always with success; can be made to hang, and to take so many items at most.
struct Script {
    answers: Mutex<VecDeque<Result<Accepted, Failure>>>,
    always: Mutex<Result<Accepted, Failure>>,
    attempts: Mutex<Vec<Instant>>,
    /// What was taken.
    taken: Mutex<Vec<Data>>,
    capacity: AtomicUsize,
    gate: Semaphore,
}

#[async_trait]
impl Sender for Script {
    fn destination(&self) -> &str {
        "collector:4317"
    }

    async fn send(&self, data: &Data) -> Result<Accepted, Failure> {
        self.attempts.lock().unwrap().push(Instant::now());
        drop(self.gate.acquire().await.unwrap());
        if data.items() > self.capacity.load(Ordering::SeqCst) {
            return Err(Failure::TooLarge { reason: format!("{} items", data.items()) });
        }
        let answer = self.answers.lock().unwrap().pop_front();
        let answer = answer.unwrap_or_else(|| self.always.lock().unwrap().clone());
        if answer.is_ok() {
            self.taken.lock().unwrap().push(data.clone());
        }
        answer
    }
}

struct Rig {
    script: Arc<Script>,
    built: BuiltConsumer,
    ledger: Arc<Ledger>,
    board: Arc<Board>,
}

fn retryable() -> Result<Accepted, Failure> {
    Err(Failure::Retryable { reason: "down".to_owned(), after: None })
}

fn permanent() -> Result<Accepted, Failure> {
    Err(Failure::Permanent { reason: "never".to_owned() })
}

/// Without randomness, so that times are exact.
fn exact() -> RetryConfig {
    RetryConfig { randomization_factor: 0.0, ..RetryConfig::default() }
}

fn rig(queue: QueueConfig, retry: RetryConfig, answers: Vec<Result<Accepted, Failure>>) -> Rig {
    let (context, ledger, board) = context("otlp_grpc");
    let script = Arc::new(Script {
        answers: Mutex::new(answers.into()),
        always: Mutex::new(Ok(Accepted::default())),
        attempts: Mutex::default(),
        taken: Mutex::default(),
        capacity: AtomicUsize::new(usize::MAX),
        gate: Semaphore::new(1000),
    });
    let built = Exporting { queue, retry }.build(&context, script.clone());
    Rig { script, built, ledger, board }
}

impl Rig {
    async fn put(&self, items: usize) {
        self.built.consumer.consume(logs(items)).await.unwrap();
    }

    /// Seconds from `begin` to each attempt.
    fn attempts_since(&self, begin: Instant) -> Vec<f64> {
        self.script.attempts.lock().unwrap().iter().map(|at| (*at - begin).as_secs_f64()).collect()
    }

    fn hang(&self) {
        self.script.gate.forget_permits(1000);
    }
}

/// Guarantees: the defaults of both blocks are the Collector's, and every key has its effect on the result.
#[test]
fn settings() {
    let (retry, _) = Settings::of_text("", RetryConfig::read).unwrap();
    assert_eq!(retry, RetryConfig::default());
    let yaml = "{enabled: false, initial_interval: 1s, max_interval: 2s, max_elapsed_time: 0s, multiplier: 2, randomization_factor: 0}";
    let (retry, _) = Settings::of_text(yaml, RetryConfig::read).unwrap();
    let expected = RetryConfig {
        enabled: false,
        initial_interval: Duration::from_secs(1),
        max_interval: Duration::from_secs(2),
        max_elapsed_time: Duration::ZERO,
        multiplier: 2.0,
        randomization_factor: 0.0,
    };
    assert_eq!(retry, expected);

    let (queue, _) = Settings::of_text("", QueueConfig::read).unwrap();
    assert_eq!(queue, QueueConfig::default());
    let yaml = "{enabled: false, num_consumers: 1, queue_size: 2, block_on_overflow: true}";
    let (queue, _) = Settings::of_text(yaml, QueueConfig::read).unwrap();
    assert_eq!(
        queue,
        QueueConfig { enabled: false, num_consumers: 1, queue_size: 2, block_on_overflow: true }
    );
}

/// Guarantees: values that make no sense are refused.
#[test]
fn bad_settings() {
    for yaml in [
        "initial_interval: 0s",
        "initial_interval: 1m",
        "max_elapsed_time: 1s",
        "multiplier: 0.5",
        "randomization_factor: 1.5",
    ] {
        assert!(Settings::of_text(yaml, RetryConfig::read).is_err(), "{yaml}");
    }
    for yaml in ["num_consumers: 0", "queue_size: 0", "queue_size: 1000001", "storage: file_storage"] {
        assert!(Settings::of_text(yaml, QueueConfig::read).is_err(), "{yaml}");
    }
}

/// Guarantees: delays grow by the multiplier up to the maximum, and stay within the factor of randomness.
#[test]
fn delays() {
    let seconds = |config: RetryConfig, count| -> Vec<f64> {
        config.delays().take(count).map(|delay| (delay.as_secs_f64() * 1000.0).round() / 1000.0).collect()
    };
    assert_eq!(seconds(exact(), 7), [5.0, 7.5, 11.25, 16.875, 25.313, 30.0, 30.0]);
    for _ in 0..200 {
        let first = seconds(RetryConfig::default(), 1)[0];
        assert!((2.5..=7.5).contains(&first), "{first}");
    }
}

/// Guarantees: what fails is sent again after the delays, is delivered in the end, and the host hears of the
/// trouble and of its end, once each.
#[tokio::test(start_paused = true)]
async fn retries_until_delivered() {
    let mut rig = rig(QueueConfig::default(), exact(), vec![retryable(), retryable()]);
    rig.built.component.start().await.unwrap();
    let begin = Instant::now();
    rig.put(3).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(rig.attempts_since(begin), [0.0, 5.0, 12.5]);
    assert_eq!((rig.ledger.delivered(), rig.ledger.all_lost()), (3, 0));
    assert_eq!(rig.board.statuses_reported(), [Status::RecoverableError, Status::Ok]);
}

/// Guarantees: after `max_elapsed_time` a request is given up and counted; with 0 it never is.
#[tokio::test(start_paused = true)]
async fn gives_up() {
    for (limit, attempts) in [(30, 4), (0, 6)] {
        let retry = RetryConfig { max_elapsed_time: Duration::from_secs(limit), ..exact() };
        let mut rig = rig(QueueConfig::default(), retry, vec![retryable(); 5]);
        rig.built.component.start().await.unwrap();
        rig.put(2).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(rig.script.attempts.lock().unwrap().len(), attempts, "limit {limit}");
        let lost = if limit == 0 { 0 } else { 2 };
        assert_eq!((rig.ledger.lost("retry_exhausted"), rig.ledger.delivered()), (lost, 2 - lost));
    }
}

/// Guarantees: a server that asks for patience gets it, as far as it is more than the client's own, and at most
/// an hour.
#[tokio::test(start_paused = true)]
async fn honours_the_servers_delay() {
    let asked = |seconds| {
        Err(Failure::Retryable { reason: "busy".to_owned(), after: Some(Duration::from_secs(seconds)) })
    };
    let retry = RetryConfig { max_elapsed_time: Duration::ZERO, ..exact() };
    let mut rig = rig(QueueConfig::default(), retry, vec![asked(42), asked(1), asked(u64::MAX)]);
    rig.built.component.start().await.unwrap();
    let begin = Instant::now();
    rig.put(1).await;
    tokio::time::sleep(Duration::from_secs(5000)).await;
    assert_eq!(rig.attempts_since(begin), [0.0, 42.0, 49.5, 3649.5]);
}

/// Guarantees: a server that asks for more patience than a request has loses it the request at once.
#[tokio::test(start_paused = true)]
async fn more_patience_than_there_is() {
    let asked = Failure::Retryable { reason: "busy".to_owned(), after: Some(Duration::from_secs(301)) };
    let mut rig = rig(QueueConfig::default(), exact(), vec![Err(asked)]);
    rig.built.component.start().await.unwrap();
    rig.put(2).await;
    settle().await;
    assert_eq!((rig.ledger.lost("retry_exhausted"), rig.ledger.all_lost()), (2, 2));
}

/// Guarantees: what will never be taken is tried once and counted as refused; without retries so is what might
/// be taken later, as exhausted.
#[tokio::test(start_paused = true)]
async fn no_second_attempt() {
    let never = RetryConfig { enabled: false, ..exact() };
    for (retry, answer, stage) in [
        (exact(), permanent(), "refused"),
        (never, permanent(), "refused"),
        (never, retryable(), "retry_exhausted"),
    ] {
        let mut rig = rig(QueueConfig::default(), retry, vec![answer]);
        rig.built.component.start().await.unwrap();
        rig.put(4).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!((rig.ledger.lost(stage), rig.ledger.all_lost()), (4, 4), "{stage}");
        assert_eq!(rig.script.attempts.lock().unwrap().len(), 1);
    }
}

/// Guarantees: items that the destination threw away count as lost, the others as delivered; a count beyond the
/// request's items cannot make the sums wrong.
#[tokio::test(start_paused = true)]
async fn partial_success() {
    for (rejected, lost) in [(2, 2), (100, 5)] {
        let logbook = Logbook::open();
        let answer = Ok(Accepted { rejected, message: "too old".to_owned() });
        let queue = QueueConfig { num_consumers: 1, ..QueueConfig::default() };
        let mut rig = rig(queue, exact(), vec![answer.clone(), answer.clone(), answer]);
        rig.built.component.start().await.unwrap();
        for round in 1..=2 {
            rig.put(5).await;
            settle().await;
            assert_eq!(
                (rig.ledger.lost("rejected"), rig.ledger.delivered()),
                (round * lost, round * (5 - lost))
            );
        }
        let lines = logbook.lines("too old");
        assert_eq!(lines.len(), 1, "one line in a while: {lines:?}");
        assert!(lines[0].contains(&format!("items={lost}")) && lines[0].contains("rejected"), "{lines:?}");
        tokio::time::sleep(Duration::from_secs(10)).await;
        rig.put(5).await;
        settle().await;
        let lines = logbook.lines("too old");
        assert!(lines.len() == 2 && lines[1].contains("silenced=1"), "{lines:?}");
    }
}

/// Guarantees: a destination that takes everything and has something to say about it is quoted, and nothing is
/// called lost.
#[tokio::test(start_paused = true)]
async fn a_remark() {
    let logbook = Logbook::open();
    let answer = Ok(Accepted { rejected: 0, message: "please upgrade".to_owned() });
    let mut rig = rig(QueueConfig::default(), exact(), vec![answer]);
    rig.built.component.start().await.unwrap();
    rig.put(5).await;
    settle().await;
    assert_eq!((rig.ledger.all_lost(), rig.ledger.delivered()), (0, 5));
    assert_eq!((logbook.lines("please upgrade").len(), logbook.lines("lost").len()), (1, 0));
}

/// Guarantees: a full queue loses what comes, to the item; nothing else is lost, and its use is told.
#[tokio::test(start_paused = true)]
async fn overflow_is_counted_exactly() {
    let queue = QueueConfig { num_consumers: 2, queue_size: 3, ..QueueConfig::default() };
    let mut rig = rig(queue, exact(), vec![]);
    rig.hang();
    rig.built.component.start().await.unwrap();
    for _ in 0..10 {
        rig.put(7).await;
        settle().await;
    }
    // Two with the consumers, three in the queue.
    assert_eq!(rig.ledger.lost("queue_full"), 5 * 7);
    assert!((rig.ledger.usage.lock().unwrap().last().unwrap() - 1.0).abs() < f64::EPSILON);
    rig.script.gate.add_permits(1000);
    rig.built.component.shutdown().await.unwrap();
    assert_eq!((rig.ledger.delivered(), rig.ledger.all_lost()), (5 * 7, 5 * 7));
    assert!(rig.ledger.usage.lock().unwrap().last().unwrap().abs() < f64::EPSILON);
}

/// Guarantees: with `block_on_overflow` a full queue makes the pipeline wait and loses nothing.
#[tokio::test(start_paused = true)]
async fn overflow_can_block() {
    let queue =
        QueueConfig { num_consumers: 1, queue_size: 1, block_on_overflow: true, ..QueueConfig::default() };
    let mut rig = rig(queue, exact(), vec![]);
    rig.hang();
    rig.built.component.start().await.unwrap();
    rig.put(1).await;
    settle().await;
    rig.put(1).await;
    let consumer = Arc::clone(&rig.built.consumer);
    let third = tokio::spawn(async move { consumer.consume(logs(1)).await });
    settle().await;
    assert!(!third.is_finished());
    rig.script.gate.add_permits(1000);
    third.await.unwrap().unwrap();
    rig.built.component.shutdown().await.unwrap();
    assert_eq!((rig.ledger.delivered(), rig.ledger.all_lost()), (3, 0));
}

/// Guarantees: without the queue the pipeline waits for the request's fate, retries included.
#[tokio::test(start_paused = true)]
async fn without_a_queue() {
    let queue = QueueConfig { enabled: false, ..QueueConfig::default() };
    let mut rig = rig(queue, exact(), vec![retryable()]);
    rig.built.component.start().await.unwrap();
    let begin = Instant::now();
    rig.put(1).await;
    assert_eq!(rig.ledger.delivered(), 1);
    assert_eq!(begin.elapsed(), Duration::from_secs(5));
    rig.built.component.shutdown().await.unwrap();
    *rig.script.always.lock().unwrap() = retryable();
    rig.put(1).await;
    assert_eq!((rig.ledger.lost("shutdown"), begin.elapsed()), (1, Duration::from_secs(5)));
}

/// Guarantees: shutdown drains the queue, and gives a request that waits for its retry a last attempt at once.
#[tokio::test(start_paused = true)]
async fn shutdown_drains() {
    let queue = QueueConfig { num_consumers: 1, ..QueueConfig::default() };
    let mut rig = rig(queue, exact(), vec![retryable()]);
    rig.built.component.start().await.unwrap();
    for _ in 0..5 {
        rig.put(1).await;
    }
    settle().await;
    let begin = Instant::now();
    rig.built.component.shutdown().await.unwrap();
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!((rig.ledger.delivered(), rig.ledger.all_lost()), (5, 0));
    rig.built.component.shutdown().await.unwrap();
    rig.put(1).await;
    assert_eq!(rig.ledger.lost("shutdown"), 1);
}

/// Guarantees: with the destination down each request gets one attempt at shutdown, and all are counted.
#[tokio::test(start_paused = true)]
async fn shutdown_does_not_wait_for_the_dead() {
    let queue = QueueConfig { num_consumers: 2, ..QueueConfig::default() };
    let mut rig = rig(queue, exact(), vec![]);
    *rig.script.always.lock().unwrap() = retryable();
    rig.built.component.start().await.unwrap();
    for _ in 0..5 {
        rig.put(1).await;
    }
    settle().await;
    let (begin, before) = (Instant::now(), rig.script.attempts.lock().unwrap().len());
    assert_eq!(before, 2);
    rig.built.component.shutdown().await.unwrap();
    assert_eq!(begin.elapsed(), Duration::ZERO);
    assert_eq!(rig.script.attempts.lock().unwrap().len(), before + 5);
    assert_eq!((rig.ledger.lost("shutdown"), rig.ledger.all_lost()), (5, 5));
}

/// Guarantees: when the service stops waiting for a shutdown, all that is queued or being sent is counted, and the
/// log says how much it was.
#[tokio::test(start_paused = true)]
async fn deadline_counts_what_is_left() {
    let logbook = Logbook::open();
    let queue = QueueConfig { num_consumers: 2, ..QueueConfig::default() };
    let mut rig = rig(queue, exact(), vec![]);
    rig.hang();
    rig.built.component.start().await.unwrap();
    for _ in 0..6 {
        rig.put(2).await;
    }
    settle().await;
    let late = tokio::time::timeout(Duration::from_secs(1), rig.built.component.shutdown()).await;
    assert!(late.is_err());
    drop(rig.built);
    settle().await;
    assert_eq!((rig.ledger.lost("shutdown"), rig.ledger.all_lost(), rig.ledger.delivered()), (12, 12, 0));
    let lines = logbook.lines("the time to drain is over");
    assert!(
        lines.len() == 1 && lines[0].contains("items=12") && lines[0].contains("stage=\"shutdown\""),
        "{lines:?}"
    );
}

/// Guarantees: a shutdown without a start is safe and counts what was queued.
#[tokio::test(start_paused = true)]
async fn shutdown_without_start() {
    let mut rig = rig(QueueConfig::default(), exact(), vec![]);
    rig.put(3).await;
    rig.built.component.shutdown().await.unwrap();
    rig.built.component.shutdown().await.unwrap();
    assert_eq!((rig.ledger.lost("shutdown"), rig.ledger.all_lost()), (3, 3));
}
