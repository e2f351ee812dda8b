//! Programs that know exactly what they allocate (`targets/`), and what a report must say of them.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::process::Process;
use crate::scenario::World;
use crate::wait::until;

/// Whatever such a program does, it is done within this, on a slow machine, with a probe on every call.
const PATIENCE: Duration = Duration::from_secs(180);

/// A started program that waits to be told to work.
pub struct Subject {
    /// The process.
    pub process: Process,
}

impl Subject {
    /// Starts it, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start, or ends.
    pub fn start(world: &World, name: &str, command: &mut Command) -> anyhow::Result<Self> {
        let mut process = world.spawn(name, command)?;
        until(&format!("{name} being ready"), PATIENCE, || {
            process.lives()?;
            Ok(process.stdout().starts_with("ready\n").then_some(()))
        })?;
        Ok(Self { process })
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Lets it work, and waits for its truth. It stays as it is then.
    ///
    /// # Errors
    /// When it ends, or tells none.
    pub fn work(&mut self) -> anyhow::Result<Truth> {
        self.process.tell("go")?;
        let line = until("the program's truth", PATIENCE, || {
            self.process.lives()?;
            let text = self.process.stdout();
            // a line that is still being written has no end
            Ok(text.split_inclusive('\n').nth(1).filter(|line| line.ends_with('\n')).map(str::to_owned))
        })?;
        Truth::read(&serde_json::from_str(&line).with_context(|| line.clone())?)
    }
}

/// What a program has allocated since it began to work.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Truth {
    /// By place.
    pub sites: Vec<Site>,
    /// The sites are all that there is.
    pub whole: bool,
    /// They are all that is alive.
    pub live_whole: bool,
    /// Operations that failed.
    pub failed: Option<u64>,
    /// Blocks from before that were freed.
    pub from_before: Option<u64>,
    /// Processes that had the pid of one before them.
    pub reused: Option<u64>,
    /// Bytes mapped and still mapped, beside what an allocator maps for itself.
    pub mapped_bytes: Option<u64>,
    /// The same by function.
    pub mapped: Vec<(String, u64)>,
}

/// A place that allocates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Where.
    pub place: Place,
    /// So much.
    pub figures: Figures,
}

/// How a place is told from others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A function, by its bare name.
    Function(String),
    /// Every function of a module whose name has this in it.
    Module(String),
    /// One stack has these figures.
    OneStack,
}

/// Counts and requested bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Figures {
    /// Blocks allocated.
    pub allocated: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Blocks alive.
    pub live: u64,
    /// Their bytes.
    pub live_bytes: u64,
}

impl Figures {
    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.allocated += other.allocated;
        self.bytes += other.bytes;
        self.live += other.live;
        self.live_bytes += other.live_bytes;
    }

    /// Of an object with these members; one that is absent is an error.
    fn read(value: &Value, names: [&str; 4]) -> anyhow::Result<Self> {
        let number = |name: &str| {
            value[name].as_u64().with_context(|| format!("{name} is no number of blocks or bytes in {value}"))
        };
        let [allocated, bytes, live, live_bytes] = names;
        Ok(Self {
            allocated: number(allocated)?,
            bytes: number(bytes)?,
            live: number(live)?,
            live_bytes: number(live_bytes)?,
        })
    }

    /// Of a stack, or the sums, of a report.
    ///
    /// # Errors
    /// A member is absent, or allocated is not freed and live together though nothing was lost.
    pub fn reported(value: &Value) -> anyhow::Result<Self> {
        let figures = Self::read(value, ["allocated_count", "allocated_bytes", "live_count", "live_bytes"])?;
        let freed = Self::read(value, ["freed_count", "freed_bytes", "freed_count", "freed_bytes"])?;
        // what the table forgot is neither
        let exact = value["at_least"] != true;
        let sound = figures.allocated == freed.allocated + figures.live
            && figures.bytes == freed.bytes + figures.live_bytes;
        ensure!(sound || !exact, "allocated is not freed and live together: {value}");
        Ok(figures)
    }
}

