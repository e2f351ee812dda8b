//! Every name that goes out: resource and record attributes, event names, kinds and severities.
//!
//! Upstream names come from `opentelemetry-semantic-conventions`, ours begin with `memory_leak_hunter.`. No
//! other file spells an attribute.

use mlh_detect::FindingKind;
use opentelemetry_proto::tonic::logs::v1::SeverityNumber;

pub use opentelemetry_semantic_conventions::SCHEMA_URL;
pub use opentelemetry_semantic_conventions::attribute::{
    CODE_FILE_PATH, CODE_FUNCTION_NAME, CODE_LINE_NUMBER, CODE_STACKTRACE, CONTAINER_ID, HOST_ID, HOST_NAME,
    K8S_NAMESPACE_NAME, K8S_NODE_NAME, K8S_POD_NAME, K8S_POD_UID, LOG_RECORD_UID, PROCESS_CREATION_TIME,
    PROCESS_EXECUTABLE_BUILD_ID_GNU, PROCESS_EXECUTABLE_NAME, PROCESS_EXECUTABLE_PATH, PROCESS_LINUX_CGROUP,
    PROCESS_PID, PROCESS_VPID, PROFILE_FRAME_TYPE, SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION,
};

/// Name of the instrumentation scope of every record and metric.
pub const SCOPE_NAME: &str = "memory_leak_hunter";
/// The product, as `service.name` of its own metrics and `source` of its events.
pub const PRODUCT: &str = "memory-leak-hunter";
/// What our attributes begin with.
pub const PREFIX: &str = "memory_leak_hunter.";

/// `service.name` where no program is known, as the specification of Resources asks.
pub const UNKNOWN_SERVICE: &str = "unknown_service";

/// The pid in the host's own namespace, on a Resource, where it differs from `process.pid`.
pub const PROCESS_HOST_PID: &str = "process.host.pid";

