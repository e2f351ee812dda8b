//! `format: event`: a record as the specification's JSON event, one object a line.
//!
//! The mapping is the same for every kind: our attributes become members of `custom` under their own names,
//! save those that have a place of their own; a stack and its parts go by shorter ones. `otel-config/event.schema.json` says what readers may rely on.

#[cfg(test)]
mod tests;

use std::time::{Duration, UNIX_EPOCH};

use mlh_pipeline::exporters::file::LogEncoder;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde::{Serialize, Serializer};

use crate::semconv;

/// Attributes with a member of their own. The record's uid differs whenever a trace is replayed, while the event
/// id does not: it stays out.
const PLACED: [&str; 7] = [
    semconv::LOG_RECORD_UID,
    semconv::EVENT_ID,
    semconv::EVENT_KIND,
    semconv::EVENT_TYPE,
    semconv::PID,
    semconv::COMMAND,
    semconv::CGROUP_ID,
];

/// The figure that matters most, repeated among the labels: the first of these that the record has.
fn figures(kind: &str) -> &'static [&'static str] {
    match kind {
        "oom_risk" => &[semconv::TIME_TO_OOM],
        "oom_kill" => &[semconv::STAGE],
        "mode_changed" => &[semconv::MODE],
        _ => &[semconv::SIZE_BYTES, semconv::VELOCITY, semconv::CLEARED_REASON, semconv::RSS_GROWTH],
    }
}

#[derive(Serialize)]
struct Event<'a> {
    event_id: &'a str,
    timestamp: String,
    #[serde(rename = "type")]
    event_type: &'a str,
    source: &'static str,
    severity: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<&'a str>,
    event_data: EventData<'a>,
    metadata: Metadata<'a>,
}

#[derive(Serialize)]
struct EventData<'a> {
    kernel: Kernel<'a>,
    #[serde(serialize_with = "as_object")]
    custom: Vec<(&'a str, String)>,
}

#[derive(Serialize)]
struct Kernel<'a> {
    event_type: &'a str,
    #[serde(flatten)]
    process: Process<'a>,
}

#[derive(Serialize)]
struct Metadata<'a> {
    tags: [&'a str; 2],
    #[serde(serialize_with = "as_object")]
    labels: Vec<(&'a str, String)>,
    #[serde(flatten)]
    process: Process<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_pid: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container_id: Option<&'a str>,
}

#[derive(Serialize, Clone, Copy)]
struct Process<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cgroup_id: Option<i64>,
}

/// The file exporter's `format: event`.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventFormat;

impl LogEncoder for EventFormat {
    fn name(&self) -> &'static str {
        "event"
    }

    fn encode(
        &self,
        resource: &Resource,
        _scope: &InstrumentationScope,
        record: &LogRecord,
        out: &mut String,
    ) -> Result<(), String> {
        write(resource, record, out)
    }
}

/// Appends the record to `out` as one JSON object, without a line break.
///
/// # Errors
/// Says which attribute is missing: the record is not one of ours.
pub fn write(resource: &Resource, record: &LogRecord, out: &mut String) -> Result<(), String> {
    let attributes = &record.attributes;
    let required = |key| text(attributes, key).ok_or_else(|| format!("the record has no attribute {key}"));
    let kind = required(semconv::EVENT_KIND)?;
    let operation = text(attributes, semconv::OPERATION).unwrap_or(kind);
    let process = Process {
        pid: integer(attributes, semconv::PID),
        command: text(attributes, semconv::COMMAND),
        cgroup_id: integer(attributes, semconv::CGROUP_ID),
    };
    let event = Event {
        event_id: required(semconv::EVENT_ID)?,
        timestamp: timestamp(record),
        event_type: required(semconv::EVENT_TYPE)?,
        source: semconv::PRODUCT,
        severity: severity(record.severity_number),
        message: record.body.as_ref().and_then(|body| as_text(body.value.as_ref()?)),
        event_data: EventData {
            kernel: Kernel { event_type: operation, process },
            custom: custom(attributes),
        },
        metadata: Metadata {
            tags: ["memory", topic(kind)],
            labels: labels(kind, operation, attributes),
            process,
            host_pid: integer(&resource.attributes, semconv::PROCESS_HOST_PID),
            container_id: text(&resource.attributes, semconv::CONTAINER_ID),
        },
    };
    out.push_str(&serde_json::to_string(&event).map_err(|error| error.to_string())?);
    Ok(())
}

fn timestamp(record: &LogRecord) -> String {
    let nanos =
        if record.time_unix_nano == 0 { record.observed_time_unix_nano } else { record.time_unix_nano };
    humantime::format_rfc3339_nanos(UNIX_EPOCH + Duration::from_nanos(nanos)).to_string()
}

fn severity(number: i32) -> &'static str {
    if number >= i32::from(SeverityNumber::Error) {
        "critical"
    } else if number >= i32::from(SeverityNumber::Warn) {
        "warning"
    } else {
        "info"
    }
}

/// What the kind is about: its first word (`leak`, `rss`, `allocation`, ...).
fn topic(kind: &str) -> &str {
    kind.split('_').next().unwrap_or(kind)
}

fn custom(attributes: &[KeyValue]) -> Vec<(&str, String)> {
    attributes
        .iter()
        .filter(|attribute| !PLACED.contains(&attribute.key.as_str()))
        .filter_map(|attribute| {
            Some((shown(&attribute.key), printed(attribute.value.as_ref()?.value.as_ref()?)?))
        })
        .collect()
}

fn labels<'a>(kind: &str, operation: &str, attributes: &'a [KeyValue]) -> Vec<(&'a str, String)> {
    let figure = figures(kind).iter().find_map(|key| {
        let attribute = attributes.iter().find(|attribute| attribute.key == *key)?;
        Some((shown(&attribute.key), printed(attribute.value.as_ref()?.value.as_ref()?)?))
    });
    std::iter::once(("event_type", operation.to_owned())).chain(figure).collect()
}

/// Our attributes are shown without what they all begin with, and those of code by a word.
fn shown(key: &str) -> &str {
    match key {
        semconv::CODE_STACKTRACE => "stack",
        semconv::CODE_FUNCTION_NAME => "function",
        semconv::CODE_FILE_PATH => "file",
        semconv::CODE_LINE_NUMBER => "line",
        _ => key.strip_prefix(semconv::PREFIX).unwrap_or(key),
    }
}

fn value<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    as_text(value(attributes, key)?)
}

fn as_text(value: &Value) -> Option<&str> {
    if let Value::StringValue(text) = value { Some(text) } else { None }
}

fn integer(attributes: &[KeyValue], key: &str) -> Option<i64> {
    if let Value::IntValue(integer) = value(attributes, key)? { Some(*integer) } else { None }
}

/// Every value of `custom` is a string; what has no plain form is printed as JSON.
fn printed(value: &Value) -> Option<String> {
    match value {
        Value::StringValue(text) => Some(text.clone()),
        Value::IntValue(integer) => Some(integer.to_string()),
        Value::DoubleValue(number) => Some(number.to_string()),
        Value::BoolValue(truth) => Some(truth.to_string()),
        // a list of texts reads back as such
        Value::ArrayValue(list) => {
            let texts = list.values.iter().filter_map(|value| as_text(value.value.as_ref()?));
            serde_json::to_string(&texts.collect::<Vec<_>>()).ok()
        }
        other => serde_json::to_string(other).ok(),
    }
}

/// Pairs as a JSON object, in their order.
fn as_object<S: Serializer>(pairs: &[(&str, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}
