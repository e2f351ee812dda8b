//! Who wrote last to what stays, where growth stacks have watched single addresses: those are blamed, and not who touched a page first.

use mlh_detect::growth_stacks::Pattern;
use mlh_targets::points::Runtime;

use super::climber::Wanted;
use super::growth_stacks::steady;
use super::knowledge::{Lead, ranked};
use crate::investigate::report::GrowthStack;

/// How such leads were seen, as records say it.
pub(crate) const WRITERS: &str = "last_writers";

/// Addresses that rest before somebody is blamed for them: of fewer, chance may have chosen them.
const VOTES: u64 = 3;

/// Those who wrote last to what stays: each has as large a share of what was seen to be kept as of the addresses that rest. Who
/// has given back what it touched is none of them: nobody has written over it yet. Empty: too few addresses rest.
pub(super) fn wrote(writers: &[GrowthStack], growth: &[GrowthStack], pid: Option<u32>) -> Vec<Lead> {
    let writers: Vec<_> = writers
        .iter()
        .filter(|stack| pid.is_none_or(|pid| stack.pid == pid) && !stack.figures.blocks.are_given_back())
        .filter(|stack| !stack.trace.frames.is_empty())
        .collect();
    let votes: u64 = writers.iter().map(|stack| stack.figures.votes).sum();
    if votes < VOTES {
        return Vec::new();
    }
    let steady = steady(growth).filter(|lead| pid.is_none_or(|pid| lead.pid == pid));
    let kept = steady.fold(0_u64, |sum, lead| sum.saturating_add(lead.bytes));
    let lead = |stack: &&GrowthStack| Lead {
        pid: stack.pid,
        trace: stack.trace.clone(),
        bytes: (kept as f64 * stack.figures.votes as f64 / votes as f64) as u64,
        pattern: Some(Pattern::Steady.name()),
        ..Lead::default()
    };
    ranked(writers.iter().map(lead))
}

/// Addresses are to be watched: nobody has forbidden it, and memory of this runtime stays where it is, so that who wrote there last is no
/// collector that has moved it.
pub(super) fn watches(wanted: &Wanted, runtime: Runtime) -> bool {
    wanted.escalation.watchpoints && matches!(runtime, Runtime::Native | Runtime::Cpython | Runtime::Go)
}

#[cfg(test)]
mod tests {
    use mlh_detect::growth_stacks::{Blocks, Figures};
    use mlh_stacks::trace::{Frame, Trace};

    use super::*;

    /// Guarantees: once enough addresses rest, those are blamed who wrote there last, each with a share of what is kept as large as of the
    /// addresses; who has given back what it touched first is none of them, nor who has no name. Of too few nobody is.
    #[test]
    fn last_writers() {
        let stack = |name: Option<&str>, figures: Figures| GrowthStack {
            pid: 7,
            trace: Trace {
                frames: name
                    .map(|name| Frame { function: Some(name.to_owned()), ..Default::default() })
                    .into_iter()
                    .collect(),
                culprit: name.map(|_| 0),
                ..Default::default()
            },
            figures,
        };
        let voted = |votes| Figures { votes, ..Figures::default() };
        let transient = Figures {
            steady_bytes: 800,
            blocks: Blocks { kept: 1, given_back: 30, ..Blocks::default() },
            votes: 2,
            pattern: Pattern::Steady,
            ..Figures::default()
        };
        let growth = [stack(Some("answer"), transient)];
        let writers = [
            growth[0].clone(),
            stack(Some("other"), voted(1)),
            stack(Some("remember"), voted(3)),
            stack(None, voted(9)),
        ];
        let told: Vec<_> = wrote(&writers, &growth, Some(7))
            .into_iter()
            .map(|lead| (lead.frame().and_then(|it| it.function.clone()).unwrap(), lead.bytes, lead.share))
            .collect();
        let expected = [("remember".to_owned(), 600, 0.75), ("other".to_owned(), 200, 0.25)];
        assert_eq!(told, expected);
        assert!(wrote(&writers[..2], &growth, Some(7)).is_empty());
        assert!(wrote(&writers, &growth, Some(8)).is_empty());
    }

    /// Guarantees: addresses are watched unless the operator has forbidden it, and of no runtime that moves what it keeps.
    #[test]
    fn watched_runtimes() {
        let mut wanted = Wanted::of(&crate::hunt::settings::HuntSettings::default());
        let all =
            [Runtime::Native, Runtime::Cpython, Runtime::Go, Runtime::Jvm, Runtime::Node, Runtime::Dotnet];
        let watched = |wanted: &Wanted| all.map(|runtime| watches(wanted, runtime));
        assert_eq!(watched(&wanted), [true, true, true, false, false, false]);
        wanted.escalation.watchpoints = false;
        assert_eq!(watched(&wanted), [false; 6]);
    }
}
