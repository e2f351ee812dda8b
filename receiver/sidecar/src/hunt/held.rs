//! Verdicts that wait while somebody is about to find out who is to blame. A verdict is told once: whom it does not name, nobody reads of.

use std::collections::HashMap;
use std::time::Duration;

use mlh_detect::{About, Finding, FindingKind, Stage};

/// No verdict waits for longer. Most fall within two minutes of the first MiB, and none is to take more than five.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Held(HashMap<About, (Finding, Duration)>);

impl Held {
    /// Takes out of a pass's findings the verdicts that are to wait, and puts in those that have waited. `awaits`: it will soon be known
    /// who is to blame. What was taken back meanwhile was a suspicion, as far as anybody was told.
    pub(super) fn sift(
        &mut self,
        findings: &mut Vec<Finding>,
        at: Duration,
        awaits: impl Fn(&About) -> bool,
    ) {
        findings.retain_mut(|finding| match &mut finding.kind {
            FindingKind::Detected(_) if awaits(&finding.about) => {
                self.0.insert(finding.about, (*finding, at));
                false
            }
            FindingKind::Cleared { was, .. } => {
                if self.0.remove(&finding.about).is_some() {
                    *was = Stage::Suspected;
                }
                true
            }
            _ => true,
        });
        let is_urgent = |about: &About| {
            let is_risk = |kind| matches!(kind, &FindingKind::OomRisk(_) | &FindingKind::OomKill(_));
            findings.iter().any(|finding| finding.about == *about && is_risk(&finding.kind))
        };
        let is_over = |about: &About, since: Duration| {
            at.saturating_sub(since) >= PATIENCE || !awaits(about) || is_urgent(about)
        };
        let over: Vec<About> = self
            .0
            .iter()
            .filter(|(about, (_, since))| is_over(about, *since))
            .map(|(about, _)| *about)
            .collect();
        let told = over.iter().filter_map(|about| self.0.remove(about));
        findings.extend(told.map(|(finding, _)| Finding { at, ..finding }).collect::<Vec<_>>());
    }
}