/// `memory-<kind number>-<unix ms>`, text.
pub const EVENT_ID: &str = "memory_leak_hunter.event.id";
/// The event name's last words joined by underscores, text: some log stores drop the event name.
pub const EVENT_KIND: &str = "memory_leak_hunter.event.kind";
/// The event type of the specification, text.
pub const EVENT_TYPE: &str = "memory_leak_hunter.event.type";
/// What the record is about, text: [`SCOPE_PROCESS`] or [`SCOPE_CONTAINER`].
pub const SCOPE: &str = "memory_leak_hunter.scope";
/// The operation seen (`mmap`, `malloc`, ...), or the kind where there is none, text.
pub const OPERATION: &str = "memory_leak_hunter.operation";
/// The process, in the sidecar's pid namespace, integer; absent where it has none there.
pub const PID: &str = "memory_leak_hunter.pid";
/// The thread group leader's name, text; absent where no process is known.
pub const COMMAND: &str = "memory_leak_hunter.command";
/// Inode of the cgroup v2 directory, integer.
pub const CGROUP_ID: &str = "memory_leak_hunter.cgroup_id";
/// Inode of the memory controller's cgroup, integer.
pub const MEMORY_CGROUP_ID: &str = "memory_leak_hunter.memory_cgroup_id";
/// Where the memory is, text, hexadecimal with `0x`; of an unfreed stack its oldest block.
pub const ADDRESS: &str = "memory_leak_hunter.address";
/// Where the first frame outside allocator and C library goes on, text, hexadecimal with `0x`; where no stack is known,
/// the allocator's caller.
pub const CALLER_IP: &str = "memory_leak_hunter.caller_ip";
/// That frame, text: `function (file:line)`, or `module+0xoffset` where it has no name.
pub const CALLER: &str = "memory_leak_hunter.caller";
/// What is the same for the same stack in every process that runs the same files, text, 16 hexadecimal digits.
pub const STACK_HASH: &str = "memory_leak_hunter.stack_hash";
/// Why a stack ends before the thread's outermost function, on a sample of a profile, text; absent where it does not.
pub const STACK_INCOMPLETE: &str = "memory_leak_hunter.stack_incomplete";
/// So many operations the record stands for, integer; absent where it is one.
pub const WEIGHT: &str = "memory_leak_hunter.weight";
/// Blocks of a stack older than `min_unfreed_age`, integer; an estimate where sampled.
pub const OCCURRENCES: &str = "memory_leak_hunter.occurrences";
/// Their bytes, integer.
pub const UNFREED_BYTES: &str = "memory_leak_hunter.unfreed_bytes";
/// All that the stack holds, whatever its age, integer, bytes.
pub const LIVE_BYTES: &str = "memory_leak_hunter.live_bytes";
/// So many blocks, integer.
pub const LIVE_COUNT: &str = "memory_leak_hunter.live_count";
/// Half of the width of the 95 % interval around the live bytes, integer, bytes; absent where nothing is sampled.
pub const LIVE_ERROR: &str = "memory_leak_hunter.live_error_bytes";
/// Age of the oldest block, integer, seconds.
pub const AGE: &str = "memory_leak_hunter.age_s";
/// Blocks by age, text: below 1 s, 10 s, 30 s, 1 min, 5 min, and older, separated by spaces.
pub const AGES: &str = "memory_leak_hunter.ages";
/// Bytes that the stack allocates in a second, over the last minute, integer.
pub const ALLOCATION_RATE: &str = "memory_leak_hunter.allocated_bytes_per_second";
/// The same, freed, integer.
pub const FREE_RATE: &str = "memory_leak_hunter.freed_bytes_per_second";
/// True where something was lost, so that there may be more; absent otherwise.
pub const AT_LEAST: &str = "memory_leak_hunter.at_least";
/// True where the stack has been told before and holds more by now; absent otherwise.
pub const GROWN: &str = "memory_leak_hunter.grown";
/// What the look has cost so far, number, share of the target's CPU time, or of one CPU where it used less: 0.001 is 0.1 %.
pub const OVERHEAD: &str = "memory_leak_hunter.overhead";
/// Of the time of the look, the share in which the target was watched, number: 1 where the probes could stay, less where they
/// came in bursts to keep within the budget.
pub const WATCHED_SHARE: &str = "memory_leak_hunter.watched_share";
/// In which way the memory grows, text: `steady`, `steps`, `accelerating` or `periodic`.
pub const PATTERN: &str = "memory_leak_hunter.pattern";
/// What the verdict rests on, or what a look that followed from a suspicion has come to, list of texts, the cheapest way of looking first: `source:says` each, such as `trend:kept`,
/// `growth_pages:kept`; says: `kept`, `garbage`, `retained`, `copies`, `in_use` or `unclear`.
pub const EVIDENCE: &str = "memory_leak_hunter.evidence";
/// Who is to blame, list of texts, three at most, the most first: `93 % remember (session.cc:88)`, the share being of what was seen
/// to be kept; behind a caller that is told for a library without names stands `through` and the library.
pub const CULPRITS: &str = "memory_leak_hunter.culprits";
/// The share of the first of them, number, 0..=1. Its function, file, line and stack are in attributes of their own.
pub const CULPRIT_SHARE: &str = "memory_leak_hunter.culprit_share";
/// How they were seen, text: `growth_pages`, `last_writers`, `object_makers`, `live_blocks`, ...
pub const CULPRIT_SOURCE: &str = "memory_leak_hunter.culprit_source";
/// How what the first one keeps lies in time, text: `steady`.
pub const GROWTH_PATTERN: &str = "memory_leak_hunter.growth_pattern";
/// What the first one was seen to keep, by its pages, integer, bytes.
pub const KEPT_BYTES: &str = "memory_leak_hunter.kept_bytes";
/// Which kinds of memory in use grow, as the runtime or allocator tells them, list of texts, three at most, the most first:
/// `71 % shop::Order`, the share being of the growth.
pub const GROWING_KINDS: &str = "memory_leak_hunter.growing_kinds";
/// What was not seen, list of sentences.
pub const NOT_SEEN: &str = "memory_leak_hunter.not_seen";
/// The mode of operation from now on, text: `growth_detection`, `targeted`, `debug` or `growth_stacks`.
pub const MODE: &str = "memory_leak_hunter.mode";
/// The one before, text.
pub const PREVIOUS_MODE: &str = "memory_leak_hunter.previous_mode";
/// Who is or was looked at, text: `pid 101`, `container 4f1e`, `cgroup 98765`.
pub const TARGET: &str = "memory_leak_hunter.target";
/// Who asked for it, text: `configuration`, `command`, `escalation`, or `control (uid 0)`.
pub const ASKED_BY: &str = "memory_leak_hunter.asked_by";
/// Why the mode has changed, text: `asked`, `suspected`, `detected` where a look begins; `verdict`, `cleared`, `elapsed`, `released`,
/// `replaced`, `target_gone`, `over_budget`, `shutdown`, `yielded` or `failed` where it ends.
pub const REASON: &str = "memory_leak_hunter.reason";
/// For how long it will be looked, or has been, integer, seconds; absent where no end is set.
pub const DURATION: &str = "memory_leak_hunter.duration_s";
/// The budget that the overhead was over, number, as [`OVERHEAD`].
pub const BUDGET: &str = "memory_leak_hunter.overhead_budget";
/// Probe hits while it was looked, integer.
pub const HITS: &str = "memory_leak_hunter.probe_hits";
/// Kernel memory that the look took, integer, bytes.
pub const KERNEL_MEMORY: &str = "memory_leak_hunter.kernel_memory_bytes";
/// Bytes allocated, integer.
pub const SIZE_BYTES: &str = "memory_leak_hunter.size_bytes";
/// Resident memory, integer, pages of the kernel's page size.
pub const RSS_PAGES: &str = "memory_leak_hunter.rss_pages";
/// Growth that the record speaks of, integer, pages of the kernel's page size.
pub const RSS_GROWTH: &str = "memory_leak_hunter.rss_growth";
/// Anonymous memory, integer, bytes.
pub const ANON_BYTES: &str = "memory_leak_hunter.anon_bytes";
/// Swapped-out memory, integer, bytes.
pub const SWAP_BYTES: &str = "memory_leak_hunter.swap_bytes";
/// Shared memory, integer, bytes.
pub const SHMEM_BYTES: &str = "memory_leak_hunter.shmem_bytes";
/// File pages, integer, bytes.
pub const FILE_BYTES: &str = "memory_leak_hunter.file_bytes";
/// The slope, integer, bytes per second.
pub const VELOCITY: &str = "memory_leak_hunter.velocity_bytes_per_second";
/// Lower end of the slope's 95 % interval, integer, bytes per second.
pub const VELOCITY_LOW: &str = "memory_leak_hunter.velocity_low_bytes_per_second";
/// Upper end of the slope's 95 % interval, integer, bytes per second.
pub const VELOCITY_HIGH: &str = "memory_leak_hunter.velocity_high_bytes_per_second";
/// How sure the verdict is, number, 0..=1.
pub const CONFIDENCE: &str = "memory_leak_hunter.confidence";
/// The time the slope was measured over, integer, seconds.
pub const WINDOW: &str = "memory_leak_hunter.window_s";
/// Samples the slope rests on, integer.
pub const SAMPLES: &str = "memory_leak_hunter.samples";
/// When the growth began, text, RFC 3339.
pub const ONSET: &str = "memory_leak_hunter.onset";
/// Bytes grown since the onset, integer; in `leak.cleared` up to the peak.
pub const LEAKED_BYTES: &str = "memory_leak_hunter.leaked_bytes";
/// Expected time until a limit is reached, the first of all around, integer, seconds: what is left below it over how fast that has
/// shrunk since the onset, whoever took it.
pub const TIME_TO_OOM: &str = "memory_leak_hunter.time_to_oom_s";
/// The same, not before, integer, seconds; with the next the interval that holds nine of ten ends.
pub const TIME_TO_OOM_EARLIEST: &str = "memory_leak_hunter.time_to_oom_earliest_s";
/// The same, not after, integer, seconds; absent where what is left shrinks too unevenly, or has been seen shrinking for too short.
pub const TIME_TO_OOM_LATEST: &str = "memory_leak_hunter.time_to_oom_latest_s";
/// The limit that is reached first, text: `memory.max`, `memory.high` or `host`.
pub const LIMIT: &str = "memory_leak_hunter.limit";
/// Where that limit stands, integer, bytes.
pub const LIMIT_BYTES: &str = "memory_leak_hunter.limit_bytes";
/// Path of the cgroup that has the limit, text; its id where the path is unknown; absent for the host's.
pub const LIMIT_CGROUP: &str = "memory_leak_hunter.limit_cgroup";
/// True where the memory is a sum of processes, in which shared pages stand several times; absent otherwise.
pub const UPPER_BOUND: &str = "memory_leak_hunter.upper_bound";
/// How far the case has come, text: `calm`, `suspected`, `leaking`. Of a killed process: how far the case against it
/// or its container had come.
pub const STAGE: &str = "memory_leak_hunter.stage";
/// When the newest risk was told before the kill, text, RFC 3339.
pub const TOLD_AT: &str = "memory_leak_hunter.risk_told_at";
/// The end as that risk foretold it, not before, text, RFC 3339.
pub const FORETOLD_EARLIEST: &str = "memory_leak_hunter.foretold_earliest";
/// The same, not after, text, RFC 3339; absent where the velocity's interval touched zero.
pub const FORETOLD_LATEST: &str = "memory_leak_hunter.foretold_latest";
/// Why a suspicion or verdict was taken back, text: `stopped`, `given_back`, `executed`, `exited`.
pub const CLEARED_REASON: &str = "memory_leak_hunter.cleared_reason";
/// What was taken back, text: `suspected` or `leaking`.
pub const CLEARED_FROM: &str = "memory_leak_hunter.cleared_from";

