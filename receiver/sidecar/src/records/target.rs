//! What a look at a target tells: operations, what is not freed, and its beginning and end.

use mlh_detect::{Cleared, Stage};
use mlh_stacks::trace::Trace;
use opentelemetry_proto::tonic::logs::v1::ResourceLogs;

use super::attributes::Attributes;
use super::clock::Clock;
use super::prose::who;
use super::words::{percent, printable, size, span};
use super::{Encoder, blamed, finish, identity, stack};
use crate::investigate::plan::{End, Mode, Origin, Rung};
use crate::investigate::told::{ModeChange, Operation, Unfreed};
use crate::semconv::{self, Kind};

impl Encoder {
    /// An operation on memory as a record of kind 1 or 2.
    #[must_use]
    pub fn operation(&mut self, operation: &Operation, clock: &Clock) -> ResourceLogs {
        let kind = if operation.freed { Kind::Deallocation } else { Kind::Allocation };
        let mut attributes = self.begin(kind, operation.at, clock);
        attributes.text(semconv::SCOPE, semconv::SCOPE_PROCESS);
        attributes.text(semconv::OPERATION, operation.name);
        identity(&mut attributes, &operation.subject);
        attributes.text(semconv::ADDRESS, hex(operation.address));
        attributes.integer(semconv::SIZE_BYTES, operation.size);
        attributes.text(semconv::CALLER_IP, hex(operation.caller_ip));
        attributes.integer(semconv::RSS_PAGES, operation.rss_pages);
        attributes.integer(semconv::RSS_GROWTH, operation.rss_growth);
        if operation.weight > 1 {
            attributes.integer(semconv::WEIGHT, u64::from(operation.weight));
        }
        if let Some(trace) = &operation.trace {
            traced(&mut attributes, trace);
        }
        let sentence = operation_sentence(operation);
        self.wrap(finish(kind, operation.at, clock, attributes, sentence), &operation.subject)
    }

    /// What a stack has not freed as a record of kind 3.
    #[must_use]
    pub fn unfreed(&mut self, unfreed: &Unfreed, clock: &Clock) -> ResourceLogs {
        let kind = Kind::Unfreed;
        let held = &unfreed.stack;
        let mut attributes = self.begin(kind, unfreed.at, clock);
        attributes.text(semconv::SCOPE, semconv::SCOPE_PROCESS);
        attributes.text(semconv::OPERATION, held.operation);
        identity(&mut attributes, &unfreed.subject);
        attributes.text(semconv::ADDRESS, hex(unfreed.address));
        attributes.integer(semconv::SIZE_BYTES, unfreed.size);
        let first = held.trace.frames.first().map(|frame| frame.address);
        attributes.text_if(semconv::CALLER_IP, held.trace.caller_ip().or(first).map(hex).as_deref());
        attributes.integer(semconv::OCCURRENCES, unfreed.occurrences);
        attributes.integer(semconv::UNFREED_BYTES, unfreed.bytes);
        attributes.integer(semconv::AGE, unfreed.age.as_secs());
        attributes.integer(semconv::LIVE_BYTES, held.live_bytes);
        attributes.integer(semconv::LIVE_COUNT, held.live_count);
        attributes.integer_if(semconv::LIVE_ERROR, Some(held.error_bytes).filter(|bytes| *bytes > 0));
        attributes.text(semconv::AGES, held.ages.map(|count| count.to_string()).join(" "));
        attributes.rounded(semconv::ALLOCATION_RATE, held.allocation_rate);
        attributes.rounded(semconv::FREE_RATE, held.free_rate);
        attributes.truth_if(semconv::AT_LEAST, held.at_least);
        attributes.truth_if(semconv::GROWN, unfreed.grown);
        attributes.precise(semconv::OVERHEAD, unfreed.overhead);
        traced(&mut attributes, &held.trace);
        let sentence = unfreed_sentence(unfreed);
        self.wrap(finish(kind, unfreed.at, clock, attributes, sentence), &unfreed.subject)
    }

