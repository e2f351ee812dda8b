//! The report as one JSON object. `otel-config/inspect.schema.json` says what readers may rely on.

mod growth;
mod member;

use mlh_stacks::trace::Frame;
use serde::Serialize;

use self::growth::GrowthObject;
use self::member::MemberObject;
use super::by_page;
use super::finding::{Finding, base_name, culprit, ending};
use crate::investigate::plan::{Mode, Target};
use crate::investigate::report::{Cost, Member, Report, StackEvidence, Totals};

/// Evidence of pages that stay.
const PAGES: &str = "growth_pages";
/// Of this layout. Members may be added to it.
const SCHEMA: u32 = 1;

/// The whole report, and a line's end.
pub(super) fn render(finding: &Finding<'_>, top: usize) -> serde_json::Result<String> {
    let Report { rung, started, lasted, members, stacks, growth, totals, cost, not_seen, ended } =
        finding.report;
    let ended = ended.as_ref().map(ending);
    let object = Object {
        schema: SCHEMA,
        target: TargetObject::of(finding),
        mode: Mode::Investigating(*rung).name(),
        started: rfc3339(finding, *started),
        duration_s: round(lasted.as_secs_f64(), 3),
        ended: ended.as_ref().map(|(word, _)| *word),
        ended_because: ended.and_then(|(_, sentence)| sentence),
        verdict: VerdictObject::of(finding),
        memory: MemoryObject {
            before_bytes: finding.grown.before,
            after_bytes: finding.grown.after,
            peak_bytes: finding.grown.peak,
            seen_s: round(finding.grown.seen_for.as_secs_f64(), 3),
            upper_bound: finding.grown.upper_bound,
        },
        culprits: stacks.iter().take(top).map(|stack| Culprit::of(finding, stack)).collect(),
        growth: growth.iter().take(top).map(GrowthObject::of).collect(),
        totals: totals.into(),
        members: members.iter().map(MemberObject::of).collect(),
        cost: cost.into(),
        not_seen,
    };
    Ok(serde_json::to_string_pretty(&object)? + "\n")
}

#[derive(Serialize)]
struct Object<'a> {
    schema: u32,
    target: TargetObject<'a>,
    mode: &'static str,
    started: String,
    duration_s: f64,
    ended: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_because: Option<String>,
    verdict: VerdictObject<'a>,
    memory: MemoryObject,
    culprits: Vec<Culprit<'a>>,
    growth: Vec<GrowthObject<'a>>,
    totals: TotalsObject,
    members: Vec<MemberObject<'a>>,
    cost: CostObject,
    not_seen: &'a [String],
}

/// Of a container: the process in it whose stacks hold the most.
#[derive(Serialize)]
struct TargetObject<'a> {
    asked: String,
    pid: Option<u32>,
    command: Option<&'a str>,
    executable: Option<&'a str>,
    runtime: Option<&'static str>,
    container_id: Option<&'a str>,
    cgroup_id: Option<u64>,
}

impl<'a> TargetObject<'a> {
    fn of(finding: &'a Finding<'_>) -> Self {
        let leader = finding.leader();
        let asked_pid = match finding.target {
            Target::Pid(pid) => Some(*pid),
            Target::CgroupId(_) | Target::Cgroup(_) | Target::Container(_) => None,
        };
        Self {
            asked: finding.target.to_string(),
            pid: leader.map(|member| member.pid).or(asked_pid),
            command: leader.map(|member| member.command.as_str()),
            executable: leader.and_then(|member| member.executable.as_deref()),
            runtime: leader.map(|member| member.runtime.name()),
            container_id: leader.and_then(|member| member.container_id.as_deref()),
            cgroup_id: leader.and_then(cgroup_id),
        }
    }
}

#[derive(Serialize)]
struct VerdictObject<'a> {
    kind: &'static str,
    /// Absent where the detector gave no verdict of its own.
    confidence: Option<f64>,
    velocity_bytes_per_second: Option<i64>,
    interval: Option<[i64; 2]>,
    onset: Option<String>,
    time_to_oom_s: Option<u64>,
    sentence: String,
    kept_bytes: u64,
    kept_stacks: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

