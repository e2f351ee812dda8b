//! Where a configuration comes from: `--config` and `--set`.

use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use serde_yaml::Value;

use super::expand::Environment;
use super::parse::{self, MAX_BYTES};
use super::problem::{Place, Problems, shorten};
use super::tree::{Block, Body, Node, nest};

/// Reads what one `--config` names: a path, `file:PATH`, `env:NAME` or `yaml:TEXT`. `None` where it cannot be
/// used; why is in `problems`.
pub(crate) fn read(source: &str, environment: Environment<'_>, problems: &mut Problems) -> Option<Node> {
    match scheme(source) {
        None => file(source, problems),
        Some(("file", path)) => file(path, problems),
        Some(("env", name)) => match environment(name) {
            Ok(text) => mapping(source, &text, problems),
            Err(error) => fail(source, format!("environment variable: {error}"), problems),
        },
        Some(("yaml", text)) => mapping("yaml", text, problems).map(split_keys),
        Some(_) => fail(source, "expected a path, file:PATH, env:NAME or yaml:TEXT".to_owned(), problems),
    }
}

/// Reads a text that holds a whole configuration.
pub(crate) fn mapping(name: &str, text: &str, problems: &mut Problems) -> Option<Node> {
    let source: Arc<str> = name.into();
    let before = problems.list().len();
    match parse::document(&source, text, problems) {
        Some(node) if matches!(node.body, Body::Block(_)) => Some(node),
        Some(node) if !node.is_null() => {
            let reason = "expected a mapping with receivers, exporters and service";
            problems.add(&node.at, "", Some(node.shown()), reason);
            None
        }
        _ if problems.list().len() > before => None,
        _ => fail(name, "empty; expected receivers, exporters and service".to_owned(), problems),
    }
}

/// Reads one `--set`: `a::b=value`, or with dots where no `::` occurs. The value is YAML.
pub(crate) fn set(assignment: &str, problems: &mut Problems) -> Option<Node> {
    let name = "--set";
    let Some((path, text)) = assignment.split_once('=') else {
        return fail(name, format!("\"{}\": expected key=value", shorten(assignment)), problems);
    };
    let path: Vec<&str> =
        if path.contains("::") { path.split("::").collect() } else { path.split('.').collect() };
    if path.iter().any(|key| key.is_empty()) || path.len() > 16 {
        let path = shorten(path.join("::").as_str());
        return fail(
            name,
            format!("\"{path}\": expected a key such as processors::batch::timeout"),
            problems,
        );
    }
    let whole = Place::whole(&name.into());
    let mut found = Problems::default();
    let parsed = parse::document(&whole.source, text, &mut found);
    for problem in found.list() {
        problems.add(&whole, &shorten(&path.join("::")), None, problem.reason.as_str());
    }
    if !found.is_empty() {
        return None;
    }
    let mut node = parsed.unwrap_or_else(|| Node::new(whole.clone(), Body::Scalar(Value::Null)));
    node.relocate(&whole);
    Some(nest(&path, node))
}

/// A scheme has two letters at least, so that a Windows drive is none.
fn scheme(source: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = source.split_once(':')?;
    let named = scheme.len() > 1
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|c| c.is_ascii_alphanumeric() || matches!(c, b'+' | b'.' | b'-'));
    named.then_some((scheme, rest))
}

fn file(path: &str, problems: &mut Problems) -> Option<Node> {
    let mut bytes = Vec::new();
    // One byte more than is allowed tells a file that is too large from one that just fits.
    let read = File::open(path).and_then(|file| file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes));
    if let Err(error) = read {
        return fail(path, format!("cannot be read: {error}"), problems);
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => mapping(path, text, problems),
        // A file cut off at the limit may end within a character: its size is what is wrong.
        Err(_) if bytes.len() > MAX_BYTES => fail(path, format!("larger than {MAX_BYTES} bytes"), problems),
        Err(error) => {
            let line = 1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
            let place = Place { source: path.into(), line, column: 0 };
            problems.add(&place, "", None, "not UTF-8");
            None
        }
    }
}

fn fail(source: &str, reason: String, problems: &mut Problems) -> Option<Node> {
    problems.add(&Place::whole(&source.into()), "", None, reason);
    None
}

/// `processors::batch::timeout: 2s` on a command line means the nested keys, as in the Collector.
fn split_keys(node: Node) -> Node {
    let at = node.at.clone();
    let mut whole = Node::new(at, Body::Block(Block::new()));
    if let Body::Block(block) = node.body {
        for (key, entry) in block {
            whole.overlay(nest(&key.split("::").collect::<Vec<_>>(), entry.node));
        }
    }
    whole
}
