//! Who is to blame, as far as it is known.

use mlh_detect::growth_stacks::Blocks;
use mlh_stacks::trace::{Frame, Trace};

/// One who is to blame: a function, with the stack by which most of it comes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Lead {
    /// Whose stack it is, in the sidecar's own pid namespace.
    pub pid: u32,
    /// The stack.
    pub trace: Trace,
    /// Of all that was seen to be kept: 0..=1.
    pub share: f64,
    /// Bytes that were seen to be kept.
    pub bytes: u64,
    /// So many blocks; `None` where pages were seen, not blocks.
    pub count: Option<u64>,
    /// How it came over time, in a word, where that is known.
    pub pattern: Option<&'static str>,
    /// What has become of the blocks for which it touched memory, where that was seen.
    pub blocks: Blocks,
    /// How far it is to be believed, part of a sentence.
    pub remark: Option<&'static str>,
    /// It may be somebody else as well: a higher rung is worth its cost.
    pub doubted: bool,
}

impl Lead {
    /// The frame to blame. `None`: there are no names, or a runtime is at work and nothing of the program is in sight.
    #[must_use]
    pub fn frame(&self) -> Option<&Frame> {
        self.trace.culprit_frame()
    }
}

/// A kind of memory that grows: a type, a size, a space of a runtime.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Kind {
    /// As its source names it.
    pub name: String,
    /// Of the growth: 0..=1.
    pub share: f64,
}

/// What is known of a process or container.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Knowledge {
    /// Who is to blame the most comes first.
    pub leads: Vec<Lead>,
    /// Which kinds of memory grow, the most first.
    pub kinds: Vec<Kind>,
    /// How the leads were seen, e.g. `growth_pages`, `last_writers`, `object_makers`, `survival`, `live_blocks`.
    pub source: &'static str,
    /// What was not seen, in sentences.
    pub not_seen: Vec<String>,
}

/// Leads that are kept.
const MOST: usize = 10;

/// Puts together what goes to one function's account, and each one's share of all of it. The stack that is told is the one by which
/// the most comes; `pid`, `pattern` and the rest are those of it. Stacks on which nobody is to blame come last.
#[must_use]
pub(super) fn ranked(stacks: impl IntoIterator<Item = Lead>) -> Vec<Lead> {
    let mut leads: Vec<(Lead, u64)> = Vec::new();
    for lead in stacks.into_iter().filter(|lead| lead.bytes > 0) {
        match leads.iter_mut().find(|(known, _)| is_same(known, &lead)) {
            Some((known, largest)) => {
                let (bytes, count) = (known.bytes.saturating_add(lead.bytes), sum(known.count, lead.count));
                let mut blocks = known.blocks;
                blocks.add(lead.blocks);
                if lead.bytes > *largest {
                    (*largest, *known) = (lead.bytes, lead);
                }
                (known.bytes, known.count, known.blocks) = (bytes, count, blocks);
            }
            None => leads.push((lead.clone(), lead.bytes)),
        }
    }
    leads.sort_by_key(|(lead, _)| (lead.frame().is_none(), std::cmp::Reverse(lead.bytes)));
    let all = leads.iter().fold(0_u64, |all, (lead, _)| all.saturating_add(lead.bytes)).max(1);
    leads.truncate(MOST);
    leads.into_iter().map(|(lead, _)| Lead { share: lead.bytes as f64 / all as f64, ..lead }).collect()
}

fn sum(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    Some(one?.saturating_add(other?))
}

/// The same function is to blame, wherever in it. Without a frame it is the stack that tells.
fn is_same(one: &Lead, other: &Lead) -> bool {
    match (one.frame(), other.frame()) {
        (Some(one), Some(other)) => one.is_of(other),
        (None, None) => one.trace.hash == other.trace.hash,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lead(function: Option<&str>, offset: u64, bytes: u64) -> Lead {
        let frame = Frame {
            function: function.map(str::to_owned),
            module: "/bin/api".to_owned(),
            offset,
            ..Frame::default()
        };
        let trace = Trace { frames: vec![frame], hash: offset, culprit: Some(0), incomplete: None };
        Lead { trace, bytes, count: Some(bytes), ..Lead::default() }
    }

    /// Guarantees: what comes by several stacks to one function is one lead, told by its largest stack, and ranked by the sum; shares
    /// are of all; where no function is known the place tells, and who keeps nothing is no lead.
    #[test]
    fn leads_are_ranked_by_function() {
        let stacks = [
            lead(Some("cache"), 1, 50),
            lead(Some("remember"), 2, 30),
            lead(Some("remember"), 3, 40),
            lead(None, 4, 20),
            lead(None, 5, 60),
            lead(Some("nothing"), 6, 0),
        ];
        let told: Vec<_> = ranked(stacks)
            .into_iter()
            .map(|lead| (lead.trace.hash, lead.bytes, lead.count, (lead.share * 100.0).round()))
            .collect();
        let expected = [
            (3, 70, Some(70), 35.0),
            (5, 60, Some(60), 30.0),
            (1, 50, Some(50), 25.0),
            (4, 20, Some(20), 10.0),
        ];
        assert_eq!(told, expected);
        assert!(ranked([]).is_empty());
    }

    /// Guarantees: a stack on which nobody is to blame ranks behind whoever is, whatever comes by it, and takes its share; what became of
    /// the blocks of a function is that of all its stacks.
    #[test]
    fn nobody_comes_last() {
        let nobody = Lead { trace: Trace { culprit: None, ..lead(None, 9, 1).trace }, ..lead(None, 9, 90) };
        let blocks = Blocks { kept: 2, given_back: 3, elsewhere: 4 };
        let some = |offset| Lead { blocks, ..lead(Some("remember"), offset, 5) };
        let told = ranked([nobody, some(1), some(2)]);
        let ranks: Vec<_> =
            told.iter().map(|lead| (lead.frame().is_some(), lead.bytes, lead.share)).collect();
        assert_eq!(ranks, [(true, 10, 0.1), (false, 90, 0.9)]);
        assert_eq!(told[0].blocks, Blocks { kept: 4, given_back: 6, elsewhere: 8 });
    }
}