impl Truth {
    fn read(value: &Value) -> anyhow::Result<Self> {
        let mut sites = Vec::new();
        for site in value["sites"].as_array().into_iter().flatten() {
            let place = match (site["function"].as_str(), site["module"].as_str()) {
                (Some(function), _) => Place::Function(function.to_owned()),
                (None, Some(module)) => Place::Module(module.to_owned()),
                (None, None) => Place::OneStack,
            };
            sites.push(Site {
                place,
                figures: Figures::read(site, ["allocated", "bytes", "live", "live_bytes"])?,
            });
        }
        let mut mapped = Vec::new();
        for site in value["mapped"].as_array().into_iter().flatten() {
            let function = site["function"].as_str().context("a mapping without a function")?;
            mapped.push((function.to_owned(), site["live_bytes"].as_u64().context("its bytes")?));
        }
        let truth = |name: &str| value[name] == Value::Bool(true);
        Ok(Self {
            sites,
            whole: truth("whole"),
            live_whole: truth("whole") || truth("live_whole"),
            failed: value["failed"].as_u64(),
            from_before: value["from_before"].as_u64(),
            reused: value["reused"].as_u64(),
            mapped_bytes: value["mapped_bytes"].as_u64(),
            mapped,
        })
    }

    /// Of all places together.
    #[must_use]
    pub fn sum(&self) -> Figures {
        self.sites.iter().fold(Figures::default(), |mut sum, site| {
            sum.add(&site.figures);
            sum
        })
    }

    /// Every way in which a report of a whole look (`--mode debug --top 0`) departs from the truth, as one error.
    ///
    /// # Errors
    /// When there is one.
    pub fn equals(&self, report: &Value) -> anyhow::Result<()> {
        let stacks = stacks(report)?;
        let mut faults = Vec::new();
        for site in &self.sites {
            let at = |stack: &&Stack| !stack.mapped && site.place.is(stack);
            let found: Vec<&Stack> = stacks.iter().filter(at).collect();
            let told = if site.place == Place::OneStack {
                found
                    .iter()
                    .map(|stack| stack.figures)
                    .find(|figures| *figures == site.figures)
                    .unwrap_or_default()
            } else {
                found.iter().fold(Figures::default(), |mut sum, stack| {
                    sum.add(&stack.figures);
                    sum
                })
            };
            if told != site.figures {
                faults.push(format!("{:?}: {:?}, told are {told:?}", site.place, site.figures));
            }
        }
        let totals = &report["totals"];
        let told = Figures::reported(totals)?;
        let sum = self.sum();
        if self.whole && told != sum {
            faults.push(format!("in all {sum:?}, told are {told:?}"));
        }
        if self.live_whole && (told.live, told.live_bytes) != (sum.live, sum.live_bytes) {
            faults.push(format!("alive {} in {}, told are {told:?}", sum.live_bytes, sum.live));
        }
        for (function, bytes) in &self.mapped {
            let place = Place::Function(function.clone());
            let at = |stack: &&Stack| stack.mapped && place.is(stack);
            let told: u64 = stacks.iter().filter(at).map(|stack| stack.figures.live_bytes).sum();
            if told != *bytes {
                faults.push(format!("{function} has {bytes} bytes mapped, told are {told}"));
            }
        }
        for (what, member, truth) in [
            ("mapped bytes", "mapped_bytes", self.mapped_bytes),
            ("failed operations", "failed", self.failed),
            ("frees of blocks from before", "unknown_frees", self.from_before),
        ] {
            let told = totals[member].as_u64().with_context(|| format!("no {member} in the totals"))?;
            if let Some(truth) = truth.filter(|truth| *truth != told) {
                faults.push(format!("{what}: {truth}, told are {told}"));
            }
        }
        for member in ["evicted", "not_fitted"] {
            if totals[member] != 0 {
                faults.push(format!("{member}: {}", totals[member]));
            }
        }
        if faults.is_empty() {
            return Ok(());
        }
        let named: Vec<String> = stacks.iter().map(Stack::to_string).collect();
        bail!("{}\nthe stacks:\n{}\nthe totals: {totals}", faults.join("\n"), named.join("\n"))
    }
}

