//! Who makes the objects that stay, where growth stacks have watched single objects of a collected heap being made: those are blamed, and
//! not who touched a page first.
//!
//! What makes objects for many, as a function that copies a text, has garbage of all of them beside the few that stay. The paths to it
//! tell: whoever calls it on the way to what stays, and hardly otherwise, is to blame.

use mlh_detect::growth_stacks::Pattern;
use mlh_stacks::blame::{collects, culprit};
use mlh_stacks::trace::{Frame, Trace};

use super::knowledge::{Lead, ranked};
use super::writers::kept;
use crate::investigate::report::GrowthStack;

/// How such leads were seen, as records say it.
pub(crate) const MAKERS: &str = "object_makers";

/// Objects that stay before anybody is blamed: of fewer, chance may have chosen them,
const VOTES: u64 = 3;
/// and of so many it has to be known whether they do: only beside the garbage it shows who makes for many,
const SEEN: u64 = 30;
/// and with fewer of his own somebody is doubted,
const SURE: u64 = 6;
/// or where less than so much of what is made there stays.
const LEAST: f64 = 0.1;
/// Where as much of it stays nobody further out is asked for,
const MOST: f64 = 0.5;
/// who else is to blame if more stays of his by this factor.
const CLEARER: f64 = 1.5;
/// And if that is known of so many objects.
const ENOUGH: u64 = 3;
/// What V8's functions begin with that copy what others have made.
const COPIES: [&str; 4] = [
    "v8::internal::Heap::CollectGarbage",
    "v8::internal::Scavenger",
    "v8::internal::EvacuateVisitor",
    "v8::internal::MarkCompact",
];
/// So many of the callers are asked.
const CALLERS: usize = 16;

/// What is remarked of such a lead.
const STAYS: &str = "and what it makes is still there after collections";

/// Those who make what stays: each has as large a share of what was seen to be kept as of what the objects that stay stand for. Empty: too few do, or most
/// of them are of somebody who has no name yet.
pub(super) fn made(stacks: &[GrowthStack], growth: &[GrowthStack], pid: Option<u32>) -> Vec<Lead> {
    let of = |stack: &&GrowthStack| pid.is_none_or(|pid| stack.pid == pid);
    let stacks: Vec<_> = stacks.iter().filter(of).filter(|it| !it.trace.frames.iter().any(copies)).collect();
    let sum = |of: fn(&GrowthStack) -> u64, is: fn(&GrowthStack) -> bool| {
        let stacks = stacks.iter().filter(|stack| is(stack));
        stacks.map(|stack| of(stack)).fold(0, u64::saturating_add)
    };
    let is_named = |stack: &GrowthStack| !stack.trace.frames.is_empty();
    let (all, told) =
        (sum(|stack| stack.figures.made_bytes, |_| true), sum(|stack| stack.figures.made_bytes, is_named));
    let kept_or_not =
        |stack: &GrowthStack| stack.figures.made.kept.saturating_add(stack.figures.made.given_back);
    let is_known =
        sum(kept_or_not, |_| true) >= SEEN && sum(|stack| stack.figures.made.kept, is_named) >= VOTES;
    if !is_known || told <= all - told {
        return Vec::new();
    }
    let (all_bytes, is_steady) = kept(growth, pid);
    let keeps = stacks.iter().filter(|it| it.figures.made.kept > 0 && !it.trace.frames.is_empty());
    let leads = keeps.map(|stack| {
        let (culprit, share) = blamed(&stack.trace, &stacks);
        let votes = stack.figures.made_bytes;
        let bytes = (all_bytes as f64 * votes as f64 / all as f64) as u64;
        let lead = Lead {
            pid: stack.pid,
            trace: Trace { culprit, ..stack.trace.clone() },
            // also where nothing is known to stay by the page
            bytes: if all_bytes > 0 { bytes } else { votes },
            pattern: is_steady.then(|| Pattern::Steady.name()),
            blocks: stack.figures.made,
            remark: Some(STAYS),
            ..Lead::default()
        };
        (lead, share)
    });
    let (leads, shares): (Vec<_>, Vec<_>) = leads.unzip();
    let best = shares.into_iter().fold(0.0, f64::max);
    let doubt = |lead: Lead| Lead { doubted: lead.blocks.kept < SURE || best < LEAST, ..lead };
    ranked(leads).into_iter().map(doubt).collect()
}

/// The frame to blame, and how much of what is made on the way through it stays: 0..=1.
fn blamed(trace: &Trace, stacks: &[&GrowthStack]) -> (Option<usize>, f64) {
    let Some(first) = trace.culprit else { return (None, 0.0) };
    let frames = &trace.frames;
    let outer = |at: &usize| {
        let from = at.checked_add(1)?;
        frames.get(from..).filter(|rest| !rest.is_empty()).and_then(culprit).map(|next| from + next)
    };
    let (mut best, mut share) = (first, 0.0);
    for at in std::iter::successors(Some(first), outer).take(CALLERS) {
        let Some(frame) = frames.get(at) else { break };
        let (kept, gone) = through(frame, stacks);
        let here = kept as f64 / kept.saturating_add(gone).max(1) as f64;
        if at == first || (here > share * CLEARER && kept.saturating_add(gone) >= ENOUGH) {
            (best, share) = (at, here);
        }
        if share >= MOST {
            break;
        }
    }
    (Some(best), share)
}

