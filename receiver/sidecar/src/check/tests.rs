use std::path::PathBuf;
use std::time::Duration;

use mlh_targets::capability::{Capabilities, Capability};
use mlh_targets::cgroup::{Layout, Tree};
use mlh_targets::host::{MemoryTotals, Namespaces};
use mlh_targets::sweep::ProcView;

use super::facts::in_brackets;
use super::*;

/// Root on a host of its own, with everything.
fn whole() -> Facts {
    let tree = |at: &str| Some(Tree { mount_point: at.into(), root: "/".into() });
    Facts {
        platform: "linux",
        release: Some("6.18.0".into()),
        btf: (PathBuf::from("/sys/kernel/btf/vmlinux"), Ok(())),
        capabilities: Some(Capabilities::of(&[
            Capability::Bpf,
            Capability::Perfmon,
            Capability::SysPtrace,
            Capability::DacReadSearch,
            Capability::SysAdmin,
            Capability::SysResource,
        ])),
        namespaces: Namespaces { pid_is_host: Some(true), user_is_host: Some(true) },
        unprivileged_bpf_disabled: Some(2),
        lockdown: Some("none".into()),
        cgroups: Some(Layout { unified: tree("/sys/fs/cgroup"), memory_v2: true, ..Layout::default() }),
        memory: Some(MemoryTotals {
            total: 8 << 30,
            available: 4 << 30,
            swap_total: 1 << 30,
            swap_free: 1 << 29,
        }),
        kernel_sweep: Ok(KernelSweep {
            processes: 120,
            took: Duration::from_micros(70),
            exact: true,
            blind: vec![],
        }),
        proc_sweep: Ok(ProcSweepFacts { view: ProcView::Own, processes: 120, unread: 0 }),
    }
}

fn report(change: impl FnOnce(&mut Facts)) -> Report {
    let mut facts = whole();
    change(&mut facts);
    Report::from(&facts)
}

fn found<'a>(report: &'a Report, name: &str) -> &'a Item {
    report.items.iter().find(|item| item.name == name).unwrap_or_else(|| panic!("no {name} in\n{report}"))
}

fn remedy<'a>(report: &'a Report, name: &str) -> &'a str {
    found(report, name).remedy.as_deref().unwrap_or_else(|| panic!("no remedy for {name} in\n{report}"))
}

/// Guarantees: with everything there nothing is complained of, and the table reads as it should to the letter.
#[test]
fn root_with_everything() {
    let report = report(|_| {});
    assert_eq!(report.detection, Detection::Kernel);
    let expected = "\
[ok]   kernel               6.18.0
[ok]   BTF                  /sys/kernel/btf/vmlinux
[ok]   CAP_BPF              held
[ok]   CAP_PERFMON          held
[ok]   CAP_SYS_PTRACE       held
[ok]   CAP_DAC_READ_SEARCH  held
[ok]   CAP_SYS_ADMIN        held
[ok]   CAP_SYS_RESOURCE     held
[ok]   lockdown             none
[ok]   unprivileged BPF     kernel.unprivileged_bpf_disabled = 2; the sweep does not depend on it
[ok]   pid namespace        the host's: every process is visible
[ok]   sweep in the kernel  120 processes in 0.07 ms
[ok]   OOM kills            told by the kernel
[ok]   growth at once       told by the kernel
[ok]   sweep through /proc  120 processes
[ok]   cgroups              v2, memory controller at /sys/fs/cgroup (v2)
[ok]   memory               8192 MiB, 4096 MiB available; swap 1024 MiB, 512 MiB free
growth detection runs, in the kernel (eBPF)
";
    assert_eq!(report.to_string(), expected);
}

/// Guarantees: a user with the two capabilities runs in the kernel; what it lacks is named with its loss, and what
/// nothing needs is not called missing.
#[test]
fn two_capabilities() {
    let report = report(|facts| {
        facts.capabilities = Some(Capabilities::of(&[Capability::Bpf, Capability::Perfmon]));
    });
    assert!(report.can_run());
    assert_eq!(report.detection, Detection::Kernel);
    assert_eq!(found(&report, "CAP_SYS_PTRACE").mark, Mark::Warn);
    assert!(remedy(&report, "CAP_SYS_PTRACE").contains("build ids"));
    for unneeded in ["CAP_SYS_ADMIN", "CAP_SYS_RESOURCE", "CAP_DAC_READ_SEARCH"] {
        assert_eq!(found(&report, unneeded).mark, Mark::Unneeded, "{unneeded}");
    }
    assert!(report.items.iter().all(|item| item.mark != Mark::Off), "{report}");
}

