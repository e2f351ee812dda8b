//! The log records in what a Collector's file exporter wrote: OTLP as JSON lines, read without our own crates.

use anyhow::Context as _;
use serde_json::{Map, Value};

/// A log record together with where it came from. Attributes are plain JSON: numbers are numbers.
#[derive(Debug, Clone)]
pub struct Record {
    /// The resource's attributes.
    pub resource: Map<String, Value>,
    /// The scope's name.
    pub scope: String,
    /// `eventName`.
    pub event: String,
    /// `severityNumber`.
    pub severity: i64,
    /// The sentence.
    pub body: String,
    /// The record's attributes.
    pub attributes: Map<String, Value>,
    /// `timeUnixNano`.
    pub time: u64,
    /// `observedTimeUnixNano`.
    pub observed: u64,
}

impl Record {
    /// The container it is about, or in which its process runs.
    #[must_use]
    pub fn container(&self) -> Option<&str> {
        self.resource.get("container.id").and_then(Value::as_str)
    }

    /// An attribute of ours, by its name without the prefix.
    ///
    /// # Errors
    /// When it is not there.
    pub fn ours(&self, name: &str) -> anyhow::Result<&Value> {
        let value = self.attributes.get(&format!("memory_leak_hunter.{name}"));
        value.with_context(|| format!("no {name} in {}: {:?}", self.event, self.attributes))
    }

    /// A number among our attributes.
    ///
    /// # Errors
    /// When it is not there, or no number.
    pub fn number(&self, name: &str) -> anyhow::Result<f64> {
        self.ours(name)?.as_f64().with_context(|| format!("{name} is no number: {:?}", self.attributes))
    }

    /// The pid of the process it is about.
    #[must_use]
    pub fn pid(&self) -> Option<u64> {
        self.resource.get("process.pid").and_then(Value::as_u64)
    }
}

/// Every log record of the file so far. A last line that is still being written is left out.
///
/// # Errors
/// A whole line that is not OTLP.
pub fn records(path: &std::path::Path) -> anyhow::Result<Vec<Record>> {
    let text = std::fs::read_to_string(path).unwrap_or_default(); // not there before the first record
    let mut records = Vec::new();
    for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
        let request: Value = serde_json::from_str(line)?;
        for resource in items(&request, "resourceLogs") {
            let attributes_of_resource = attributes(&resource["resource"]);
            for scope in items(resource, "scopeLogs") {
                for record in items(scope, "logRecords") {
                    records.push(Record {
                        resource: attributes_of_resource.clone(),
                        scope: word(&scope["scope"]["name"]),
                        event: word(&record["eventName"]),
                        severity: record["severityNumber"].as_i64().unwrap_or_default(),
                        body: word(&record["body"]["stringValue"]),
                        attributes: attributes(record),
                        time: number(&record["timeUnixNano"]),
                        observed: number(&record["observedTimeUnixNano"]),
                    });
                }
            }
        }
    }
    Ok(records)
}

pub(crate) fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

pub(crate) fn word(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// OTLP's JSON writes 64-bit integers as text.
pub(crate) fn number(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

fn attributes(of: &Value) -> Map<String, Value> {
    items(of, "attributes").map(|pair| (word(&pair["key"]), plain(&pair["value"]))).collect()
}

pub(crate) fn plain(any: &Value) -> Value {
    match any.as_object().and_then(|object| object.iter().next()) {
        Some((kind, value)) if kind == "intValue" => {
            match value.as_str().and_then(|text| text.parse::<i64>().ok()) {
                Some(number) => number.into(),
                None => value.clone(),
            }
        }
        Some((_, value)) => value.clone(),
        None => Value::Null,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a record keeps its resource, integers are numbers, and a line still being written is left out.
    #[test]
    fn reads_what_the_collector_writes() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let line = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"process.pid","value":{"intValue":"42"}},
            {"key":"container.id","value":{"stringValue":"c"}}]},
            "scopeLogs":[{"scope":{"name":"s"},"logRecords":[{"eventName":"e","severityNumber":13,"timeUnixNano":"7",
            "body":{"stringValue":"b"},"attributes":[{"key":"memory_leak_hunter.k","value":{"doubleValue":1.5}}]}]}]}]}"#;
        let line = line.replace('\n', "");
        std::fs::write(path.path(), format!("{line}\n{{\"resourceLogs\":[")).unwrap();
        let records = records(path.path()).unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!((records[0].pid(), records[0].time, records[0].severity), (Some(42), 7, 13));
        assert_eq!(records[0].container(), Some("c"));
        assert_eq!(records[0].number("k").unwrap(), 1.5);
        assert!(records[0].ours("other").is_err());
        assert_eq!((records[0].event.as_str(), records[0].body.as_str()), ("e", "b"));
    }
}
