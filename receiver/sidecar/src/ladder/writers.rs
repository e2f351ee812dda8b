//! Who wrote last to what stays, where growth stacks have watched single addresses: those are blamed, and not who touched a page first.

use mlh_detect::growth_stacks::Pattern;
use mlh_stacks::blame::collects;
use mlh_targets::points::Runtime;

use super::climber::Wanted;
use super::growth_stacks::COLLECTED;
use super::knowledge::{Lead, ranked};
use crate::investigate::report::GrowthStack;

/// How such leads were seen, as records say it.
pub(crate) const WRITERS: &str = "last_writers";

/// Addresses that rest before somebody is blamed for them: of fewer, chance may have chosen them.
const VOTES: u64 = 3;

/// So few are enough where all of them are somebody's who also touched the most of it first,
const AGREED: u64 = 2;
/// and so few where collections have left his object: most of what makes the votes of others fewer is garbage.
const LEFT: u64 = 1;

/// How far those are to be believed who wrote last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Belief {
    /// It was seen that somebody has the blocks where they wrote.
    Blocks,
    /// The same, after a collection.
    Left,
    /// Nobody looked whose the memory is by now.
    Unseen,
    /// What they wrote to may be garbage that has not been collected.
    Collected,
}

/// Those who wrote last to what stays: each has as large a share of what was seen to be kept as of the addresses that rest. Who
/// has given back what it touched is none of them: nobody has written over it yet. Empty: too few addresses rest, or most of them
/// for somebody who has no name yet.
pub(super) fn wrote(
    writers: &[GrowthStack],
    growth: &[GrowthStack],
    pid: Option<u32>,
    belief: Belief,
) -> Vec<Lead> {
    let writers: Vec<_> = writers
        .iter()
        .filter(|stack| pid.is_none_or(|pid| stack.pid == pid) && !stack.figures.blocks.are_given_back())
        // it writes into all that it looks through, for whoever happens to run it
        .filter(|stack| !stack.trace.frames.iter().any(collects))
        .collect();
    let sum = |writers: &mut dyn Iterator<Item = &&GrowthStack>| {
        writers.map(|stack| stack.figures.votes).sum::<u64>()
    };
    let votes = sum(&mut writers.iter());
    let named: Vec<_> = writers.into_iter().filter(|stack| !stack.trace.frames.is_empty()).collect();
    let told = sum(&mut named.iter());
    let least = if belief == Belief::Left { LEFT } else { AGREED };
    if told < least || told <= votes - told {
        return Vec::new();
    }
    let (kept, is_steady) = kept(growth, pid);
    let lead = |stack: &&GrowthStack| Lead {
        pid: stack.pid,
        trace: stack.trace.clone(),
        bytes: (kept as f64 * stack.figures.votes as f64 / votes as f64) as u64,
        pattern: is_steady.then(|| Pattern::Steady.name()),
        doubted: !matches!(belief, Belief::Blocks | Belief::Left) || stack.figures.votes < VOTES,
        remark: (belief == Belief::Collected).then_some(COLLECTED),
        ..Lead::default()
    };
    let leads = ranked(named.iter().map(lead));
    let alone = leads.len() == 1;
    if told < VOTES && !(alone && (belief == Belief::Left || agree(&leads, growth, pid))) {
        return Vec::new();
    }
    leads
}

/// What was seen to be kept by the page, bytes: what grows steadily, if anything does.
pub(super) fn kept(growth: &[GrowthStack], pid: Option<u32>) -> (u64, bool) {
    let own = growth.iter().filter(|stack| pid.is_none_or(|pid| stack.pid == pid));
    let total = |all: &mut dyn Iterator<Item = u64>| all.fold(0, u64::saturating_add);
    let steadily = total(&mut own.clone().map(|stack| stack.figures.steady_bytes));
    if steadily > 0 { (steadily, true) } else { (total(&mut own.map(|stack| stack.figures.bytes)), false) }
}

/// The first of them also touched the most of it first.
fn agree(writers: &[Lead], growth: &[GrowthStack], pid: Option<u32>) -> bool {
    let Some(writer) = writers.first() else { return false };
    let own = growth.iter().filter(|stack| pid.is_none_or(|pid| stack.pid == pid));
    let foremost = own.max_by_key(|stack| stack.figures.bytes);
    let touched = foremost.and_then(|stack| stack.trace.culprit_frame());
    writer.frame().zip(touched).is_some_and(|(wrote, touched)| wrote.is_of(touched))
}

/// What is to be learnt by watching addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Watches {
    /// Who writes last to memory that then rests.
    Writers,
    /// Who makes the objects that stay: the runtime moves them, and writes last itself.
    Makers,
}

/// What is to be watched of a runtime. `None`: nothing, as the operator has forbidden it, or since it moves what it keeps in ways that are
/// not known.
pub(super) fn watches(wanted: &Wanted, runtime: Runtime) -> Option<Watches> {
    let watches = match runtime {
        Runtime::Native | Runtime::Cpython | Runtime::Go => Watches::Writers,
        Runtime::Node | Runtime::Jvm => Watches::Makers,
        Runtime::Dotnet | Runtime::Ruby | Runtime::Php => return None,
    };
    wanted.escalation.watchpoints.then_some(watches)
}

