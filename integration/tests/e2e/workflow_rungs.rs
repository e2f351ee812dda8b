//! The workflow where it climbs for containers, and where probes are allowed.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use mlh_integration::container::Rootfs;
use mlh_integration::hunter::Hunter;
use mlh_integration::scenario::scenario;
use mlh_integration::wait::until;
use mlh_integration::{compile, need};
use serde_json::Value;

/// For the verdict, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(400);

/// Kinds of events.
const SUSPICION: u32 = 5;
const VERDICT: u32 = 6;
const MODE_CHANGE: u32 = 10;

fn told<'a>(event: &'a Value, key: &str) -> &'a str {
    event["event_data"]["custom"][key].as_str().unwrap_or_default()
}

/// Guarantees: a container that leaks is followed up as one, with the process in it that does, and its verdict tells the function; one
/// whose forked workers copy what they share is suspected, and no more: it is seen that nothing is kept.
/// Needs: root, eBPF, gcc, podman and runc that work here; three minutes, most of them waiting.
#[test]
fn containers_are_followed_up() {
    scenario(|world| {
        need::ebpf()?;
        // no other test runs programs of these names
        let programs = [("contained", "c/remember.c"), ("workers", "c/workers.c")];
        let [remember, workers] = programs.map(|(name, source)| compile::c(world, name, source, &[]));
        let rootfs = Rootfs::new(world, &[remember?, workers?])?;
        let leak = rootfs.start(world, "leak", "1g", &["/bin/contained", "50000"])?;
        let copies = rootfs.start(world, "copies", "2g", &["/bin/workers", "64", "8", "20000"])?;
        let settings = "include: {executables: [contained, workers]}, escalation: {max_concurrent_targets: 2, cooldown: 0s}";
        let mut hunter = Hunter::start(world, "hunter", settings)?;
        let of_container = |events: Vec<Value>, id: &str| -> Vec<Value> {
            let of_it = |event: &Value| {
                event["metadata"]["container_id"] == id && told(event, "scope") == "container"
            };
            events.into_iter().filter(of_it).collect()
        };
        let verdict = until("the container's verdict", PATIENCE, || {
            hunter.process.lives()?;
            Ok(of_container(hunter.all_events(VERDICT)?, &leak.id).into_iter().next())
        })?;
        ensure!(told(&verdict, "function") == "remember_session", "{verdict}");
        ensure!(told(&verdict, "evidence").contains("growth_pages:kept"), "{verdict}");
        until("the suspicion of the one that copies", PATIENCE, || {
            hunter.process.lives()?;
            Ok((!of_container(hunter.all_events(SUSPICION)?, &copies.id).is_empty()).then_some(()))
        })?;
        // it was suspected at the same time: whatever would have been said of it by growth alone has been said by now
        until("two minutes more of it", PATIENCE, || {
            let grown = of_container(hunter.all_events(4)?, &copies.id);
            let later = |event: &&Value| event["timestamp"].as_str() > verdict["timestamp"].as_str();
            Ok((grown.iter().filter(later).count() >= 2).then_some(()))
        })?;
        let accused = hunter.all_events(VERDICT)?;
        ensure!(
            accused.iter().all(|event| event["metadata"]["container_id"] == leak.id.as_str()),
            "{accused:?}"
        );
        Ok(())
    });
}

/// Guarantees: where probes are allowed and page faults show nobody, probes are placed and show who it is: the look ends with the
/// verdict and the function, and what is known of the leak has it although the verdict may have fallen before.
/// Needs: root, eBPF, gcc; four minutes, most of them waiting.
#[test]
fn probes_are_climbed_to() {
    scenario(|world| {
        need::ebpf()?;
        let program = compile::c(world, "probed", "c/remember.c", &[])?;
        let mut command = std::process::Command::new(program);
        let leak = world.spawn("leak", command.args(["100000", "locked", "20000"]))?;
        let settings = "include: {executables: [probed]}, escalation: {max_rung: full_probes}";
        let mut hunter = Hunter::start(world, "hunter", settings)?;
        let changes = until("the end of the look", PATIENCE, || {
            hunter.process.lives()?;
            let changes = hunter.events(MODE_CHANGE, leak.pid())?;
            Ok(changes.iter().any(|event| told(event, "reason") == "verdict").then_some(changes))
        })?;
        let modes: Vec<_> = changes.iter().map(|event| told(event, "mode")).collect();
        ensure!(modes == ["growth_stacks", "targeted", "growth_detection"], "{modes:?}");
        let end = changes.last().context("the end")?;
        ensure!(told(end, "culprit_source") == "survival", "{end}");
        ensure!(told(end, "function") == "remember_session", "{end}");
        until("the leak with its place", PATIENCE, || {
            let status = hunter.status()?;
            let place = status["leaks"][0]["place"].as_str().unwrap_or_default().to_owned();
            Ok(place.contains("remember_session").then_some(()))
        })?;
        ensure!(hunter.events(VERDICT, leak.pid())?.len() == 1, "told again");
        Ok(())
    });
}
