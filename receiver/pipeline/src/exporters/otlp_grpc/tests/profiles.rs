//! Profiles, which not every server takes.

use super::server::Server;
use super::{NEVER, rig};
use crate::component::Status;
use crate::data::{Data, Signal};
use crate::testing::{Logbook, profiles};

/// Guarantees: profiles arrive complete, compressed and with the configured headers, on the connection of the others;
/// what the server throws away is counted in samples, whatever number of profiles it claims.
/// Needs: the loopback network.
#[tokio::test]
async fn delivers() {
    let all = profiles(&[("grow", 3), ("keep", 4)]);
    for (rejected, delivered, lost) in [(0, 2, 0), (1, 0, 2), (i64::MAX, 0, 2), (-1, 2, 0)] {
        let server = Server::start_with_profiles(rejected);
        let mut rig =
            rig(&format!("{{endpoint: 'http://{}', headers: {{X-Scope-OrgID: tenant}}}}", server.address))
                .await;
        rig.built.consumer.consume(all.clone()).await.unwrap();
        rig.built.component.shutdown().await.unwrap();
        let taken = server.taken();
        assert_eq!(taken[0].data, all);
        assert_eq!(taken[0].metadata.get("grpc-encoding").unwrap(), "gzip");
        assert_eq!(taken[0].metadata.get("x-scope-orgid").unwrap(), "tenant");
        assert_eq!((rig.ledger.delivered(), rig.ledger.lost("rejected")), (delivered, lost), "{rejected}");
    }
}

/// Guarantees: a server without a service for profiles loses them, counted, with a warning that says what to turn on;
/// it is not taken for one that is down, and logs go on.
/// Needs: the loopback network.
#[tokio::test]
async fn a_server_without_profiles() {
    let book = Logbook::open();
    let server = Server::start(vec![]);
    let mut rig =
        rig(&format!("{{endpoint: 'http://{}', sending_queue: {{enabled: false}}}}", server.address)).await;
    rig.built.consumer.consume(profiles(&[("grow", 3)])).await.unwrap();
    rig.put_logs(2).await;
    rig.built.component.shutdown().await.unwrap();
    assert_eq!((rig.ledger.delivered(), rig.ledger.lost("refused")), (2, 1));
    assert!(!rig.board.statuses_reported().contains(&Status::RecoverableError));
    assert!(server.taken().iter().all(|request| request.data.signal() == Signal::Logs));
    let told = book.lines("items were lost");
    assert!(told.len() == 1 && told[0].contains("--feature-gates=service.profilesSupport"), "{told:?}");
}

/// Guarantees: profiles that are too many for a server go in parts, each with what it needs of the dictionary.
/// Needs: the loopback network.
#[tokio::test]
async fn goes_in_parts() {
    let server = Server::start_with_profiles(0);
    let mut rig = rig(&format!("{{endpoint: 'http://{}', {NEVER}}}", server.address)).await;
    let names: Vec<String> = (0..64).map(|n| format!("{n}{}", "x".repeat(100_000))).collect();
    let samples: Vec<(&str, i64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    rig.built.consumer.consume(profiles(&samples)).await.unwrap();
    rig.built.component.shutdown().await.unwrap();
    let taken = server.taken();
    let sizes: Vec<usize> = taken.iter().map(|request| request.data.items()).collect();
    assert_eq!(sizes, [32, 32]);
    for request in &taken {
        let Data::Profiles(profiles) = &request.data else { panic!("no profiles") };
        let dictionary = profiles.dictionary.as_ref().unwrap();
        // its own 32 functions, `main`, and the zero value
        assert_eq!(dictionary.function_table.len(), 34);
    }
    assert_eq!(rig.ledger.delivered(), 64);
}
