//! Pid namespaces and containers: who is visible, and how it is named.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use mlh_integration::backends::Collector;
use mlh_integration::container::Rootfs;
use mlh_integration::otlp::records;
use mlh_integration::scenario::{World, built, free_port, scenario};
use mlh_integration::wait::until;
use mlh_integration::{need, sidecar};
use serde_json::Value;

/// Records for three seconds, starting with two targets beside it, and tells what /proc shows afterwards. `$0` to
/// `$2` are the target, the trace and the list; the rest is the sidecar's command.
const INSIDE: &str = r#"
target=$0; trace=$1; list=$2; shift 2
exec 3<&0 # a shell gives what runs in the background no input of its own
"$target" <&3 & "$target" <&3 &
"$@" record "$trace" --duration 3s || exit
echo /proc/[0-9]* >"$list"
"#;

/// The processes of a trace, as pid and name.
fn recorded(trace: &Path) -> anyhow::Result<BTreeMap<u64, String>> {
    let mut processes = BTreeMap::new();
    for line in std::fs::read_to_string(trace)?.lines() {
        let line: Value = serde_json::from_str(line)?;
        if line["kind"] == "process" {
            let pid = line["pid"].as_u64().context("a process without a pid")?;
            processes.insert(pid, line["comm"].as_str().unwrap_or_default().to_owned());
        }
    }
    Ok(processes)
}

fn inside_a_pid_namespace(world: &World, prefix: &[&str]) -> anyhow::Result<()> {
    let unshare = need::program("unshare")?;
    let namespace = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    need::works("unshare", Command::new(&unshare).args(namespace).arg("true"))?;
    // whoever records may be somebody else, and a trace is never written over another file
    let shared = world.path("shared");
    std::fs::create_dir(&shared)?;
    std::fs::set_permissions(&shared, std::fs::Permissions::from_mode(0o777))?;
    let (trace, list) = (shared.join("trace"), shared.join("pids"));
    let program = sidecar::published(world)?;
    let mut command = Command::new(unshare);
    command.args(namespace).args(["sh", "-c", INSIDE]).arg(built("target-idle")?).arg(&trace).arg(&list);
    let mut run = world.spawn("inside", command.args(prefix).arg(program))?;
    let status = run.end(Duration::from_secs(60))?;
    ensure!(status.success(), "{status}: {}", run.stderr());
    let text = std::fs::read_to_string(list)?;
    let shown: BTreeSet<u64> =
        text.split_whitespace().filter_map(|path| path.rsplit('/').next()?.parse().ok()).collect();
    ensure!(shown.len() == 3, "the shell and two targets: {text}");
    let mut seen = recorded(&trace)?;
    // the list was made when the recording sidecar had ended
    seen.retain(|_, comm| !comm.starts_with("memory-leak"));
    ensure!(
        seen.keys().copied().collect::<BTreeSet<_>>() == shown,
        "recorded {seen:?}, /proc shows {shown:?}"
    );
    Ok(())
}

/// Guarantees: in a pid namespace of its own the eBPF sweep sees what that namespace's /proc shows, under its pids.
/// Needs: root, eBPF, unshare.
#[test]
fn a_pid_namespace_bounds_the_ebpf_sweep() {
    scenario(|world| {
        need::ebpf()?;
        inside_a_pid_namespace(world, &[])
    });
}

/// Guarantees: the sweep through /proc sees the same in a pid namespace as the one with eBPF.
/// Needs: root, unshare, setpriv.
#[test]
fn a_pid_namespace_bounds_the_proc_sweep() {
    scenario(|world| {
        need::root()?;
        need::program("setpriv")?;
        let nobody = "setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps -all --ambient-caps -all --bounding-set -all";
        inside_a_pid_namespace(world, &nobody.split(' ').collect::<Vec<_>>())
    });
}

