//! `${env:NAME}` and `${env:NAME:-default}` in values.
//!
//! References are replaced in the tree, not in the text, so that lines stay right and a variable cannot smuggle
//! in keys. What a variable holds is not expanded again.

use std::env::VarError;

use serde_yaml::Value;

use super::parse::{self, MAX_BYTES};
use super::problem::{Place, Problems, below, shorten};
use super::tree::{Body, Expanded, Node};

/// How variables are looked up: [`std::env::var`], or a table in tests.
pub type Environment<'a> = &'a dyn Fn(&str) -> Result<String, VarError>;

/// Replaces the references of a whole configuration.
pub(crate) struct Expander<'a> {
    environment: Environment<'a>,
    /// Bytes that references may still yield: a large variable named often would else fill the memory.
    left: usize,
    problems: &'a mut Problems,
    /// The keys whose references could not be replaced.
    pub(crate) unresolved: Vec<String>,
}

impl<'a> Expander<'a> {
    pub(crate) fn new(environment: Environment<'a>, problems: &'a mut Problems) -> Self {
        Self { environment, left: MAX_BYTES, problems, unresolved: Vec::new() }
    }

    /// Expands `node`, which stands at the key `path`.
    pub(crate) fn expand(&mut self, node: &mut Node, path: &str) {
        match &mut node.body {
            Body::List(nodes) => {
                for (index, node) in nodes.iter_mut().enumerate() {
                    self.expand(node, &format!("{path}[{index}]"));
                }
            }
            Body::Block(block) => {
                for (key, entry) in block {
                    self.expand(&mut entry.node, &below(path, key));
                }
            }
            Body::Scalar(Value::String(text)) if text.contains('$') => {
                let text = std::mem::take(text);
                match self.replace(&text, &node.at) {
                    Ok(replaced) => *node = replaced,
                    Err(reason) => {
                        let value = format!("\"{}\"", shorten(&text));
                        self.problems.add(&node.at, path, Some(value), reason);
                        self.unresolved.push(path.to_owned());
                    }
                }
            }
            Body::Scalar(_) => {}
        }
    }

    fn replace(&mut self, written: &str, at: &Place) -> Result<Node, String> {
        let pieces = pieces(written)?;
        let (mut text, mut references) = (String::new(), false);
        for piece in &pieces {
            match piece {
                Piece::Text(part) => text.push_str(part),
                Piece::Reference { name, default } => {
                    text.push_str(&self.look_up(name, *default)?);
                    references = true;
                }
            }
        }
        let mut node = match pieces[..] {
            [Piece::Reference { .. }] => typed(&text, at),
            _ => Node::new(at.clone(), Body::Scalar(Value::String(text.clone()))),
        };
        if references {
            node.expanded = Some(Expanded { written: written.to_owned(), text });
        }
        Ok(node)
    }

    fn look_up(&mut self, name: &str, default: Option<&str>) -> Result<String, String> {
        let value = match ((self.environment)(name), default) {
            (Ok(value), _) => value,
            (Err(VarError::NotPresent), Some(default)) => default.to_owned(),
            (Err(VarError::NotPresent), None) => {
                return Err(format!(
                    "environment variable {name} is not set; set it or write `${{env:{name}:-default}}`"
                ));
            }
            (Err(VarError::NotUnicode(_)), _) => {
                return Err(format!("environment variable {name} does not hold UTF-8"));
            }
        };
        self.left = self
            .left
            .checked_sub(value.len())
            .ok_or_else(|| format!("environment references yield more than {MAX_BYTES} bytes in all"))?;
        Ok(value)
    }
}

/// Writes dollar signs so that reading the values again yields the same and expands nothing.
pub(crate) fn protect(value: Value) -> Value {
    match value {
        Value::String(text) if text.contains("${") || text.contains("$$") => text.replace('$', "$$").into(),
        Value::Sequence(items) => items.into_iter().map(protect).collect(),
        Value::Mapping(pairs) => {
            Value::Mapping(pairs.into_iter().map(|(key, value)| (key, protect(value))).collect())
        }
        other => other,
    }
}

/// A value that is one reference and nothing else takes the YAML type of what the variable holds.
fn typed(text: &str, at: &Place) -> Node {
    // A text that is no YAML is simply text, as in the Collector: passwords look like anything.
    let mut scratch = Problems::default();
    let mut node = match parse::document(&at.source, text, &mut scratch) {
        Some(node) if scratch.is_empty() => node,
        None if scratch.is_empty() => Node::new(at.clone(), Body::Scalar(Value::Null)),
        _ => Node::new(at.clone(), Body::Scalar(Value::String(text.to_owned()))),
    };
    // Lines inside of a variable help nobody: a fault is at the reference.
    node.relocate(at);
    node
}

enum Piece<'t> {
    Text(&'t str),
    Reference { name: &'t str, default: Option<&'t str> },
}

/// Takes a text apart. `$$` is a dollar sign, and so is a dollar sign before anything but `{`.
fn pieces(text: &str) -> Result<Vec<Piece<'_>>, String> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find('$') {
        if let Some(after) = rest[start + 1..].strip_prefix('$') {
            pieces.push(Piece::Text(&rest[..=start]));
            rest = after;
        } else if let Some(after) = rest[start + 1..].strip_prefix('{') {
            let end = after.find('}').ok_or("`${` without `}`; for the text itself write `$${`")?;
            if start > 0 {
                pieces.push(Piece::Text(&rest[..start]));
            }
            pieces.push(reference(&after[..end])?);
            rest = &after[end + 1..];
        } else {
            pieces.push(Piece::Text(&rest[..=start]));
            rest = &rest[start + 1..];
        }
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Ok(pieces)
}

fn reference(inside: &str) -> Result<Piece<'_>, String> {
    if inside.contains("${") {
        return Err("references within references are not supported".to_owned());
    }
    let Some((scheme, inside)) = inside.split_once(':') else {
        return Err(format!("expected `${{env:{}}}`", shorten(inside)));
    };
    if scheme != "env" {
        return Err("expected `${env:NAME}`; no other source is supported in a value".to_owned());
    }
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let mut characters = name.bytes();
    let first = characters.next().is_some_and(|c| c.is_ascii_alphabetic() || c == b'_');
    if !first || !characters.all(|c| c.is_ascii_alphanumeric() || c == b'_') {
        return Err("expected the name of a variable: letters, digits and underscores".to_owned());
    }
    Ok(Piece::Reference { name, default })
}
