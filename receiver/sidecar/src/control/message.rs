//! What is asked at the control socket, and what is answered: the shapes of the JSON. Members may be added, these stay.

mod growth;

use std::time::Duration;

use bytesize::ByteSize;
use mlh_pipeline::config::{Choice as _, Setting};
use mlh_stacks::trace::{Frame, Trace};
use serde::{Deserialize, Serialize};
use serde_yaml::Value;

pub use self::growth::{ClimbMessage, GrowthMessage};
use crate::hunt::settings::sizes;
use crate::hunt::settings::target::{ContainerPrefix, LARGEST_PID, durations};
use crate::investigate::desk::{Order, Status};
use crate::investigate::plan::{Mode, Origin, Rung, Target};
use crate::investigate::report::{Cost, Member, StackEvidence, Totals};
use crate::leaks::LeakMessage;

/// `POST /v1/target`: whom to look at. What is absent is as the configuration says.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// A process; one of the three must be there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// A cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup_id: Option<u64>,
    /// A container's id or the beginning of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// Text such as `5m`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<Value>,
    /// Bytes, or text such as `1KiB`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_allocation_size: Option<Value>,
    /// `targeted`, `debug` or `growth_stacks`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<Value>,
}

impl Ask {
    /// The order in it.
    ///
    /// # Errors
    /// What is wrong and what is allowed.
    pub fn order(&self, uid: u32) -> Result<Order, String> {
        let rung = match read::<Mode>("mode", self.mode.as_ref())? {
            None => None,
            Some(Mode::Investigating(rung)) => Some(rung),
            Some(Mode::GrowthDetection) => {
                let words: Vec<_> = Mode::WORDS.iter().skip(1).map(|(word, _)| *word).collect();
                return Err(format!("mode: expected {}; `release` goes back", words.join(" or ")));
            }
        };
        let duration: Option<Duration> = read("duration", self.duration.as_ref())?;
        if duration.is_some_and(|duration| !durations().contains(&duration)) {
            return Err("duration: expected 1s to 168h; `release` ends a look sooner".to_owned());
        }
        let min: Option<ByteSize> = read("min_allocation_size", self.min_allocation_size.as_ref())?;
        if min.is_some_and(|min| !sizes().contains(&min)) {
            return Err("min_allocation_size: expected at most 1TiB".to_owned());
        }
        if min.is_some() && rung == Some(Rung::GrowthStacks) {
            return Err(
                "min_allocation_size: it chooses among allocations, and mode growth_stacks sees none: leave one of them out"
                    .to_owned(),
            );
        }
        let target = self.target()?;
        let min_allocation_size = min.map(|min| min.0);
        Ok(Order { target, rung, duration, min_allocation_size, origin: Origin::Control { uid } })
    }

    fn target(&self) -> Result<Target, String> {
        match (self.pid, self.cgroup_id, &self.container) {
            (Some(pid), None, None) if (1..=LARGEST_PID).contains(&pid) => Ok(Target::Pid(pid)),
            (Some(_), None, None) => Err(format!("pid: expected 1 to {LARGEST_PID}")),
            (None, Some(id @ 1..), None) => Ok(Target::CgroupId(id)),
            (None, Some(0), None) => Err("cgroup_id: expected 1 or more".to_owned()),
            (None, None, Some(id)) => match ContainerPrefix::parse(id) {
                Ok(prefix) => Ok(Target::Container(prefix.0)),
                Err(expected) => Err(format!("container: expected {expected}")),
            },
            _ => Err("expected exactly one of pid, cgroup_id and container".to_owned()),
        }
    }
}

fn read<T: Setting>(key: &str, value: Option<&Value>) -> Result<Option<T>, String> {
    value.map(T::read).transpose().map_err(|expected| format!("{key}: expected {expected}"))
}

