mod config;
mod profiles;
mod server;
mod sizes;
mod slow;
#[cfg(feature = "tls")]
mod tls;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use tonic::{Code, Status as Answer};
use tonic_types::{ErrorDetails, StatusExt};

use self::server::Server;
use super::Factory;
use crate::component::{BuiltConsumer, ComponentError, Status};
use crate::data::Signal;
use crate::testing::{Board, Ledger, configure_exporter, context, gauge, logs, metrics_of};

/// Retries at once, so that a test need not wait.
const QUICK: &str = "retry_on_failure: {initial_interval: 1ms, max_interval: 20ms, max_elapsed_time: 0s}";
const NEVER: &str = "retry_on_failure: {enabled: false}";

struct Rig {
    built: BuiltConsumer,
    ledger: Arc<Ledger>,
    board: Arc<Board>,
}

fn try_rig(yaml: &str) -> Result<Rig, ComponentError> {
    let (context, ledger, board) = context("otlp_grpc");
    let blueprint = configure_exporter(&Factory, yaml).map_err(|problems| problems.to_string()).unwrap();
    Ok(Rig { built: blueprint.build(context)?, ledger, board })
}

async fn rig(yaml: &str) -> Rig {
    let mut rig = try_rig(yaml).unwrap();
    rig.built.component.start().await.unwrap();
    rig
}

impl Rig {
    async fn put_logs(&self, items: usize) {
        self.built.consumer.consume(logs(items)).await.unwrap();
    }

    /// Waits until all of `items` are accounted for.
    async fn accounted(&self, items: u64) {
        until(|| self.ledger.delivered() + self.ledger.all_lost() >= items).await;
    }

    fn reasons(&self) -> String {
        let reports = self.board.reports.lock().unwrap();
        reports.iter().filter_map(|(_, reason)| reason.clone()).collect::<Vec<_>>().join("\n")
    }
}

/// Waits for something that has to come; how long it takes is no part of any test.
async fn until(mut done: impl FnMut() -> bool) {
    let waiting = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), waiting).await.expect("it never came");
}

/// Guarantees: both signals arrive complete, compressed by default, with the configured headers.
/// Needs: the loopback network.
#[tokio::test]
async fn delivers_both_signals() {
    let server = Server::start(vec![]);
    let mut rig =
        rig(&format!("{{endpoint: 'http://{}', headers: {{X-Scope-OrgID: tenant}}}}", server.address)).await;
    rig.put_logs(3).await;
    let metrics = metrics_of(vec![gauge("a", 2)]);
    rig.built.consumer.consume(metrics.clone()).await.unwrap();
    rig.built.component.shutdown().await.unwrap();
    let mut taken = server.taken();
    taken.sort_by_key(|request| request.data.signal());
    assert_eq!(taken.len(), 2);
    assert_eq!((&taken[0].data, &taken[1].data), (&logs(3), &metrics));
    for request in &taken {
        assert_eq!(request.metadata.get("grpc-encoding").unwrap(), "gzip");
        assert_eq!(request.metadata.get("x-scope-orgid").unwrap(), "tenant");
        assert_eq!(request.metadata.get("grpc-timeout").unwrap(), "5000000u");
    }
    assert_eq!((rig.ledger.delivered(), rig.ledger.all_lost()), (5, 0));
}

/// Guarantees: `compression: none` sends plain, and `timeout` is what the server is told.
/// Needs: the loopback network.
#[tokio::test]
async fn without_compression() {
    let server = Server::start(vec![]);
    let mut rig = rig(&format!(
        "{{endpoint: {}, tls: {{insecure: true}}, compression: none, timeout: 7s}}",
        server.address
    ))
    .await;
    rig.put_logs(1).await;
    rig.built.component.shutdown().await.unwrap();
    let taken = server.taken();
    assert!(taken[0].metadata.get("grpc-encoding").is_none());
    assert_eq!(taken[0].metadata.get("grpc-timeout").unwrap(), "7000000u");
}

/// Guarantees: with nobody listening requests wait, and are delivered once somebody does; the host hears of the
/// trouble with its cause, and of its end.
/// Needs: the loopback network.
#[tokio::test]
async fn down_then_up() {
    let address = server::free_address();
    let mut rig = rig(&format!("{{endpoint: 'http://{address}', {QUICK}}}")).await;
    rig.put_logs(2).await;
    until(|| rig.board.statuses_reported() == [Status::RecoverableError]).await;
    assert!(rig.reasons().contains("refused"), "{}", rig.reasons());
    let server = Server::start_at(address, vec![]);
    rig.accounted(2).await;
    assert_eq!(server.taken().len(), 1);
    assert_eq!(rig.board.statuses_reported(), [Status::RecoverableError, Status::Ok]);

    // A server that goes away between two requests is reconnected to.
    server.stop().await;
    let server = Server::start_at(address, vec![]);
    rig.put_logs(3).await;
    rig.accounted(5).await;
    assert_eq!(server.taken().len(), 1);
    assert_eq!((rig.ledger.delivered(), rig.ledger.all_lost()), (5, 0));
    rig.built.component.shutdown().await.unwrap();
}

