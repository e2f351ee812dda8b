//! From facts to the table: what each means for growth detection, and what to do.

use mlh_targets::capability::{Capabilities, Capability};
use mlh_targets::cgroup::{Layout, Version};
use mlh_targets::host::{MemoryTotals, kernel_version};
use mlh_targets::sweep::ProcView;

use super::facts::{Facts, KernelSweep, ProcSweepFacts};
use super::{Detection, Item, Mark, Report};
use crate::observe::{OOM_KILLS, RSS_CROSSINGS};

/// The first kernel with task iterators and with `CAP_BPF`.
const FIRST_WITH_SWEEP: (u32, u32) = (5, 8);
/// The first kernel that charges BPF maps to the cgroup instead of `RLIMIT_MEMLOCK`.
const FIRST_WITHOUT_MEMLOCK: (u32, u32) = (5, 11);
/// The way that stays open when the kernel's is not.
const FALLBACK: &str = "without it processes are swept through /proc, which costs more CPU";

pub(super) fn conclude(facts: &Facts) -> Report {
    let detection = match (&facts.kernel_sweep, &facts.proc_sweep) {
        (Ok(_), _) => Detection::Kernel,
        (Err(_), Ok(_)) => Detection::Proc,
        (Err(_), Err(_)) => Detection::Impossible,
    };
    if facts.platform != "linux" {
        let remedy = "growth detection reads the Linux kernel; record on Linux and `replay` here";
        let items = vec![item(Mark::Off, "platform", facts.platform, Some(remedy))];
        return Report { items, detection: Detection::Impossible };
    }
    let mut items = vec![kernel(facts), btf(facts)];
    items.extend(capabilities(facts));
    items.extend(security(facts));
    items.push(pid_namespace(facts));
    items.push(kernel_sweep(&facts.kernel_sweep));
    items.push(told(&facts.kernel_sweep, OOM_KILLS, "OOM kills", Mark::Off));
    items.push(told(&facts.kernel_sweep, RSS_CROSSINGS, "growth at once", Mark::Unneeded));
    items.push(proc_sweep(&facts.proc_sweep));
    items.push(cgroups(facts.cgroups.as_ref()));
    items.push(memory(facts.memory));
    Report { items, detection }
}

fn item(mark: Mark, name: &str, found: impl Into<String>, remedy: Option<&str>) -> Item {
    Item { mark, name: name.to_owned(), found: found.into(), remedy: remedy.map(str::to_owned) }
}

fn version(facts: &Facts) -> Option<(u32, u32)> {
    facts.release.as_deref().and_then(kernel_version)
}

fn kernel(facts: &Facts) -> Item {
    let release = facts.release.clone().unwrap_or_else(|| "unknown".to_owned());
    match version(facts) {
        Some(version) if version < FIRST_WITH_SWEEP => {
            let remedy = format!("sweeping in the kernel needs Linux 5.8 or later; {FALLBACK}");
            item(Mark::Off, "kernel", release, Some(&remedy))
        }
        _ => item(Mark::Ok, "kernel", release, None),
    }
}

fn btf(facts: &Facts) -> Item {
    let (path, readable) = &facts.btf;
    match readable {
        Ok(()) => item(Mark::Ok, "BTF", path.display().to_string(), None),
        Err(reason) => {
            let remedy = format!(
                "the kernel's type information: {FALLBACK}\n\
                 kernel: build with CONFIG_DEBUG_INFO_BTF=y; container: make /sys visible"
            );
            item(Mark::Off, "BTF", format!("{}: {reason}", path.display()), Some(&remedy))
        }
    }
}

fn capabilities(facts: &Facts) -> Vec<Item> {
    let Some(held) = facts.capabilities else {
        let remedy = "/proc/self/status does not tell; mount /proc";
        return vec![item(Mark::Warn, "capabilities", "unknown", Some(remedy))];
    };
    let all = [
        Capability::Bpf,
        Capability::Perfmon,
        Capability::SysPtrace,
        Capability::DacReadSearch,
        Capability::SysAdmin,
        Capability::SysResource,
    ];
    all.into_iter().map(|capability| one_capability(capability, held, facts)).collect()
}