/// `GET /v1/status`, and the answer to an order.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StatusMessage {
    /// The sidecar's own.
    pub version: String,
    /// `growth_detection`, `targeted`, `debug` or `growth_stacks`: the look that was ordered.
    pub mode: String,
    /// Whom, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Who asked for it, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked_by: Option<String>,
    /// Until it goes back by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_s: Option<f64>,
    /// For how long it has been looking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lasted_s: Option<f64>,
    /// Every process that was looked at, those that have ended too.
    #[serde(default)]
    pub members: Vec<MemberMessage>,
    /// The stacks that hold the most, the most first.
    #[serde(default)]
    pub stacks: Vec<StackMessage>,
    /// Sums over everything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub totals: Option<TotalsMessage>,
    /// What it has cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cost: Option<CostMessage>,
    /// What was not seen, in sentences.
    #[serde(default)]
    pub not_seen: Vec<String>,
    /// Who touched the memory that is still there, in `growth_stacks` mode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub growth: Vec<GrowthMessage>,
    /// The suspicions that are followed up meanwhile.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub climbs: Vec<ClimbMessage>,
    /// The leaks that are known, those of now first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaks: Vec<LeakMessage>,
}

impl From<Status> for StatusMessage {
    fn from(status: Status) -> Self {
        let report = status.report.as_ref();
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mode: status.mode.name().to_owned(),
            target: status.target,
            asked_by: status.asked_by,
            remaining_s: status.remaining.map(seconds),
            lasted_s: report.map(|report| seconds(report.lasted)),
            members: report.map(|r| r.members.iter().map(MemberMessage::from).collect()).unwrap_or_default(),
            stacks: report.map(|r| r.stacks.iter().map(StackMessage::from).collect()).unwrap_or_default(),
            totals: report.map(|report| TotalsMessage::from(&report.totals)),
            cost: report.map(|report| CostMessage::from(&report.cost)),
            not_seen: report.map(|report| report.not_seen.clone()).unwrap_or_default(),
            growth: report.map(|r| r.growth.iter().map(GrowthMessage::from).collect()).unwrap_or_default(),
            climbs: status.climbs.iter().map(ClimbMessage::from).collect(),
            leaks: Vec::new(),
        }
    }
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e3).round() / 1e3
}

/// One process.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[allow(missing_docs)] // as in `investigate::report::Member`
pub struct MemberMessage {
    pub pid: u32,
    pub command: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executable: Option<String>,
    pub runtime: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_id: Option<String>,
    pub cgroup_id: u64,
    pub probes: usize,
    pub allocators: Vec<String>,
    pub placements: Vec<String>,
    pub blind_spots: Vec<BlindSpotMessage>,
    pub gone: bool,
    pub braked: bool,
}

/// What cannot be seen of a process.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct BlindSpotMessage {
    pub what: String,
    pub reason: String,
}

impl From<&Member> for MemberMessage {
    fn from(member: &Member) -> Self {
        let spots = member.blind_spots.iter();
        Self {
            pid: member.pid,
            command: member.command.clone(),
            executable: member.executable.clone(),
            runtime: member.runtime.name().to_owned(),
            container_id: member.container_id.clone(),
            cgroup_id: member.cgroup_id,
            probes: member.probes,
            allocators: member.allocators.clone(),
            placements: member.placements.clone(),
            blind_spots: spots
                .map(|spot| BlindSpotMessage { what: spot.what.clone(), reason: spot.reason.clone() })
                .collect(),
            gone: member.gone,
            braked: member.braked,
        }
    }
}

/// What one stack has allocated.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[allow(missing_docs)] // as in `investigate::report::StackEvidence`
pub struct StackMessage {
    pub pid: u32,
    pub operation: String,
    pub mapped: bool,
    pub live_bytes: u64,
    pub live_count: u64,
    pub error_bytes: u64,
    pub allocated_bytes: u64,
    pub allocated_count: u64,
    pub freed_bytes: u64,
    pub freed_count: u64,
    pub allocation_rate_bytes_per_second: f64,
    pub free_rate_bytes_per_second: f64,
    pub ages: [u64; 6],
    pub oldest_s: f64,
    pub largest_bytes: u64,
    pub at_least: bool,
    #[serde(flatten)]
    pub trace: TraceMessage,
}

