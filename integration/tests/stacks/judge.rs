//! What a report blames on the function that leaks.

use std::fmt;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};
use mlh_integration::need;
use serde_json::Value;

use crate::program::{Leaked, Program};
use crate::row::{Goal, Row};

/// Stacks that hold less of what is kept do not count as stacks: a line of output, a table that has grown.
const NEGLIGIBLE: f64 = 0.005;

/// What was found in one report.
#[derive(Default)]
pub(crate) struct Found {
    /// Of the bytes that are kept, and of the stacks that keep them: blamed on the function. Absent if nothing was looked at.
    share: Option<(f64, f64)>,
    /// Of the bytes, those in whose stack the function is at all.
    anywhere: f64,
    /// The stacks that are blamed on another, for people.
    astray: Vec<String>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.share {
            // that a stack has the function in it, though another is blamed, is worth a word
            Some((bytes, stacks)) if self.anywhere > bytes + 0.005 => {
                let [bytes, stacks, anywhere] = [bytes, stacks, self.anywhere].map(|share| share * 100.0);
                write!(f, "{bytes:.0} % / {stacks:.0} %, in the stack {anywhere:.0} %")
            }
            Some((bytes, stacks)) => write!(f, "{:.0} % / {:.0} %", bytes * 100.0, stacks * 100.0),
            None => f.write_str("–"),
        }
    }
}

impl Found {
    /// What is wrong with it, if something is.
    pub(crate) fn fault(&self, row: &Row, goal: Goal) -> Option<String> {
        let (bytes, stacks) = self.share?;
        // where names are missing the function's address is there nevertheless
        let lost = row.stripped && !Goal::All.is_met(self.anywhere, 1.0);
        (!goal.is_met(bytes, stacks) || lost).then(|| {
            format!(
                "{:.1} % of the bytes and {:.1} % of the stacks are blamed on the function; it stands in the stacks of {:.1} % of \
                 the bytes; the others:\n{}",
                bytes * 100.0,
                stacks * 100.0,
                self.anywhere * 100.0,
                self.astray.join("\n")
            )
        })
    }
}

/// Compares reports with what is known of a row's program.
pub(crate) struct Judge<'a> {
    pub(crate) row: &'a Row,
    pub(crate) program: &'a Program,
    /// By its own account.
    pub(crate) leaked: Leaked,
}