/// Guarantees: exactly the codes that OTLP names are tried again; the others lose the request at once.
/// Needs: the loopback network.
#[tokio::test]
async fn retryable_codes() {
    use Code::{
        Aborted, AlreadyExists, Cancelled, DataLoss, DeadlineExceeded, FailedPrecondition, Internal,
        InvalidArgument, NotFound, OutOfRange, PermissionDenied, ResourceExhausted, Unauthenticated,
        Unavailable, Unimplemented, Unknown,
    };
    let again = [Cancelled, DeadlineExceeded, Aborted, OutOfRange, Unavailable, DataLoss];
    let never = [
        Unknown,
        InvalidArgument,
        NotFound,
        AlreadyExists,
        PermissionDenied,
        ResourceExhausted,
        FailedPrecondition,
        Unimplemented,
        Internal,
        Unauthenticated,
    ];
    for (code, delivered) in again.map(|code| (code, 1)).into_iter().chain(never.map(|code| (code, 0))) {
        let server = Server::start(vec![Err(Answer::new(code, "as told"))]);
        let mut rig = rig(&format!("{{endpoint: 'http://{}', {QUICK}}}", server.address)).await;
        rig.put_logs(1).await;
        rig.accounted(1).await;
        assert_eq!(
            (rig.ledger.delivered(), rig.ledger.lost("refused")),
            (delivered, 1 - delivered),
            "{code:?}"
        );
        assert_eq!(server.taken().len() as u64, 1 + delivered, "{code:?}");
        rig.built.component.shutdown().await.unwrap();
    }
}

/// Guarantees: `RESOURCE_EXHAUSTED` with a `RetryInfo` is tried again, and the delay it asks for is read.
/// Needs: the loopback network.
#[tokio::test]
async fn resource_exhausted_with_retry_info() {
    let busy = |delay| {
        let details = ErrorDetails::with_retry_info(Some(delay));
        Answer::with_error_details(Code::ResourceExhausted, "busy", details)
    };
    let server = Server::start(vec![Err(busy(Duration::from_millis(1)))]);
    let mut rig = rig(&format!("{{endpoint: 'http://{}', {QUICK}}}", server.address)).await;
    rig.put_logs(1).await;
    rig.accounted(1).await;
    assert_eq!((rig.ledger.delivered(), server.taken().len()), (1, 2));
    rig.built.component.shutdown().await.unwrap();

    let failure = super::verdict::failure(&busy(Duration::from_secs(42)), Signal::Logs, 1);
    assert!(
        matches!(&failure, super::super::helper::Failure::Retryable { after: Some(delay), .. } if delay.as_secs() == 42),
        "{failure:?}"
    );
}

/// Guarantees: a partial success counts what the server threw away, and no more.
/// Needs: the loopback network.
#[tokio::test]
async fn partial_success() {
    let partial = |rejected_log_records| {
        Ok(ExportLogsServiceResponse {
            partial_success: Some(ExportLogsPartialSuccess {
                rejected_log_records,
                error_message: "too old".to_owned(),
            }),
        })
    };
    let server = Server::start(vec![partial(2), partial(-7), partial(0)]);
    let mut rig =
        rig(&format!("{{endpoint: 'http://{}', sending_queue: {{num_consumers: 1}}}}", server.address)).await;
    for _ in 0..3 {
        rig.put_logs(5).await;
    }
    rig.built.component.shutdown().await.unwrap();
    assert_eq!((rig.ledger.lost("rejected"), rig.ledger.all_lost(), rig.ledger.delivered()), (2, 2, 13));
}

/// Guarantees: a connection that breaks is the network's fault, not the data's: the request is sent again.
/// Needs: the loopback network.
#[tokio::test]
async fn broken_connection() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut rig = rig(&format!("{{endpoint: 'http://{address}', {QUICK}}}")).await;
    rig.put_logs(1).await;
    for _ in 0..3 {
        drop(listener.accept().await.unwrap());
    }
    drop(listener);
    let server = Server::start_at(address, vec![]);
    rig.accounted(1).await;
    assert_eq!((rig.ledger.delivered(), server.taken().len()), (1, 1));
    rig.built.component.shutdown().await.unwrap();
}

/// Guarantees: whatever a server answers in whichever order, what went in is what was delivered and what was
/// lost, to the item.
/// Needs: the loopback network.
#[tokio::test]
async fn the_account_is_complete() {
    let answers = (0..200)
        .map(|n| match n % 4 {
            0 => Err(Answer::unavailable("busy")),
            1 => Err(Answer::invalid_argument("bad")),
            _ => Ok(ExportLogsServiceResponse::default()),
        })
        .collect();
    let server = Server::start(answers);
    let yaml = format!(
        "{{endpoint: 'http://{}', sending_queue: {{queue_size: 5, num_consumers: 3}}, {QUICK}}}",
        server.address
    );
    let mut rig = rig(&yaml).await;
    for n in 0..100 {
        rig.put_logs(n % 7).await;
        tokio::task::yield_now().await;
    }
    let produced = (0..100).map(|n| n % 7).sum::<u64>();
    rig.built.component.shutdown().await.unwrap();
    assert_eq!(rig.ledger.delivered() + rig.ledger.all_lost(), produced);
    assert!(rig.ledger.delivered() > 0 && rig.ledger.lost("queue_full") > 0);
}

/// Guarantees: an exporter that never sent anything, or never started, stops cleanly, twice.
#[tokio::test]
async fn lifecycle() {
    let mut rig = try_rig("endpoint: http://localhost:4317").unwrap();
    rig.built.component.shutdown().await.unwrap();
    rig.built.component.shutdown().await.unwrap();
    let mut rig = try_rig("endpoint: http://localhost:4317").unwrap();
    rig.built.component.start().await.unwrap();
    rig.built.component.shutdown().await.unwrap();
    rig.built.component.shutdown().await.unwrap();
}
