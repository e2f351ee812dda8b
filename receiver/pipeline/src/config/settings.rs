//! How a component reads its own block.

use std::collections::BTreeMap;
use std::ops::RangeBounds;
use std::sync::Arc;

use serde_yaml::{Mapping, Value};

use super::problem::{Place, Problem, Problems, REDACTED, below};
use super::setting::Setting;
use super::tree::{Block, Body, Entry, Node};
use super::wording::{describe, mapping, unknown};

/// One mapping of the configuration while a component reads it. Keys that nobody asked for are unknown keys.
///
/// A key without a value (`timeout:`) means the default, as it does in the Collector. Every read records the
/// value in effect, so that `print-config` shows defaults as well.
pub struct Settings<'a> {
    block: Option<&'a Block>,
    at: Place,
    path: String,
    asked: Vec<&'static str>,
    secrets: Vec<&'static str>,
    anything: bool,
    effective: Mapping,
    notes: Notes,
}

/// What a reader had to say beside the values.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) problems: Problems,
    pub(crate) warnings: Vec<Problem>,
}

/// Where one item of a list stands, for faults found later.
pub(crate) struct Item {
    pub(crate) at: Place,
    pub(crate) path: String,
    pub(crate) shown: String,
}

impl<'a> Settings<'a> {
    /// Reads a text that holds one component's block and nothing else: for a component tried by itself.
    /// Returns what `read` returned and the effective values.
    ///
    /// # Errors
    /// Every fault of the text.
    pub fn of_text<R>(text: &str, read: impl FnOnce(&mut Settings<'_>) -> R) -> Result<(R, Value), Problems> {
        let source: Arc<str> = "text".into();
        let mut problems = Problems::default();
        let root = super::parse::document(&source, text, &mut problems);
        let mut settings = Settings::new(None, Place::whole(&source), String::new());
        if let Some(node) = &root {
            match &node.body {
                Body::Block(block) => settings.block = Some(block),
                Body::Scalar(Value::Null) => {}
                _ => problems.add(&node.at, "", Some(node.shown()), "expected a mapping"),
            }
        }
        let result = read(&mut settings);
        let (effective, notes) = settings.finish();
        problems.append(notes.problems);
        problems.sort(&[source]);
        problems.unless((result, effective))
    }

    pub(crate) fn new(block: Option<&'a Block>, at: Place, path: String) -> Self {
        Self {
            block,
            at,
            path,
            asked: Vec::new(),
            secrets: Vec::new(),
            anything: false,
            effective: Mapping::new(),
            notes: Notes::default(),
        }
    }

    /// The value of `key`, or `default` where it is absent or faulty (the fault is noted).
    pub fn get<T: Setting>(&mut self, key: &'static str, default: T) -> T {
        let value = self.read(key).unwrap_or(default);
        self.record(key, value.show());
        value
    }

    /// Like `get`, and a value outside of `range` is a fault that names the range.
    pub fn get_in<T: Setting + PartialOrd>(
        &mut self,
        key: &'static str,
        default: T,
        range: impl RangeBounds<T>,
    ) -> T {
        let value = self.read_in(key, &range).unwrap_or(default);
        self.record(key, value.show());
        value
    }

    /// The value of `key`, if it is there and sound.
    pub fn optional<T: Setting>(&mut self, key: &'static str) -> Option<T> {
        let value: T = self.read(key)?;
        self.record(key, value.show());
        Some(value)
    }

    /// Like `optional`, and a value outside of `range` is a fault that names the range.
    pub fn optional_in<T: Setting + PartialOrd>(
        &mut self,
        key: &'static str,
        range: impl RangeBounds<T>,
    ) -> Option<T> {
        let value = self.read_in(key, &range)?;
        self.record(key, value.show());
        Some(value)
    }

    /// Like `optional`, and absence is a fault: `meaning` says what belongs there.
    pub fn required<T: Setting>(&mut self, key: &'static str, meaning: &str) -> Option<T> {
        if self.entry(key).is_none() {
            self.ask(key);
            let path = below(&self.path, key);
            self.notes.problems.add(&self.at, &path, None, format!("missing; expected {meaning}"));
            return None;
        }
        self.optional(key)
    }

    /// Like `optional`; the value is masked in every output.
    pub fn secret<T: Setting>(&mut self, key: &'static str) -> Option<T> {
        self.secrets.push(key);
        let value = self.read(key)?;
        self.record(key, REDACTED.into());
        Some(value)
    }

    /// A list of values; `default` where it is absent. Faulty items are noted and left out.
    pub fn list<T: Setting>(&mut self, key: &'static str, default: Vec<T>) -> Vec<T> {
        let list = match self.placed_list(key) {
            Some(placed) => placed.into_iter().map(|(value, _)| value).collect(),
            None => default,
        };
        self.record(key, Value::Sequence(list.iter().map(Setting::show).collect()));
        list
    }

    /// The sound items of a list, each with its index and place; `None` where there is no list.
    pub(crate) fn placed_list<T: Setting>(&mut self, key: &'static str) -> Option<Vec<(T, Item)>> {
        let nodes = self.items(key)?;
        let path = below(&self.path, key);
        let mut list = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match node.read() {
                Ok(value) => list.push((value, Item { at: node.at.clone(), path, shown: node.shown() })),
                Err(expected) => self.fault(&node.at, &path, node, &expected),
            }
        }
        Some(list)
    }

