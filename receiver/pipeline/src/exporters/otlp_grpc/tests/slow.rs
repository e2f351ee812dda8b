//! Peers that answer late, or never.

use std::time::Duration;

use super::server::Server;
use super::{NEVER, QUICK, rig, until};
use crate::data::Data;
use crate::testing::{logs, logs_of};

/// Guarantees: a server that takes the request and never answers is given up after `timeout`.
/// Needs: the loopback network.
#[tokio::test]
async fn no_answer() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let mut rig = rig(&format!("{{endpoint: 'http://{address}', timeout: 50ms, {NEVER}}}")).await;
    rig.put_logs(1).await;
    rig.accounted(1).await;
    assert_eq!(rig.ledger.lost("retry_exhausted"), 1);
    assert!(rig.reasons().contains("no answer within 50ms"), "{}", rig.reasons());
    rig.built.component.shutdown().await.unwrap();
}

/// Guarantees: a server that is too slow gets the same request again, to the byte, so that what it took twice has the
/// same `log.record.uid`; it counts as delivered once.
/// Needs: the loopback network.
#[tokio::test]
async fn a_slow_server_gets_the_same_again() {
    let server = Server::start(vec![]);
    server.answer(false);
    let mut rig = rig(&format!("{{endpoint: 'http://{}', timeout: 100ms, {QUICK}}}", server.address)).await;
    let data = logs_of(&["a", "b", "c"]);
    rig.built.consumer.consume(data.clone()).await.unwrap();
    until(|| server.taken().len() >= 2).await;
    server.answer(true);
    rig.accounted(3).await;
    assert_eq!((rig.ledger.delivered(), rig.ledger.all_lost()), (3, 0));
    assert!(server.taken().iter().all(|request| request.data == data));
    rig.built.component.shutdown().await.unwrap();
}

/// Guarantees: behind a peer that vanished without a word, which the connection does not tell, there is a new
/// connection after three attempts without an answer.
/// Needs: the loopback network.
#[tokio::test]
async fn a_dead_connection_is_given_up() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let mut rig = rig(&format!("{{endpoint: 'http://{address}', timeout: 100ms, {QUICK}}}")).await;
    rig.put_logs(2).await;
    let (_silent, _) = listener.accept().await.unwrap();
    let server = Server::start_on(listener);
    rig.accounted(2).await;
    assert_eq!((rig.ledger.delivered(), rig.ledger.all_lost()), (2, 0));
    assert_eq!(server.taken().len(), 1);
    rig.built.component.shutdown().await.unwrap();
}

/// Guarantees: with a server that hangs, what does not fit into the queue is counted as it comes, and the rest when the
/// time to drain is over: to the item.
/// Needs: the loopback network.
#[tokio::test]
async fn a_hung_server_at_the_end() {
    let server = Server::start(vec![]);
    server.answer(false);
    let yaml = format!(
        "{{endpoint: 'http://{}', timeout: 60s, sending_queue: {{num_consumers: 1, queue_size: 2}}}}",
        server.address
    );
    let mut rig = rig(&yaml).await;
    rig.put_logs(5).await;
    until(|| server.taken().len() == 1).await;
    for _ in 0..4 {
        rig.put_logs(5).await;
    }
    assert_eq!((rig.ledger.lost("queue_full"), rig.ledger.all_lost()), (10, 10));
    let late = tokio::time::timeout(Duration::from_millis(50), rig.built.component.shutdown()).await;
    assert!(late.is_err());
    drop(rig.built);
    until(|| rig.ledger.all_lost() == 25).await;
    assert_eq!((rig.ledger.lost("queue_full"), rig.ledger.lost("shutdown")), (10, 15));
    assert_eq!(server.taken()[0].data, logs(5));
    assert!(matches!(server.taken()[..], [super::server::Taken { data: Data::Logs(_), .. }]));
}
