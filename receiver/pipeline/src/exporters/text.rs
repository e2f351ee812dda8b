//! Telemetry as text for people.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;

/// Appends a value: texts as they are, lists and mappings in brackets, bytes in hex.
pub(super) fn push_value(out: &mut String, value: Option<&AnyValue>) {
    // Writing into a String cannot fail.
    let _ = match value.and_then(|value| value.value.as_ref()) {
        None => Ok(()),
        Some(Value::StringValue(text)) => out.write_str(text),
        Some(Value::BoolValue(value)) => write!(out, "{value}"),
        Some(Value::IntValue(value)) => write!(out, "{value}"),
        Some(Value::DoubleValue(value)) => write!(out, "{value}"),
        Some(Value::BytesValue(bytes)) => bytes.iter().try_for_each(|byte| write!(out, "{byte:02x}")),
        Some(Value::ArrayValue(array)) => {
            out.push('[');
            for (index, value) in array.values.iter().enumerate() {
                out.push_str(if index > 0 { ", " } else { "" });
                push_value(out, Some(value));
            }
            out.push(']');
            Ok(())
        }
        Some(Value::KvlistValue(list)) => {
            out.push('{');
            push_attributes(out, &list.values);
            out.push('}');
            Ok(())
        }
        // An index into a table of the profiles signal, which no other signal has.
        Some(Value::StringValueStrindex(index)) => write!(out, "#{index}"),
    };
}

/// Appends `key=value, key=value`.
pub(super) fn push_attributes(out: &mut String, attributes: &[KeyValue]) {
    for (index, attribute) in attributes.iter().enumerate() {
        out.push_str(if index > 0 { ", " } else { "" });
        out.push_str(&attribute.key);
        out.push('=');
        push_value(out, attribute.value.as_ref());
    }
}

/// A value as text.
pub(super) fn value(value: Option<&AnyValue>) -> String {
    let mut out = String::new();
    push_value(&mut out, value);
    out
}

/// Makes a text harmless for a terminal: names of processes may hold line breaks and escape sequences.
pub(super) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            out.extend(c.escape_default());
        } else {
            out.push(c);
        }
    }
    out
}

/// `2026-11-25T01:02:03Z`.
pub(super) fn time(unix_nanos: u64) -> String {
    // 64 bits of nanoseconds end in the year 2554, well within what can be written.
    humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_nanos(unix_nanos)).to_string()
}

/// The record's severity in capitals.
pub(super) fn severity(record: &LogRecord) -> String {
    if !record.severity_text.is_empty() {
        return record.severity_text.to_uppercase();
    }
    match record.severity_number {
        1..=4 => "TRACE",
        5..=8 => "DEBUG",
        9..=12 => "INFO",
        13..=16 => "WARN",
        17..=20 => "ERROR",
        21..=24 => "FATAL",
        _ => "-",
    }
    .to_owned()
}