/// Which leak it is, text, 16 hexadecimal digits: the same on every host, in every container, after every restart.
pub const LEAK_ID: &str = "memory_leak_hunter.leak.id";
/// The first verdict on it, text, RFC 3339.
pub const LEAK_FIRST_SEEN: &str = "memory_leak_hunter.leak.first_seen";
/// So many processes or containers of this host have had it, integer, this one among them.
pub const LEAK_OCCURRENCES: &str = "memory_leak_hunter.leak.occurrences";
/// So many have it now, integer.
pub const LEAK_MEMBERS: &str = "memory_leak_hunter.leak.members";
/// So many of them were killed for lack of memory, integer; absent where none was.
pub const LEAK_KILLS: &str = "memory_leak_hunter.leak.kills";
/// From start to end, as is usual for whoever has it, integer, seconds; absent where nobody has ended with it.
pub const LEAK_LIFE: &str = "memory_leak_hunter.leak.typical_life_s";
/// What is to blame, as far as that has ever been known, text: `function in module`, or a type.
pub const LEAK_PLACE: &str = "memory_leak_hunter.leak.place";

/// [`SCOPE`] of a record about one process.
pub const SCOPE_PROCESS: &str = "process";
/// [`SCOPE`] of a record about all that a container holds: its `pid` and `command` are those of the process in it that
/// grew most.
pub const SCOPE_CONTAINER: &str = "container";
/// Name of the container's UTS namespace, on a Resource: its host name, usually the pod's name, text.
pub const NODE_NAME: &str = "memory_leak_hunter.uts_node_name";

