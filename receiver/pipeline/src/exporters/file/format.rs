//! From requests to lines. Pure.

use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::LogEncoder;
use super::profiles::profiles_json;
use crate::data::{Data, Signal};

pub(super) enum Format {
    /// One OTLP/JSON request a line.
    Json,
    /// One line a log record.
    Lines(Arc<dyn LogEncoder>),
}

impl Format {
    pub(super) const JSON: &'static str = "json";

    pub(super) fn name(&self) -> &'static str {
        match self {
            Format::Json => Self::JSON,
            Format::Lines(encoder) => encoder.name(),
        }
    }

    pub(super) fn supports(&self, signal: Signal) -> bool {
        matches!(self, Format::Json) || signal == Signal::Logs
    }

    /// Why `signal` is not supported.
    pub(super) fn lacks(&self, signal: Signal) -> String {
        format!("format {} has no lines for {signal}; {} has", self.name(), Self::JSON)
    }

    /// Appends the lines of `data`. Returns a reason for every item that has none.
    pub(super) fn push(&self, data: &Data, out: &mut String) -> Vec<String> {
        match (self, data) {
            (Format::Lines(encoder), Data::Logs(logs)) => {
                let mut failures = Vec::new();
                for resource_logs in &logs.resource_logs {
                    let resource = resource_logs.resource.clone().unwrap_or_default();
                    for scope_logs in &resource_logs.scope_logs {
                        let scope = scope_logs.scope.clone().unwrap_or_default();
                        for record in &scope_logs.log_records {
                            let before = out.len();
                            match encoder.encode(&resource, &scope, record, out) {
                                Ok(()) => out.push('\n'),
                                Err(reason) => {
                                    out.truncate(before);
                                    failures.push(reason);
                                }
                            }
                        }
                    }
                }
                failures
            }
            (_, data) => {
                let line = match data {
                    Data::Logs(logs) => otlp_json(logs),
                    Data::Metrics(metrics) => otlp_json(metrics),
                    Data::Profiles(profiles) => profiles_json(profiles),
                };
                match line {
                    Ok(line) => {
                        out.push_str(&line);
                        out.push('\n');
                        Vec::new()
                    }
                    Err(error) => vec![error.to_string(); data.items()],
                }
            }
        }
    }
}

/// A request as OTLP/JSON. An absent member is left out: the Collector takes no `null` for a number.
fn otlp_json(request: &impl Serialize) -> serde_json::Result<String> {
    let mut request = serde_json::to_value(request)?;
    drop_nulls(&mut request);
    serde_json::to_string(&request)
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !member.is_null());
            members.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}