    /// A mapping with names of the user's own choice; empty where it is absent.
    pub fn map<T: Setting>(&mut self, key: &'static str) -> BTreeMap<String, T> {
        let map: BTreeMap<String, T> = self.read_map(key);
        self.record(
            key,
            Value::Mapping(map.iter().map(|(name, value)| (name.as_str().into(), value.show())).collect()),
        );
        map
    }

    /// Like `map`; the names are shown, the values are masked in every output.
    pub fn secret_map<T: Setting>(&mut self, key: &'static str) -> BTreeMap<String, T> {
        self.secrets.push(key);
        let map: BTreeMap<String, T> = self.read_map(key);
        self.record(
            key,
            Value::Mapping(map.keys().map(|name| (name.as_str().into(), REDACTED.into())).collect()),
        );
        map
    }

    /// A mapping below `key`: read by `read`, whose unknown keys are faults as well. Where the key is absent,
    /// `read` sees an empty mapping and so yields the defaults. `None` only where the value is no mapping.
    pub fn section<R>(&mut self, key: &'static str, read: impl FnOnce(&mut Settings<'_>) -> R) -> Option<R> {
        let block = match self.lookup(key).map(|entry| &entry.node) {
            Some(Node { body: Body::Block(block), .. }) => Some(block),
            Some(node) => {
                self.fault(&node.at, &below(&self.path, key), node, mapping(node));
                return None;
            }
            None => None,
        };
        let at = self.key_place(key);
        let mut inner = Settings::new(block, at, below(&self.path, key));
        let result = read(&mut inner);
        let effective = self.close(inner);
        self.record(key, effective);
        Some(result)
    }

    /// A list of mappings, each read by `read`; empty where it is absent.
    pub fn sections<R>(&mut self, key: &'static str, mut read: impl FnMut(&mut Settings<'_>) -> R) -> Vec<R> {
        let (mut results, mut shown) = (Vec::new(), Vec::new());
        let path = below(&self.path, key);
        for (index, node) in self.items(key).unwrap_or_default().iter().enumerate() {
            let path = format!("{path}[{index}]");
            let Body::Block(block) = &node.body else {
                self.fault(&node.at, &path, node, mapping(node));
                continue;
            };
            let mut inner = Settings::new(Some(block), node.at.clone(), path);
            results.push(read(&mut inner));
            shown.push(self.close(inner));
        }
        self.record(key, Value::Sequence(shown));
        results
    }

    /// A mapping of mappings with names of the user's own choice: `read` gets each name and its block. A name
    /// without a value has an empty block.
    pub(crate) fn named_sections(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&str, &mut Settings<'_>),
    ) {
        let path = below(&self.path, key);
        let mut shown = Mapping::new();
        for (name, entry) in self.entries(key).into_iter().flatten() {
            let path = below(&path, name);
            let (block, sound) = match &entry.node.body {
                Body::Block(block) => (Some(block), true),
                body => (None, matches!(body, Body::Scalar(Value::Null))),
            };
            let mut inner = Settings::new(block, entry.key_at.clone(), path.clone());
            read(name, &mut inner);
            if sound {
                shown.insert(name.as_str().into(), self.close(inner));
            } else {
                // What is missing in a block that is none is no further fault.
                self.fault(&entry.node.at, &path, &entry.node, mapping(&entry.node));
            }
        }
        self.record(key, Value::Mapping(shown));
    }

    /// Notes a fault at `key` (`a::b` reaches into a mapping): `allowed` completes "expected ...".
    pub fn reject(&mut self, key: &str, allowed: impl Into<String>) {
        let (place, value) = self.find(key);
        let path = self.path_of(key);
        self.notes.problems.add(&place, &path, value, format!("expected {}", allowed.into()));
    }

    /// Like `reject`, of a value that does not go with that of `other`. Where one of them has its own fault nothing
    /// is noted: a default then stands in for it, and nobody wrote that.
    pub fn reject_beside(&mut self, key: &str, other: &str, allowed: impl Into<String>) {
        if self.is_sound(key) && self.is_sound(other) {
            self.reject(key, allowed);
        }
    }

    /// Notes something that works and should be changed, such as a deprecated name.
    pub fn warn(&mut self, key: &str, note: impl Into<String>) {
        let (place, value) = self.find(key);
        let key = self.path_of(key);
        self.notes.warnings.push(Problem { place, key, value, reason: note.into() });
    }

    /// True where the configuration itself gives `key` a value.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some()
    }

    /// A fault of the block itself, whose keys then are nobody's to judge.
    pub(crate) fn reject_block(&mut self, reason: impl Into<String>) {
        self.anything = true;
        self.notes.problems.add(&self.at, &self.path, None, reason);
    }

    /// A fault of a list's item.
    pub(crate) fn reject_item(&mut self, item: &Item, reason: impl Into<String>) {
        self.notes.problems.add(&item.at, &item.path, Some(item.shown.clone()), reason);
    }

    /// A fault at any other place.
    pub(crate) fn reject_at(&mut self, place: &Place, path: &str, reason: impl Into<String>) {
        self.notes.problems.add(place, path, None, reason);
    }

    /// Like `warn`, of the block itself.
    pub(crate) fn warn_block(&mut self, note: impl Into<String>) {
        let (place, key) = (self.at.clone(), self.path.clone());
        self.notes.warnings.push(Problem { place, key, value: None, reason: note.into() });
    }

    /// Where the block stands.
    pub(crate) fn place(&self) -> &Place {
        &self.at
    }

    /// The keys that lead to the block.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// How many faults have been noted so far.
    pub(crate) fn faults(&self) -> usize {
        self.notes.problems.count()
    }

    /// Ends the reading: what nobody asked for is a fault.
    pub(crate) fn finish(mut self) -> (Value, Notes) {
        for (key, entry) in self.block.into_iter().flatten() {
            if !self.anything && !self.asked.contains(&key.as_str()) && self.is_sound(key) {
                let reason = unknown("key", key, &self.asked);
                self.notes.problems.add(&entry.key_at, &below(&self.path, key), None, reason);
            }
        }
        (Value::Mapping(self.effective), self.notes)
    }

    fn close(&mut self, inner: Settings<'_>) -> Value {
        let (effective, notes) = inner.finish();
        self.notes.problems.append(notes.problems);
        self.notes.warnings.extend(notes.warnings);
        effective
    }

    fn entry(&self, key: &str) -> Option<&'a Entry> {
        self.block?.get(key).filter(|entry| !entry.node.is_null())
    }

    /// True where no fault has been noted at `key` itself.
    fn is_sound(&self, key: &str) -> bool {
        let path = below(&self.path, key);
        !self.notes.problems.list().iter().any(|problem| problem.key == path)
    }

    fn ask(&mut self, key: &'static str) {
        if !self.asked.contains(&key) {
            self.asked.push(key);
        }
    }

    fn lookup(&mut self, key: &'static str) -> Option<&'a Entry> {
        self.ask(key);
        self.entry(key)
    }

    fn read<T: Setting>(&mut self, key: &'static str) -> Option<T> {
        let node = &self.lookup(key)?.node;
        match node.read() {
            Ok(value) => Some(value),
            Err(expected) => {
                self.fault(&node.at, &below(&self.path, key), node, &expected);
                None
            }
        }
    }

    fn read_in<T: Setting + PartialOrd>(
        &mut self,
        key: &'static str,
        range: &impl RangeBounds<T>,
    ) -> Option<T> {
        let node = &self.lookup(key)?.node;
        let expected = match node.read() {
            Ok(value) if range.contains(&value) => return Some(value),
            Ok(_) => describe(range),
            Err(expected) => format!("{expected}, here {}", describe(range)),
        };
        self.fault(&node.at, &below(&self.path, key), node, &expected);
        None
    }

    fn read_map<T: Setting>(&mut self, key: &'static str) -> BTreeMap<String, T> {
        let path = below(&self.path, key);
        let mut map = BTreeMap::new();
        for (name, entry) in self.entries(key).into_iter().flatten() {
            match entry.node.read() {
                Ok(value) => {
                    map.insert(name.clone(), value);
                }
                Err(expected) => self.fault(&entry.node.at, &below(&path, name), &entry.node, &expected),
            }
        }
        map
    }

    fn items(&mut self, key: &'static str) -> Option<&'a [Node]> {
        let node = &self.lookup(key)?.node;
        if let Body::List(nodes) = &node.body {
            return Some(nodes);
        }
        self.fault(&node.at, &below(&self.path, key), node, "a list");
        None
    }

    fn entries(&mut self, key: &'static str) -> Option<&'a Block> {
        let node = &self.lookup(key)?.node;
        if let Body::Block(block) = &node.body {
            return Some(block);
        }
        self.fault(&node.at, &below(&self.path, key), node, mapping(node));
        None
    }

    pub(crate) fn record(&mut self, key: &str, value: Value) {
        self.effective.insert(key.into(), value);
    }

    /// A fault of `node`, which stands at `path`; below a secret key its value is masked.
    fn fault(&mut self, at: &Place, path: &str, node: &Node, expected: &str) {
        let secret = self.secrets.iter().any(|key| {
            path.strip_prefix(&below(&self.path, key))
                .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
        });
        let value = if secret { REDACTED.to_owned() } else { node.shown() };
        self.notes.problems.add(at, path, Some(value), format!("expected {expected}"));
    }

    fn key_place(&self, key: &str) -> Place {
        self.block
            .and_then(|block| block.get(key))
            .map_or_else(|| self.at.clone(), |entry| entry.key_at.clone())
    }

    fn path_of(&self, key: &str) -> String {
        key.split("::").fold(self.path.clone(), |path, key| below(&path, key))
    }

    /// The place of `a::b` and its value, or the place of the nearest mapping around it.
    fn find(&self, key: &str) -> (Place, Option<String>) {
        let (mut block, mut place, mut value) = (self.block, self.at.clone(), None);
        let secret = key.split("::").next().is_some_and(|first| self.secrets.contains(&first));
        for key in key.split("::") {
            value = None;
            let Some(entry) = block.and_then(|block| block.get(key)) else { break };
            (place, block) = (entry.key_at.clone(), None);
            match &entry.node.body {
                Body::Block(inner) => block = Some(inner),
                Body::List(_) => {}
                Body::Scalar(_) => {
                    place = entry.node.at.clone();
                    value = Some(if secret { REDACTED.to_owned() } else { entry.node.shown() });
                }
            }
        }
        (place, value)
    }
}