/// The processes of this host that have memory of their own, as `(pid, start time)`: no kernel threads, and none that
/// the host shields from root.
fn processes() -> anyhow::Result<BTreeSet<(u64, u64)>> {
    let mut found = BTreeSet::new();
    for entry in std::fs::read_dir("/proc")? {
        let folder = entry?.path();
        let Some(pid) = folder.file_name().and_then(|name| name.to_str()?.parse().ok()) else { continue };
        // one that ends while we look is no stable process
        let Ok(stat) = std::fs::read_to_string(folder.join("stat")) else { continue };
        let Ok(statm) = std::fs::read_to_string(folder.join("statm")) else { continue };
        if std::fs::read_link(folder.join("exe")).is_err() {
            continue;
        }
        let start = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(19)?.parse().ok());
        if let (Some(start), false) = (start, statm.starts_with("0 ")) {
            found.insert((pid, start));
        }
    }
    Ok(found)
}

/// Guarantees: a sidecar in a container that shares the host's pids sees the host's processes under the host's pids,
/// with no more than `CAP_BPF` and `CAP_PERFMON`.
/// Needs: root, eBPF, podman and runc that work here.
#[test]
fn a_container_with_the_hosts_pids_sees_the_host() {
    scenario(|world| {
        need::ebpf()?;
        let rootfs = Rootfs::new(world, &[sidecar::published(world)?])?;
        let target = world.target("target-idle", &["--mib", "4"])?;
        let flags = ["--pid=host", "--cap-add=BPF,PERFMON", "--security-opt=seccomp=unconfined"];
        let mut command = rootfs.run(&flags);
        command.args(["/bin/memory-leak-hunter", "record", "/world/host.trace", "--duration", "3s"]);
        let before = processes()?;
        let mut run = world.spawn("container", &mut command)?;
        let status = run.end(Duration::from_secs(60))?;
        let after = processes()?;
        ensure!(status.success(), "{status}: {}", run.stderr());
        ensure!(run.stderr().contains("eBPF"), "it does not run on eBPF: {}", run.stderr());
        let seen = recorded(&world.path("host.trace"))?;
        let stable: BTreeSet<u64> = before.intersection(&after).map(|(pid, _)| *pid).collect();
        ensure!(stable.contains(&target.pid().into()), "the target is not on the host's list");
        let unseen: Vec<_> = stable.iter().filter(|pid| !seen.contains_key(pid)).collect();
        ensure!(unseen.is_empty(), "not seen from the container: {unseen:?}");
        Ok(())
    });
}

/// Guarantees: growth inside a container is told with the container's id and the pid on the host.
/// Needs: root, podman and runc that work here, the test servers.
#[test]
fn growth_in_a_container_names_it() {
    scenario(|world| {
        let rootfs = Rootfs::new(world, &[built("target-leak")?])?;
        let port = free_port()?;
        let collector = Collector::start(world, free_port()?)?;
        let otlp = format!("otlp_grpc: {{endpoint: '{}', tls: {{insecure: true}}}}", collector.otlp);
        let config = sidecar::hunting(world, &otlp, port)
            .replace("{collection", "{rss_check_interval: 2s, collection");
        let mut hunter = sidecar::start(world, "sidecar", &config, port)?;
        let leak = rootfs.start(world, "leak", "1g", &["/bin/target-leak", "--rate", "1000000"])?;
        let record = until("growth in the container", Duration::from_secs(120), || {
            hunter.lives()?;
            let of_it = |attributes: &serde_json::Map<String, Value>| {
                attributes.get("container.id") == Some(&leak.id.as_str().into())
            };
            let growth = |event: &str| event == "memory_leak_hunter.rss.growth";
            Ok(records(&collector.file)?
                .into_iter()
                .find(|record| growth(&record.event) && of_it(&record.resource)))
        })?;
        ensure!(record.severity == 9, "severity: {}", record.severity);
        ensure!(record.resource["process.executable.name"] == "target-leak", "{:?}", record.resource);
        let pid = record.pid().context("no pid")?;
        ensure!(pid == u64::from(leak.pid), "pid {pid} of the host is not {}", leak.pid);
        Ok(())
    });
}
