//! A finding becomes a log record: one Resource for each observed process, our scope, one record.
//!
//! Read `semconv` for the names, `records/subject.rs` for the Resource, here for the record's attributes and
//! `records/prose.rs` for its sentence.

mod attributes;
mod clock;
mod host;
mod ids;
mod prose;
mod subject;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use mlh_detect::{Cleared, Finding, FindingKind, Stage, Trend, Verdict};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use uuid::{NoContext, Timestamp, Uuid};

pub use clock::Clock;
pub use host::{HostIdentity, OwnPod};
pub use subject::Subject;

use crate::semconv::{self, Kind};
use attributes::Attributes;
pub(crate) use clock::epoch_nanos;
use clock::from_nanos;
use ids::EventIds;

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

    /// The finding as a record, under the Resource of the process it is about.
    #[must_use]
    pub fn encode(&mut self, finding: &Finding, subject: &Subject, clock: &Clock) -> ResourceLogs {
        let record = self.record(finding, subject, clock);
        let scope = InstrumentationScope {
            name: semconv::SCOPE_NAME.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        ResourceLogs {
            resource: Some(subject.resource(finding, &self.host)),
            scope_logs: vec![ScopeLogs {
                scope: Some(scope),
                log_records: vec![record],
                schema_url: semconv::SCHEMA_URL.to_owned(),
            }],
            schema_url: semconv::SCHEMA_URL.to_owned(),
        }
    }

    fn record(&mut self, finding: &Finding, subject: &Subject, clock: &Clock) -> LogRecord {
        let kind = Kind::from(&finding.kind);
        let time = clock.nanos(finding.at);
        let (severity, severity_text) = kind.severity();

        let mut attributes = Attributes::default();
        attributes.text(semconv::LOG_RECORD_UID, uid(time));
        attributes.text(semconv::EVENT_ID, self.ids.next(kind, time / 1_000_000));
        attributes.text(semconv::EVENT_KIND, kind.name());
        attributes.text(semconv::EVENT_TYPE, kind.event_type());
        attributes.text(semconv::SCOPE, semconv::SCOPE_PROCESS);
        attributes.text(semconv::OPERATION, kind.name());
        self.process(&mut attributes, finding, subject);
        self.found(&mut attributes, &finding.kind, clock);

        LogRecord {
            time_unix_nano: time,
            observed_time_unix_nano: epoch_nanos(clock.observed),
            severity_number: severity.into(),
            severity_text: severity_text.to_owned(),
            body: Some(AnyValue {
                value: Some(Value::StringValue(prose::sentence(finding, subject, clock))),
            }),
            attributes: attributes.into(),
            event_name: kind.event_name().to_owned(),
            ..LogRecord::default()
        }
    }

    /// Who it is and what it held.
    fn process(&self, attributes: &mut Attributes, finding: &Finding, subject: &Subject) {
        let memory = finding.memory;
        attributes.integer(semconv::PID, u64::from(finding.key.pid));
        attributes.text(semconv::COMMAND, subject.reading.comm.as_str());
        attributes.integer_if(semconv::CGROUP_ID, subject.reading.cgroup_id);
        attributes.integer_if(semconv::MEMORY_CGROUP_ID, subject.reading.memory_cgroup_id);
        attributes.integer(semconv::RSS_PAGES, self.pages(memory.resident()));
        attributes.integer(semconv::ANON_BYTES, memory.anon);
        attributes.integer(semconv::SWAP_BYTES, memory.swap);
        attributes.integer(semconv::SHMEM_BYTES, memory.shmem);
        attributes.integer(semconv::FILE_BYTES, memory.file);
    }

    /// What was found, by kind; what does not apply is absent.
    fn found(&self, attributes: &mut Attributes, kind: &FindingKind, clock: &Clock) {
        match kind {
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
                attributes.text(semconv::ONSET, rfc3339(clock.nanos(verdict.onset)));
                attributes.integer(semconv::LEAKED_BYTES, verdict.leaked);
                exhaustion(attributes, verdict);
            }
            FindingKind::Cleared { reason, was, peak } => {
                attributes.text(semconv::CLEARED_REASON, cleared_reason(*reason));
                attributes.text(semconv::CLEARED_FROM, stage_name(*was));
                attributes.integer(semconv::LEAKED_BYTES, *peak);
            }
        }
    }

    fn pages(&self, bytes: u64) -> u64 {
        bytes / self.page_size
    }
}

fn slope(attributes: &mut Attributes, trend: &Trend) {
    attributes.rounded(semconv::VELOCITY, trend.velocity);
    attributes.rounded(semconv::VELOCITY_LOW, trend.interval.0);
    attributes.rounded(semconv::VELOCITY_HIGH, trend.interval.1);
    attributes.rounded(semconv::WINDOW, trend.window.as_secs_f64());
    attributes.integer(semconv::SAMPLES, u64::from(trend.samples));
}

fn exhaustion(attributes: &mut Attributes, verdict: &Verdict) {
    if let Some(end) = verdict.host_exhaustion_s {
        attributes.rounded(semconv::HOST_EXHAUSTION, end.expected_s);
        attributes.rounded(semconv::HOST_EXHAUSTION_EARLIEST, end.earliest_s);
        attributes.rounded(semconv::HOST_EXHAUSTION_LATEST, end.latest_s);
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

fn rfc3339(nanos: u64) -> String {
    humantime::format_rfc3339_millis(from_nanos(nanos)).to_string()
}
