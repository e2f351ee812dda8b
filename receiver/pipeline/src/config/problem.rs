//! What is wrong with a configuration, and where.

use std::fmt;
use std::sync::Arc;

/// What stands in place of a secret in every output.
pub(crate) const REDACTED: &str = "[REDACTED]";

/// A configuration with more faults than this is not worth listing to the end.
const MOST: usize = 200;

/// Longest value or key shown in a message, in characters.
const LONGEST: usize = 80;

/// Where a key or a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file's path, or what else the text came from.
    pub source: Arc<str>,
    /// Counted from 1; 0 where the source has no lines.
    pub line: usize,
    /// Counted from 1; 0 where the source has no lines.
    pub column: usize,
}

impl Place {
    /// The source as a whole.
    pub(crate) fn whole(source: &Arc<str>) -> Self {
        Self { source: Arc::clone(source), line: 0, column: 0 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 { f.write_str(&self.source) } else { write!(f, "{}:{}", self.source, self.line) }
    }
}

/// One fault: place, key, value, and what is allowed there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub place: Place,
    /// As in `receivers::memory_leak_hunter::mode`; empty where the fault lies with the whole text.
    pub key: String,
    /// As written, shortened; text is quoted, secrets are masked; absent where there is none to show.
    pub value: Option<String>,
    /// What is wrong or what is allowed.
    pub reason: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        if let Some(value) = &self.value {
            write!(f, "{value}: ")?;
        }
        f.write_str(&self.reason)
    }
}

/// Every fault of a configuration, one a line when displayed. At most 200 are kept, the rest is counted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
    more: usize,
}

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.list.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        if self.more > 0 {
            write!(f, "\n... and {} more", self.more)?;
        }
        Ok(())
    }
}

impl Problems {
    /// The faults in the order of the sources, then by line.
    #[must_use]
    pub fn list(&self) -> &[Problem] {
        &self.list
    }

    /// True where there is nothing wrong.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(crate) fn count(&self) -> usize {
        self.list.len() + self.more
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        if self.list.len() < MOST { self.list.push(problem) } else { self.more += 1 }
    }

    pub(crate) fn add(&mut self, place: &Place, key: &str, value: Option<String>, reason: impl Into<String>) {
        self.push(Problem { place: place.clone(), key: key.to_owned(), value, reason: reason.into() });
    }

    pub(crate) fn append(&mut self, other: Problems) {
        for problem in other.list {
            self.push(problem);
        }
        self.more += other.more;
    }

    /// Leaves out the faults of `keys`.
    pub(crate) fn without(mut self, keys: &[String]) -> Self {
        self.list.retain(|problem| !keys.contains(&problem.key));
        self
    }

    /// Readers ask for keys in their own order; people read files from the top.
    pub(crate) fn sort(&mut self, sources: &[Arc<str>]) {
        let rank = |source: &Arc<str>| sources.iter().position(|known| known == source);
        self.list
            .sort_by_key(|problem| (rank(&problem.place.source), problem.place.line, problem.place.column));
    }

    /// `value` where there is no fault.
    pub(crate) fn unless<R>(self, value: R) -> Result<R, Problems> {
        if self.is_empty() { Ok(value) } else { Err(self) }
    }
}

/// Text for a message: control characters escaped, so that a hostile file cannot write to the terminal.
pub(crate) fn shorten(text: &str) -> String {
    let mut short: String = text.chars().take(LONGEST).flat_map(char::escape_debug).collect();
    if text.chars().nth(LONGEST).is_some() {
        short.push_str("...");
    }
    short
}

/// The path of a key below another.
pub(crate) fn below(path: &str, key: &str) -> String {
    let key = shorten(key);
    if path.is_empty() { key } else { format!("{path}::{key}") }
}