impl Judge<'_> {
    /// Of a report in debug mode: all that was leaked is to be found, in stacks that keep blocks of that size, whatever else a
    /// runtime keeps meanwhile.
    pub(crate) fn allocations(&self, report: &Value) -> anyhow::Result<Found> {
        let size = self.leaked.bytes as f64 / self.leaked.blocks as f64;
        let is_leak = |stack: &Value| {
            let number = |name: &str| stack[name].as_f64().unwrap_or_default();
            let each = number("live_bytes") / number("live_count").max(1.0);
            stack["mapped"] == false && (size * 0.99..size * 1.05).contains(&each)
        };
        self.judge(&kept(report, is_leak)?, self.leaked.bytes as f64)
    }

    /// Of a report by growth: of what is found there to be left.
    pub(crate) fn growth(&self, report: &Value) -> anyhow::Result<Found> {
        let stacks = kept(report, |_| true)?;
        let sum: f64 = stacks.iter().map(|(_, bytes)| bytes).sum();
        // pages that are too young to be judged are left out; a look at a machine that is busy leaves out more
        if sum < self.leaked.bytes as f64 / 4.0 {
            bail!("{sum} bytes are told of {} that were leaked: {:#}", self.leaked.bytes, report["culprits"]);
        }
        self.judge(&stacks, sum)
    }

    fn judge(&self, stacks: &[(&Value, f64)], all: f64) -> anyhow::Result<Found> {
        let mut found = Found::default();
        let (mut bytes_at, mut stacks_at, mut stacks_all) = (0.0, 0.0, 0.0);
        for (stack, bytes) in stacks {
            let frames = stack["stack"].as_array().context("a stack")?;
            let counts = *bytes > all * NEGLIGIBLE;
            stacks_all += f64::from(u8::from(counts));
            for frame in frames {
                if self.is_site(frame)? {
                    found.anywhere += bytes / all;
                    break;
                }
            }
            if self.is_blamed(stack, frames)? {
                bytes_at += bytes;
                stacks_at += f64::from(u8::from(counts));
            } else if counts {
                found.astray.push(format!("{bytes} bytes: {}", shown(stack, frames)));
            }
        }
        // what cannot be placed is as bad as what is placed wrongly
        found.share =
            Some(((bytes_at / all).min(1.0), if stacks_all > 0.0 { stacks_at / stacks_all } else { 0.0 }));
        Ok(found)
    }

    /// The frame that the report blames is the function, told as well as can be.
    fn is_blamed(&self, stack: &Value, frames: &[Value]) -> anyhow::Result<bool> {
        let same = |frame: &&Value| {
            let module = frame["module"].as_str().and_then(|path| path.rsplit('/').next());
            stack["module"].as_str() == module
                && ["function", "file", "line"].iter().all(|member| stack[member] == frame[member])
        };
        let Some(frame) = frames.iter().find(same) else { return Ok(false) };
        if !self.is_site(frame)? {
            return Ok(false);
        }
        if !self.row.lines {
            return Ok(true);
        }
        let name = self.program.source.file_name().unwrap_or_default().to_string_lossy();
        let file = frame["file"].as_str().unwrap_or_default();
        let line = frame["line"].as_u64().unwrap_or_default();
        Ok(file.ends_with(&*name) && self.lines()?.contains(&line))
    }

    /// A frame is the function's: by its name; without one, by what the twin with symbols says of its address.
    fn is_site(&self, frame: &Value) -> anyhow::Result<bool> {
        match frame["function"].as_str() {
            Some(function) => Ok(has_word(function, self.row.site)),
            None if self.row.stripped => {
                let module = frame["module"].as_str().unwrap_or_default();
                let offset = frame["offset"].as_str().unwrap_or_default();
                let is_program = Path::new(module).file_name().is_some_and(|name| name == "leak");
                // it is the build id by which somebody finds the twin
                let is_known = frame["build_id"].as_str() == self.program.build_id.as_deref();
                Ok(is_program
                    && is_known
                    && has_word(&named_by_twin(&self.program.twin, offset)?, self.row.site))
            }
            None => Ok(false),
        }
    }

    /// The function's lines in its source.
    fn lines(&self) -> anyhow::Result<RangeInclusive<u64>> {
        let text = std::fs::read_to_string(&self.program.source)?;
        let site = self.row.site;
        let heads =
            ["void ", "void *", "fn ", "func ", "def ", "function "].map(|word| format!("{word}{site}("));
        let lines: Vec<&str> = text.lines().collect();
        let is_head = |line: &&str| heads.iter().any(|head| line.contains(head.as_str()));
        let begin = lines.iter().position(is_head).with_context(|| format!("no {site} in the source"))?;
        let depth = |line: &str| line.len() - line.trim_start().len();
        // the next line that is no deeper than the head, the brace that opens it aside
        let is_end =
            |line: &&str| !line.trim().is_empty() && line.trim() != "{" && depth(line) <= depth(lines[begin]);
        let length = lines[begin + 1..].iter().position(is_end).unwrap_or(lines.len() - begin - 2);
        Ok(begin as u64 + 1..=(begin + length) as u64 + 2)
    }
}

/// The stacks of a report that keep something, with so many bytes.
fn kept(report: &Value, counts: impl Fn(&Value) -> bool) -> anyhow::Result<Vec<(&Value, f64)>> {
    let culprits = report["culprits"].as_array().context("a report without culprits")?;
    let mut kept = Vec::new();
    for stack in culprits.iter().filter(|stack| counts(stack)) {
        let bytes = stack["live_bytes"].as_u64().context("live bytes")?;
        if bytes > 0 {
            kept.push((stack, bytes as f64));
        }
    }
    Ok(kept)
}

/// A name is one of a text's words.
pub(crate) fn has_word(text: &str, name: &str) -> bool {
    text.split(|letter: char| !letter.is_alphanumeric() && letter != '_').any(|word| word == name)
}

/// What a user learns who has the symbols: of the call, not of what it returns to.
fn named_by_twin(twin: &Path, offset: &str) -> anyhow::Result<String> {
    let mut command = Command::new(need::program("addr2line")?);
    command.args(["--functions", "--inlines", "--demangle", "-e"]).arg(twin);
    let output = command.arg(offset).output()?;
    let text = String::from_utf8(output.stdout)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// A stack as it is shown in a failure: `culprit leak (leak) <- malloc (libc.so.6) <- ...`.
fn shown(stack: &Value, frames: &[Value]) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("?").to_owned();
    let line = frames.iter().map(|frame| {
        let name = match frame["function"].as_str() {
            Some(function) => function.to_owned(),
            None => format!("+{}", text(&frame["offset"])),
        };
        let module = text(&frame["module"]);
        format!("{name} ({})", module.rsplit('/').next().unwrap_or_default())
    });
    let line: Vec<String> = line.collect();
    let incomplete = stack["incomplete"].as_str().unwrap_or("complete");
    format!("blamed: {} of {}; {}; {incomplete}", stack["function"], stack["module"], line.join(" < "))
}
