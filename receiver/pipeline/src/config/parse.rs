//! Text to tree: one YAML document whose every key and value keeps its place.
//!
//! The structure comes from a parser that knows positions; what a plain scalar means (number, bool, text) is
//! asked of `serde_yaml`. What a configuration has no need of and an attacker has (anchors, aliases, merge keys,
//! tags, endless nesting, sheer size) is refused.

use std::borrow::Cow;
use std::sync::Arc;

use indexmap::map;
use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_yaml::Value;

use super::problem::{Place, Problems, below};
use super::tree::{Block, Body, Entry, Node};

/// The largest configuration, in bytes.
pub(crate) const MAX_BYTES: usize = 1 << 20;

/// The deepest nesting of lists and mappings.
const MAX_DEPTH: usize = 64;

/// Reads one document. `None` where nothing can be made of the text: why is in `problems`. Duplicate keys and
/// unwanted constructs are noted and the rest is read on.
pub(crate) fn document(source: &Arc<str>, text: &str, problems: &mut Problems) -> Option<Node> {
    if text.len() > MAX_BYTES {
        problems.add(&Place::whole(source), "", None, format!("larger than {MAX_BYTES} bytes"));
        return None;
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut builder = Builder { source, open: Vec::new(), root: None, documents: 0, problems };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((event, span)) => builder.take(event, span)?,
            Err(error) => {
                let at = builder.place(*error.marker());
                let path = builder.path();
                let info = error.info().to_owned();
                builder.problems.add(&at, &path, None, format!("not valid YAML: {info}"));
                return None;
            }
        }
    }
    builder.root
}

/// What a plain scalar stands for.
pub(crate) fn scalar(text: &str) -> Value {
    match serde_yaml::from_str(text) {
        Ok(value @ (Value::Null | Value::Bool(_) | Value::Number(_))) => value,
        _ => Value::String(text.to_owned()),
    }
}

/// A list or mapping that has begun and not ended.
enum Open {
    List(Place, Vec<Node>),
    Block { at: Place, block: Block, key: Option<Key> },
}

/// A key that waits for its value. One that is not text is never put anywhere: it has had its fault.
struct Key {
    at: Place,
    name: String,
    text: bool,
}

struct Builder<'a> {
    source: &'a Arc<str>,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
    problems: &'a mut Problems,
}

impl Builder<'_> {
    /// `None` where reading on is of no use.
    fn take(&mut self, event: Event<'_>, span: Span) -> Option<()> {
        let at = self.place(span.start);
        match event {
            Event::DocumentStart(_) => {
                self.documents += 1;
                if self.documents > 1 {
                    self.problems.add(&at, "", None, "a second YAML document; expected one a file");
                    return None;
                }
            }
            Event::Alias(_) => self.unwanted(&at, "aliases (`*name`)")?,
            Event::Scalar(text, style, anchor, tag) => {
                self.plain_only(&at, anchor, tag.is_some())?;
                self.scalar(at, text, style)?;
            }
            Event::SequenceStart(anchor, tag) => {
                self.plain_only(&at, anchor, tag.is_some())?;
                self.descend(&at)?;
                self.open.push(Open::List(at, Vec::new()));
            }
            Event::MappingStart(anchor, tag) => {
                self.plain_only(&at, anchor, tag.is_some())?;
                self.descend(&at)?;
                self.open.push(Open::Block { at, block: Block::new(), key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop()? {
                Open::List(at, nodes) => self.place_node(Node::new(at, Body::List(nodes))),
                Open::Block { at, block, .. } => self.place_node(Node::new(at, Body::Block(block))),
            },
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
        }
        Some(())
    }

    fn scalar(&mut self, at: Place, text: Cow<'_, str>, style: ScalarStyle) -> Option<()> {
        let value = match style {
            ScalarStyle::Plain => scalar(&text),
            _ => Value::String(text.clone().into_owned()),
        };
        if !matches!(self.open.last(), Some(Open::Block { key: None, .. })) {
            self.place_node(Node::new(at, Body::Scalar(value)));
            return Some(());
        }
        if text == "<<" && style == ScalarStyle::Plain {
            return self.unwanted(&at, "merge keys (`<<`)");
        }
        if !value.is_string() {
            let path = below(&self.path(), &text);
            self.problems.add(&at, &path, None, "a key that is not text; put it in quotes");
        }
        self.set_key(Key { at, name: text.into_owned(), text: value.is_string() });
        Some(())
    }

    fn set_key(&mut self, wanted: Key) {
        if let Some(Open::Block { key, .. }) = self.open.last_mut() {
            *key = Some(wanted);
        }
    }

    /// Puts a finished value where it belongs.
    fn place_node(&mut self, node: Node) {
        let (block, key) = match self.open.last_mut() {
            None => {
                self.root = Some(node);
                return;
            }
            Some(Open::List(_, nodes)) => {
                nodes.push(node);
                return;
            }
            Some(Open::Block { block, key, .. }) => (block, key.take()),
        };
        let Some(key) = key else {
            let path = self.path();
            self.problems.add(&node.at, &path, None, "a key that is a list or mapping; expected text");
            self.set_key(Key { at: node.at, name: String::new(), text: false });
            return;
        };
        if !key.text {
            return;
        }
        match block.entry(key.name) {
            map::Entry::Vacant(free) => {
                free.insert(Entry { key_at: key.at, node });
            }
            map::Entry::Occupied(first) => {
                let (name, line) = (first.key().clone(), first.get().key_at.line);
                let path = below(&self.path(), &name);
                self.problems.add(&key.at, &path, None, format!("duplicate key; first on line {line}"));
            }
        }
    }

    fn plain_only(&mut self, at: &Place, anchor: usize, tagged: bool) -> Option<()> {
        if anchor != 0 {
            return self.unwanted(at, "anchors (`&name`)");
        }
        if tagged {
            return self.unwanted(at, "tags (`!name`)");
        }
        Some(())
    }

    fn unwanted(&mut self, at: &Place, what: &str) -> Option<()> {
        let path = self.path();
        self.problems.add(at, &path, None, format!("{what} are not supported; write the value out"));
        None
    }

    fn descend(&mut self, at: &Place) -> Option<()> {
        if self.open.len() < MAX_DEPTH {
            return Some(());
        }
        self.problems.add(at, "", None, format!("nested deeper than {MAX_DEPTH} levels"));
        None
    }

    fn place(&self, mark: saphyr_parser::Marker) -> Place {
        Place { source: Arc::clone(self.source), line: mark.line(), column: mark.col() + 1 }
    }

    /// The keys that lead to where the parser is.
    fn path(&self) -> String {
        let mut path = String::new();
        for open in &self.open {
            match open {
                Open::List(_, nodes) => path = format!("{path}[{}]", nodes.len()),
                Open::Block { key: Some(key), .. } => path = below(&path, &key.name),
                Open::Block { key: None, .. } => {}
            }
        }
        path
    }
}
