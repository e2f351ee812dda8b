//! Layouts of the field: built here from real cgroups with real processes in them, and read back through `/proc`.
//!
//! Needs: root, and cgroup trees that can be written to; each test is skipped without.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a fixture that cannot go on has failed")]

mod host;
mod namespaces;

use host::{AT_MOST, HELD, Host, In, Seen, paths};
use mlh_targets::hierarchy::{LimitKind, UnitKind};

const MIB: u64 = 1 << 20;
const ID: &str = "4f1e0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab";
const OUTER: &str = "aaaa0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab";
const POD: &str = "8a3b2c1d-0e4f-4a5b-8c6d-7e8f90a1b2c3";

/// Guarantees: a container as podman makes it is a unit with its id, path, memory and limit, by the very ids and path
/// that the kernel gives; podman's monitor beside it is none.
///
/// Needs: root, and cgroup trees that can be written to.
#[test]
fn podman() {
    let Some(mut host) = Host::new("podman") else { return };
    let container = format!("libpod_parent/libpod-{ID}");
    host.make(&container);
    host.limit(&container, 256 * MIB);
    let (inside, monitor) = (host.run(&container, In::All), host.run("libpod_parent/conmon", In::All));
    let mut seen = Seen::now();

    let reading = seen.process(inside);
    assert_eq!(reading.memory_cgroup_id, Some(host.id(&container)));
    assert_eq!(reading.cgroup_id, host.unified_id(&container));
    let unit = seen.unit(inside).unwrap();
    assert_eq!((unit.kind, unit.cgroup_id), (UnitKind::Container, host.id(&container)));
    assert_eq!(unit.container_id.as_ref().unwrap().as_str(), ID);
    assert_eq!(unit.path, host.path(&container));
    assert_eq!(paths(inside).limiting(), Some(unit.path.as_str()));
    assert_eq!(unit.pod_uid, None);
    seen.counts(unit.key, 1);

    let ahead = seen.hierarchy.limits_ahead(unit.key, 0)[0];
    assert_eq!((ahead.kind, ahead.cgroup_id, ahead.limit), (LimitKind::Max, unit.cgroup_id, 256 * MIB));
    assert!(ahead.room <= 256 * MIB - HELD && ahead.room >= 256 * MIB - AT_MOST, "{ahead:?}");

    assert_eq!(paths(monitor).limiting(), Some(host.path("libpod_parent/conmon").as_str()));
    assert_eq!(seen.unit(monitor), None);
}

/// Guarantees: two containers of one pod as containerd makes them are two units of that pod; the pod's limit, being
/// nearer than the container's own, is the one ahead, and what both hold counts against it.
///
/// Needs: root, and cgroup trees that can be written to.
#[test]
fn containerd() {
    let Some(mut host) = Host::new("containerd") else { return };
    let pod = format!("kubepods/burstable/pod{POD}");
    let containers = [ID, OUTER].map(|id| format!("{pod}/{id}"));
    host.make(&pod);
    host.limit(&pod, 256 * MIB);
    let pids = containers.clone().map(|container| host.run(&container, In::All));
    host.limit(&containers[0], 300 * MIB);
    let mut seen = Seen::now();

    for (pid, (container, id)) in pids.into_iter().zip(containers.iter().zip([ID, OUTER])) {
        let unit = seen.unit(pid).unwrap();
        assert_eq!(unit.container_id.as_ref().unwrap().as_str(), id);
        assert_eq!((unit.cgroup_id, &unit.path), (host.id(container), &host.path(container)));
        assert_eq!(unit.pod_uid.as_deref(), Some(POD));
        seen.counts(unit.key, 1);
        let ahead = seen.hierarchy.limits_ahead(unit.key, 0)[0];
        assert_eq!((ahead.cgroup_id, ahead.limit), (host.id(&pod), 256 * MIB));
        assert!(ahead.room <= 256 * MIB - 2 * HELD, "{ahead:?}");
    }
    seen.counts(host.id(&pod), 2);
}

/// Guarantees: as systemd lays them out, a container in a scope and a service with a cgroup inside are units, a
/// session is none; on a hybrid host a service without memory accounting is a unit by its v2 cgroup, with nothing
/// counted for it.
///
/// Needs: root, and cgroup trees that can be written to.
#[test]
fn systemd_slices() {
    let Some(mut host) = Host::new("systemd") else { return };
    let scope = format!("system.slice/docker-{ID}.scope");
    let in_scope = host.run(&scope, In::All);
    let in_service = host.run("system.slice/db.service/worker", In::All);
    let in_session = host.run("user.slice/user-1000.slice/session-1.scope", In::All);
    let uncounted = host.run("system.slice/web.service", In::Unified);
    let mut seen = Seen::now();

    let unit = seen.unit(in_scope).unwrap();
    assert_eq!((unit.kind, &unit.path), (UnitKind::Container, &host.path(&scope)));
    let unit = seen.unit(in_service).unwrap();
    assert_eq!((unit.kind, unit.cgroup_id), (UnitKind::Service, host.id("system.slice/db.service")));
    assert_eq!(unit.path, host.path("system.slice/db.service"));
    seen.counts(unit.key, 1);
    assert_eq!(seen.unit(in_session), None);

    let unit = seen.unit(uncounted).unwrap();
    assert_eq!((unit.kind, &unit.path), (UnitKind::Service, &host.path("system.slice/web.service")));
    assert_eq!(Some(unit.cgroup_id), host.unified_id("system.slice/web.service"));
    assert_eq!(seen.hierarchy.memory(unit.key).is_none(), host.is_hybrid());
}

/// Guarantees: in containers within a container the innermost is the unit, also for a process in a cgroup of its
/// own further in, and the limit of the outer one is ahead of it.
///
/// Needs: root, and cgroup trees that can be written to.
#[test]
fn nested() {
    let Some(mut host) = Host::new("nested") else { return };
    let outer = format!("docker/{OUTER}");
    let inner = format!("{outer}/kubelet/kubepods/burstable/pod{POD}/{ID}");
    host.make(&outer);
    host.limit(&outer, 256 * MIB);
    let in_inner = host.run(&format!("{inner}/init.scope"), In::All);
    let in_outer = host.run(&format!("{outer}/init.scope"), In::All);
    let mut seen = Seen::now();

    let unit = seen.unit(in_inner).unwrap();
    assert_eq!(unit.container_id.as_ref().unwrap().as_str(), ID);
    assert_eq!((unit.cgroup_id, &unit.path), (host.id(&inner), &host.path(&inner)));
    seen.counts(unit.key, 1);
    let ahead = seen.hierarchy.limits_ahead(unit.key, 0)[0];
    assert_eq!((ahead.cgroup_id, ahead.limit), (host.id(&outer), 256 * MIB));

    let unit = seen.unit(in_outer).unwrap();
    assert_eq!(unit.container_id.as_ref().unwrap().as_str(), OUTER);
    assert_eq!(unit.cgroup_id, host.id(&outer));
    seen.counts(unit.key, 2);
}
