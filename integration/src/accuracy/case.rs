//! A program to run, and what is known of it.

use std::path::PathBuf;
use std::process::Command;

use super::story::Truth;

/// Where a case comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Set {
    /// Our own programs, which say themselves what they leak.
    Programs,
    /// Real packages with leaks that were reported, or with reports that turned out to be none.
    Corpus,
}

impl Set {
    /// As it is named by users.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Programs => "programs",
            Self::Corpus => "corpus",
        }
    }
}

/// How a case is started with a seed.
#[derive(Debug, Clone, PartialEq)]
pub enum Start {
    /// Our own: `--seed N` is added.
    Seeded(Vec<String>),
    /// A line of a shell in which `{rate}` (operations a second, these by default) and `{duration}` (seconds) are filled in. The seed
    /// moves the rate by up to a third.
    Paced {
        /// The line.
        line: String,
        /// Operations a second.
        rate: f64,
    },
}

/// A program and what is known of it before it runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// Its name, fit for a folder's.
    pub id: String,
    /// Where it comes from.
    pub set: Set,
    /// How it is started.
    pub start: Start,
    /// Where it is started.
    pub folder: PathBuf,
    /// What it does, where it does not say so itself. The rate is that of the default pace.
    pub known: Option<Truth>,
}

/// Longer than any run: programs without an input to watch end by themselves.
const LONGEST_SECONDS: u64 = 3 * 3600;

impl Case {
    /// The command that runs it with this seed, and what is known of that run. The program's own seed is drawn from the case's name
    /// as well, so that those with neighbouring seeds, and those with the same, have nothing in common.
    #[must_use]
    pub fn command(&self, seed: u64) -> (Vec<String>, Option<Truth>) {
        let name = self.id.bytes().fold(seed, |sum, byte| sum.rotate_left(7) ^ u64::from(byte));
        let mut dice = fastrand::Rng::with_seed(name);
        match &self.start {
            Start::Seeded(words) => {
                let seed = ["--seed".to_owned(), dice.u32(..1 << 31).to_string()];
                (words.iter().cloned().chain(seed).collect(), self.known.clone())
            }
            Start::Paced { line, rate } => {
                let factor = 0.75 + dice.f64() * 0.58;
                let line = line
                    .replace("{rate}", &format!("{:.2}", rate * factor))
                    .replace("{duration}", &LONGEST_SECONDS.to_string());
                let known = self
                    .known
                    .clone()
                    .map(|truth| Truth { mb_per_min: truth.mb_per_min.map(|rate| rate * factor), ..truth });
                (vec!["bash".to_owned(), "-c".to_owned(), format!("exec {line}")], known)
            }
        }
    }
}

/// Runs a line of a shell to its end.
///
/// # Errors
/// What it printed, when it fails.
pub(super) fn shell(line: &str, folder: &std::path::Path) -> anyhow::Result<()> {
    let mut command = Command::new("bash");
    // what is built lies where the line expects it
    let output = command.args(["-c", line]).current_dir(folder).env_remove("CARGO_TARGET_DIR").output()?;
    let words = [&output.stdout[..], &output.stderr[..]].concat();
    anyhow::ensure!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&words));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: what a paced case leaks is known at the pace that its seed gives it, and the same seed gives the same pace.
    #[test]
    fn the_seed_moves_pace_and_truth_alike() {
        let case = Case {
            id: "x".to_owned(),
            set: Set::Corpus,
            start: Start::Paced {
                line: "./driver --rate {rate} --duration {duration}".to_owned(),
                rate: 100.0,
            },
            folder: PathBuf::new(),
            known: Some(Truth { leaks: true, functions: Vec::new(), mb_per_min: Some(10.0) }),
        };
        let (command, known) = case.command(7);
        let rate = known.and_then(|truth| truth.mb_per_min).unwrap_or_default();
        assert!(rate > 7.4 && rate < 13.4, "{rate}");
        assert!(
            command[2].starts_with(&format!("exec ./driver --rate {:.2} --duration ", rate * 10.0)),
            "{command:?}"
        );
        assert_eq!(case.command(7).0, command);
        assert_ne!(case.command(8).0, command);
    }

    /// Guarantees: a program is given the same seed in each run with the same seed, and another with another or under another name.
    #[test]
    fn programs_have_seeds_of_their_own() {
        let of = |id: &str, seed| {
            let (id, start) = (id.to_owned(), Start::Seeded(vec!["./leak".to_owned()]));
            Case { id, set: Set::Programs, start, folder: PathBuf::new(), known: None }.command(seed).0
        };
        assert_eq!(of("a", 1)[..2], ["./leak", "--seed"]);
        assert_eq!(of("a", 1), of("a", 1));
        assert!(of("a", 1) != of("a", 2) && of("a", 1) != of("b", 1));
    }
}
