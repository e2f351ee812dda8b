//! Starting and stopping.

use std::net::TcpListener;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use mlh_integration::need::Skip;
use mlh_integration::process::Process;
use mlh_integration::scenario::{World, free_port, scenario};
use mlh_integration::{sidecar, web};
use nix::sys::signal::Signal;

/// Starts the built-in configuration, moved to free ports.
fn standalone(world: &World, name: &str) -> anyhow::Result<Process> {
    let port = free_port()?;
    let mut command = Command::new(sidecar::executable()?);
    let mut hunter = world.spawn(name, sidecar::built_in(&mut command, port)?)?;
    sidecar::swept(&mut hunter, port)?;
    Ok(hunter)
}

/// Guarantees: with no configuration at all the sidecar hunts and serves its metrics on localhost:9464.
/// Needs: ports 9464 and 13134 free.
#[test]
fn no_configuration_is_needed() {
    scenario(|world| {
        for port in [9464, 13134] {
            if TcpListener::bind(("127.0.0.1", port)).is_err() {
                return Err(Skip::because(format!("port {port} is taken")).into());
            }
        }
        let mut hunter = world.spawn("sidecar", &mut Command::new(sidecar::executable()?))?;
        sidecar::swept(&mut hunter, 9464)
    });
}

/// Guarantees: SIGTERM and SIGINT each end the sidecar in order, with exit code 0, and standard output held records
/// only: no log line.
#[test]
fn signals_end_it_in_order() {
    scenario(|world| {
        for signal in [Signal::SIGTERM, Signal::SIGINT] {
            let mut hunter = standalone(world, signal.as_str())?;
            hunter.signal(signal)?;
            let status = hunter.end(Duration::from_secs(30))?;
            ensure!(status.code() == Some(0), "after {signal}: {status}: {}", hunter.stderr());
            ensure!(!hunter.stderr().is_empty(), "nothing was logged to standard error");
            // other processes of this host may give rise to records meanwhile
            let stdout = hunter.stdout();
            let is_record =
                |line: &str| [" rss.growth ", " leak.", " oom."].iter().any(|kind| line.contains(kind));
            let stray = stdout.lines().find(|line| !is_record(line));
            ensure!(stray.is_none(), "no record, and on standard output: {stray:?}");
        }
        Ok(())
    });
}

/// Guarantees: the health endpoint answers while the sidecar runs, and not after it.
#[test]
fn health_is_told() {
    scenario(|world| {
        let (metrics_port, health_port) = (free_port()?, free_port()?);
        let config = format!(
            "receivers: {{memory_leak_hunter: {{state: {{path: ''}}}}}}
exporters: {{prometheus: {{endpoint: '127.0.0.1:{metrics_port}'}}}}
extensions: {{health_check: {{endpoint: '127.0.0.1:{health_port}'}}}}
service:
  extensions: [health_check]
  pipelines: {{metrics: {{receivers: [memory_leak_hunter], exporters: [prometheus]}}}}
"
        );
        let mut hunter = sidecar::start(world, "sidecar", &config, metrics_port)?;
        let url = format!("http://127.0.0.1:{health_port}/");
        web::get(&url)?;
        hunter.signal(Signal::SIGTERM)?;
        hunter.end(Duration::from_secs(30))?;
        ensure!(web::get(&url).is_err(), "still healthy after its end");
        Ok(())
    });
}

/// Guarantees: a port that is taken ends the start with exit code 3 and a reason that names it.
#[test]
fn a_taken_port_is_fatal_and_named() {
    scenario(|world| {
        let taken = TcpListener::bind(("127.0.0.1", 0))?;
        let address = taken.local_addr()?;
        let mut command = Command::new(sidecar::executable()?);
        let mut hunter = world.spawn("sidecar", sidecar::built_in(&mut command, address.port())?)?;
        let status = hunter.end(Duration::from_secs(30))?;
        ensure!(status.code() == Some(3), "{status}");
        ensure!(
            hunter.stderr().contains(&address.to_string()),
            "the address is not named: {}",
            hunter.stderr()
        );
        Ok(())
    });
}
