//! The sidecar's records, as its file exporter writes them with `format: event`, by the cgroup that they are about.

use std::collections::HashMap;
use std::time::SystemTime;

use serde_json::Value;

/// What a record says that counts here.
#[derive(Debug, Clone, PartialEq)]
pub struct Heard {
    /// When it is about: seconds since 1970.
    pub at: f64,
    /// `leak_suspected`, `leak_detected`, ...
    pub kind: String,
    /// What is blamed, the foremost first: `function (file:line)` and the like.
    pub culprits: Vec<String>,
    /// The line itself.
    pub line: String,
}

/// The records of a file by cgroup. A last line that is not whole yet is left out.
#[must_use]
pub fn by_cgroup(text: &str) -> HashMap<u64, Vec<Heard>> {
    let mut heard: HashMap<u64, Vec<Heard>> = HashMap::new();
    for line in text.lines() {
        let Ok(event) = serde_json::from_str::<Value>(line) else { continue };
        let Some((cgroup, record)) = one(&event, line) else { continue };
        heard.entry(cgroup).or_default().push(record);
    }
    heard
}

fn one(event: &Value, line: &str) -> Option<(u64, Heard)> {
    let time = humantime::parse_rfc3339(event["timestamp"].as_str()?).ok()?;
    let at = time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs_f64();
    let kind = event["event_data"]["kernel"]["event_type"].as_str()?.to_owned();
    let culprits = culprits(&event["event_data"]["custom"]);
    Some((event["metadata"]["cgroup_id"].as_u64()?, Heard { at, kind, culprits, line: line.to_owned() }))
}

/// A record names the foremost culprit as `function` and in its stack, and all of them, ranked, as `culprits`: one a line, or a list.
fn culprits(custom: &Value) -> Vec<String> {
    let Some(ranked) = custom["culprits"].as_str() else {
        return custom["function"].as_str().map(str::to_owned).into_iter().collect();
    };
    let mut names = Vec::new();
    match serde_json::from_str::<Value>(ranked) {
        Ok(list) => texts(&list, &mut names),
        Err(_) => names.extend(ranked.lines().map(str::to_owned)),
    }
    names
}

/// Every text in a list, however its parts are wrapped.
fn texts(value: &Value, names: &mut Vec<String>) {
    match value {
        Value::String(text) => names.push(text.clone()),
        Value::Array(parts) => parts.iter().for_each(|part| texts(part, names)),
        Value::Object(parts) => parts.values().for_each(|part| texts(part, names)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(custom: &str) -> String {
        format!(
            "{{\"timestamp\":\"2026-11-25T01:02:03.500000000Z\",\"event_data\":{{\"kernel\":{{\"event_type\":\
             \"leak_detected\"}},\"custom\":{custom}}},\"metadata\":{{\"cgroup_id\":7}}}}"
        )
    }

    /// Guarantees: records go to the cgroup that they name, with time and kind; one without, or not whole, goes nowhere.
    #[test]
    fn records_find_their_cgroup() {
        let text = format!("{}\n{{\"metadata\":{{}}}}\n{{\"timest", event("{}"));
        let heard = by_cgroup(&text);
        assert_eq!(heard.len(), 1);
        let record = &heard[&7][0];
        assert_eq!(
            (record.at, record.kind.as_str(), record.culprits.len()),
            (1_795_568_523.5, "leak_detected", 0)
        );
    }

    /// Guarantees: culprits are told in their order, whether one by its function, or all as lines or as a list.
    #[test]
    fn culprits_are_read_in_their_order() {
        let of = |custom: &str| by_cgroup(&event(custom))[&7][0].culprits.clone();
        assert_eq!(of("{\"function\":\"keep\"}"), ["keep"]);
        assert_eq!(of("{\"culprits\":\"keep (a.c:1) 90 %\\nother\"}"), ["keep (a.c:1) 90 %", "other"]);
        let list = "{\"culprits\":\"{\\\"values\\\":[{\\\"stringValue\\\":\\\"keep\\\"},{\\\"stringValue\\\":\\\"b\\\"}]}\"}";
        assert_eq!(of(list), ["keep", "b"]);
    }
}