impl<'a> VerdictObject<'a> {
    fn of(finding: &'a Finding<'_>) -> Self {
        let verdict = finding.verdict;
        let trend = verdict.trend.as_ref();
        Self {
            kind: verdict.kind.name(),
            confidence: verdict.confidence.map(|confidence| round(confidence, 3)),
            velocity_bytes_per_second: trend.map(|trend| trend.velocity.round() as i64),
            interval: trend.map(|trend| [trend.interval.0.round() as i64, trend.interval.1.round() as i64]),
            onset: verdict.onset.map(|at| rfc3339(finding, at)),
            time_to_oom_s: verdict.time_to_oom_s.map(|seconds| seconds.round() as u64),
            sentence: finding.sentence(),
            kept_bytes: verdict.kept,
            kept_stacks: verdict.keepers,
            reason: verdict.reason.as_deref(),
        }
    }
}

/// Anonymous, swapped and shared memory.
#[derive(Serialize)]
struct MemoryObject {
    before_bytes: u64,
    after_bytes: u64,
    peak_bytes: u64,
    seen_s: f64,
    upper_bound: bool,
}

/// A stack, whether it leaks or not: by live bytes.
#[derive(Serialize)]
struct Culprit<'a> {
    function: Option<&'a str>,
    file: Option<&'a str>,
    line: Option<u32>,
    module: Option<&'a str>,
    share: f64,
    live_bytes: u64,
    live_count: u64,
    stack_hash: String,
    stack: Vec<FrameObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete: Option<&'a str>,
    evidence: Vec<&'static str>,
    pid: u32,
    operation: &'static str,
    mapped: bool,
    reserved_bytes: u64,
    file_bytes: u64,
    error_bytes: u64,
    at_least: bool,
    gone: bool,
    allocated_bytes: u64,
    allocated_count: u64,
    freed_bytes: u64,
    freed_count: u64,
    rates: Rates,
    ages: Ages,
    oldest_s: f64,
    largest_bytes: u64,
}

impl<'a> Culprit<'a> {
    fn of(finding: &Finding<'_>, stack: &'a StackEvidence) -> Self {
        let frame = culprit(stack);
        let by_page = by_page::is_by_page(stack);
        let seen = match (by_page, stack.mapped) {
            (true, _) => PAGES,
            (false, true) => "mappings",
            (false, false) => "allocations",
        };
        let survival = finding.survives(stack).then_some("survival");
        let pages = (!by_page && by_page::grows(finding.report, stack)).then_some(PAGES);
        Self {
            function: frame.and_then(|frame| frame.function.as_deref()),
            file: frame.and_then(|frame| frame.file.as_deref()),
            line: frame.and_then(|frame| frame.line),
            module: frame.map(|frame| base_name(&frame.module)),
            share: round(finding.share(stack), 4),
            live_bytes: stack.live_bytes,
            live_count: stack.live_count,
            stack_hash: format!("{:016x}", stack.trace.hash),
            stack: stack.trace.frames.iter().map(FrameObject::of).collect(),
            incomplete: stack.trace.incomplete.as_deref(),
            evidence: std::iter::once(seen).chain(survival).chain(pages).collect(),
            pid: stack.pid,
            operation: stack.operation,
            mapped: stack.mapped,
            reserved_bytes: stack.reserved_bytes,
            file_bytes: stack.file_bytes,
            error_bytes: stack.error_bytes,
            at_least: stack.at_least,
            gone: stack.gone,
            allocated_bytes: stack.allocated_bytes,
            allocated_count: stack.allocated_count,
            freed_bytes: stack.freed_bytes,
            freed_count: stack.freed_count,
            rates: Rates {
                allocated_bytes_per_second: round(stack.allocation_rate, 1),
                freed_bytes_per_second: round(stack.free_rate, 1),
            },
            ages: stack.ages.into(),
            oldest_s: round(stack.oldest.as_secs_f64(), 3),
            largest_bytes: stack.largest,
        }
    }
}

