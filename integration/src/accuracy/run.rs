//! One run: a case with a seed, in a cgroup of its own.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::case::Case;
use super::cgroup::{Around, Cgroup};
use super::story::{Story, Truth};
use crate::process::Process;
use crate::wait::until;

/// What seeds are for: those that rules may be tuned with, and those that are to show what the rules are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Split {
    /// Even seeds.
    Tune,
    /// Odd seeds.
    Test,
}

impl Split {
    /// Of a seed.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        if seed.is_multiple_of(2) { Self::Tune } else { Self::Test }
    }

    /// As it is named by users.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Tune => "tune",
            Self::Test => "test",
        }
    }
}

/// A case that runs.
pub struct Run {
    /// What is run.
    pub case: Case,
    /// With this seed.
    pub seed: u64,
    /// The cgroup's id.
    pub cgroup_id: u64,
    /// Seconds since 1970.
    pub begun: f64,
    known: Option<Truth>,
    cgroup: Cgroup,
    process: Process,
}

/// Now, in seconds since 1970.
#[must_use]
pub fn now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64()
}

/// The name of a run's files and cgroup.
#[must_use]
pub fn name(case: &Case, seed: u64) -> String {
    format!("{}.{seed}", case.id)
}

impl Run {
    /// Starts it in a new cgroup below `around`, at low priority, with its output in `folder`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(case: Case, seed: u64, around: &Around, folder: &Path) -> anyhow::Result<Self> {
        let name = name(&case, seed);
        let cgroup = around.inside(&name)?;
        let (words, known) = case.command(seed);
        let mut command = Command::new("sh");
        // the shell is in the cgroup before the program is, so that whatever the program starts is there too
        let doors = cgroup.doors().iter().map(|door| format!("echo $$ > '{}' && ", door.display()));
        let line = doors.chain(["exec nice -n 10 \"$0\" \"$@\"".to_owned()]).collect::<String>();
        command.args(["-c", &line]).args(words).current_dir(&case.folder);
        let process = Process::spawn(folder, &name, &mut command)?;
        let cgroup_id = cgroup.id()?;
        Ok(Self { case, seed, cgroup_id, begun: now(), known, cgroup, process })
    }

    /// What is known of it by now.
    #[must_use]
    pub fn story(&self) -> Story {
        match &self.known {
            Some(truth) => Story::assumed(truth, self.begun, now()),
            None => Story::read(&self.process.stdout()),
        }
    }

    /// Fails, with its last words, if it has ended.
    ///
    /// # Errors
    /// When it has ended.
    pub fn lives(&mut self) -> anyhow::Result<()> {
        self.process.lives()
    }

    /// Ends it, whatever it has started with it, and its cgroup.
    ///
    /// # Errors
    /// When it does not end.
    pub fn end(&mut self) -> anyhow::Result<()> {
        self.process.end_input();
        until("the end of a run", Duration::from_secs(30), || {
            let left = self.cgroup.processes()?;
            for pid in &left {
                // one that is gone meanwhile needs no signal
                let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
            }
            // what has ended is still listed until it has been waited for
            let ended = self.process.lives().is_err();
            Ok((ended && left.is_empty()).then_some(()))
        })?;
        self.cgroup.remove().with_context(|| name(&self.case, self.seed))
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        // of one that has been ended there is nothing left
        let _ = self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: no seed is both for tuning and for the test.
    #[test]
    fn seeds_are_kept_apart() {
        assert_eq!([0, 1, 2, 3].map(Split::of), [Split::Tune, Split::Test, Split::Tune, Split::Test]);
    }
}
