//! Growth by page.

use std::collections::HashMap;

use mlh_detect::growth_stacks::Pattern;

use super::{Page, WIDTH, shortened};
use crate::commands::inspect::finding::{Finding, whose};
use crate::investigate::report::GrowthStack;
use crate::records::words::size;

/// How full a part of the bar is.
const LEVELS: [char; 5] = ['.', ':', '-', '=', '#'];

impl Page {
    /// Who touched the memory that is still there.
    pub(super) fn growth(&mut self, finding: &Finding<'_>, top: usize) {
        let stacks = merged(&finding.report.growth);
        if stacks.is_empty() {
            return;
        }
        self.line("");
        let heading = self.bold("Growth by page");
        let what = "touched since the look began and still there; [......] by when: equal parts of the look";
        self.line(&format!("{heading}  {what}"));
        let heading = format!(
            "{:>3} {:>7} {:>12} {:>10} {:>11}  {:8}  {}",
            "#", "share", "there", "+-", "growth/s", "", "where"
        );
        let heading = self.bold(&heading);
        self.line(&heading);
        for (rank, growth) in stacks.iter().take(top).enumerate() {
            self.line(&row(rank + 1, growth));
        }
    }
}

/// The same stack of several processes is one.
pub(in crate::commands::inspect) fn merged(stacks: &[GrowthStack]) -> Vec<GrowthStack> {
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

/// What is not steady, in a word.
pub(in crate::commands::inspect) fn aside(pattern: Pattern) -> Option<&'static str> {
    match pattern {
        Pattern::Steady | Pattern::Unclear => None,
        Pattern::StartUp => Some("start-up"),
        Pattern::Levelled => Some("has stopped"),
        Pattern::Late => Some("began late"),
    }
}

fn row(rank: usize, growth: &GrowthStack) -> String {
    let note = aside(growth.figures.pattern).map(|word| format!("  ({word})")).unwrap_or_default();
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
    use super::*;

    /// Guarantees: the bar says where most is and where nothing.
    #[test]
    fn bars() {
        assert_eq!(bar(&[100, 50, 1, 0, 80, 81]), "#-. =#");
        assert_eq!(bar(&[0; 6]), "      ");
        assert_eq!(bar(&[]), "");
    }
}
