//! A target that allocates as it is told (`targets/c/orders.c`).

use std::process::Command;
use std::time::Duration;

use crate::compile;
use crate::process::Process;
use crate::scenario::World;
use crate::wait::until;

/// The program.
pub struct Obedient {
    /// Its process.
    pub process: Process,
    obeyed: usize,
}

impl Obedient {
    /// Compiles and starts it under a name.
    ///
    /// # Errors
    /// When it cannot be compiled or started.
    pub fn start(world: &World, name: &str) -> anyhow::Result<Self> {
        let program = compile::c(world, name, "c/orders.c", &[])?;
        let mut obedient = Self { process: world.spawn(name, &mut Command::new(program))?, obeyed: 0 };
        obedient.answers("ready", 1)?;
        Ok(obedient)
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Has it done, and waits until it is: `a 10 4096`, `free a`, `churn 1000 64`.
    ///
    /// # Errors
    /// When it ends instead.
    pub fn obey(&mut self, order: &str) -> anyhow::Result<()> {
        self.process.tell(order)?;
        self.obeyed += 1;
        self.answers("done", self.obeyed)
    }

    fn answers(&mut self, word: &str, count: usize) -> anyhow::Result<()> {
        until(word, Duration::from_secs(60), || {
            self.process.lives()?;
            let said = self.process.stdout().lines().filter(|line| *line == word).count();
            Ok((said >= count).then_some(()))
        })
    }
}
