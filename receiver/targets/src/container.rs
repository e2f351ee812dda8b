//! Container and pod identity from a cgroup path, by its shape alone: no runtime is asked.

use std::fmt;

/// The id a container runtime gave to a container: 64 hex digits, or ECS's 32 hex digits and a number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContainerId(String);

impl ContainerId {
    /// The id as the runtime prints it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The container that a cgroup path (`/`-separated, as in `/proc/PID/cgroup`) lies in: of nested containers the
/// innermost. `None` for a path that belongs to no container, and for a runtime's own monitor.
///
/// A segment is a container's when it reads `^(?:.*[:-])?([0-9a-f]{64}|[0-9a-f]{32}-\d+)(\.scope)?$` and is not
/// conmon's.
#[must_use]
pub fn id_from_path(path: &str) -> Option<ContainerId> {
    path.rsplit('/').find_map(id_of_segment).map(|id| ContainerId(id.to_owned()))
}

/// The uid of the Kubernetes pod that a cgroup path lies in, in its dashed form (the systemd driver writes
/// underscores). A static pod's uid has 32 digits and no dashes.
#[must_use]
pub fn pod_uid_from_path(path: &str) -> Option<String> {
    path.rsplit('/').find_map(pod_of_segment)
}

fn id_of_segment(segment: &str) -> Option<&str> {
    if segment.contains("conmon-") {
        return None;
    }
    let segment = segment.strip_suffix(".scope").unwrap_or(segment);
    plain_id(segment).or_else(|| ecs_id(segment))
}

fn plain_id(segment: &str) -> Option<&str> {
    tail(segment, 64).filter(|id| is_hex(id))
}

fn ecs_id(segment: &str) -> Option<&str> {
    let (before, number) = segment.rsplit_once('-')?;
    let numbered = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let task = tail(before, 32).filter(|id| numbered && is_hex(id))?;
    segment.get(before.len() - task.len()..)
}

/// The last `length` bytes of a segment, when nothing stands before them or one of the separators does.
fn tail(segment: &str, length: usize) -> Option<&str> {
    let (prefix, id) = segment.split_at_checked(segment.len().checked_sub(length)?)?;
    (prefix.is_empty() || prefix.ends_with([':', '-'])).then_some(id)
}

fn pod_of_segment(segment: &str) -> Option<String> {
    // containerd started by systemd but driven through cgroupfs appends `:cri-containerd:<id>` to the slice
    let slice = segment.split(':').next()?;
    let slice = slice.strip_suffix(".slice").unwrap_or(slice);
    let uid = if let Some(uid) = slice.strip_prefix("pod") { uid } else { slice.split_once("-pod")?.1 };
    let uid = uid.replace('_', "-");
    let dashed = uid.len() == 36 && uid.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    let is_static = uid.len() == 32;
    ((dashed || is_static) && uid.split('-').all(is_hex)).then_some(uid)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4f1e0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab";
    const OUTER: &str = "aaaa0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab";
    const ECS: &str = "0123456789abcdef0123456789abcdef-1234567890";
    const UID: &str = "8a3b2c1d-0e4f-4a5b-8c6d-7e8f90a1b2c3";

    fn filled(pattern: &str) -> String {
        pattern
            .replace("{id}", ID)
            .replace("{outer}", OUTER)
            .replace("{ecs}", ECS)
            .replace("{uid_}", &UID.replace('-', "_"))
            .replace("{uid}", UID)
            .replace("{task}", &ECS[..32])
    }

    /// Guarantees: the container's id is found in the paths that docker, containerd, CRI-O, podman and ECS write,
    /// with either cgroup driver, for root and others,
    /// with cgroups nested inside, and as they read in a private cgroup namespace; the innermost container wins.
    #[test]
    fn ids_of_every_runtime() {
        let table = [
            // docker: cgroupfs, systemd, systemd inside, docker in docker, rootless
            ("/docker/{id}", "{id}"),
            ("/system.slice/docker-{id}.scope", "{id}"),
            ("/docker/{id}/init.scope/system.slice", "{id}"),
            ("/system.slice/docker-{id}.scope/system.slice/nginx.service", "{id}"),
            ("/docker/{outer}/docker/{id}", "{id}"),
            ("/system.slice/docker-{outer}.scope/docker/{id}", "{id}"),
            ("/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{id}.scope", "{id}"),
            // containerd for Kubernetes: cgroupfs, systemd, each quality of service, systemd's service with cgroupfs
            ("/kubepods/burstable/pod{uid}/{id}", "{id}"),
            ("/kubepods/pod{uid}/{id}/nested/deep", "{id}"),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid_}.slice/cri-containerd-{id}.scope",
                "{id}",
            ),
            ("/kubepods.slice/kubepods-pod{uid_}.slice/cri-containerd-{id}.scope/init", "{id}"),
            (
                "/system.slice/containerd.service/kubepods-besteffort-pod{uid_}.slice:cri-containerd:{id}",
                "{id}",
            ),
            // kind and k3d: the cluster's node is a container itself
            ("/docker/{outer}/kubelet/kubepods/besteffort/pod{uid}/{id}", "{id}"),
            (
                "/system.slice/docker-{outer}.scope/kubelet.slice/kubelet-kubepods.slice/\
                 kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{uid_}.slice/cri-containerd-{id}.scope",
                "{id}",
            ),
            ("/docker/{outer}/kubepods/besteffort/pod{uid}/{id}", "{id}"),
            // k3s
            ("/system.slice/k3s.service/kubepods/burstable/pod{uid}/{id}", "{id}"),
            // containerd alone: ctr and nerdctl
            ("/default/{id}", "{id}"),
            ("/system.slice/nerdctl-{id}.scope", "{id}"),
            // CRI-O: systemd, with a cgroup inside, cgroupfs
            ("/kubepods.slice/kubepods-pod{uid_}.slice/crio-{id}.scope", "{id}"),
            ("/kubepods.slice/kubepods-pod{uid_}.slice/crio-{id}.scope/container", "{id}"),
            ("/kubepods/burstable/pod{uid}/crio-{id}", "{id}"),
            // podman: systemd, cgroupfs, rootless, in a pod, in a service of its own, in a container
            ("/machine.slice/libpod-{id}.scope", "{id}"),
            ("/machine.slice/libpod-{id}.scope/container", "{id}"),
            ("/libpod_parent/libpod-{id}", "{id}"),
            ("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope", "{id}"),
            ("/machine.slice/machine-libpod_pod_{outer}.slice/libpod-{id}.scope/container", "{id}"),
            ("/libpod_parent/{outer}/libpod-{id}", "{id}"),
            ("/system.slice/shop.service/libpod-payload-{id}", "{id}"),
            ("/docker/{outer}/machine.slice/libpod-conmon-{id}.scope", "{outer}"),
            // ECS: on hosts of either driver, and Fargate
            ("/ecs/{task}/{id}", "{id}"),
            ("/ecs/{task}/{ecs}", "{ecs}"),
            ("/ecs/fargate-{ecs}", "{ecs}"),
            ("/ecstasks.slice/ecstasks-{task}.slice/docker-{id}.scope", "{id}"),
            // read in a private cgroup namespace: a neighbour in the pod, and one in another
            ("/../cri-containerd-{id}.scope", "{id}"),
            ("/../{id}", "{id}"),
            ("/../../kubepods-besteffort-pod{uid_}.slice/crio-{id}.scope", "{id}"),
            ("/../../pod{uid}/{id}", "{id}"),
        ];
        for (path, expected) in table {
            let found = id_from_path(&filled(path));
            assert_eq!(found.as_ref().map(ContainerId::as_str), Some(filled(expected).as_str()), "{path}");
        }
    }

    /// Guarantees: what is no container gets no id: services, users, monitors, pods, system containers (LXC,
    /// systemd-nspawn), upper case, wrong lengths, an id glued to other text, text that is not ASCII.
    #[test]
    fn no_id_where_there_is_no_container() {
        let table = [
            "/",
            "",
            "/system.slice/ssh.service",
            "/user.slice/user-1000.slice/session-3.scope",
            "/machine.slice/libpod-conmon-{id}.scope",
            "/kubepods.slice/crio-conmon-{id}.scope",
            "/../..",
            "/init.scope",
            "/libpod_parent/conmon",
            "/docker/buildkit/o0k3xq0hxf4cgs1s6x9kq0l5z",
            "/machine.slice/machine-libpod_pod_{id}.slice",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.gnome.Terminal.scope",
            // system containers have a name and no id
            "/lxc/web",
            "/lxc.monitor.web",
            "/lxc.payload.web/system.slice/nginx.service",
            "/machine.slice/machine-web.scope/payload",
            "/machine.slice/systemd-nspawn@web.service/payload/system.slice/nginx.service",
            "/docker/a{id}",
            "/docker/{id}.slice",
            "/docker/4F1E0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab",
            "/ecs/{task}",
            "/ecs/{task}-",
            "/ecs/{task}-12x",
            "/é{id}",
            "/docker/éé0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab",
        ];
        for path in table {
            assert_eq!(id_from_path(&filled(path)), None, "{path}");
        }
    }

    /// Guarantees: the pod's uid comes out in one form from both drivers, static pods included, and nothing else
    /// that begins with "pod" is taken for one.
    #[test]
    fn pod_uids() {
        let table = [
            ("/kubepods/burstable/pod{uid}/{id}", Some(UID)),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid_}.slice/cri-containerd-{id}.scope",
                Some(UID),
            ),
            (
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{uid_}.slice/crio-{id}.scope",
                Some(UID),
            ),
            (
                "/system.slice/containerd.service/kubepods-besteffort-pod{uid_}.slice:cri-containerd:{id}",
                Some(UID),
            ),
            (
                "/docker/{outer}/kubelet.slice/kubelet-kubepods-besteffort-pod{uid_}.slice/cri-containerd-{id}.scope",
                Some(UID),
            ),
            ("/kubepods/burstable/pod{uid}/crio-{id}", Some(UID)),
            ("/../../pod{uid}/{id}", Some(UID)),
            ("/../../kubepods-besteffort-pod{uid_}.slice/crio-{id}.scope", Some(UID)),
            ("/kubepods/pod{task}/{id}", Some(&ECS[..32])),
            ("/machine.slice/machine-libpod_pod_{id}.slice/libpod-{outer}.scope", None),
            ("/../{id}", None),
            ("/system.slice/podman-12.scope", None),
            ("/podruntime.slice/kubelet.service", None),
            ("/kubepods/podzzzzzzzz-0e4f-4a5b-8c6d-7e8f90a1b2c3", None),
            ("/docker/{id}", None),
        ];
        for (path, expected) in table {
            assert_eq!(pod_uid_from_path(&filled(path)).as_deref(), expected, "{path}");
        }
    }
}
