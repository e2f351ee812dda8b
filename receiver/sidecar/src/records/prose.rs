//! The one sentence of a record, for a person woken at night.

use std::time::{Duration, SystemTime};

use mlh_detect::{
    About, Cleared, Exhaustion, Finding, FindingKind, Kill, Limit, LimitKind, Risk, Rung, Says, Stage,
    Testimonies,
};

use super::blamed;
use super::clock::{Clock, from_nanos, later};
use super::subject::Subject;
use super::words::{about, between, moment, printable, rate, size, span, tail};
use crate::ladder::Knowledge;

/// What else a verdict may be about that rests on growth.
const OR_FILLS: &str = ", unless it is a cache that still fills";

/// Says what was found.
pub(super) fn sentence(
    finding: &Finding,
    subject: &Subject,
    known: Option<&Knowledge>,
    clock: &Clock,
) -> String {
    Teller { finding, subject, known, clock }.sentence()
}

struct Teller<'a> {
    finding: &'a Finding,
    subject: &'a Subject,
    /// Who is to blame, where it is known.
    known: Option<&'a Knowledge>,
    clock: &'a Clock,
}

impl Teller<'_> {
    fn sentence(&self) -> String {
        let (who, most) = (self.who(), if self.finding.upper_bound { "at most " } else { "" });
        let said = match &self.finding.kind {
            FindingKind::Growth { grown, since } => format!(
                "{who} grew by {most}{} since {}, to {}",
                size(*grown),
                self.moment(*since),
                size(self.finding.memory.charged())
            ),
            FindingKind::Suspected(trend) => format!(
                "{who} has been growing steadily for {}: {most}{}, {} so far; it is being watched closely",
                span(trend.window),
                rate(trend),
                size(trend.grown)
            ),
            FindingKind::Detected(verdict) => {
                let end = verdict.exhaustion.and_then(|end| self.ends(&end));
                format!(
                    "{who} leaks {most}{}, {} since {}{}{}{}",
                    rate(&verdict.trend),
                    size(verdict.leaked),
                    self.moment(verdict.onset),
                    if is_unused(&verdict.evidence) { "" } else { OR_FILLS },
                    end.map(|end| format!("; {end}")).unwrap_or_default(),
                    self.known.and_then(blamed::clause).map(|who| format!("; {who}")).unwrap_or_default()
                )
            }
            FindingKind::Cleared { reason, was, peak } => {
                let was = if *was == Stage::Leaking { "was leaking" } else { "was suspected of a leak" };
                let now = self.after(*reason);
                format!("{who} {was} and {now}; it had grown by {most}{}", size(*peak))
            }
            FindingKind::OomRisk(risk) => self.risk(&format!("{who} grows {most}"), risk),
            FindingKind::OomKill(kill) => format!("{who} {}", self.kill(kill)),
        };
        let note = " (a sum over its processes: shared pages are counted several times)";
        format!("{said}{}.", if self.finding.upper_bound { note } else { "" })
    }

    fn after(&self, reason: Cleared) -> &'static str {
        match (reason, self.finding.about) {
            (Cleared::Stopped, _) => "has stopped growing",
            (Cleared::GivenBack, _) => "has given the memory back",
            (Cleared::Executed, _) => "runs another program now",
            (Cleared::Exited, About::Process(_)) => "has exited",
            (Cleared::Exited, About::Container(_)) => "is gone",
        }
    }

    fn risk(&self, grows: &str, risk: &Risk) -> String {
        let end = self.ends(&risk.exhaustion).unwrap_or_else(|| "the end is far".to_owned());
        format!("{grows}{}: {end} ({})", rate(&risk.trend), self.foretold(self.finding.at, &risk.exhaustion))
    }

    /// What had been known may have been known of the process or of its container, so it names neither.
    fn kill(&self, kill: &Kill) -> String {
        let holding = match self.finding.memory.charged() {
            0 => String::new(),
            bytes => format!(", holding {}", size(bytes)),
        };
        let before = match (kill.stage, &kill.trend) {
            (Stage::Calm, _) | (_, None) => "no leak had been suspected".to_owned(),
            (Stage::Suspected, Some(trend)) => {
                format!("a leak had been suspected: {}, {} so far", rate(trend), size(kill.grown))
            }
            (Stage::Leaking, Some(trend)) => {
                format!("a leak had been found: {}, {} so far", rate(trend), size(kill.grown))
            }
        };
        let told = kill.told.map(|(at, end)| {
            format!(", and the end foretold at {}: {}", self.moment(at), self.foretold(at, &end))
        });
        format!("was killed for lack of memory{holding}; {before}{}", told.unwrap_or_default())
    }

    fn who(&self) -> String {
        who(self.subject, matches!(self.finding.about, About::Container(_)))
    }

    /// What happens at the end, and when; none where it is too far off to tell.
    fn ends(&self, end: &Exhaustion) -> Option<String> {
        let when = about(end.expected_s)?;
        let (whose, bytes) = (self.whose(&end.limit), size(end.limit.bytes));
        Some(match end.limit.kind {
            LimitKind::Max => format!("{whose} memory limit of {bytes} is reached in {when}"),
            LimitKind::High => {
                format!(
                    "{whose} memory.high of {bytes}, where the kernel slows it down, is reached in {when}"
                )
            }
            LimitKind::Host => format!("the host's memory is gone in {when}"),
        })
    }

    /// Whether the limit is its own, its container's, or that of a cgroup around.
    fn whose(&self, limit: &Limit) -> String {
        let own = |key: u64| limit.cgroup_id == Some(key);
        match (self.finding.about, self.finding.container) {
            (About::Container(key), _) if own(key.0) => "its".to_owned(),
            (About::Process(_), Some(key)) if own(key.0) => "its container's".to_owned(),
            _ => match &self.subject.limit_path {
                Some(path) => format!("cgroup {}'s", tail(&printable(path))),
                None => "an outer cgroup's".to_owned(),
            },
        }
    }

    /// The earliest and the latest time of a prediction made at `at`.
    fn foretold(&self, at: Duration, end: &Exhaustion) -> String {
        let now = self.time(self.finding.at);
        let earliest = self.time(later(at, end.earliest_s).unwrap_or(at));
        match later(at, end.latest_s) {
            Some(latest) => between(earliest, self.time(latest), now),
            None => format!(
                "not before {}; too uneven, or seen for too short, to say by when",
                moment(earliest, now)
            ),
        }
    }

    fn moment(&self, at: Duration) -> String {
        moment(self.time(at), self.time(self.finding.at))
    }

    fn time(&self, at: Duration) -> SystemTime {
        from_nanos(self.clock.nanos(at))
    }
}

