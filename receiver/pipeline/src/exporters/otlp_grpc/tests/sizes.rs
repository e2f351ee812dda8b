//! Requests that are larger than the server takes.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

use super::server::{Server, Taken};
use super::{NEVER, QUICK, rig};
use crate::data::{Data, Signal};
use crate::exporters::helper::Failure;
use crate::exporters::otlp_grpc::verdict;
use crate::testing::logs_of;

/// The log records that arrived, in order.
fn records(taken: &[Taken]) -> Vec<opentelemetry_proto::tonic::logs::v1::LogRecord> {
    let mut records = Vec::new();
    for request in taken {
        let Data::Logs(logs) = &request.data else { panic!("no logs") };
        let scopes = logs.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
        records.extend(scopes.flat_map(|scope| scope.log_records.clone()));
    }
    records
}

fn all_of(data: &Data) -> Vec<opentelemetry_proto::tonic::logs::v1::LogRecord> {
    records(&[Taken { metadata: tonic::metadata::MetadataMap::new(), data: data.clone() }])
}

/// Guarantees: what a server refuses as too large arrives in parts: every record once, in order and unchanged, except
/// the one that alone is too large, which is counted.
/// Needs: the loopback network.
#[tokio::test]
async fn beyond_the_servers_limit() {
    let server = Server::start_with_limit(1000);
    let mut rig = rig(&format!("{{endpoint: 'http://{}', {QUICK}}}", server.address)).await;
    let giant = "x".repeat(2000);
    let mut bodies: Vec<_> = (0..50).map(|n| format!("record {n}")).collect();
    bodies.insert(20, giant.clone());
    let bodies: Vec<_> = bodies.iter().map(String::as_str).collect();
    let data = logs_of(&bodies);
    rig.built.consumer.consume(data.clone()).await.unwrap();
    rig.accounted(51).await;
    assert_eq!((rig.ledger.lost("too_large"), rig.ledger.all_lost(), rig.ledger.delivered()), (1, 1, 50));
    let mut expected = all_of(&data);
    expected.remove(20);
    assert_eq!(records(&server.taken()), expected);
    assert!(server.taken().len() > 5);
    rig.built.component.shutdown().await.unwrap();
}

/// Guarantees: no request of several items is larger than what servers usually take; a single item is tried whatever
/// its size.
/// Needs: the loopback network.
#[tokio::test]
async fn beyond_the_usual_limit() {
    use prost::Message as _;
    let server = Server::start(vec![]);
    let mut rig = rig(&format!("{{endpoint: 'http://{}', {NEVER}}}", server.address)).await;
    let (large, giant) = ("x".repeat(1_500_000), "y".repeat(5_000_000));
    let data = logs_of(&[&large, &large, &large, &giant]);
    rig.built.consumer.consume(data.clone()).await.unwrap();
    rig.accounted(4).await;
    assert_eq!((rig.ledger.all_lost(), rig.ledger.delivered()), (0, 4));
    let taken = server.taken();
    let sizes: Vec<_> = taken
        .iter()
        .map(|request| match &request.data {
            Data::Logs(logs) => (request.data.items(), logs.encoded_len() <= 4 * 1024 * 1024),
            _ => panic!("no logs"),
        })
        .collect();
    assert_eq!(sizes, [(2, true), (1, true), (1, false)]);
    assert_eq!(records(&taken), all_of(&data));
    rig.built.component.shutdown().await.unwrap();
}

/// Guarantees: the words in which servers and proxies refuse a size are known, and no other exhaustion is taken for it.
#[test]
fn words_for_too_large() {
    for (code, message) in [
        (Code::ResourceExhausted, "grpc: received message larger than max (5000000 vs. 4194304)"),
        (Code::ResourceExhausted, "grpc: received message after decompression larger than max 4194304"),
        (Code::ResourceExhausted, "CLIENT: Received message larger than max (5000000 vs. 4194304)"),
        (Code::ResourceExhausted, "gRPC message exceeds maximum size 4194304: 5000000"),
        (Code::ResourceExhausted, "Received message that decompresses to a size larger than 4194304"),
        (
            Code::ResourceExhausted,
            "Error decompressing: size limit, of 4194304 bytes, exceeded while decompressing message",
        ),
        (
            Code::OutOfRange,
            "Error, decoded message length too large: found 5000000 bytes, the limit is: 4194304 bytes",
        ),
        (Code::Unknown, "grpc-status header missing, mapped from HTTP status code 413"),
    ] {
        let failure = verdict::failure(&Status::new(code, message), Signal::Logs, 5_000_000);
        assert!(matches!(failure, Failure::TooLarge { .. }), "{message}: {failure:?}");
        assert!(
            failure.reason().contains("5000000 bytes") && failure.reason().contains(message),
            "{failure:?}"
        );
    }
    for (code, message) in [
        (Code::ResourceExhausted, "quota exceeded"),
        (Code::InvalidArgument, "attribute too large"),
        (Code::Unknown, "grpc-status header missing, mapped from HTTP status code 500"),
    ] {
        let failure = verdict::failure(&Status::new(code, message), Signal::Logs, 1);
        assert!(matches!(failure, Failure::Permanent { .. }), "{message}: {failure:?}");
    }
}

/// Guarantees: the delay a server asks for is read from each answer that is tried again, and asking for one does not
/// make an answer so.
#[test]
fn asked_delays() {
    let asked = |code| {
        let delay = std::time::Duration::from_secs(42);
        let status = Status::with_error_details(code, "busy", ErrorDetails::with_retry_info(Some(delay)));
        match verdict::failure(&status, Signal::Logs, 1) {
            Failure::Retryable { after, .. } => after.map(|after| after.as_secs()),
            Failure::Permanent { .. } => None,
            Failure::TooLarge { reason } | Failure::Unserved { reason } => panic!("{reason}"),
        }
    };
    assert_eq!((asked(Code::Unavailable), asked(Code::ResourceExhausted)), (Some(42), Some(42)));
    assert_eq!(asked(Code::InvalidArgument), None);
}
