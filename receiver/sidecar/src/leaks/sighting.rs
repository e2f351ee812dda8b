//! What a finding says of a leak.

use std::time::Duration;

use mlh_detect::leaks::{End, Place, Program, Recognised, Registry, Sighting};
use mlh_detect::{About, Cleared, Finding, FindingKind, Stage, Verdict};
use mlh_stacks::trace::Trace;

use super::workload;
use crate::records::{Clock, Subject, epoch_nanos};

/// What a stack says is to blame: the function, or else the stack itself.
pub(crate) fn place(trace: &Trace) -> Option<Place<'_>> {
    let culprit = trace.culprit_frame();
    let named = culprit.and_then(|frame| Some((frame, frame.function.as_deref()?)));
    match named {
        Some((frame, name)) => {
            // what a Python interpreter runs is told apart by its file, as there is one module for all of it
            let file = frame.file.as_deref().filter(|_| frame.module.starts_with('['));
            Some(Place::Function { module: base(file.unwrap_or(&frame.module)), name })
        }
        None => (trace.hash != 0).then_some(Place::Stack(trace.hash)),
    }
}

/// Notes it; see [`super::Leaks::note`].
pub(super) fn note(
    registry: &mut Registry,
    finding: &Finding,
    subject: &Subject,
    place: Option<Place<'_>>,
    clock: &Clock,
) -> Option<Recognised> {
    let at = Duration::from_nanos(clock.nanos(finding.at));
    match &finding.kind {
        FindingKind::Detected(verdict) => {
            Some(registry.sighted(&sighting(finding, verdict, subject, place, at)))
        }
        FindingKind::Cleared { reason, was: Stage::Leaking, .. } => {
            registry.ended(&finding.about, at, end(*reason))
        }
        FindingKind::OomKill(_) => registry.ended(&finding.about, at, End::Killed).or_else(|| {
            // a worker may be the victim of what its container has
            registry.ended(&About::Container(finding.container?), at, End::Killed)
        }),
        FindingKind::OomRisk(_) => registry.of(&finding.about),
        FindingKind::Growth { .. } | FindingKind::Suspected(_) | FindingKind::Cleared { .. } => None,
    }
}

fn sighting<'a>(
    finding: &Finding,
    verdict: &Verdict,
    subject: &'a Subject,
    place: Option<Place<'a>>,
    at: Duration,
) -> Sighting<'a> {
    let process = match finding.about {
        About::Process(key) => Some(key),
        About::Container(_) => finding.leader,
    };
    let in_container = matches!(finding.about, About::Container(_)) || finding.container.is_some();
    let container = subject.container_id.as_deref().or(subject.cgroup_path.as_deref());
    Sighting {
        at,
        about: finding.about,
        process,
        container: container.filter(|_| in_container),
        started: subject.created.map(|started| Duration::from_nanos(epoch_nanos(started))),
        program: program(subject),
        place,
        velocity: verdict.trend.velocity,
        bytes: verdict.leaked,
    }
}

fn end(reason: Cleared) -> End {
    match reason {
        Cleared::Exited | Cleared::Executed => End::Gone,
        Cleared::Stopped | Cleared::GivenBack => End::Stopped,
    }
}

fn program(subject: &Subject) -> Program<'_> {
    let reading = &subject.reading;
    let path = subject.executable_path.as_deref().filter(|path| !path.is_empty());
    let path = path.unwrap_or(&reading.executable);
    let executable = path.strip_suffix(" (deleted)").unwrap_or(path);
    // nobody was seen in it: nothing says that it is the same as another one of which that is true
    let only_itself = executable.is_empty() && subject.build_id.is_none();
    Program {
        build_id: subject.build_id.as_deref(),
        executable: if executable.is_empty() { subject.name() } else { executable },
        command: &reading.comm,
        service: if only_itself { subject.container_id.as_deref() } else { service(subject) },
    }
}

/// The pod's workload, or the cgroup that a service has wherever it runs.
fn service(subject: &Subject) -> Option<&str> {
    if subject.pod_uid.is_some() {
        return subject.node_name.as_deref().and_then(workload::of_pod);
    }
    let path = subject.cgroup_path.as_deref().filter(|_| subject.container_id.is_none())?;
    path.ends_with(".service").then(|| base(path))
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}