fn one_capability(capability: Capability, held: Capabilities, facts: &Facts) -> Item {
    let name = format!("CAP_{}", capability.short_name());
    if held.has(capability) {
        return item(Mark::Ok, &name, "held", None);
    }
    let older_than = |than| version(facts).is_some_and(|version| version < than);
    let lost = match capability {
        Capability::Bpf | Capability::Perfmon if held.has(Capability::SysAdmin) => {
            return item(Mark::Ok, &name, "included in CAP_SYS_ADMIN", None);
        }
        Capability::Bpf => format!("loads the sweep into the kernel: {FALLBACK}"),
        Capability::Perfmon => format!("lets the sweep read the kernel's counters: {FALLBACK}"),
        Capability::SysPtrace => {
            "executable paths and build ids of other users' processes are absent from records, and only processes of \
             this user can be targets"
                .to_owned()
        }
        Capability::SysAdmin if older_than(FIRST_WITH_SWEEP) => {
            format!("before Linux 5.8 BPF needs it: {FALLBACK}")
        }
        Capability::SysResource if older_than(FIRST_WITHOUT_MEMLOCK) => {
            "before Linux 5.11 BPF memory counts against RLIMIT_MEMLOCK: raise that (ulimit -l unlimited) or grant this"
                .to_owned()
        }
        Capability::SysAdmin | Capability::SysResource | Capability::DacReadSearch => {
            return item(Mark::Unneeded, &name, "not held, and not needed", None);
        }
    };
    // the way in the kernel is a feature, the rest is detail
    let mark = match capability {
        Capability::SysPtrace | Capability::SysResource => Mark::Warn,
        _ => Mark::Off,
    };
    item(mark, &name, "not held", Some(&format!("{lost}\n{}", how_to_grant(capability))))
}

fn how_to_grant(capability: Capability) -> String {
    let name = capability.short_name();
    format!(
        "docker: --cap-add {name}; kubernetes: securityContext.capabilities.add: [{name}]; \
         systemd: AmbientCapabilities=CAP_{name}"
    )
}

/// What refuses BPF beyond capabilities.
fn security(facts: &Facts) -> Vec<Item> {
    let mut items = Vec::new();
    if facts.namespaces.user_is_host == Some(false) {
        let remedy = "capabilities held in a user namespace do not reach BPF: run rootful, without user namespaces\n\
                      (docker: --userns=host; kubernetes: hostUsers: true)";
        items.push(item(Mark::Warn, "user namespace", "not the host's", Some(remedy)));
    }
    match facts.lockdown.as_deref() {
        Some("confidentiality") => {
            let remedy = format!(
                "reading kernel memory from BPF is forbidden: {FALLBACK}\n\
                 boot with lockdown=integrity, or without lockdown"
            );
            items.push(item(Mark::Off, "lockdown", "confidentiality", Some(&remedy)));
        }
        Some(mode) => items.push(item(Mark::Ok, "lockdown", mode, None)),
        None => {}
    }
    if let Some(disabled) = facts.unprivileged_bpf_disabled {
        // either value is fine: the sweep is never loaded without capabilities
        let found = format!("kernel.unprivileged_bpf_disabled = {disabled}; the sweep does not depend on it");
        items.push(item(Mark::Ok, "unprivileged BPF", found, None));
    }
    items
}

fn pid_namespace(facts: &Facts) -> Item {
    let name = "pid namespace";
    match facts.namespaces.pid_is_host {
        Some(true) => item(Mark::Ok, name, "the host's: every process is visible", None),
        Some(false) => {
            let remedy = "processes outside of it are not swept\n\
                          docker: --pid=host; kubernetes: hostPID: true (one for each node), or \
                          shareProcessNamespace: true (a sidecar for its pod)";
            item(Mark::Warn, name, "not the host's", Some(remedy))
        }
        None => item(Mark::Warn, name, "unknown", Some("/proc/self/ns/pid does not tell; mount /proc")),
    }
}

