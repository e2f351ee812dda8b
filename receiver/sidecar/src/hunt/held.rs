//! Verdicts that wait while somebody is about to find out who is to blame. A verdict is told once: whom it does not name, nobody reads of.

use std::collections::HashMap;
use std::time::Duration;

use mlh_detect::{About, Finding, FindingKind, Stage, Verdict};

/// No verdict waits for longer,
const PATIENCE: Duration = Duration::from_secs(60);
/// nor, where it has fallen in time, until so long after the growth began: by then everybody is to have heard of it,
const LATEST: Duration = Duration::from_secs(300);
/// nor at all where less is left than this until a limit is reached, seconds.
const URGENT_S: f64 = 300.0;
/// Who waits is asked after this often.
pub(super) const ASKED_EVERY: Duration = Duration::from_secs(1);

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
            FindingKind::Detected(verdict) if awaits(&finding.about) && has_time(verdict) => {
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
        let is_over = |about: &About, (finding, since): &(Finding, Duration)| {
            let FindingKind::Detected(verdict) = as_of(*finding, *since, at).kind else { return true };
            let is_late = at >= deadline(verdict.onset, *since);
            is_late || !has_time(&verdict) || !awaits(about) || is_urgent(about)
        };
        let over: Vec<About> =
            self.0.iter().filter(|(about, held)| is_over(about, held)).map(|(about, _)| *about).collect();
        let told = over.iter().filter_map(|about| self.0.remove(about));
        findings.extend(told.map(|(finding, since)| as_of(finding, since, at)).collect::<Vec<_>>());
    }

    /// One about this waits.
    pub(super) fn holds(&self, about: &About) -> bool {
        self.0.contains_key(about)
    }

    /// Some wait.
    pub(super) fn is_waiting(&self) -> bool {
        !self.0.is_empty()
    }
}

/// Until when a verdict may wait that fell at this time.
fn deadline(onset: Duration, fell: Duration) -> Duration {
    let (patient, latest) = (fell.saturating_add(PATIENCE), onset.saturating_add(LATEST));
    if fell < latest { patient.min(latest) } else { patient }
}

/// No limit is near.
fn has_time(verdict: &Verdict) -> bool {
    verdict.exhaustion.is_none_or(|end| end.expected_s > URGENT_S)
}

/// The finding as it is told now: so much less time is left than when it was made.
fn as_of(mut finding: Finding, since: Duration, at: Duration) -> Finding {
    let waited = at.saturating_sub(since).as_secs_f64();
    if let FindingKind::Detected(Verdict { exhaustion: Some(end), .. }) = &mut finding.kind {
        for seconds in [&mut end.expected_s, &mut end.earliest_s, &mut end.latest_s] {
            *seconds = (*seconds - waited).max(0.0);
        }
    }
    Finding { at, ..finding }
}

#[cfg(test)]
mod tests {
    use mlh_detect::{Exhaustion, Limit, LimitKind, Memory, Pattern, ProcessKey, Testimonies, Trend};

    use super::*;

    const ABOUT: About = About::Process(ProcessKey { pid: 7, start_ns: 0 });

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    /// A verdict that falls then on growth that began at 20 s; so many seconds are left.
    fn verdict(fell: u64, left: Option<f64>) -> Finding {
        let limit = Limit { kind: LimitKind::Max, bytes: 1 << 28, cgroup_id: None };
        let end = |left: f64| Exhaustion {
            expected_s: left,
            earliest_s: left / 2.0,
            latest_s: f64::INFINITY,
            limit,
        };
        Finding {
            at: seconds(fell),
            about: ABOUT,
            memory: Memory::default(),
            leader: None,
            container: None,
            upper_bound: false,
            kind: FindingKind::Detected(Verdict {
                trend: Trend {
                    velocity: 1.0,
                    interval: (1.0, 1.0),
                    window: seconds(120),
                    grown: 120,
                    samples: 8,
                },
                confidence: 0.9,
                leaked: 120,
                onset: seconds(20),
                exhaustion: left.map(end),
                pattern: Pattern::Steady,
                evidence: Testimonies::default(),
            }),
        }
    }

    /// When a verdict is told that waits for ever if it may, and what it says by then of the time that is left.
    fn told(verdict: Finding) -> (Duration, Option<Exhaustion>) {
        let (mut held, mut at, mut findings) = (Held::default(), verdict.at, vec![verdict]);
        loop {
            held.sift(&mut findings, at, |_| true);
            assert_eq!(held.is_waiting(), findings.is_empty());
            if let Some(Finding { at: said, kind: FindingKind::Detected(verdict), .. }) = findings.pop() {
                assert_eq!(said, at);
                return (at, verdict.exhaustion);
            }
            at += seconds(1);
        }
    }

    /// Guarantees: a verdict waits for no more than a minute, nor beyond the fifth after the growth began where it fell before, nor at all
    /// where the limit is as near; what it says of the time left is true when it is told.
    #[test]
    fn nobody_waits_too_long() {
        for (fell, told_at) in [(150, 210), (290, 320), (400, 460)] {
            assert_eq!(told(verdict(fell, None)).0, seconds(told_at));
        }
        assert_eq!(told(verdict(150, Some(250.0))).0, seconds(150));
        let (at, end) = told(verdict(150, Some(1000.0)));
        let end = end.map(|end| (end.expected_s, end.earliest_s, end.latest_s));
        assert_eq!((at, end), (seconds(210), Some((940.0, 440.0, f64::INFINITY))));
        assert_eq!(told(verdict(150, Some(330.0))).0, seconds(180), "by then it is urgent");
    }
}