#[cfg(test)]
mod tests {
    use mlh_detect::growth_stacks::{Blocks, Figures};
    use mlh_stacks::trace::{Frame, Trace};

    use super::*;

    /// Guarantees: once enough addresses rest, those are blamed who wrote there last, each with a share of what is kept as large as of the
    /// addresses; who has given back what it touched first is none of them, nor who has no name, whose addresses count all the same. Of
    /// too few nobody is, and who has too few himself, or whose blocks nobody has seen, is doubted.
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
            stack(None, voted(1)),
        ];
        let told = |belief| -> Vec<_> {
            let leads = wrote(&writers, &growth, Some(7), belief).into_iter();
            let name = |lead: &Lead| lead.frame().and_then(|it| it.function.clone()).unwrap();
            leads.map(|lead| (name(&lead), lead.bytes, lead.doubted, lead.remark.is_some())).collect()
        };
        let (remember, other) = ("remember".to_owned(), "other".to_owned());
        // one address in seven rests for somebody without a name
        let expected = |doubted, remarked| {
            [(remember.clone(), 480, doubted, remarked), (other.clone(), 160, true, remarked)]
        };
        assert_eq!(told(Belief::Blocks), expected(false, false));
        assert_eq!(told(Belief::Unseen), expected(true, false));
        assert_eq!(told(Belief::Collected), expected(true, true));
        assert!(wrote(&writers[..2], &growth, Some(7), Belief::Blocks).is_empty(), "too few");
        assert!(wrote(&writers, &growth, Some(8), Belief::Blocks).is_empty(), "another process");
        let nameless = [&writers[..3], &[stack(None, voted(4))]].concat();
        assert!(wrote(&nameless, &growth, Some(7), Belief::Blocks).is_empty(), "most have no name yet");
    }

    /// `who`: the functions of a stack, innermost first.
    fn stack(who: &[&str], votes: u64, bytes: u64) -> GrowthStack {
        let frame = |name: &&str| Frame {
            function: Some((*name).to_owned()),
            module: "/bin/app".to_owned(),
            ..Default::default()
        };
        let frames: Vec<_> = who.iter().map(frame).collect();
        let hash = who
            .iter()
            .flat_map(|name| name.bytes())
            .fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        GrowthStack {
            pid: 7,
            trace: Trace { frames, hash, culprit: Some(0), ..Default::default() },
            figures: Figures { votes, bytes, ..Figures::default() },
        }
    }

    fn told(writers: &[GrowthStack], growth: &[GrowthStack]) -> Vec<(String, u64)> {
        let leads = wrote(writers, growth, Some(7), Belief::Blocks).into_iter();
        leads
            .map(|lead| (lead.frame().and_then(|it| it.function.clone()).unwrap(), percent(lead.share)))
            .collect()
    }

    fn percent(share: f64) -> u64 {
        (share * 100.0).round() as u64
    }

    /// Guarantees: what a collector wrote last says nothing of whom it ran for.
    #[test]
    fn collectors_write() {
        let growth = [stack(&["answer"], 0, 1000)];
        let unlucky = stack(&["gc_collect_main", "parse", "main"], 9, 0);
        assert_eq!(
            told(&[unlucky.clone(), stack(&["keep", "main"], 3, 0)], &growth),
            [("keep".to_owned(), 100)]
        );
        assert!(told(&[unlucky], &growth).is_empty());
    }

    /// Guarantees: two addresses are enough for whoever also touched the most of it first, and for nobody else; one is where collections have
    /// left his object, with a doubt.
    #[test]
    fn two_witnesses() {
        let growth = [stack(&["burst", "main"], 0, 1000), stack(&["answer", "main"], 0, 10)];
        let told = |name, votes| told(&[stack(&[name, "main"], votes, 0)], &growth).len();
        assert_eq!((told("burst", 2), told("answer", 2), told("burst", 1)), (1, 0, 0));
        let left = wrote(&[stack(&["keep", "main"], 1, 0)], &growth, Some(7), Belief::Left);
        assert_eq!(
            left.iter().map(|lead| lead.doubted).collect::<Vec<_>>(),
            [true],
            "collections have left it"
        );
        let both = [stack(&["burst", "main"], 1, 0), stack(&["answer", "main"], 1, 0)];
        assert!(wrote(&both, &growth, Some(7), Belief::Blocks).is_empty());
    }

    /// Guarantees: addresses are watched unless the operator has forbidden it: of what stays where it is who writes last, of what V8 and HotSpot
    /// move who makes it.
    #[test]
    fn watched_runtimes() {
        let mut wanted = Wanted::of(&crate::hunt::settings::HuntSettings::default());
        let all =
            [Runtime::Native, Runtime::Cpython, Runtime::Go, Runtime::Jvm, Runtime::Node, Runtime::Dotnet];
        let watched = |wanted: &Wanted| all.map(|runtime| watches(wanted, runtime));
        let writers = Some(Watches::Writers);
        let makers = Some(Watches::Makers);
        assert_eq!(watched(&wanted), [writers, writers, writers, makers, makers, None]);
        wanted.escalation.watchpoints = false;
        assert_eq!(watched(&wanted), [None; 6]);
    }
}
