//! A target that does pairs of malloc and free, as many as it can in a given time (`targets/c/pairs.c`).

use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;

use crate::compile;
use crate::process::Process;
use crate::scenario::World;
use crate::wait::until;

/// The program, and how many lines it has printed.
pub struct Pairs {
    process: Process,
    lines: usize,
}

/// What a pair is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `malloc` and `free`.
    Malloc,
    /// `calloc` and `free`.
    Calloc,
    /// One of many blocks, of sizes at random from 16 bytes on, is replaced.
    Replaced,
    /// `malloc` and `free`, each from a call site of its own: some hundred, however long that takes.
    Elsewhere,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Malloc => "malloc",
            Self::Calloc => "calloc",
            Self::Replaced => "replaced",
            Self::Elsewhere => "elsewhere",
        }
    }
}

/// What it has done in one go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slice {
    /// Nanoseconds of CPU time a pair.
    pub cost: f64,
    /// How many.
    pub pairs: u64,
}

impl Pairs {
    /// Compiles and starts it under a name.
    ///
    /// # Errors
    /// When it cannot be compiled or started.
    pub fn start(world: &World, name: &str) -> anyhow::Result<Self> {
        let program = compile::c(world, name, "c/pairs.c", &[])?;
        let mut pairs = Self { process: world.spawn(name, &mut Command::new(program))?, lines: 0 };
        pairs.answer()?;
        Ok(pairs)
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Pairs of blocks of so many bytes for so long.
    ///
    /// # Errors
    /// When it ends instead.
    pub fn slice(&mut self, size: u32, milliseconds: u32) -> anyhow::Result<Slice> {
        self.slice_of(Kind::Malloc, size, milliseconds)
    }

    /// As [`slice`](Self::slice), of a kind.
    ///
    /// # Errors
    /// When it ends instead.
    pub fn slice_of(&mut self, kind: Kind, size: u32, milliseconds: u32) -> anyhow::Result<Slice> {
        let kind = kind.word();
        self.process.tell(&format!("{size} {milliseconds} {kind}"))?;
        let line = self.answer()?;
        let (cost, pairs) = line.trim().split_once(' ').context("two numbers")?;
        Ok(Slice { cost: cost.parse()?, pairs: pairs.parse()? })
    }

    fn answer(&mut self) -> anyhow::Result<String> {
        let line = until("an answer", Duration::from_secs(60), || {
            self.process.lives()?;
            let text = self.process.stdout();
            let line = text.split_inclusive('\n').nth(self.lines);
            Ok(line.filter(|line| line.ends_with('\n')).map(str::to_owned))
        })?;
        self.lines += 1;
        Ok(line)
    }
}
