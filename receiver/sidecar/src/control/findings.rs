//! What was found lately, for those who ask at the control socket.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::logs::v1::ResourceLogs;

use crate::event;
use crate::leaks::Leaks;
use crate::semconv::Kind;

/// So many events are remembered.
const MOST: usize = 256;
/// A larger event is not, in bytes.
const LARGEST: usize = 64 * 1024;

/// The newest events, without those of single allocations, as JSON. One for the process, whatever its configuration.
#[derive(Debug, Default)]
pub struct Findings {
    newest: Mutex<VecDeque<Kept>>,
    leaks: Arc<Leaks>,
}

#[derive(Debug)]
struct Kept {
    growth: bool,
    json: String,
}

impl Findings {
    /// Remembers the records, at the expense of the oldest; growth, of which there is much, gives way first.
    pub fn add(&self, logs: &ResourceLogs) {
        let resource = logs.resource.clone().unwrap_or_default();
        for record in logs.scope_logs.iter().flat_map(|scope| &scope.log_records) {
            let name = record.event_name.as_str();
            if [Kind::Allocation, Kind::Deallocation].iter().any(|kind| kind.event_name() == name) {
                continue;
            }
            let mut json = String::new();
            if event::write(&resource, record, &mut json).is_err() || json.len() > LARGEST {
                continue;
            }
            let mut kept = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() >= MOST {
                let oldest = kept.iter().position(|event| event.growth).unwrap_or(0);
                kept.remove(oldest);
            }
            kept.push_back(Kept { growth: name == Kind::RssGrowth.event_name(), json });
        }
    }

    /// The leaks that the verdicts speak of.
    #[must_use]
    pub fn leaks(&self) -> &Arc<Leaks> {
        &self.leaks
    }

    /// All of them as one JSON object, the newest last, with the leaks that are known beside them.
    #[must_use]
    pub fn json(&self) -> String {
        let kept = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let events: Vec<&str> = kept.iter().map(|event| event.json.as_str()).collect();
        // what has no form as JSON does not exist
        let leaks = serde_json::to_string(&self.leaks.messages()).unwrap_or_else(|_| "[]".to_owned());
        format!("{{\"findings\":[{}],\"leaks\":{leaks}}}", events.join(","))
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ScopeLogs};

    use super::*;
    use crate::semconv::{self, PREFIX};

    fn record(id: usize, name: &str) -> ResourceLogs {
        let text = |key: &str, value: String| KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(Value::StringValue(value)) }),
            ..KeyValue::default()
        };
        let kind = name.strip_prefix(PREFIX).unwrap().replace('.', "_");
        let attributes = vec![
            text(semconv::EVENT_ID, id.to_string()),
            text(semconv::EVENT_KIND, kind),
            text(semconv::EVENT_TYPE, "container.oom".to_owned()),
        ];
        let record = LogRecord { event_name: name.to_owned(), attributes, ..LogRecord::default() };
        let scope_logs = vec![ScopeLogs { log_records: vec![record], ..ScopeLogs::default() }];
        ResourceLogs { scope_logs, ..ResourceLogs::default() }
    }

    fn ids(findings: &Findings) -> Vec<usize> {
        let all: serde_json::Value = serde_json::from_str(&findings.json()).unwrap();
        let events = all["findings"].as_array().unwrap();
        events.iter().map(|event| event["event_id"].as_str().unwrap().parse().unwrap()).collect()
    }

    /// Guarantees: findings come as the events that the `file` exporter writes, the newest last; single allocations and
    /// what is no record of ours are not among them.
    #[test]
    fn what_is_remembered() {
        let findings = Findings::default();
        assert_eq!(findings.json(), r#"{"findings":[],"leaks":[]}"#);
        for (id, name) in
            ["leak.suspected", "allocation", "deallocation", "allocation.unfreed", "mode.changed"]
                .into_iter()
                .enumerate()
        {
            findings.add(&record(id, &format!("{PREFIX}{name}")));
        }
        findings.add(&ResourceLogs {
            scope_logs: vec![ScopeLogs { log_records: vec![LogRecord::default()], ..ScopeLogs::default() }],
            ..ResourceLogs::default()
        });
        assert_eq!(ids(&findings), [0, 3, 4]);
        assert!(findings.json().contains(r#""event_type":"leak_suspected""#), "{}", findings.json());
    }

    /// Guarantees: so many are kept and no more; growth gives way to what is rarer.
    #[test]
    fn the_oldest_give_way() {
        let findings = Findings::default();
        findings.add(&record(0, Kind::LeakDetected.event_name()));
        for id in 1..2 * MOST {
            findings.add(&record(id, Kind::RssGrowth.event_name()));
        }
        let kept = ids(&findings);
        assert_eq!((kept.len(), kept[0], kept[1]), (MOST, 0, MOST + 1));
        for id in 2 * MOST..3 * MOST {
            findings.add(&record(id, Kind::LeakSuspected.event_name()));
        }
        let kept = ids(&findings);
        assert_eq!((kept.len(), kept[0]), (MOST, 2 * MOST), "without growth the oldest goes");
    }
}
