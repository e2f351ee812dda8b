//! The machine code of a process, as it lies in its memory: what probes change, and must leave as it was.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

use anyhow::Context as _;

/// The code of every file that a process maps, by address. Code made at run time is left out: it changes by itself.
#[derive(PartialEq, Eq)]
pub struct Code(BTreeMap<u64, Mapped>);

#[derive(PartialEq, Eq)]
struct Mapped {
    file: String,
    bytes: Vec<u8>,
}

impl Code {
    /// Reads it.
    ///
    /// # Errors
    /// The process has ended, or may not be looked into.
    pub fn of(pid: u32) -> anyhow::Result<Self> {
        let memory = File::open(format!("/proc/{pid}/mem"))?;
        let mut code = BTreeMap::new();
        for line in std::fs::read_to_string(format!("/proc/{pid}/maps"))?.lines() {
            let mut words = line.split_whitespace();
            let (range, permissions) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let file = words.nth(3).unwrap_or_default();
            // `r-xp`: what can be written to as well is no file's code
            if !permissions.starts_with("r-x") || !file.starts_with('/') {
                continue;
            }
            let (start, end) = range.split_once('-').context("a range of addresses")?;
            let (start, end) = (u64::from_str_radix(start, 16)?, u64::from_str_radix(end, 16)?);
            let mut bytes = vec![0; usize::try_from(end - start)?];
            memory.read_exact_at(&mut bytes, start).with_context(|| line.to_owned())?;
            code.insert(start, Mapped { file: file.to_owned(), bytes });
        }
        Ok(Self(code))
    }

    /// Where it differs from what it was, as `file+offset` in the mapping; at most a hundred a mapping.
    #[must_use]
    pub fn differences(&self, before: &Self) -> Vec<String> {
        let mut found = Vec::new();
        for (start, was) in &before.0 {
            let file = &was.file;
            match self.0.get(start) {
                Some(now) if now.file == *file => {
                    let pairs = now.bytes.iter().zip(&was.bytes).enumerate();
                    let differ = pairs.filter(|(_, (now, was))| now != was).take(100);
                    found.extend(
                        differ.map(|(at, (now, was))| format!("{file}+{at:#x}: {now:02x}, was {was:02x}")),
                    );
                }
                _ => found.push(format!("{file} is gone")),
            }
        }
        found
    }
}
