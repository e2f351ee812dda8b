//! The programs that touch pages and allocate blocks deep in their stacks (`targets/stacks/depths.c` and `depths.py`).

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use mlh_integration::compile;
use mlh_integration::process::Process;
use mlh_integration::scenario::World;
use mlh_integration::wait::until;

/// One of them, running, and how many lines it has printed.
pub(crate) struct Depths {
    process: Process,
    lines: usize,
}

impl Depths {
    /// The one in C, with flags of the compiler.
    pub(crate) fn compiled(world: &World, name: &str, flags: &[&str]) -> anyhow::Result<Self> {
        let flags = [&["-O2", "-g"], flags].concat();
        let program = compile::plain(world, "gcc", name, "stacks/depths.c", &flags)?;
        Self::start(world, name, &mut Command::new(program))
    }

    /// The one in Python.
    pub(crate) fn python(world: &World, interpreter: &Path) -> anyhow::Result<Self> {
        Self::start(world, "python", Command::new(interpreter).arg(compile::source("stacks/depths.py")))
    }

    fn start(world: &World, name: &str, command: &mut Command) -> anyhow::Result<Self> {
        let mut depths = Self { process: world.spawn(name, command)?, lines: 0 };
        depths.answer()?;
        Ok(depths)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// So many of a kind, so deep (bytes of stack, or calls in Python): nanoseconds of one, the middle.
    pub(crate) fn cost(&mut self, kind: &str, deep: usize, count: usize) -> anyhow::Result<f64> {
        self.process.tell(&format!("{kind} {deep} {count}"))?;
        Ok(self.answer()?.trim().parse()?)
    }

    fn answer(&mut self) -> anyhow::Result<String> {
        let line = until("an answer", Duration::from_secs(60), || {
            self.process.lives()?;
            let text = self.process.stdout();
            let line = text.split_inclusive('\n').nth(self.lines);
            Ok(line.filter(|line| line.ends_with('\n')).map(str::to_owned))
        });
        self.lines += 1;
        line.context("the program that is measured")
    }
}
