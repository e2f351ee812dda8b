//! What this host allows: for each thing missing, the feature that is off and how to get it.
//!
//! `check/facts.rs` looks at the host, `check/rules.rs` concludes from the facts alone, here stands the table.

mod facts;
mod rules;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

pub use facts::{Facts, KernelSweep, ProcSweepFacts};

/// Looks at this host. Tries the pass in the kernel and the one through `/proc` once each.
#[must_use]
pub fn examine(btf_path: Option<PathBuf>) -> Report {
    Report::from(&Facts::gather(btf_path))
}

/// How one thing stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// As it should be.
    Ok,
    /// Works, but with a loss.
    Warn,
    /// A feature is off.
    Off,
    /// Absent, and nothing of this version needs it.
    Unneeded,
}

impl Mark {
    fn text(self) -> &'static str {
        match self {
            Self::Ok => "[ok]",
            Self::Warn => "[warn]",
            Self::Off => "[off]",
            Self::Unneeded => "[-]",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// How it stands.
    pub mark: Mark,
    /// What.
    pub name: String,
    /// What was found.
    pub found: String,
    /// What is lost by it, and how to get it back.
    pub remedy: Option<String>,
}

/// Which way growth detection runs here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Detection {
    /// In the kernel.
    Kernel,
    /// Through `/proc`.
    Proc,
    /// Not at all.
    Impossible,
}

/// What was found. Its text is a table with a last line that sums up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Everything that was looked at.
    pub items: Vec<Item>,
    /// What it comes to.
    pub detection: Detection,
}

impl Report {
    /// Whether growth detection can run, either way.
    #[must_use]
    pub fn can_run(&self) -> bool {
        self.detection != Detection::Impossible
    }
}

impl From<&Facts> for Report {
    fn from(facts: &Facts) -> Self {
        rules::conclude(facts)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.items.iter().map(|item| item.name.len()).max().unwrap_or(0);
        for Item { mark, name, found, remedy } in &self.items {
            let mut found = found.lines();
            writeln!(f, "{:<6} {name:<width$}  {}", mark.text(), found.next().unwrap_or_default())?;
            for line in found.chain(remedy.iter().flat_map(|remedy| remedy.lines())) {
                writeln!(f, "{:<6} {:<width$}  {line}", "", "")?;
            }
        }
        let summary = match self.detection {
            Detection::Kernel => "growth detection runs, in the kernel (eBPF)",
            Detection::Proc => {
                "growth detection runs, through /proc: nothing is missed, but each pass costs more CPU"
            }
            Detection::Impossible => {
                "growth detection cannot run here; `replay` judges a trace on any platform"
            }
        };
        writeln!(f, "{summary}")
    }
}