/// Guarantees: where the kernel tells of no OOM kills, that is a feature which is off, with what follows from it; that it
/// tells of no growth is not needed unless it is asked for.
#[test]
fn blind_spots() {
    let report = report(|facts| {
        let blind = |what| crate::observe::BlindSpot { what, reason: "no such tracepoint".into() };
        let all = vec![blind(crate::observe::OOM_KILLS), blind(crate::observe::RSS_CROSSINGS)];
        facts.kernel_sweep =
            Ok(KernelSweep { processes: 9, took: Duration::from_millis(1), exact: true, blind: all });
    });
    assert!(report.can_run());
    assert_eq!(found(&report, "OOM kills").mark, Mark::Off);
    assert!(remedy(&report, "OOM kills").contains("no record tells of a kill"));
    assert_eq!(found(&report, "growth at once").mark, Mark::Unneeded);
    assert!(remedy(&report, "growth at once").contains("rss_source"));
}

/// Guarantees: a user with no capability runs through `/proc`, and for each of the two capabilities it says what
/// is off and the flag for Docker, Kubernetes and systemd.
#[test]
fn no_capabilities() {
    let report = report(|facts| {
        facts.capabilities = Some(Capabilities::default());
        facts.kernel_sweep = Err("the kernel refuses".into());
    });
    assert!(report.can_run());
    assert_eq!(report.detection, Detection::Proc);
    for (name, short) in [("CAP_BPF", "BPF"), ("CAP_PERFMON", "PERFMON")] {
        assert_eq!(found(&report, name).mark, Mark::Off);
        let remedy = remedy(&report, name);
        for part in
            ["/proc".into(), format!("--cap-add {short}"), format!("add: [{short}]"), format!("={name}")]
        {
            assert!(remedy.contains(&part), "{part} in {remedy}");
        }
    }
    assert_eq!(found(&report, "sweep in the kernel").mark, Mark::Off);
    assert!(report.to_string().ends_with("through /proc: nothing is missed, but each pass costs more CPU\n"));
}

/// Guarantees: `CAP_SYS_ADMIN` stands in for the two, and on kernels before they existed it is what is asked for.
#[test]
fn sys_admin() {
    let admin = report(|facts| facts.capabilities = Some(Capabilities::of(&[Capability::SysAdmin])));
    assert_eq!(found(&admin, "CAP_BPF").mark, Mark::Ok);
    let old = report(|facts| {
        facts.release = Some("5.4.0".into());
        facts.capabilities = Some(Capabilities::default());
    });
    assert_eq!(found(&old, "kernel").mark, Mark::Off);
    assert!(remedy(&old, "kernel").contains("5.8"));
    assert!(remedy(&old, "CAP_SYS_ADMIN").contains("5.8"));
    assert!(remedy(&old, "CAP_SYS_RESOURCE").contains("MEMLOCK"));
}

/// Guarantees: no BTF is named with the path, the reason and both cures.
#[test]
fn no_btf() {
    let report = report(|facts| {
        facts.btf = (PathBuf::from("/x/btf"), Err("No such file or directory".into()));
        facts.kernel_sweep = Err("no BTF".into());
    });
    assert_eq!(report.detection, Detection::Proc);
    assert_eq!(found(&report, "BTF").found, "/x/btf: No such file or directory");
    assert!(remedy(&report, "BTF").contains("CONFIG_DEBUG_INFO_BTF=y"));
    assert!(remedy(&report, "BTF").contains("/sys"));
}

