//! A finding becomes a log record: one Resource for each observed process, our scope, one record.
//!
//! Read `semconv` for the names, `records/subject.rs` for the Resource, here for the record's attributes and
//! `records/prose.rs` for its sentence. What a look at a target tells is in `records/target.rs`, with stacks as
//! `records/stack.rs` writes them; `records/profiles.rs` writes all stacks of a look as profiles.

mod attributes;
mod blamed;
mod clock;
mod host;
mod ids;
mod prose;
pub(crate) mod words;
mod subject;
mod stack;
mod target;
mod leak;
mod profiles;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use mlh_detect::{About, Cleared, Exhaustion, Finding, FindingKind, Limit, LimitKind, Memory, Stage, Trend};
use mlh_targets::cgroup_reading::is_made_up;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use uuid::{NoContext, Timestamp, Uuid};

pub(crate) use blamed::culprit;
pub use clock::Clock;
pub use host::{HostIdentity, OwnPod};
pub(crate) use ids::EventIds;
pub(crate) use leak::recognise;
pub use subject::{KnownSubjects, Subject};
pub(crate) use target::DEBUG_PRICE;

use crate::ladder::Knowledge;
use crate::semconv::{self, Kind};
use attributes::Attributes;
pub(crate) use clock::epoch_nanos;
use clock::{from_nanos, later};

/// Turns findings into records. What it remembers is a few numbers, however long it runs.
pub struct Encoder {
    host: Arc<HostIdentity>,
    page_size: u64,
    ids: EventIds,
}

impl Encoder {
    /// For the findings of one host, whose kernel has pages of `page_size` bytes (0 counts as 4096).
    #[must_use]
    pub fn new(host: Arc<HostIdentity>, page_size: u64) -> Self {
        Self { host, page_size: if page_size == 0 { 4096 } else { page_size }, ids: EventIds::default() }
    }

    /// Takes its event ids from where another takes them, so that none is told twice.
    pub(crate) fn share_ids(&mut self, ids: EventIds) {
        self.ids = ids;
    }

    /// Where its event ids are from.
    pub(crate) fn ids(&self) -> EventIds {
        self.ids.clone()
    }

    /// The finding as a record, under the Resource of the process or container it is about. A verdict tells who is to blame as
    /// well, where that is `known`.
    #[must_use]
    pub fn encode(
        &mut self,
        finding: &Finding,
        subject: &Subject,
        known: Option<&Knowledge>,
        clock: &Clock,
    ) -> ResourceLogs {
        let known = known.filter(|_| matches!(finding.kind, FindingKind::Detected(_)));
        let record = self.record(finding, subject, known, clock);
        self.wrap(record, subject)
    }

    fn wrap(&self, record: LogRecord, subject: &Subject) -> ResourceLogs {
        ResourceLogs {
            resource: Some(subject.resource(&self.host)),
            scope_logs: vec![ScopeLogs {
                scope: Some(scope()),
                log_records: vec![record],
                schema_url: semconv::SCHEMA_URL.to_owned(),
            }],
            schema_url: semconv::SCHEMA_URL.to_owned(),
        }
    }

    fn record(
        &mut self,
        finding: &Finding,
        subject: &Subject,
        known: Option<&Knowledge>,
        clock: &Clock,
    ) -> LogRecord {
        let kind = Kind::from(&finding.kind);
        let mut attributes = self.begin(kind, finding.at, clock);
        attributes.text(semconv::SCOPE, scope_of(finding));
        attributes.text(semconv::OPERATION, kind.name());
        self.process(&mut attributes, finding, subject);
        self.found(&mut attributes, finding, subject, clock);
        if let Some(known) = known {
            blamed::tell(&mut attributes, known);
        }
        finish(kind, finding.at, clock, attributes, prose::sentence(finding, subject, known, clock))
    }