fn kernel_sweep(tried: &Result<KernelSweep, String>) -> Item {
    let name = "sweep in the kernel";
    match tried {
        Ok(KernelSweep { processes, took, exact, .. }) => {
            let found = format!("{} in {:.2} ms", counted(*processes), took.as_secs_f64() * 1e3);
            let remedy = (!exact).then_some(
                "memory of suspects cannot be summed exactly on this kernel: small leaks take longer to tell",
            );
            item(if *exact { Mark::Ok } else { Mark::Warn }, name, found, remedy)
        }
        Err(reason) => item(Mark::Off, name, reason.clone(), None),
    }
}

/// What the kernel tells by itself between two sweeps; where it does not, `mark` says how much that matters.
fn told(tried: &Result<KernelSweep, String>, what: &str, name: &str, mark: Mark) -> Item {
    let missing = match tried {
        Ok(kernel) => kernel.blind.iter().find(|spot| spot.what == what).map(|spot| spot.reason.clone()),
        Err(_) => Some("needs the sweep in the kernel".to_owned()),
    };
    let lost = match what {
        OOM_KILLS => "no record tells of a kill; that the process has exited is told",
        _ => "`rss_source: tracepoint` changes nothing here",
    };
    match missing {
        None => item(Mark::Ok, name, "told by the kernel", None),
        Some(reason) => item(mark, name, reason, Some(lost)),
    }
}

fn proc_sweep(tried: &Result<ProcSweepFacts, String>) -> Item {
    let name = "sweep through /proc";
    match tried {
        Ok(ProcSweepFacts { view: ProcView::Outer, processes, .. }) => {
            let found = format!("{}, but /proc is of a pid namespace around this one", counted(*processes));
            let remedy = "pids in records are that namespace's; mount this namespace's own /proc, or share the host's pids";
            item(Mark::Warn, name, found, Some(remedy))
        }
        Ok(ProcSweepFacts { processes, unread, .. }) if *unread > 0 => {
            let remedy = "mount /proc without hidepid, or run as root";
            item(Mark::Warn, name, format!("{}, {unread} more unreadable", counted(*processes)), Some(remedy))
        }
        Ok(ProcSweepFacts { processes, .. }) => item(Mark::Ok, name, counted(*processes), None),
        Err(reason) => item(Mark::Off, name, reason.clone(), Some("mount /proc of this pid namespace")),
    }
}

fn counted(processes: usize) -> String {
    if processes == 1 { "1 process".to_owned() } else { format!("{processes} processes") }
}

fn cgroups(layout: Option<&Layout>) -> Item {
    let name = "cgroups";
    let Some(layout) = layout else {
        return item(Mark::Warn, name, "unknown", Some("/proc/self/mountinfo does not tell; mount /proc"));
    };
    let version = match layout.version() {
        Version::Absent => {
            let remedy = "records lack cgroup ids; mount /sys/fs/cgroup, read-only is enough";
            return item(Mark::Warn, name, "not mounted", Some(remedy));
        }
        Version::V1 => "v1",
        Version::Hybrid => "hybrid (v1 and v2)",
        Version::V2 => "v2",
    };
    let memory = match (&layout.memory_v1, &layout.unified) {
        (Some(tree), _) => format!("memory controller at {} (v1)", tree.mount_point.display()),
        (None, Some(tree)) if layout.memory_v2 => {
            format!("memory controller at {} (v2)", tree.mount_point.display())
        }
        _ => {
            let remedy = "containers have no memory cgroup; boot with cgroup_enable=memory";
            return item(Mark::Warn, name, format!("{version}, without a memory controller"), Some(remedy));
        }
    };
    item(Mark::Ok, name, format!("{version}, {memory}"), None)
}

fn memory(memory: Option<MemoryTotals>) -> Item {
    let mib = |bytes: u64| bytes >> 20;
    match memory {
        Some(m) => {
            let found = format!(
                "{} MiB, {} MiB available; swap {} MiB, {} MiB free",
                mib(m.total),
                mib(m.available),
                mib(m.swap_total),
                mib(m.swap_free)
            );
            item(Mark::Ok, "memory", found, None)
        }
        None => {
            let remedy = "no prediction of when the host's memory is gone; mount /proc";
            item(Mark::Warn, "memory", "unknown", Some(remedy))
        }
    }
}
