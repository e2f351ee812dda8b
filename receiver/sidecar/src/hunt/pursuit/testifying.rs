//! What a look that somebody ordered has seen of a suspect reaches the judge, as what the ladder sees does.

use std::time::Duration;

use mlh_detect::{About, Testimony};

use super::{Current, Pursuer};
use crate::investigate::plan::Rung;
use crate::investigate::report::Report;
use crate::ladder::{Case, ordered_growth};

impl Pursuer {
    /// Tells what is known by now of those who are suspected.
    pub(super) fn testify(&self, now: Duration, report: &Report) {
        let (Some(docket), Some(current)) = (&self.docket, &self.pursuit.current) else { return };
        for (case, part) in current.concerned(docket) {
            if let Some(testimony) = current.testimony(now, &case, part, report) {
                docket.testify(case.about, testimony);
            }
        }
    }

    /// Keeps what is known of those who are suspected: the look ends, and a verdict may fall later.
    pub(super) fn leave_known(&self) {
        let (Some(docket), Some(current)) = (&self.docket, &self.pursuit.current) else { return };
        for (case, _) in current.concerned(docket) {
            if let Some(knowledge) = self.known.of(&case.about, case.leader) {
                self.known.note(case.about, knowledge);
            }
        }
    }
}

impl Current {
    /// The open cases that it is about, each with the process in question; `None`: all of it.
    fn concerned(&self, docket: &crate::ladder::Docket) -> Vec<(Case, Option<u32>)> {
        let (subject, is_group) = self.investigation.subject();
        docket.concerned(&self.investigation.subjects(), Some(&subject).filter(|_| is_group))
    }

    fn testimony(&self, now: Duration, case: &Case, part: Option<u32>, report: &Report) -> Option<Testimony> {
        if self.investigation.plan().rung == Rung::GrowthStacks {
            let leader = match case.about {
                About::Process(key) => key.pid,
                About::Container(_) => case.leader.map_or(case.subject.reading.pid, |leader| leader.pid),
            };
            return ordered_growth(&report.growth, part, leader, now, report.lasted);
        }
        // probes say what becomes of all that they see
        let is_all = part.is_none_or(|pid| self.investigation.pids() == [pid]);
        is_all.then(|| self.investigation.testimony(now, case.velocity)).flatten()
    }
}