    /// What every record has.
    fn begin(&mut self, kind: Kind, at: Duration, clock: &Clock) -> Attributes {
        let time = clock.nanos(at);
        let mut attributes = Attributes::default();
        attributes.text(semconv::LOG_RECORD_UID, uid(time));
        attributes.text(semconv::EVENT_ID, self.ids.next(kind, time / 1_000_000));
        attributes.text(semconv::EVENT_KIND, kind.name());
        attributes.text(semconv::EVENT_TYPE, kind.event_type());
        attributes
    }

    /// Who it is and what it held.
    fn process(&self, attributes: &mut Attributes, finding: &Finding, subject: &Subject) {
        let memory = finding.memory;
        identity(attributes, subject);
        attributes.truth_if(semconv::UPPER_BOUND, finding.upper_bound);
        // a trace may tell of a kill and not of what the victim held
        if matches!(finding.kind, FindingKind::OomKill(_)) && memory == Memory::default() {
            return;
        }
        attributes.integer(semconv::RSS_PAGES, self.pages(memory.resident()));
        attributes.integer(semconv::ANON_BYTES, memory.anon);
        attributes.integer(semconv::SWAP_BYTES, memory.swap);
        attributes.integer(semconv::SHMEM_BYTES, memory.shmem);
        attributes.integer(semconv::FILE_BYTES, memory.file);
    }

    /// What was found, by kind; what does not apply is absent.
    fn found(&self, attributes: &mut Attributes, finding: &Finding, subject: &Subject, clock: &Clock) {
        match &finding.kind {
            FindingKind::Growth { grown, since } => {
                attributes.integer(semconv::RSS_GROWTH, self.pages(*grown));
                attributes.text(semconv::ONSET, rfc3339(clock.nanos(*since)));
            }
            FindingKind::Suspected(trend) => {
                attributes.integer(semconv::RSS_GROWTH, self.pages(trend.grown));
                slope(attributes, trend);
            }
            FindingKind::Detected(verdict) => {
                attributes.integer(semconv::RSS_GROWTH, self.pages(verdict.leaked));
                slope(attributes, &verdict.trend);
                attributes.share(semconv::CONFIDENCE, verdict.confidence);
                attributes.text(semconv::PATTERN, verdict.pattern.name());
                attributes.text(semconv::ONSET, rfc3339(clock.nanos(verdict.onset)));
                attributes.integer(semconv::LEAKED_BYTES, verdict.leaked);
                blamed::evidence(attributes, &verdict.evidence);
                if let Some(end) = &verdict.exhaustion {
                    exhaustion(attributes, end, subject);
                }
            }
            FindingKind::Cleared { reason, was, peak } => {
                attributes.text(semconv::CLEARED_REASON, cleared_reason(*reason));
                attributes.text(semconv::CLEARED_FROM, stage_name(*was));
                attributes.integer(semconv::LEAKED_BYTES, *peak);
            }
            FindingKind::OomRisk(risk) => {
                attributes.integer(semconv::RSS_GROWTH, self.pages(risk.trend.grown));
                attributes.text(semconv::STAGE, stage_name(risk.stage));
                slope(attributes, &risk.trend);
                exhaustion(attributes, &risk.exhaustion, subject);
            }
            FindingKind::OomKill(kill) => {
                attributes.text(semconv::STAGE, stage_name(kill.stage));
                if let Some(trend) = &kill.trend {
                    attributes.integer(semconv::RSS_GROWTH, self.pages(kill.grown));
                    slope(attributes, trend);
                    attributes.integer(semconv::LEAKED_BYTES, kill.grown);
                }
                if let Some((at, end)) = &kill.told {
                    foretold(attributes, *at, end, subject, clock);
                }
            }
        }
    }

    fn pages(&self, bytes: u64) -> u64 {
        bytes / self.page_size
    }
}

/// Whose records these are.
fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: semconv::SCOPE_NAME.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

/// The record of a kind.
fn finish(kind: Kind, at: Duration, clock: &Clock, attributes: Attributes, sentence: String) -> LogRecord {
    let (severity, severity_text) = kind.severity();
    LogRecord {
        time_unix_nano: clock.nanos(at),
        observed_time_unix_nano: epoch_nanos(clock.observed),
        severity_number: severity.into(),
        severity_text: severity_text.to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue(sentence)) }),
        attributes: attributes.into(),
        event_name: kind.event_name().to_owned(),
        ..LogRecord::default()
    }
}