/// It makes copies of what others have made.
fn copies(frame: &Frame) -> bool {
    let function = frame.function.as_deref().unwrap_or_default();
    collects(frame) || COPIES.iter().any(|beginning| function.starts_with(beginning))
}

/// Objects that stay, and those that do not, of all that is made on the way through a function.
fn through(function: &Frame, stacks: &[&GrowthStack]) -> (u64, u64) {
    let passes = |stack: &&&GrowthStack| {
        let from = stack.trace.culprit.unwrap_or_default();
        stack.trace.frames.iter().skip(from).any(|frame| frame.is_of(function))
    };
    stacks.iter().filter(passes).fold((0, 0), |(kept, gone), stack| {
        let made = &stack.figures.made;
        (made.kept.saturating_add(kept), made.given_back.saturating_add(gone))
    })
}

#[cfg(test)]
mod tests {
    use mlh_detect::growth_stacks::{Blocks, Figures};

    use super::*;

    /// `who`: the functions of a stack, innermost first.
    fn stack(who: &[&str], kept: u64, given_back: u64) -> GrowthStack {
        let frame = |name: &&str| Frame {
            function: Some((*name).to_owned()),
            module: "/srv/app.js".to_owned(),
            ..Default::default()
        };
        let frames: Vec<_> = who.iter().map(frame).collect();
        let bytes = who.iter().flat_map(|name| name.bytes());
        let hash = bytes.fold(7, |sum: u64, byte| sum.wrapping_mul(31).wrapping_add(byte.into()));
        let made = Blocks { kept, given_back, ..Blocks::default() };
        GrowthStack {
            pid: 7,
            trace: Trace { culprit: (!frames.is_empty()).then_some(0), frames, hash, ..Default::default() },
            figures: Figures { made, made_bytes: kept, ..Figures::default() },
        }
    }

    fn told(stacks: &[GrowthStack]) -> Vec<(String, f64, bool)> {
        let grown = GrowthStack {
            figures: Figures { steady_bytes: 1000, ..Figures::default() },
            ..stack(&["gc"], 0, 0)
        };
        let leads = made(stacks, &[grown], Some(7)).into_iter();
        leads
            .map(|lead| (lead.frame().and_then(|it| it.function.clone()).unwrap(), lead.share, lead.doubted))
            .collect()
    }

    /// Guarantees: who makes most of what stays is blamed, with a share as large as of the objects, whatever garbage others make; of few
    /// objects nobody is, and who has few himself is doubted, nor is anybody where most has no name yet.
    #[test]
    fn makers() {
        let garbage = stack(&["parse", "main"], 0, 900);
        let stacks = [stack(&["remember", "main"], 9, 1), garbage.clone(), stack(&["cache", "main"], 3, 0)];
        let (remember, cache) = (("remember".to_owned(), 0.75, false), ("cache".to_owned(), 0.25, true));
        assert_eq!(told(&stacks), [remember, cache]);
        assert!(told(&[stack(&["remember"], 2, 0), garbage]).is_empty(), "too few");
        assert!(told(&[stack(&["remember"], 20, 0)]).is_empty(), "too little is known");
        assert!(told(&[stack(&["remember"], 20, 0), stack(&[], 25, 0)]).is_empty(), "most have no name");
        assert!(made(&stacks, &[], Some(8)).is_empty(), "another process");
    }

    /// Guarantees: what makes objects for many is not to blame, but who calls it for what stays; nor is who calls all of it.
    #[test]
    fn paths_part() {
        let stacks = [
            stack(&["copy", "remember", "serve"], 12, 1),
            stack(&["copy", "answer", "serve"], 0, 200),
            stack(&["answer", "serve"], 0, 300),
        ];
        assert_eq!(told(&stacks), [("remember".to_owned(), 1.0, false)]);
        // as much stays of what it makes for others
        let all_stay = [stack(&["copy", "remember", "serve"], 22, 1), stack(&["copy", "log", "serve"], 9, 2)];
        assert_eq!(told(&all_stay), [("copy".to_owned(), 1.0, false)]);
    }

    /// Guarantees: where next to nothing stays of what anybody makes, whose objects do is doubted; the collector makes none of its own.
    #[test]
    fn doubted() {
        assert_eq!(told(&[stack(&["answer"], 8, 400)]), [("answer".to_owned(), 1.0, true)]);
        let scavenges = ["memcpy", "v8::internal::Scavenger::Process(bool)", "answer"];
        for collects in [&["gc_collect_main", "answer"][..], &scavenges] {
            assert!(told(&[stack(collects, 80, 0)]).is_empty());
        }
    }
}
