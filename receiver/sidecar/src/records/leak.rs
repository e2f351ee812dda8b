//! What is known of the leak that a record speaks of.

use std::time::Duration;

use mlh_detect::leaks::Recognised;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs};

use super::attributes::Attributes;
use super::clock::from_nanos;
use super::rfc3339;
use super::stack;
use super::words::{moment, span};
use crate::semconv::{self, Kind};

/// Adds it to an encoded record, and to the sentence of a verdict where the leak has been seen before.
pub(crate) fn recognise(logs: &mut ResourceLogs, leak: &Recognised) {
    for record in logs.scope_logs.iter_mut().flat_map(|scope| &mut scope.log_records) {
        let mut attributes = Attributes::default();
        attributes.text(semconv::LEAK_ID, leak.id.to_string());
        attributes.text(semconv::LEAK_FIRST_SEEN, rfc3339(nanos(leak.first_seen)));
        attributes.integer(semconv::LEAK_OCCURRENCES, leak.occurrences);
        attributes.integer(semconv::LEAK_MEMBERS, leak.members as u64);
        attributes.integer_if(semconv::LEAK_KILLS, Some(leak.kills).filter(|kills| *kills > 0));
        if let Some(life) = leak.life {
            attributes.rounded(semconv::LEAK_LIFE, life);
        }
        attributes.text_if(semconv::LEAK_PLACE, leak.place.as_deref().map(stack::name).as_deref());
        record.attributes.extend(Vec::from(attributes));
        if record.event_name == Kind::LeakDetected.event_name()
            && let Some(history) = history(leak, record)
            && let Some(Value::StringValue(sentence)) =
                record.body.as_mut().and_then(|body| body.value.as_mut())
        {
            sentence.push_str(&history);
        }
    }
}

/// One more sentence, where there is more to say than the verdict does.
fn history(leak: &Recognised, record: &LogRecord) -> Option<String> {
    if leak.occurrences < 2 {
        return None;
    }
    let now = from_nanos(record.time_unix_nano);
    let since = moment(from_nanos(nanos(leak.first_seen)), now);
    let now = match (leak.members, leak.containers) {
        (0 | 1, _) => String::new(),
        (members, containers) if containers == members => format!(", in {containers} containers now"),
        (members, 0) => format!(", in {members} processes now"),
        (members, 1) => format!(", in {members} processes of one container now"),
        (members, containers) => format!(", in {members} processes and {containers} containers now"),
    };
    let life = leak.life.and_then(|life| Duration::try_from_secs_f64(life).ok());
    let life = life.map(|life| format!("; whoever has it lives for about {}", span(life)));
    Some(format!(
        " This leak has been seen {} times since {since}{now}{}.",
        leak.occurrences,
        life.unwrap_or_default()
    ))
}

fn nanos(since_1970: Duration) -> u64 {
    u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX)
}