/// Whether what it keeps was seen not to be used. A cache keeps what it is given as well, whoever looks at that alone.
fn is_unused(evidence: &Testimonies) -> bool {
    evidence.of(Rung::Coldness).is_some_and(|said| matches!(said.says, Says::Kept { .. }))
}

/// The name, the pid, and where it runs. `whole`: all that the container holds, of which the process is one.
pub(super) fn who(subject: &Subject, whole: bool) -> String {
    let (place, reading) = (place(subject), &subject.reading);
    let pid = match (reading.pid, reading.host_pid) {
        (0, Some(pid)) => Some(format!("host pid {pid}")),
        (0, None) => None,
        (pid, _) => Some(format!("pid {pid}")),
    };
    let name = printable(subject.name());
    if whole {
        let place = capitalized(&place.unwrap_or_else(|| "a container".to_owned()));
        // nobody speaks for a container whose processes were not seen
        return pid.map_or_else(|| place.clone(), |pid| format!("{place} (most of it {name}, {pid})"));
    }
    let known: Vec<String> = pid.into_iter().chain(place).collect();
    if known.is_empty() { name } else { format!("{name} ({})", known.join(", ")) }
}

/// The first twelve digits of the container's id, as container tools take them, else the cgroup.
fn place(subject: &Subject) -> Option<String> {
    match (&subject.container_id, &subject.cgroup_path) {
        (Some(id), _) => Some(format!("container {}", id.chars().take(12).collect::<String>())),
        (None, Some(path)) => Some(format!("cgroup {}", tail(&printable(path)))),
        (None, None) => subject.cgroup_id().map(|id| format!("cgroup id {id}")),
    }
}

fn capitalized(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}