/// Guarantees: lockdown is off only in the mode that forbids reading, and the mode is read from the kernel's form.
#[test]
fn lockdown() {
    let strict = report(|facts| facts.lockdown = Some("confidentiality".into()));
    assert_eq!(found(&strict, "lockdown").mark, Mark::Off);
    assert!(remedy(&strict, "lockdown").contains("lockdown=integrity"));
    let mild = report(|facts| facts.lockdown = Some("integrity".into()));
    assert_eq!(found(&mild, "lockdown").mark, Mark::Ok);
    assert_eq!(in_brackets("none [integrity] confidentiality").as_deref(), Some("integrity"));
    assert_eq!(in_brackets("none"), None);
}

/// Guarantees: inside namespaces it says what is not seen, what does not count, and how to change that.
#[test]
fn inside_namespaces() {
    let report = report(|facts| {
        facts.namespaces = Namespaces { pid_is_host: Some(false), user_is_host: Some(false) };
        facts.kernel_sweep =
            Ok(KernelSweep { processes: 1, took: Duration::from_micros(5), exact: true, blind: vec![] });
        facts.proc_sweep = Ok(ProcSweepFacts { view: ProcView::Outer, processes: 5, unread: 0 });
    });
    assert!(report.can_run());
    assert_eq!(found(&report, "sweep in the kernel").found, "1 process in 0.01 ms");
    assert!(remedy(&report, "pid namespace").contains("--pid=host"));
    assert!(remedy(&report, "pid namespace").contains("hostPID: true"));
    assert!(remedy(&report, "user namespace").contains("hostUsers: true"));
    assert_eq!(found(&report, "sweep through /proc").mark, Mark::Warn);
    assert!(found(&report, "sweep through /proc").found.contains("pid namespace around"));
}

/// Guarantees: unreadable processes, lagging counters, absent cgroups and a v2 tree without the controller are
/// warnings with a cure; a hybrid host says where its memory controller is.
#[test]
fn smaller_losses() {
    let losses = report(|facts| {
        facts.kernel_sweep =
            Ok(KernelSweep { processes: 9, took: Duration::from_millis(1), exact: false, blind: vec![] });
        facts.proc_sweep = Ok(ProcSweepFacts { view: ProcView::Own, processes: 9, unread: 3 });
        facts.cgroups = Some(Layout::default());
        facts.memory = None;
    });
    for name in ["sweep in the kernel", "sweep through /proc", "cgroups", "memory"] {
        assert_eq!(found(&losses, name).mark, Mark::Warn, "{name}");
        assert!(!remedy(&losses, name).is_empty());
    }
    let tree = |at: &str| Some(Tree { mount_point: at.into(), root: "/".into() });
    let hybrid = report(|facts| {
        facts.cgroups = Some(Layout {
            unified: tree("/sys/fs/cgroup/unified"),
            memory_v1: tree("/sys/fs/cgroup/memory"),
            any_v1: true,
            memory_v2: false,
        });
    });
    let expected = "hybrid (v1 and v2), memory controller at /sys/fs/cgroup/memory (v1)";
    assert_eq!(found(&hybrid, "cgroups").found, expected);
    let bare = report(|facts| facts.cgroups = Some(Layout { unified: tree("/c"), ..Layout::default() }));
    assert_eq!(found(&bare, "cgroups").mark, Mark::Warn);
}

/// Guarantees: with neither way it says so and growth detection cannot run; a reason of several lines keeps the
/// table's shape.
#[test]
fn neither_way() {
    let report = report(|facts| {
        facts.kernel_sweep = Err("refused:\nlast line of the log".into());
        facts.proc_sweep = Err("/proc/self: not found".into());
    });
    assert!(!report.can_run());
    let text = report.to_string();
    assert!(text.contains(
        "[off]  sweep in the kernel  refused:\n                            last line of the log\n"
    ));
    assert!(text.ends_with("`replay` judges a trace on any platform\n"));
}

/// Guarantees: another platform is named, with what works there.
#[test]
fn other_platforms() {
    let report = report(|facts| {
        facts.platform = "macos";
        facts.kernel_sweep = Err("unsupported".into());
        facts.proc_sweep = Err("unsupported".into());
    });
    assert!(!report.can_run());
    assert!(report.to_string().starts_with("[off]  platform  macos\n"));
    assert!(remedy(&report, "platform").contains("replay"));
}