/// Who it is.
fn identity(attributes: &mut Attributes, subject: &Subject) {
    let command = Some(subject.reading.comm.as_str()).filter(|comm| !comm.is_empty());
    attributes.integer_if(semconv::PID, subject.pid());
    attributes.text_if(semconv::COMMAND, command);
    attributes.integer_if(semconv::CGROUP_ID, subject.cgroup_id());
    attributes.integer_if(semconv::MEMORY_CGROUP_ID, subject.memory_cgroup_id());
}

fn slope(attributes: &mut Attributes, trend: &Trend) {
    attributes.rounded(semconv::VELOCITY, trend.velocity);
    attributes.rounded(semconv::VELOCITY_LOW, trend.interval.0);
    attributes.rounded(semconv::VELOCITY_HIGH, trend.interval.1);
    attributes.rounded(semconv::WINDOW, trend.window.as_secs_f64());
    attributes.integer(semconv::SAMPLES, u64::from(trend.samples));
}

fn exhaustion(attributes: &mut Attributes, end: &Exhaustion, subject: &Subject) {
    attributes.rounded(semconv::TIME_TO_OOM, end.expected_s);
    attributes.rounded(semconv::TIME_TO_OOM_EARLIEST, end.earliest_s);
    attributes.rounded(semconv::TIME_TO_OOM_LATEST, end.latest_s);
    limit(attributes, &end.limit, subject);
}

fn limit(attributes: &mut Attributes, limit: &Limit, subject: &Subject) {
    attributes.text(semconv::LIMIT, limit_name(limit.kind));
    attributes.integer(semconv::LIMIT_BYTES, limit.bytes);
    let id = limit.cgroup_id.filter(|id| !is_made_up(*id)).map(|id| id.to_string());
    attributes.text_if(semconv::LIMIT_CGROUP, subject.limit_path.clone().or(id).as_deref());
}

/// What had been told at `at`, as times of day: a record of what happened has no time to go.
fn foretold(attributes: &mut Attributes, at: Duration, end: &Exhaustion, subject: &Subject, clock: &Clock) {
    let moment = |seconds| Some(rfc3339(clock.nanos(later(at, seconds)?)));
    attributes.text(semconv::TOLD_AT, rfc3339(clock.nanos(at)));
    attributes.text_if(semconv::FORETOLD_EARLIEST, moment(end.earliest_s).as_deref());
    attributes.text_if(semconv::FORETOLD_LATEST, moment(end.latest_s).as_deref());
    limit(attributes, &end.limit, subject);
}

fn limit_name(kind: LimitKind) -> &'static str {
    match kind {
        LimitKind::Max => "memory.max",
        LimitKind::High => "memory.high",
        LimitKind::Host => "host",
    }
}

fn scope_of(finding: &Finding) -> &'static str {
    match finding.about {
        About::Process(_) => semconv::SCOPE_PROCESS,
        About::Container(_) => semconv::SCOPE_CONTAINER,
    }
}

fn cleared_reason(reason: Cleared) -> &'static str {
    match reason {
        Cleared::Stopped => "stopped",
        Cleared::GivenBack => "given_back",
        Cleared::Executed => "executed",
        Cleared::Exited => "exited",
    }
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Calm => "calm",
        Stage::Suspected => "suspected",
        Stage::Leaking => "leaking",
    }
}

/// Unlike the event id it is unique across hosts and restarts; backends remove what repeats it.
fn uid(nanos: u64) -> String {
    let (seconds, rest) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    Uuid::new_v7(Timestamp::from_unix(NoContext, seconds, u32::try_from(rest).unwrap_or_default()))
        .to_string()
}

pub(crate) fn rfc3339(nanos: u64) -> String {
    humantime::format_rfc3339_millis(from_nanos(nanos)).to_string()
}