/// A stack of a report.
#[derive(Debug, Clone)]
pub struct Stack {
    /// The function to blame, as the report names it.
    pub function: String,
    /// Its module.
    pub module: String,
    /// Mappings, not blocks.
    pub mapped: bool,
    /// What it has done.
    pub figures: Figures,
    /// Half of the width of the 95 % interval around the live bytes.
    pub error_bytes: u64,
}

impl std::fmt::Display for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let what = if self.mapped { "maps" } else { "allocates" };
        write!(f, "  {} of {} {what} {:?}", self.function, self.module, self.figures)
    }
}

/// The stacks of a report that probes have seen: what is known by pages alone is no count of blocks.
///
/// # Errors
/// A member is absent.
pub fn stacks(report: &Value) -> anyhow::Result<Vec<Stack>> {
    let culprits = report["culprits"].as_array().context("a report without culprits")?;
    let read = |culprit: &Value| -> anyhow::Result<Stack> {
        Ok(Stack {
            function: culprit["function"].as_str().unwrap_or_default().to_owned(),
            module: culprit["module"].as_str().unwrap_or_default().to_owned(),
            mapped: culprit["mapped"].as_bool().context("mapped?")?,
            figures: Figures::reported(culprit)?,
            error_bytes: culprit["error_bytes"].as_u64().context("error_bytes?")?,
        })
    };
    let probed = |culprit: &&Value| culprit["evidence"][0] != "growth_pages";
    culprits.iter().filter(probed).map(read).collect()
}

impl Place {
    /// True if a stack's culprit is this place.
    #[must_use]
    pub fn is(&self, stack: &Stack) -> bool {
        match self {
            Self::Function(name) => bare(&stack.function) == name,
            Self::Module(name) => stack.module.contains(name.as_str()),
            Self::OneStack => true,
        }
    }
}

/// A function's name without its path, its arguments, and what a compiler has put behind it.
#[must_use]
pub fn bare(function: &str) -> &str {
    let name = function.split('(').next().unwrap_or_default();
    // Rust's older mangling leaves a hash
    let name = match name.rsplit_once("::h") {
        Some((path, hash)) if hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) => path,
        _ => name,
    };
    let name = name.rsplit("::").next().unwrap_or_default();
    // Go: `main.keep`; C: `keep.constprop.0`
    match name.split_once('.') {
        Some(("main", function) | (function, _)) => function,
        None => name,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn report(live: u64) -> Value {
        let figures = json!({"allocated_count": 3, "allocated_bytes": 30, "live_count": live, "live_bytes": live * 10,
            "freed_count": 3 - live, "freed_bytes": 30 - live * 10, "mapped": false, "error_bytes": 0,
            "function": "keep(unsigned long)", "module": "leak", "failed": 0, "unknown_frees": 0, "mapped_bytes": 0,
            "evicted": 0, "not_fitted": 0});
        json!({"culprits": [figures], "totals": figures})
    }

    /// Guarantees: a report that says the truth passes, one that is off by a block does not, at the place nor in sum.
    #[test]
    fn a_departure_is_found() {
        let site = json!({"function": "keep", "allocated": 3, "bytes": 30, "live": 1, "live_bytes": 10});
        let truth = Truth::read(&json!({"sites": [site], "whole": true, "failed": 0})).unwrap();
        truth.equals(&report(1)).unwrap();
        let error = truth.equals(&report(2)).unwrap_err().to_string();
        assert!(
            error.contains("Function(\"keep\")") && error.contains("in all") && error.contains("alive"),
            "{error}"
        );
    }

    /// Guarantees: names of all languages come down to what the source calls the function.
    #[test]
    fn bare_names() {
        for (function, expected) in [
            ("keep_malloc", "keep_malloc"),
            ("keep_malloc.constprop.0", "keep_malloc"),
            ("keep_array(unsigned long)", "keep_array"),
            ("leak::keep_box", "keep_box"),
            ("leak::keep_box::h0123456789abcdef", "keep_box"),
            ("main.keepSlice", "keepSlice"),
            ("std::vector<int, std::allocator<int> >::reserve(unsigned long)", "reserve"),
        ] {
            assert_eq!(bare(function), expected);
        }
    }
}