/// Over the last minute of the look.
#[derive(Serialize)]
struct Rates {
    allocated_bytes_per_second: f64,
    freed_bytes_per_second: f64,
}

/// Live blocks or mappings by their age.
#[derive(Serialize)]
struct Ages {
    below_1s: u64,
    below_10s: u64,
    below_30s: u64,
    below_1m: u64,
    below_5m: u64,
    older: u64,
}

impl From<[u64; 6]> for Ages {
    fn from([below_1s, below_10s, below_30s, below_1m, below_5m, older]: [u64; 6]) -> Self {
        Self { below_1s, below_10s, below_30s, below_1m, below_5m, older }
    }
}

#[derive(Serialize)]
struct FrameObject<'a> {
    function: Option<&'a str>,
    module: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    build_id: Option<&'a str>,
    offset: String,
    file: Option<&'a str>,
    line: Option<u32>,
    inlined: bool,
}

impl<'a> FrameObject<'a> {
    fn of(frame: &'a Frame) -> Self {
        Self {
            function: frame.function.as_deref(),
            module: &frame.module,
            build_id: frame.build_id.as_deref(),
            offset: format!("{:#x}", frame.offset),
            file: frame.file.as_deref(),
            line: frame.line,
            inlined: frame.inlined,
        }
    }
}

#[derive(Serialize)]
struct TotalsObject {
    allocated_count: u64,
    allocated_bytes: u64,
    freed_count: u64,
    freed_bytes: u64,
    live_count: u64,
    live_bytes: u64,
    mapped_count: u64,
    mapped_bytes: u64,
    mapped_anonymous_bytes: u64,
    mapped_reserved_bytes: u64,
    unmapped_bytes: u64,
    gone_count: u64,
    gone_bytes: u64,
    largest_bytes: u64,
    failed: u64,
    unknown_frees: u64,
    evicted: u64,
    not_fitted: u64,
    lost: u64,
    rate_limited: u64,
}

impl From<&Totals> for TotalsObject {
    fn from(totals: &Totals) -> Self {
        Self {
            allocated_count: totals.allocated_count,
            allocated_bytes: totals.allocated_bytes,
            freed_count: totals.freed_count,
            freed_bytes: totals.freed_bytes,
            live_count: totals.live_count,
            live_bytes: totals.live_bytes,
            mapped_count: totals.mapped_count,
            mapped_bytes: totals.mapped_bytes,
            mapped_anonymous_bytes: totals.mapped_anonymous_bytes,
            mapped_reserved_bytes: totals.mapped_reserved_bytes,
            unmapped_bytes: totals.unmapped_bytes,
            gone_count: totals.gone_count,
            gone_bytes: totals.gone_bytes,
            largest_bytes: totals.largest,
            failed: totals.failed,
            unknown_frees: totals.unknown_frees,
            evicted: totals.evicted,
            not_fitted: totals.not_fitted,
            lost: totals.lost,
            rate_limited: totals.rate_limited,
        }
    }
}

#[derive(Serialize)]
struct CostObject {
    target_cpu_share: f64,
    watched_share: f64,
    agent_cpu_s: f64,
    kernel_bytes: u64,
    hits: u64,
}

impl From<&Cost> for CostObject {
    fn from(cost: &Cost) -> Self {
        Self {
            target_cpu_share: round(cost.target_cpu_share, 6),
            watched_share: round(cost.watched_share, 4),
            agent_cpu_s: round(cost.agent_cpu_s, 3),
            kernel_bytes: cost.kernel_bytes,
            hits: cost.hits,
        }
    }
}

/// 0 is nobody's.
fn cgroup_id(member: &Member) -> Option<u64> {
    (member.cgroup_id != 0).then_some(member.cgroup_id)
}

fn rfc3339(finding: &Finding<'_>, since_boot: std::time::Duration) -> String {
    humantime::format_rfc3339_millis(finding.time(since_boot)).to_string()
}

/// No finer than it means anything. What is no number becomes none: JSON has no word for it.
fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    if value.is_finite() { (value * scale).round() / scale } else { 0.0 }
}
