//! Where many keep a part each: the function which had all of them called.
//!
//! An object that is kept keeps what others made for it: texts, lists, copies. Each of those is a small part of the leak, and who is to blame
//! for it is further out on the stack, where their ways meet.

use std::collections::{HashMap, HashSet};

use mlh_stacks::blame::callers;
use mlh_stacks::trace::{Frame, Trace};

use super::knowledge::{Lead, ranked};

/// Nobody keeps as much as this share of it: each of them is one of many. The more one of them keeps, the surer he is to blame himself.
const MANY: f64 = 0.25;
/// So much of it has to go through one function.
const MOST: f64 = 0.5;
/// So many callers out it is looked for: further out, all that a program does goes through one of its functions.
const NEAR: usize = 8;

/// The leads, and before them the innermost function through which most of it goes, where each of them is one of many. `stacks` are what
/// they were ranked from. Its share has theirs in it.
pub(super) fn with_shared(leads: Vec<Lead>, stacks: impl Iterator<Item = Lead>) -> Vec<Lead> {
    let scattered = leads.first().is_some_and(|first| first.share < MANY);
    match scattered.then(|| shared(stacks)).flatten() {
        Some(shared) => {
            let others = leads.into_iter().filter(|lead| !is_same(lead.frame(), shared.frame())).collect();
            [vec![shared], others].concat()
        }
        None => leads,
    }
}

/// The frames are of one function, as far as is known.
pub(super) fn is_same(one: Option<&Frame>, other: Option<&Frame>) -> bool {
    let (Some(one), Some(other)) = (one, other) else { return false };
    one.module == other.module && one.function.is_some() && one.function == other.function
}

/// The innermost function through which most of it goes, with the stack by which the most does.
fn shared(stacks: impl Iterator<Item = Lead>) -> Option<Lead> {
    let stacks: Vec<_> = stacks.filter(|lead| lead.trace.culprit.is_some()).collect();
    let all: u64 = stacks.iter().map(|lead| lead.bytes).fold(0, u64::saturating_add);
    let mut through: HashMap<Name<'_>, u64> = HashMap::new();
    for lead in &stacks {
        let names: HashSet<_> = ways(lead).filter_map(|at| name(lead, at)).collect();
        names.into_iter().for_each(|name| add(&mut through, name, lead.bytes));
    }
    let is_most = |name: &Name<'_>| through.get(name).is_some_and(|sum| *sum as f64 > MOST * all as f64);
    let mut innermost: HashMap<Name<'_>, u64> = HashMap::new();
    for lead in &stacks {
        let name = ways(lead).filter_map(|at| name(lead, at)).find(is_most);
        name.into_iter().for_each(|name| add(&mut innermost, name, lead.bytes));
    }
    let (shared, _) = innermost.into_iter().max_by_key(|(name, sum)| (*sum, *name))?;
    let moved = stacks.iter().filter_map(|lead| {
        let culprit = ways(lead).find(|at| name(lead, *at) == Some(shared));
        culprit.map(|_| Lead { trace: Trace { culprit, ..lead.trace.clone() }, ..lead.clone() })
    });
    let lead = ranked(moved).into_iter().next()?;
    Some(Lead { share: lead.bytes as f64 / all.max(1) as f64, ..lead })
}

/// A function: its file and its name.
type Name<'a> = (&'a str, &'a str);

fn name(lead: &Lead, at: usize) -> Option<Name<'_>> {
    let frame = lead.trace.frames.get(at)?;
    Some((&frame.module, frame.function.as_deref()?))
}

fn add<'a>(sums: &mut HashMap<Name<'a>, u64>, name: Name<'a>, bytes: u64) {
    let sum = sums.entry(name).or_default();
    *sum = sum.saturating_add(bytes);
}

/// Who is to blame on a stack, and the nearest who had that one called, innermost first: indices.
fn ways(lead: &Lead) -> impl Iterator<Item = usize> {
    let culprit = lead.trace.culprit;
    culprit.into_iter().flat_map(|at| std::iter::once(at).chain(callers(&lead.trace.frames, at).take(NEAR)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The functions of a stack, innermost first, and what it keeps.
    fn stack(who: &[&str], bytes: u64) -> Lead {
        let frame = |name: &&str| Frame {
            function: Some((*name).to_owned()),
            module: "/bin/app".to_owned(),
            ..Frame::default()
        };
        let frames: Vec<_> = who.iter().map(frame).collect();
        Lead { trace: Trace { frames, culprit: Some(0), ..Trace::default() }, bytes, ..Lead::default() }
    }

    fn told(stacks: &[Lead]) -> Vec<(&str, u64)> {
        let leads = with_shared(ranked(stacks.iter().cloned()), stacks.iter().cloned());
        let name = |lead: &Lead| lead.frame().and_then(|frame| frame.function.clone()).unwrap_or_default();
        let of = |lead: &Lead| {
            let all =
                stacks.iter().flat_map(|lead| &lead.trace.frames).filter_map(|it| it.function.as_deref());
            all.clone().find(|known| *known == name(lead)).unwrap_or_default()
        };
        leads.iter().map(|lead| (of(lead), (lead.share * 100.0).round() as u64)).collect()
    }

    /// Guarantees: where each keeps less than a quarter of it, the innermost function near them comes first through which more than half of
    /// it goes, and they come behind it; where somebody keeps more, or nothing but the beginning of the program is common to them, they
    /// come alone.
    #[test]
    fn one_for_many() {
        let copy = stack(&["copy", "prepare", "execute", "serve", "main"], 20);
        let lists = stack(&["lists", "prepare", "execute", "serve", "main"], 20);
        let keys = stack(&["keys", "prepare", "execute", "serve", "main"], 20);
        let plan = stack(&["plan", "execute", "serve", "main"], 20);
        let log = stack(&["log", "serve", "main"], 20);
        let some = [copy.clone(), lists.clone(), keys.clone(), plan.clone(), log.clone()];
        let each = [("copy", 20), ("lists", 20), ("keys", 20), ("plan", 20), ("log", 20)];
        assert_eq!(told(&some), [&[("prepare", 60)], &each[..]].concat());
        let wider = [copy.clone(), lists.clone(), plan, log.clone(), stack(&["tick", "main"], 15)];
        assert_eq!(told(&wider)[0], ("execute", 63));
        let one = [Lead { bytes: 30, ..copy.clone() }, lists, keys, log];
        assert_eq!(told(&one)[0], ("copy", 33));
        let apart = ["one", "two", "three", "four", "five"].map(|name| stack(&[name, "main"], 10));
        assert_eq!(told(&apart).len(), 5);
        assert!(told(&[]).is_empty());
    }

    /// Guarantees: it is looked for eight callers out and no farther.
    #[test]
    fn far_out() {
        let deep = ["lists", "a", "b", "c", "d", "e", "f", "g", "prepare", "main"];
        let others = ["copy", "keys"].map(|name| stack(&[name, "prepare", "main"], 20));
        let apart = ["log", "tick"].map(|name| stack(&[name, "main"], 20));
        let first = |of: &[&str]| {
            let all = [&[stack(of, 20)], &others[..], &apart[..]].concat();
            told(&all).first().map(|(_, share)| *share)
        };
        assert_eq!(first(&deep), Some(60));
        assert_eq!(first(&[&deep[..8], &["h"], &deep[8..]].concat()), Some(20));
    }
}
