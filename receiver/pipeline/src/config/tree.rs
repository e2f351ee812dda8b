//! A configuration as written: values that remember where they stand.

use indexmap::IndexMap;
use serde_yaml::{Mapping, Value};

use super::problem::{Place, shorten};
use super::setting::Setting;

/// Keys in the order of the text, each with the place of the key itself.
pub(crate) type Block = IndexMap<String, Entry>;

/// A key's place and its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    pub(crate) key_at: Place,
    pub(crate) node: Node,
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Place,
    pub(crate) body: Body,
    /// Set where references to the environment were replaced: the value may be read as text as well.
    pub(crate) expanded: Option<Expanded>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Body {
    /// Null, bool, number or text.
    Scalar(Value),
    List(Vec<Node>),
    Block(Block),
}

/// A value that the environment supplied.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expanded {
    pub(crate) written: String,
    pub(crate) text: String,
}

impl Node {
    pub(crate) fn new(at: Place, body: Body) -> Self {
        Self { at, body, expanded: None }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self.body, Body::Scalar(Value::Null))
    }

    /// The value without its places.
    pub(crate) fn value(&self) -> Value {
        match &self.body {
            Body::Scalar(value) => value.clone(),
            Body::List(nodes) => Value::Sequence(nodes.iter().map(Node::value).collect()),
            Body::Block(block) => {
                let pairs = block.iter().map(|(key, entry)| (key.as_str().into(), entry.node.value()));
                Value::Mapping(pairs.collect::<Mapping>())
            }
        }
    }

    /// Reads the value. One that the environment supplied is taken as text where its YAML type does not fit,
    /// so that `${env:TOKEN}` stays text when the token happens to be all digits.
    pub(crate) fn read<T: Setting>(&self) -> Result<T, String> {
        let value = self.value();
        T::read(&value).or_else(|expected| match &self.expanded {
            Some(Expanded { text, .. }) if !value.is_string() => {
                T::read(&Value::String(text.clone())).map_err(|_| expected)
            }
            _ => Err(expected),
        })
    }

    /// The value as a message shows it: lists and mappings by their kind alone, and what the environment
    /// supplied as the reference that was written, because secrets come that way.
    pub(crate) fn shown(&self) -> String {
        match (&self.expanded, &self.body) {
            (Some(Expanded { written, .. }), _) => format!("\"{}\"", shorten(written)),
            (None, Body::Scalar(value)) => plain(value),
            (None, Body::List(_)) => "a list".to_owned(),
            (None, Body::Block(_)) => "a mapping".to_owned(),
        }
    }

    /// Puts this and all below it at `at`.
    pub(crate) fn relocate(&mut self, at: &Place) {
        self.at = at.clone();
        match &mut self.body {
            Body::Scalar(_) => {}
            Body::List(nodes) => nodes.iter_mut().for_each(|node| node.relocate(at)),
            Body::Block(block) => {
                for entry in block.values_mut() {
                    entry.key_at = at.clone();
                    entry.node.relocate(at);
                }
            }
        }
    }

    /// Lays `other` over this: mappings are joined key by key, anything else is replaced.
    pub(crate) fn overlay(&mut self, other: Node) {
        match (&mut self.body, other) {
            (Body::Block(below), Node { body: Body::Block(above), at, .. }) => {
                self.at = at;
                for (key, entry) in above {
                    match below.get_mut(&key) {
                        Some(old) => {
                            old.key_at = entry.key_at;
                            old.node.overlay(entry.node);
                        }
                        None => {
                            below.insert(key, entry);
                        }
                    }
                }
            }
            (_, other) => *self = other,
        }
    }
}

/// A scalar for a message: text in quotes, anything else as YAML writes it.
pub(crate) fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => format!("\"{}\"", shorten(text)),
        Value::Number(number) => number.to_string(),
        Value::Bool(truth) => truth.to_string(),
        Value::Null => "null".to_owned(),
        Value::Sequence(_) => "a list".to_owned(),
        Value::Mapping(_) | Value::Tagged(_) => "a mapping".to_owned(),
    }
}

/// `node` as the value of the nested keys `path`.
pub(crate) fn nest(path: &[&str], node: Node) -> Node {
    path.iter().rev().fold(node, |node, key| {
        let at = node.at.clone();
        let entry = Entry { key_at: at.clone(), node };
        Node::new(at, Body::Block(Block::from_iter([((*key).to_owned(), entry)])))
    })
}
