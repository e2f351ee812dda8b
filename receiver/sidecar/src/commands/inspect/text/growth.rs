//! Growth by page.

use std::collections::HashMap;

use mlh_detect::growth_stacks::Pattern;

use super::{Page, WIDTH, shortened};
use crate::commands::inspect::by_page;
use crate::commands::inspect::finding::{Finding, whose};
use crate::investigate::report::GrowthStack;
use crate::records::words::size;

/// How full a part of the bar is.
const LEVELS: [char; 5] = ['.', ':', '-', '=', '#'];

impl Page {
    /// Who touched the memory that is still there.
    pub(super) fn growth(&mut self, finding: &Finding<'_>, top: usize) {
        let stacks = ranked(&finding.report.growth);
        if stacks.is_empty() {
            return;
        }
        self.line("");
        let heading = self.bold("Growth by page");
        let what =
            "touched during the look and still there, steady growth first; [......] by when, in equal parts";
        self.line(&format!("{heading}  {what}"));
        let heading = format!(
            "{:>3} {:>7} {:>12} {:>10} {:>11}  {:8}  {}",
            "#", "share", "there", "+-", "growth/s", "", "where"
        );
        let heading = self.bold(&heading);
        self.line(&heading);
        for (rank, growth) in stacks.iter().take(top).enumerate() {
            self.line(&row(rank + 1, growth, &stacks));
        }
    }
}

/// The same stack of several processes is one; those that grow steadily come first, by their share.
pub(in crate::commands::inspect) fn ranked(stacks: &[GrowthStack]) -> Vec<GrowthStack> {
    let mut merged = merged(stacks);
    merged.sort_by_key(|stack| by_page::order(&stack.figures));
    merged
}

fn merged(stacks: &[GrowthStack]) -> Vec<GrowthStack> {
    let mut places: HashMap<u64, usize> = HashMap::new();
    let mut merged: Vec<GrowthStack> = Vec::new();
    for stack in stacks {
        let known = if stack.trace.frames.is_empty() { None } else { places.get(&stack.trace.hash) };
        match known.and_then(|place| merged.get_mut(*place)) {
            Some(known) => known.figures.add(&stack.figures),
            None => {
                places.insert(stack.trace.hash, merged.len());
                merged.push(stack.clone());
            }
        }
    }
    merged
}

/// What is not steady, in a word. That it has stopped or began late is not said of a stack that is known by a few pages; nor beside
/// others of the same function, one of which goes on where another stops; nor of one through code that was made at run time: when
/// that is compiled anew its stacks are others.
pub(in crate::commands::inspect) fn aside(growth: &GrowthStack, all: &[GrowthStack]) -> Option<&'static str> {
    let pattern = growth.figures.pattern;
    let is_rough = growth.figures.error_bytes > growth.figures.bytes / 2;
    let goes_on = || {
        let mut others = all.iter().filter(|other| other.figures.pattern != pattern);
        others.any(|other| by_page::is_of(other, growth))
    };
    let moves = || growth.trace.frames.iter().any(|frame| frame.module == "[anon]");
    match pattern {
        Pattern::Steady | Pattern::Unclear => None,
        Pattern::Levelled | Pattern::Late if is_rough || moves() || goes_on() => None,
        Pattern::StartUp => Some("start-up"),
        Pattern::Levelled => Some("has stopped"),
        Pattern::Late => Some("began late"),
    }
}

fn row(rank: usize, growth: &GrowthStack, all: &[GrowthStack]) -> String {
    let note = aside(growth, all).map(|word| format!("  ({word})")).unwrap_or_default();
    let place = whose(&growth.trace);
    format!(
        "{rank:>3} {:>5.1} % {:>12} {:>10} {:>11}  [{:6}]  {}{note}",
        growth.figures.share * 100.0,
        size(growth.figures.bytes),
        size(growth.figures.error_bytes),
        format!("{}/s", size(growth.figures.velocity.max(0.0) as u64)),
        bar(&growth.figures.cohorts),
        shortened(&place, WIDTH - 62)
    )
}

/// A character a part, by its share of the fullest; a blank for nothing.
fn bar(cohorts: &[u64]) -> String {
    let most = cohorts.iter().copied().max().unwrap_or(0);
    let level = |bytes: &u64| {
        let height = (*bytes as f64 / most.max(1) as f64 * LEVELS.len() as f64).ceil() as usize;
        height.checked_sub(1).and_then(|level| LEVELS.get(level)).copied().unwrap_or(' ')
    };
    cohorts.iter().map(level).collect()
}

#[cfg(test)]
mod tests {
    use mlh_detect::growth_stacks::Figures;
    use mlh_stacks::trace::{Frame, Trace};

    use super::*;

    fn of(pattern: Pattern, bytes: u64, module: &str, hash: u64) -> GrowthStack {
        let frame =
            Frame { function: Some("keep".to_owned()), module: module.to_owned(), ..Frame::default() };
        let trace = Trace { frames: vec![frame], hash, culprit: Some(0), ..Trace::default() };
        let figures = Figures { pattern, bytes, ..Figures::default() };
        GrowthStack { trace, figures, ..GrowthStack::default() }
    }

    /// Guarantees: rows come by their share, those that grow steadily first, also where a stack is that of several processes.
    #[test]
    fn order() {
        let stacks = [
            of(Pattern::Steady, 10, "a", 1),
            of(Pattern::Steady, 15, "a", 2),
            of(Pattern::Levelled, 20, "a", 3),
            of(Pattern::Unclear, 50, "a", 4),
            GrowthStack { pid: 7, ..of(Pattern::Steady, 10, "a", 1) },
        ];
        let ranked: Vec<u64> = ranked(&stacks).iter().map(|stack| stack.figures.bytes).collect();
        assert_eq!(ranked, [20, 15, 50, 20]);
    }

    /// Guarantees: that growth has stopped or began late is said of a function whose stacks all did; of one that goes on by another
    /// stack it is not, nor of code that was made at run time, nor where little is known.
    #[test]
    fn asides() {
        let said =
            |growth: &GrowthStack, other: &GrowthStack| aside(growth, &[growth.clone(), other.clone()]);
        let stopped = of(Pattern::Levelled, 10, "a", 1);
        assert_eq!(said(&stopped, &of(Pattern::Steady, 10, "b", 2)), Some("has stopped"));
        assert_eq!(said(&stopped, &of(Pattern::Levelled, 10, "a", 2)), Some("has stopped"));
        assert_eq!(said(&stopped, &of(Pattern::Late, 10, "a", 2)), None);
        let figures = Figures { error_bytes: 6, ..stopped.figures.clone() };
        let rough = GrowthStack { figures, ..stopped.clone() };
        assert_eq!(said(&rough, &of(Pattern::Steady, 10, "b", 2)), None);
        let made = of(Pattern::Late, 10, "[anon]", 1);
        assert_eq!(said(&made, &stopped), None);
        assert_eq!(said(&of(Pattern::StartUp, 10, "[anon]", 1), &stopped), Some("start-up"));
    }

    /// Guarantees: the bar says where most is and where nothing.
    #[test]
    fn bars() {
        assert_eq!(bar(&[100, 50, 1, 0, 80, 81]), "#-. =#");
        assert_eq!(bar(&[0; 6]), "      ");
        assert_eq!(bar(&[]), "");
    }
}