    /// A change of the mode of operation as a record of kind 10.
    #[must_use]
    pub fn mode_changed(&mut self, change: &ModeChange, clock: &Clock) -> ResourceLogs {
        let kind = Kind::ModeChanged;
        let mut attributes = self.begin(kind, change.at, clock);
        let scope = if change.whole_group { semconv::SCOPE_CONTAINER } else { semconv::SCOPE_PROCESS };
        attributes.text(semconv::SCOPE, scope);
        attributes.text(semconv::OPERATION, kind.name());
        identity(&mut attributes, &change.subject);
        attributes.text(semconv::MODE, change.to.name());
        attributes.text(semconv::PREVIOUS_MODE, change.from.name());
        attributes.text(semconv::TARGET, printable(&change.target));
        attributes.text(semconv::ASKED_BY, change.asked_by.to_string());
        attributes
            .text(semconv::REASON, change.ended.as_ref().map_or_else(|| begun(&change.asked_by), End::name));
        attributes.integer_if(semconv::DURATION, change.duration.map(|duration| duration.as_secs()));
        if let Some(cost) = &change.cost {
            attributes.precise(semconv::OVERHEAD, cost.target_cpu_share);
            attributes.precise(semconv::WATCHED_SHARE, cost.watched_share);
            attributes.integer(semconv::HITS, cost.hits);
            attributes.integer(semconv::KERNEL_MEMORY, cost.kernel_bytes);
        }
        if let Some(budget) = change.budget {
            attributes.precise(semconv::BUDGET, budget);
        }
        if let Some(found) = &change.found {
            blamed::tell(&mut attributes, found);
        }
        blamed::evidence(&mut attributes, &change.evidence);
        let sentence = mode_sentence(change);
        self.wrap(finish(kind, change.at, clock, attributes, sentence), &change.subject)
    }
}

/// Why a look has begun.
fn begun(asked_by: &Origin) -> &'static str {
    match asked_by {
        Origin::Escalation { of: Stage::Leaking } => "detected",
        Origin::Escalation { .. } => "suspected",
        Origin::Configuration | Origin::Control { .. } | Origin::Command => "asked",
    }
}

/// The stack, and of the frame to blame what is known, each in an attribute of its own as well.
pub(super) fn traced(attributes: &mut Attributes, trace: &Trace) {
    let culprit = trace.culprit_frame();
    attributes.text_if(semconv::CALLER, culprit.map(stack::named).as_deref());
    let function = culprit.and_then(|frame| frame.function.as_deref());
    attributes.text_if(semconv::CODE_FUNCTION_NAME, function.map(stack::name).as_deref());
    let file = culprit.and_then(|frame| frame.file.as_deref());
    attributes.text_if(semconv::CODE_FILE_PATH, file.map(stack::file).as_deref());
    attributes.integer_if(semconv::CODE_LINE_NUMBER, culprit.and_then(|frame| frame.line).map(u64::from));
    attributes.text(semconv::CODE_STACKTRACE, stack::lines(trace));
    attributes.text(semconv::STACK_HASH, stack::hash(trace));
}

fn hex(address: u64) -> String {
    format!("{address:#x}")
}

fn operation_sentence(operation: &Operation) -> String {
    let who = who(&operation.subject, false);
    let (did, by) = (if operation.freed { "gave back" } else { "allocated" }, operation.name);
    let stack = operation.trace.as_ref().and_then(|trace| trace.culprit_frame()).map(stack::named);
    let whose = match (stack, operation.freed) {
        (Some(caller), false) => format!(", for {caller}"),
        (Some(caller), true) => format!(", allocated by {caller}"),
        (None, _) => String::new(),
    };
    format!("{who} {did} {} at {} ({by}){whose}.", size(operation.size), hex(operation.address))
}

