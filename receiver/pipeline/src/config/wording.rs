//! How a fault says what is allowed.

use std::ops::{Bound, RangeBounds};

use serde_yaml::Value;

use super::problem::shorten;
use super::setting::Setting;
use super::tree::{Body, Node, plain};
use crate::component::ComponentId;

/// "unknown key; allowed: a, b", with the nearest name where one is near.
pub(crate) fn unknown(what: &str, name: &str, allowed: &[&str]) -> String {
    match allowed {
        [] => format!("unknown {what}; none is allowed here"),
        _ => format!("unknown {what}{}; allowed: {}", nearest(name, allowed), allowed.join(", ")),
    }
}

/// "not declared; `exporters` has: a, b". The names are the file's own: they may be strange, and only the first
/// of many are considered.
pub(crate) fn undeclared<'a>(
    section: &str,
    id: &ComponentId,
    declared: impl Iterator<Item = &'a ComponentId>,
) -> String {
    const MOST: usize = 20;
    let mut names: Vec<String> = declared.take(MOST + 1).map(|known| shorten(&known.to_string())).collect();
    if names.is_empty() {
        return format!("not declared; there is nothing under `{section}`");
    }
    let near = nearest(&id.to_string(), &names.iter().map(String::as_str).collect::<Vec<_>>());
    if names.len() > MOST {
        names[MOST] = "...".to_owned();
    }
    format!("not declared{near}; `{section}` has: {}", names.join(", "))
}

/// What is expected where `node` stands instead of a mapping.
pub(crate) fn mapping(node: &Node) -> &'static str {
    match &node.body {
        Body::Scalar(Value::String(text)) if text.contains(':') => "a mapping (put a space after the colon)",
        _ => "a mapping",
    }
}

/// " (did you mean `a`?)" where one of `names` is a slip of the finger away.
fn nearest(name: &str, names: &[&str]) -> String {
    // The distance takes time by the product of both lengths, and names come from anywhere.
    let near = names
        .iter()
        .filter(|known| name.len().abs_diff(known.len()) <= 4)
        .map(|known| (strsim::damerau_levenshtein(known, name), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .min_by_key(|(distance, _)| *distance);
    near.map(|(_, known)| format!(" (did you mean `{known}`?)")).unwrap_or_default()
}

/// "at least 1s and at most 1h".
pub(crate) fn describe<T: Setting>(range: &impl RangeBounds<T>) -> String {
    let show = |value: &T| match value.show() {
        Value::String(text) => text,
        other => plain(&other),
    };
    let from = match range.start_bound() {
        Bound::Included(from) => Some(format!("at least {}", show(from))),
        Bound::Excluded(from) => Some(format!("more than {}", show(from))),
        Bound::Unbounded => None,
    };
    let to = match range.end_bound() {
        Bound::Included(to) => Some(format!("at most {}", show(to))),
        Bound::Excluded(to) => Some(format!("less than {}", show(to))),
        Bound::Unbounded => None,
    };
    [from, to].into_iter().flatten().collect::<Vec<_>>().join(" and ")
}