/// What a record tells. The numbers stand in event ids and are never given to another kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A target allocated, or mapped.
    Allocation,
    /// It gave back.
    Deallocation,
    /// A stack of it has not freed what it allocated.
    Unfreed,
    /// Grew by the threshold or more since the last such record.
    RssGrowth,
    /// The trend is sustained.
    LeakSuspected,
    /// The verdict.
    LeakDetected,
    /// Suspicion or verdict taken back.
    LeakCleared,
    /// A limit is near.
    OomRisk,
    /// The kernel killed a process for lack of memory.
    OomKill,
    /// Another mode of operation.
    ModeChanged,
}

impl Kind {
    /// Every kind, in the order of the numbers.
    pub const ALL: [Kind; 10] = [
        Kind::Allocation,
        Kind::Deallocation,
        Kind::Unfreed,
        Kind::RssGrowth,
        Kind::LeakSuspected,
        Kind::LeakDetected,
        Kind::LeakCleared,
        Kind::OomRisk,
        Kind::OomKill,
        Kind::ModeChanged,
    ];

    /// The number in the event id.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Kind::Allocation => 1,
            Kind::Deallocation => 2,
            Kind::Unfreed => 3,
            Kind::RssGrowth => 4,
            Kind::LeakSuspected => 5,
            Kind::LeakDetected => 6,
            Kind::LeakCleared => 7,
            Kind::OomRisk => 8,
            Kind::OomKill => 9,
            Kind::ModeChanged => 10,
        }
    }

    /// Value of [`EVENT_KIND`].
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::Allocation => "allocation",
            Kind::Deallocation => "deallocation",
            Kind::Unfreed => "allocation_unfreed",
            Kind::RssGrowth => "rss_growth",
            Kind::LeakSuspected => "leak_suspected",
            Kind::LeakDetected => "leak_detected",
            Kind::LeakCleared => "leak_cleared",
            Kind::OomRisk => "oom_risk",
            Kind::OomKill => "oom_kill",
            Kind::ModeChanged => "mode_changed",
        }
    }

    /// The record's `event_name`.
    #[must_use]
    pub fn event_name(self) -> &'static str {
        match self {
            Kind::Allocation => "memory_leak_hunter.allocation",
            Kind::Deallocation => "memory_leak_hunter.deallocation",
            Kind::Unfreed => "memory_leak_hunter.allocation.unfreed",
            Kind::RssGrowth => "memory_leak_hunter.rss.growth",
            Kind::LeakSuspected => "memory_leak_hunter.leak.suspected",
            Kind::LeakDetected => "memory_leak_hunter.leak.detected",
            Kind::LeakCleared => "memory_leak_hunter.leak.cleared",
            Kind::OomRisk => "memory_leak_hunter.oom.risk",
            Kind::OomKill => "memory_leak_hunter.oom.kill",
            Kind::ModeChanged => "memory_leak_hunter.mode.changed",
        }
    }

    /// Value of [`EVENT_TYPE`]: the specification's `EventTypeKernelFS`, `EventTypeMemoryPressure` or
    /// `EventTypeContainerOOM`, or our own `control`.
    #[must_use]
    pub fn event_type(self) -> &'static str {
        match self {
            Kind::Allocation | Kind::Deallocation => "kernel.filesystem",
            Kind::RssGrowth | Kind::LeakSuspected | Kind::LeakDetected | Kind::LeakCleared => {
                "container.memory_pressure"
            }
            Kind::Unfreed | Kind::OomRisk | Kind::OomKill => "container.oom",
            Kind::ModeChanged => "control",
        }
    }

    /// Severity as a number and as the text beside it.
    #[must_use]
    pub fn severity(self) -> (SeverityNumber, &'static str) {
        match self {
            Kind::Allocation | Kind::Deallocation => (SeverityNumber::Debug, "DEBUG"),
            Kind::RssGrowth | Kind::LeakCleared | Kind::ModeChanged => (SeverityNumber::Info, "INFO"),
            Kind::Unfreed | Kind::LeakSuspected => (SeverityNumber::Warn, "WARN"),
            Kind::LeakDetected | Kind::OomRisk | Kind::OomKill => (SeverityNumber::Error, "ERROR"),
        }
    }
}

impl From<&FindingKind> for Kind {
    fn from(kind: &FindingKind) -> Self {
        match kind {
            FindingKind::Growth { .. } => Kind::RssGrowth,
            FindingKind::Suspected(_) => Kind::LeakSuspected,
            FindingKind::Detected(_) => Kind::LeakDetected,
            FindingKind::Cleared { .. } => Kind::LeakCleared,
            FindingKind::OomRisk(_) => Kind::OomRisk,
            FindingKind::OomKill(_) => Kind::OomKill,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: for every kind the event name's last words, joined by underscores, are the kind's name, and
    /// no two kinds share a number, so that a query on either finds the same records.
    #[test]
    fn the_kind_repeats_the_event_name() {
        for kind in Kind::ALL {
            let words = kind.event_name().strip_prefix(PREFIX).unwrap();
            assert_eq!(words.replace('.', "_"), kind.name());
        }
        let numbers: Vec<u8> = Kind::ALL.iter().map(|kind| kind.number()).collect();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], "the numbers that users were promised");
    }
}
