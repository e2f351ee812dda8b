//! The facts, gathered. Nothing is concluded here.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mlh_targets::capability::Capabilities;
use mlh_targets::cgroup::Layout;
use mlh_targets::host::{HostIdentity, MemoryTotals, Namespaces};
use mlh_targets::sweep::{ProcSweep, ProcView};

use crate::observe::{self, BlindSpot, Crossings, Listen, Options};

/// Where the kernel shows its type information.
const BTF: &str = "/sys/kernel/btf/vmlinux";
/// How the kernel is locked down, the mode in force in brackets.
const LOCKDOWN: &str = "/sys/kernel/security/lockdown";
/// Whether processes without capabilities may load BPF programs.
const UNPRIVILEGED_BPF: &str = "/proc/sys/kernel/unprivileged_bpf_disabled";

/// What one pass in the kernel gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelSweep {
    /// Processes seen.
    pub processes: usize,
    /// How long it took.
    pub took: Duration,
    /// Whether suspects are summed exactly.
    pub exact: bool,
    /// What the kernel will not tell by itself.
    pub blind: Vec<BlindSpot>,
}

/// What one pass through `/proc` gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcSweepFacts {
    /// Whose processes `/proc` shows.
    pub view: ProcView,
    /// Processes seen.
    pub processes: usize,
    /// Processes that could not be read.
    pub unread: u64,
}

/// Everything the conclusions rest on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// `linux`, `macos`, `windows`, ...
    pub platform: &'static str,
    /// `uname -r`.
    pub release: Option<String>,
    /// Where type information was looked for, and what opening it said.
    pub btf: (PathBuf, Result<(), String>),
    /// In effect for this process.
    pub capabilities: Option<Capabilities>,
    /// Of this process.
    pub namespaces: Namespaces,
    /// `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<u32>,
    /// `none`, `integrity` or `confidentiality`.
    pub lockdown: Option<String>,
    /// The cgroup trees.
    pub cgroups: Option<Layout>,
    /// The host's memory.
    pub memory: Option<MemoryTotals>,
    /// The pass in the kernel, tried; else why not.
    pub kernel_sweep: Result<KernelSweep, String>,
    /// The pass through `/proc`, tried; else why not.
    pub proc_sweep: Result<ProcSweepFacts, String>,
}

impl Facts {
    /// Looks at this host.
    #[must_use]
    pub fn gather(btf_path: Option<PathBuf>) -> Self {
        let options = Options { btf_path, ..Options::default() };
        let btf = options.btf_path.clone().unwrap_or_else(|| PathBuf::from(BTF));
        let readable = File::open(&btf).map(drop).map_err(|error| error.to_string());
        Self {
            platform: std::env::consts::OS,
            release: HostIdentity::read().kernel_release,
            btf: (btf, readable),
            capabilities: Capabilities::effective(),
            namespaces: Namespaces::read(),
            unprivileged_bpf_disabled: first_line(UNPRIVILEGED_BPF).and_then(|text| text.parse().ok()),
            lockdown: first_line(LOCKDOWN).as_deref().and_then(in_brackets),
            cgroups: Layout::read().ok(),
            memory: MemoryTotals::read().ok(),
            kernel_sweep: try_kernel(&options),
            proc_sweep: try_proc(),
        }
    }
}

fn try_kernel(options: &Options) -> Result<KernelSweep, String> {
    let mut observer = observe::open_kernel(options)?;
    let full = observer.full().map_err(|error| error.to_string())?;
    // tried for a moment, and of nobody's growth
    let crossings = Crossings { threshold: u64::from(u32::MAX), watched_only: true };
    let blind = observer.listen(&Listen { crossings: Some(crossings) }, Box::new(drop));
    let own = observer.watched(&[std::process::id()], &[]).map_err(|error| error.to_string())?;
    Ok(KernelSweep {
        processes: full.readings.len(),
        took: full.took,
        exact: own.readings.iter().any(|reading| reading.slack == 0),
        blind,
    })
}

fn try_proc() -> Result<ProcSweepFacts, String> {
    let mut sweep = ProcSweep::open().map_err(|error| error.to_string())?;
    let readings = sweep.full().map_err(|error| error.to_string())?;
    Ok(ProcSweepFacts {
        view: sweep.view(),
        processes: readings.processes.len(),
        unread: readings.errors.iter().map(|(_, count)| count).sum(),
    })
}

fn first_line(path: &str) -> Option<String> {
    let text = fs::read_to_string(Path::new(path)).ok()?;
    text.lines().next().map(|line| line.trim().to_owned())
}

/// `integrity` of `none [integrity] confidentiality`.
pub(super) fn in_brackets(text: &str) -> Option<String> {
    let (_, rest) = text.split_once('[')?;
    rest.split_once(']').map(|(mode, _)| mode.to_owned())
}
