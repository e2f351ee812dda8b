//! Profiles as OTLP/JSON. Pure.

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use serde::ser::Error as _;
use serde_json::Value;

/// Members that are integers of 64 bits: texts in JSON.
const WIDE: [&str; 10] = [
    "address",
    "column",
    "durationNano",
    "fileOffset",
    "line",
    "memoryLimit",
    "memoryStart",
    "period",
    "startLine",
    "timeUnixNano",
];
/// Members that are ids: hexadecimal in JSON.
const IDS: [&str; 2] = ["spanId", "traceId"];

/// A request as OTLP/JSON. The protocol's crate writes 64-bit integers, ids and payloads of profiles as what they are in
/// Rust, which readers do not take; here they get the form that the protocol asks for. What is not set is left out.
///
/// # Errors
/// A profile has an original payload: there is no form for it.
pub(super) fn profiles_json(request: &ExportProfilesServiceRequest) -> serde_json::Result<String> {
    let mut request = serde_json::to_value(request)?;
    correct(&mut request)?;
    serde_json::to_string(&request)
}

fn correct(value: &mut Value) -> serde_json::Result<()> {
    match value {
        Value::Object(members) => {
            members.retain(|_, member| !is_unset(member));
            for (key, member) in members.iter_mut() {
                correct_member(key, member)?;
            }
            Ok(())
        }
        Value::Array(items) => items.iter_mut().try_for_each(correct),
        _ => Ok(()),
    }
}

fn correct_member(key: &str, member: &mut Value) -> serde_json::Result<()> {
    match (key, &mut *member) {
        ("originalPayload", _) => {
            return Err(serde_json::Error::custom("an original payload has no form in this format"));
        }
        ("values", Value::Array(numbers)) if numbers.iter().all(Value::is_number) => {
            numbers.iter_mut().for_each(as_text);
        }
        (_, Value::Number(_)) if WIDE.contains(&key) => as_text(member),
        (_, Value::Array(bytes)) if IDS.contains(&key) => {
            let bytes = bytes.iter().filter_map(Value::as_u64);
            *member = Value::String(bytes.map(|byte| format!("{byte:02x}")).collect());
        }
        _ => correct(member)?,
    }
    Ok(())
}

fn as_text(number: &mut Value) {
    *number = Value::String(number.to_string());
}

/// The protocol does not tell an absent member from one that holds its default. Values of attributes are no members of
/// this kind: they are told by which of them is there.
fn is_unset(member: &Value) -> bool {
    match member {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Number(number) => number.as_i64() == Some(0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::profiles::v1development::{Link, Profile, ProfilesDictionary, Sample};

    use super::*;
    use crate::data::Data;
    use crate::testing::profiles;

    fn json(request: &ExportProfilesServiceRequest) -> Value {
        serde_json::from_str(&profiles_json(request).unwrap()).unwrap()
    }

    /// Guarantees: wide integers are texts, ids hexadecimal, and what is not set is absent, as the protocol's JSON has it;
    /// texts and indices stay what they are.
    #[test]
    fn wide_integers_and_ids() {
        let Data::Profiles(mut request) = profiles(&[("grow", 1 << 60)]) else { panic!("no profiles") };
        let dictionary = request.dictionary.get_or_insert_default();
        dictionary.link_table.push(Link { trace_id: vec![0xab; 16], span_id: vec![1; 8] });
        let json = json(&request);
        let profile = &json["resourceProfiles"][0]["scopeProfiles"][0]["profiles"][0];
        assert_eq!(profile["timeUnixNano"], "1764032523456789012");
        assert_eq!(profile["samples"][0]["values"], serde_json::json!(["1152921504606846976"]));
        assert_eq!(profile["samples"][0]["stackIndex"], 1);
        assert!(profile.get("period").is_none() && profile.get("originalPayload").is_none());
        let dictionary = &json["dictionary"];
        assert_eq!(dictionary["linkTable"][1]["traceId"], "ab".repeat(16));
        assert_eq!(dictionary["linkTable"][0], serde_json::json!({}));
        assert_eq!(dictionary["locationTable"][1]["address"], "4096");
        assert_eq!(dictionary["stringTable"][0], "");
        let attribute = &dictionary["attributeTable"][1];
        assert_eq!(attribute["value"]["stringValue"], "malloc");
    }

    /// Guarantees: what has no form is refused, not mangled.
    #[test]
    fn payloads() {
        let mut request = ExportProfilesServiceRequest::default();
        let profile =
            Profile { samples: vec![Sample::default()], original_payload: vec![1], ..Profile::default() };
        let Data::Profiles(template) = profiles(&[("grow", 1)]) else { panic!("no profiles") };
        request.resource_profiles = template.resource_profiles;
        request.resource_profiles[0].scope_profiles[0].profiles = vec![profile];
        request.dictionary = Some(ProfilesDictionary::default());
        assert!(profiles_json(&request).is_err());
    }
}