fn unfreed_sentence(unfreed: &Unfreed) -> String {
    let (who, held) = (who(&unfreed.subject, false), &unfreed.stack);
    let caller = match held.trace.culprit_frame() {
        Some(frame) => stack::named(frame),
        None if held.trace.frames.is_empty() => "unknown code".to_owned(),
        None => "a runtime, with no frame of the program".to_owned(),
    };
    let (least, sampled) = (if held.at_least { "at least " } else { "" }, held.error_bytes > 0);
    let about = if sampled { "about " } else { "" };
    let blocks = match (unfreed.occurrences, held.mapped) {
        (1, false) => "1 block".to_owned(),
        (1, true) => "1 mapping".to_owned(),
        (count, false) => format!("{count} blocks"),
        (count, true) => format!("{count} mappings"),
    };
    let more = if unfreed.grown { ", more than when this was told last" } else { "" };
    format!(
        "{who} has not freed {least}{about}{} in {blocks} from {caller} ({}), the oldest {} old{more}.",
        size(unfreed.bytes),
        held.operation,
        span(unfreed.age)
    )
}

fn mode_sentence(change: &ModeChange) -> String {
    let who = who(&change.subject, change.whole_group);
    let asker = match &change.asked_by {
        Origin::Configuration => "as configured".to_owned(),
        Origin::Control { uid } => format!("as uid {uid} asked over the control socket"),
        Origin::Command => "as a command asked".to_owned(),
        Origin::Escalation { of: Stage::Leaking } => "as it leaks and nobody is known to blame".to_owned(),
        Origin::Escalation { .. } => "as it is suspected of a leak".to_owned(),
    };
    match (change.to, &change.ended) {
        (Mode::Investigating(rung), _) => {
            let what = match rung {
                Rung::Targeted => "the allocations that the filters let through",
                Rung::Debug => "every allocation",
                Rung::GrowthStacks => "who touches memory that stays",
            };
            let length = change
                .duration
                .map_or_else(|| "until it is released".to_owned(), |length| format!("for {}", span(length)));
            let price = if rung == Rung::Debug { format!("; {DEBUG_PRICE}") } else { String::new() };
            format!("{who} is looked at in {} mode {length}, {asker}: {what}{price}.", change.to.name())
        }
        (Mode::GrowthDetection, end) => {
            let why = end.as_ref().map_or_else(String::new, |end| format!(": {}", why(end, change)));
            let length =
                change.duration.map_or_else(String::new, |length| format!(" after {}", span(length)));
            let cost = change.cost.map_or_else(String::new, |cost| {
                format!(
                    "; the look cost {} of its CPU time, or of one CPU where it used less",
                    percent(cost.target_cpu_share)
                )
            });
            let found = change.found.as_deref().and_then(blamed::clause);
            let found = found.map_or_else(String::new, |found| format!("; {found}"));
            format!("{who} is no longer looked at{length}{why}{found}{cost}. Back to growth detection.")
        }
    }
}

/// What debug mode costs, for the log and the record.
pub(crate) const DEBUG_PRICE: &str = "each allocation and each free takes the target a microsecond or more longer meanwhile, a first one from a new place several";

fn why(end: &End, change: &ModeChange) -> String {
    match end {
        End::Elapsed => "its time was over".to_owned(),
        End::Released(Origin::Control { uid }) => format!("uid {uid} released it"),
        End::Released(_) => "it was released".to_owned(),
        End::Replaced => "another order, or another configuration, took its place".to_owned(),
        End::TargetGone => "no process of it is left".to_owned(),
        End::OverBudget => {
            let budget = change.budget.map_or_else(|| "its budget".to_owned(), percent);
            let share = change.over.map_or_else(|| "more".to_owned(), percent);
            format!(
                "the probes took {share} where {budget} are allowed (a larger overhead_budget allows more, a larger \
                 min_allocation_size costs less)"
            )
        }
        End::Shutdown => "the sidecar ends".to_owned(),
        End::Verdict => "the verdict has fallen".to_owned(),
        End::Cleared(Cleared::Stopped) => "it has stopped growing".to_owned(),
        End::Cleared(Cleared::GivenBack) => "it has given the memory back".to_owned(),
        End::Cleared(Cleared::Executed) => "it runs another program now".to_owned(),
        End::Cleared(Cleared::Exited) => "it has ended".to_owned(),
        End::Yielded => "others have waited for their turn, and it comes back".to_owned(),
        End::Failed(reason) => printable(reason),
    }
}
