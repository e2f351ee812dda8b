//! Verdicts that fell before it was known what is to blame. A verdict is told once; what is learnt later goes into what is known of
//! the leak.

use std::collections::HashMap;
use std::sync::Arc;

use mlh_detect::leaks::Place;
use mlh_detect::{About, Finding, FindingKind, Stage};

use crate::ladder::{Knowledge, KnownStacks};
use crate::leaks::{self, Leaks};
use crate::records::{Clock, Subject};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Unplaced(HashMap<About, Verdict>);

#[derive(Debug)]
struct Verdict {
    finding: Finding,
    subject: Arc<Subject>,
    /// A kind of memory is known to grow: better than nothing.
    classed: bool,
    /// It has been counted as one on a leak that is known from others.
    returned: bool,
}

impl Unplaced {
    /// Takes in what was told with this knowledge; `returned`: it was a verdict on a leak that is known from others.
    pub(super) fn note(
        &mut self,
        finding: &Finding,
        subject: &Arc<Subject>,
        known: Option<&Knowledge>,
        returned: bool,
    ) {
        match &finding.kind {
            FindingKind::Detected(_) if known.is_none_or(|known| known.leads.is_empty()) => {
                let classed = known.is_some_and(|known| !known.kinds.is_empty());
                let (finding, subject) = (*finding, Arc::clone(subject));
                self.0.insert(finding.about, Verdict { finding, subject, classed, returned });
            }
            FindingKind::Cleared { was: Stage::Leaking, .. } => drop(self.0.remove(&finding.about)),
            _ => {}
        }
    }

    /// Enters what has been learnt since, and says how many of these leaks turn out to be known from others.
    pub(super) fn learn(&mut self, known: &KnownStacks, leaks: &Leaks, clock: &Clock) -> u64 {
        let mut returned = 0;
        self.0.retain(|about, verdict| {
            let Some(found) = known.of(about, verdict.finding.leader) else { return true };
            let blames = !found.leads.is_empty();
            let Some(place) = place(&found).filter(|_| blames || !verdict.classed) else { return true };
            let leak = leaks.note(&verdict.finding, &verdict.subject, Some(place), clock);
            let returns = leak.is_some_and(|leak| leak.returned) && !verdict.returned;
            returned += u64::from(returns);
            (verdict.classed, verdict.returned) = (true, verdict.returned || returns);
            !blames
        });
        returned
    }

    /// Lets go of those of whom nothing is known any more.
    pub(super) fn retain(&mut self, is_there: impl Fn(&About) -> bool) {
        self.0.retain(|about, _| is_there(about));
    }
}

/// Where a leak is: the stack that is to blame the most, else the kind of memory that grows the most.
pub(super) fn place(known: &Knowledge) -> Option<Place<'_>> {
    let stack = known.leads.first().and_then(|lead| leaks::place(&lead.trace));
    stack.or_else(|| Some(Place::Class(&known.kinds.first()?.name)))
}