impl From<&StackEvidence> for StackMessage {
    fn from(evidence: &StackEvidence) -> Self {
        Self {
            pid: evidence.pid,
            operation: evidence.operation.to_owned(),
            mapped: evidence.mapped,
            live_bytes: evidence.live_bytes,
            live_count: evidence.live_count,
            error_bytes: evidence.error_bytes,
            allocated_bytes: evidence.allocated_bytes,
            allocated_count: evidence.allocated_count,
            freed_bytes: evidence.freed_bytes,
            freed_count: evidence.freed_count,
            allocation_rate_bytes_per_second: evidence.allocation_rate,
            free_rate_bytes_per_second: evidence.free_rate,
            ages: evidence.ages,
            oldest_s: seconds(evidence.oldest),
            largest_bytes: evidence.largest,
            at_least: evidence.at_least,
            trace: TraceMessage::from(&evidence.trace),
        }
    }
}

/// A stack, innermost frame first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TraceMessage {
    /// The same for the same stack everywhere.
    pub stack_hash: String,
    /// Which frame is to blame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub culprit: Option<usize>,
    /// Why it ends early, or has no names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub incomplete: Option<String>,
    /// The frames.
    pub stack: Vec<FrameMessage>,
}

impl TraceMessage {
    /// The frame to blame, if there is one. What an index points to may not be there: a peer has written it.
    pub(crate) fn blamed(&self) -> Option<&FrameMessage> {
        self.culprit.and_then(|index| self.stack.get(index))
    }
}

impl From<&Trace> for TraceMessage {
    fn from(trace: &Trace) -> Self {
        let Trace { frames, hash, culprit, incomplete } = trace;
        Self {
            stack_hash: format!("{hash:016x}"),
            culprit: *culprit,
            incomplete: incomplete.clone(),
            stack: frames.iter().map(FrameMessage::from).collect(),
        }
    }
}

/// One function on a stack, the innermost first.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[allow(missing_docs)] // as in the report of `inspect`
pub struct FrameMessage {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    pub module: String,
    pub offset: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    pub inlined: bool,
}

impl From<&Frame> for FrameMessage {
    fn from(frame: &Frame) -> Self {
        Self {
            function: frame.function.clone(),
            module: frame.module.clone(),
            offset: format!("{:#x}", frame.offset),
            file: frame.file.clone(),
            line: frame.line,
            inlined: frame.inlined,
        }
    }
}

/// Sums over everything.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[allow(missing_docs)] // as in `investigate::report::Totals`
pub struct TotalsMessage {
    pub allocated_count: u64,
    pub allocated_bytes: u64,
    pub freed_count: u64,
    pub freed_bytes: u64,
    pub live_count: u64,
    pub live_bytes: u64,
    pub mapped_bytes: u64,
    pub mapped_count: u64,
    pub largest_bytes: u64,
    pub evicted: u64,
    pub not_fitted: u64,
    pub lost: u64,
    pub rate_limited: u64,
    pub unknown_frees: u64,
    pub failed: u64,
}

impl From<&Totals> for TotalsMessage {
    fn from(totals: &Totals) -> Self {
        Self {
            allocated_count: totals.allocated_count,
            allocated_bytes: totals.allocated_bytes,
            freed_count: totals.freed_count,
            freed_bytes: totals.freed_bytes,
            live_count: totals.live_count,
            live_bytes: totals.live_bytes,
            mapped_bytes: totals.mapped_bytes,
            mapped_count: totals.mapped_count,
            largest_bytes: totals.largest,
            evicted: totals.evicted,
            not_fitted: totals.not_fitted,
            lost: totals.lost,
            rate_limited: totals.rate_limited,
            unknown_frees: totals.unknown_frees,
            failed: totals.failed,
        }
    }
}

/// What it costs.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[allow(missing_docs)] // as in `investigate::report::Cost`
pub struct CostMessage {
    pub target_cpu_share: f64,
    pub agent_cpu_s: f64,
    pub kernel_bytes: u64,
    pub hits: u64,
    pub watched_share: f64,
}

impl From<&Cost> for CostMessage {
    fn from(cost: &Cost) -> Self {
        Self {
            target_cpu_share: cost.target_cpu_share,
            agent_cpu_s: cost.agent_cpu_s,
            kernel_bytes: cost.kernel_bytes,
            hits: cost.hits,
            watched_share: cost.watched_share,
        }
    }
}
