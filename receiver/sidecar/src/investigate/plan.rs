//! What is wanted: whom to look at, how closely, for how long, and what to leave out.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use mlh_detect::{Cleared, Stage};
use mlh_stacks::debuginfod::{Debuginfod, Options};
use mlh_stacks::unwind::{Library, Unwind};

/// Whom to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A process, by its pid in the sidecar's own pid namespace.
    Pid(u32),
    /// Every process of a cgroup and of those below it, also those that join later.
    CgroupId(u64),
    /// The same, by its path: absolute below `/sys/fs/cgroup`, or as `/proc/PID/cgroup` names it.
    Cgroup(PathBuf),
    /// A container, by its id or the unambiguous beginning of it.
    Container(String),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "pid {pid}"),
            Self::CgroupId(id) => write!(f, "cgroup {id}"),
            Self::Cgroup(path) => write!(f, "cgroup {}", path.display()),
            Self::Container(id) => write!(f, "container {id}"),
        }
    }
}

/// How closely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Rung {
    /// What the filters let through.
    #[default]
    Targeted,
    /// Every allocation, each told.
    Debug,
    /// No allocation: who touches memory that stays, with no probe in the target. See [`growth_stacks`](crate::growth_stacks).
    GrowthStacks,
}

impl Rung {
    /// What is seen, in words.
    #[must_use]
    pub fn sees(self) -> &'static str {
        match self {
            Self::Targeted => "what the filters let through",
            Self::Debug => "every allocation",
            Self::GrowthStacks => "who touches memory that stays",
        }
    }
}

/// What the sidecar is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Mode {
    /// Looks at everybody from outside.
    #[default]
    GrowthDetection,
    /// And at one target from within.
    Investigating(Rung),
}

impl Mode {
    /// As the setting, records and metrics say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::GrowthDetection => "growth_detection",
            Self::Investigating(Rung::Targeted) => "targeted",
            Self::Investigating(Rung::Debug) => "debug",
            Self::Investigating(Rung::GrowthStacks) => "growth_stacks",
        }
    }
}

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The configuration says so.
    Configuration,
    /// Somebody at the control socket.
    Control {
        /// Its user.
        uid: u32,
    },
    /// `inspect`.
    Command,
    /// The sidecar itself, for a case that had come so far.
    Escalation {
        /// How far.
        of: Stage,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Configuration => f.write_str("configuration"),
            Self::Control { uid } => write!(f, "control (uid {uid})"),
            Self::Command => f.write_str("command"),
            Self::Escalation { .. } => f.write_str("escalation"),
        }
    }
}

/// What is left out, and the rest of what can be set.
#[derive(Debug, Clone, PartialEq)]
pub struct Filters {
    /// Bytes; smaller allocations are not tracked. Without effect in debug mode.
    pub min_allocation_size: u64,
    /// Bytes; from here on every allocation is tracked.
    pub large_allocation_size: u64,
    /// One in so many of those between. Without effect in debug mode.
    pub sampling_rate: u32,
    /// An allocation is told once it is older.
    pub min_unfreed_age: Duration,
    /// One record a stack in this time.
    pub stack_dedup_window: Duration,
    /// Blocks that are kept at once. Without effect in debug mode.
    pub max_tracked_allocations: u32,
    /// Tell of every tracked block. In debug mode always.
    pub emit_allocations: bool,
    /// Records a second.
    pub max_events_per_second: u32,
    /// Of the target's CPU time, 0.001 for 0.1 %: in no minute do the probes cost more. `None`: no limit (debug mode, where none was
    /// set).
    pub overhead_budget: Option<f64>,
    /// Frames of a stack.
    pub max_frames: usize,
    /// How they are unwound.
    pub unwind: Unwind,
    /// Who is asked for debug information that is not here. `None`: nobody.
    pub debuginfod: Option<Debuginfod>,
    /// Type information of the running kernel.
    pub btf_path: Option<PathBuf>,
}

impl Default for Filters {
    fn default() -> Self {
        Self {
            min_allocation_size: 10_240,
            large_allocation_size: 1 << 20,
            sampling_rate: 10,
            min_unfreed_age: Duration::from_secs(30),
            stack_dedup_window: Duration::from_secs(300),
            max_tracked_allocations: 10_000,
            emit_allocations: false,
            max_events_per_second: 1000,
            overhead_budget: Some(0.001),
            max_frames: 64,
            unwind: Unwind::Auto,
            debuginfod: None,
            btf_path: None,
        }
    }
}

impl Filters {
    /// Probes where an allocator leaves its cache, as the rung `gate_probes` of the ladder places them: smaller allocations, which most
    /// are, cost nothing and are not seen.
    #[must_use]
    pub fn gate_probes() -> Self {
        Self { sampling_rate: 1, ..Self::default() }
    }

    /// Probes on every allocation, as the rung `full_probes` places them: of a busy target that is within the budget in short bursts.
    #[must_use]
    pub fn full_probes() -> Self {
        Self {
            min_allocation_size: 0,
            large_allocation_size: 0,
            sampling_rate: 1,
            max_tracked_allocations: 100_000,
            ..Self::default()
        }
    }

    /// How servers of debug information are asked, where some are named; it names none.
    #[must_use]
    pub fn debuginfod() -> Debuginfod {
        Debuginfod {
            servers: Vec::new(),
            cache_dir: PathBuf::from("/var/cache/memory-leak-hunter/debuginfod"),
            max_bytes: 1 << 30,
            timeout: Duration::from_secs(30),
        }
    }

    /// For one look: what its stacks get their names from.
    #[must_use]
    pub fn library(&self) -> Library {
        Library::with(Options { debuginfod: self.debuginfod.clone() })
    }
}

/// An order: one look.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// Whom to look at.
    pub target: Target,
    /// How closely.
    pub rung: Rung,
    /// For how long; `None`: until it is released, or the target has ended.
    pub duration: Option<Duration>,
    /// What to leave out.
    pub filters: Filters,
    /// Who asked.
    pub origin: Origin,
}

impl Plan {
    /// Each tracked allocation and each change of the address space is told: only where records go somewhere.
    #[must_use]
    pub fn emits(&self) -> bool {
        self.origin != Origin::Command && (self.rung == Rung::Debug || self.filters.emit_allocations)
    }
}

/// Why a look has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// Its time was over.
    Elapsed,
    /// Somebody released the target.
    Released(Origin),
    /// Another order took its place.
    Replaced,
    /// No process of it is left.
    TargetGone,
    /// Not even one burst of it keeps within the budget.
    OverBudget,
    /// The sidecar ends.
    Shutdown,
    /// The verdict has fallen, and it is known who is to blame.
    Verdict,
    /// The case that it was for was taken back.
    Cleared(Cleared),
    /// Others have waited for their turn; it comes back.
    Yielded,
    /// It could not go on: the reason.
    Failed(String),
}

impl End {
    /// As records and the log say it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Elapsed => "elapsed",
            Self::Released(_) => "released",
            Self::Replaced => "replaced",
            Self::TargetGone => "target_gone",
            Self::OverBudget => "over_budget",
            Self::Shutdown => "shutdown",
            Self::Verdict => "verdict",
            Self::Cleared(_) => "cleared",
            Self::Yielded => "yielded",
            Self::Failed(_) => "failed",
        }
    }
}
