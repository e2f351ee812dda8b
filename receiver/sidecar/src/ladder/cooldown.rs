//! For whom it was climbed lately. It would cost them again, and show the same.

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use mlh_detect::{About, Stage};

use super::case::Case;

/// Entries that are kept; the oldest goes.
const MOST: usize = 1024;
/// Bytes of a command line that are looked at.
const COMMAND_LINE: usize = 4096;

/// What is not climbed for again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Whom {
    /// The process or container.
    Case(About),
    /// Another process of the same program, in the same place, with the same arguments: a worker that was replaced by its like.
    Program(u64),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cooldown(HashMap<Whom, (Duration, Stage)>);

impl Cooldown {
    /// A climb has ended at this time, for a case that had come so far.
    pub(super) fn note(&mut self, case: &Case, stage: Stage, now: Duration) {
        for whom in whom(case) {
            self.0.insert(whom, (now, stage));
        }
        while self.0.len() > MOST {
            let oldest = self.0.iter().min_by_key(|(_, (at, _))| *at).map(|(whom, _)| *whom);
            oldest.map(|whom| self.0.remove(&whom));
        }
    }

    /// Whether it is time to climb for this case: nobody did within `cooldown`, or the case is worse than it was then.
    pub(super) fn allows(&self, case: &Case, cooldown: Duration, now: Duration) -> bool {
        whom(case)
            .into_iter()
            .filter_map(|whom| self.0.get(&whom))
            .all(|(at, stage)| now.saturating_sub(*at) >= cooldown || case.stage > *stage)
    }
}

fn whom(case: &Case) -> Vec<Whom> {
    std::iter::once(Whom::Case(case.about)).chain(program(case).map(Whom::Program)).collect()
}

/// Of a process that still runs: a number that says what it runs. Its arguments go into it and nowhere else.
fn program(case: &Case) -> Option<u64> {
    let About::Process(key) = case.about else { return None };
    let executable = case.subject.executable_path.as_ref()?;
    let mut arguments = std::fs::read(format!("/proc/{}/cmdline", key.pid)).ok()?;
    arguments.truncate(COMMAND_LINE);
    let mut hasher = DefaultHasher::new();
    (case.container, executable, arguments).hash(&mut hasher);
    Some(hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::super::case::tests::of_process;
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(1800);

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// Guarantees: within the cooldown the same case is not climbed for again, unless it has become a verdict; after it, and for
    /// others, it is.
    #[test]
    fn the_same_case() {
        let mut cooldown = Cooldown::default();
        let case = of_process(7);
        let verdict = Case { stage: Stage::Leaking, ..case.clone() };
        assert!(cooldown.allows(&case, COOLDOWN, at(100)));
        cooldown.note(&case, Stage::Suspected, at(100));
        assert!(!cooldown.allows(&case, COOLDOWN, at(1899)) && cooldown.allows(&case, COOLDOWN, at(1900)));
        assert!(cooldown.allows(&of_process(8), COOLDOWN, at(101)));
        assert!(cooldown.allows(&verdict, COOLDOWN, at(101)));
        cooldown.note(&verdict, Stage::Leaking, at(200));
        assert!(!cooldown.allows(&verdict, COOLDOWN, at(201)));
        assert!(cooldown.allows(&verdict, Duration::ZERO, at(201)));
    }

    /// Guarantees: another process of the same program with the same arguments, in the same place, counts as the same; with other
    /// arguments it does not; what is remembered is bounded.
    #[cfg(target_os = "linux")]
    #[test]
    fn the_same_program() {
        let sleep = |seconds: &str| std::process::Command::new("sleep").arg(seconds).spawn().unwrap();
        let mut children = [sleep("600"), sleep("600"), sleep("601")];
        let cases = children.each_ref().map(|child| {
            let mut case = of_process(child.id());
            let subject = crate::records::Subject {
                executable_path: Some("/bin/sleep".to_owned()),
                ..case.subject.as_ref().clone()
            };
            // it is what it was started as
            let is_sleep =
                || std::fs::read(format!("/proc/{}/cmdline", child.id())).unwrap().starts_with(b"sleep");
            while !is_sleep() {
                std::thread::yield_now();
            }
            case.subject = std::sync::Arc::new(subject);
            case
        });
        let mut cooldown = Cooldown::default();
        cooldown.note(&cases[0], Stage::Suspected, at(100));
        let allowed = cases.each_ref().map(|case| cooldown.allows(case, COOLDOWN, at(101)));
        for child in &mut children {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        assert_eq!(allowed, [false, false, true]);
        for pid in 1..=2000 {
            cooldown.note(&of_process(pid), Stage::Suspected, at(200));
        }
        assert_eq!(cooldown.0.len(), MOST);
    }
}
