//! The Collector that we ship keeps what it has taken.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::ensure;
use mlh_integration::backends::{self, Collector, VictoriaLogs};
use mlh_integration::scenario::{free_port, scenario};
use mlh_integration::wait::until;
use nix::sys::signal::Signal;

use crate::host::{sending, told};

/// Guarantees: with the `collector.yaml` that we ship, records that came while the log store was away are in the
/// store after it has come back, each of them once, although the Collector was stopped and started in between.
/// Needs: the test servers.
#[test]
fn records_outlive_store_and_collector() {
    scenario(|world| {
        backends::folder()?;
        let port = free_port()?;
        let address = format!("127.0.0.1:{port}");
        let mut collector = Collector::shipped(world, &address)?;
        let mut hunter = sending(world, &collector.otlp)?;
        until("the end of the trace", Duration::from_secs(60), || {
            hunter.lives()?;
            Ok(hunter.stderr().contains("the trace has been judged").then_some(()))
        })?;
        // it ends when it has got rid of everything
        hunter.signal(Signal::SIGTERM)?;
        let status = hunter.end(Duration::from_secs(60))?;
        ensure!(status.success(), "the sidecar: {status}");
        collector.stop()?;

        let told = told(world)?;
        let store = VictoriaLogs::start_on(world, port)?;
        collector.start_again(world)?;
        let rows = until(&format!("{told} records in the store"), Duration::from_secs(60), || {
            collector.lives()?;
            let rows = store.query("\"memory_leak_hunter.event.kind\":*")?;
            Ok((rows.len() >= told).then_some(rows))
        })?;
        let uids: BTreeSet<&str> = rows.iter().filter_map(|row| row["log.record.uid"].as_str()).collect();
        ensure!((rows.len(), uids.len()) == (told, told), "{} rows, {} uids", rows.len(), uids.len());
        Ok(())
    });
}
