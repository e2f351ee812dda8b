//! What a look has found as OTLP profiles: for each process the stacks with what they hold and what they have allocated.
//!
//! Growth by page, where it was looked at, is a kind of its own. A profile is cumulative since the look began, and there is one for each kind of value. Nothing in it depends on where
//! a process has loaded its files: addresses are those of the files, so that processes of one image share the dictionary.

mod tables;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mlh_stacks::trace::Trace;
use mlh_targets::points::Runtime;
use mlh_targets::process::ProcessReading;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::profiles::v1development::{
    Profile, ResourceProfiles, Sample, ScopeProfiles, ValueType,
};
use uuid::{NoContext, Timestamp, Uuid};

use self::tables::{Indices, Tables};
use super::clock::Clock;
use super::subject::{KnownSubjects, Subject};
use super::{Encoder, scope};
use crate::investigate::report::{Member, Report, StackEvidence};
use crate::semconv;

/// A kind of value that stacks have.
struct Kind {
    name: &'static str,
    unit: &'static str,
    of: fn(&StackEvidence) -> u64,
}

/// As Go's heap profiles call them.
const KINDS: [Kind; 4] = [
    Kind { name: "inuse_space", unit: "bytes", of: |stack| in_use(stack, stack.live_bytes) },
    Kind { name: "inuse_objects", unit: "count", of: |stack| in_use(stack, stack.live_count) },
    Kind { name: "alloc_space", unit: "bytes", of: |stack| stack.allocated_bytes },
    Kind { name: "alloc_objects", unit: "count", of: |stack| stack.allocated_count },
];

/// What was touched and is still there.
const GROWTH: (&str, &str) = ("growth_space", "bytes");

/// What the dead held is in use no more.
fn in_use(stack: &StackEvidence, live: u64) -> u64 {
    if stack.gone { 0 } else { live }
}

impl Encoder {
    /// Every stack of the report, under the Resources of their processes; the process that holds the most comes first.
    /// `subjects` are those that live, by pid; of others the Resource says what the report does, and so it does of the
    /// program that a process ran before it began another. Without a stack there is no profile, and the request is empty.
    #[must_use]
    pub fn profiles(
        &self,
        report: &Report,
        subjects: &KnownSubjects,
        clock: &Clock,
    ) -> ExportProfilesServiceRequest {
        let mut tables = Tables::default();
        let span = Span {
            begun: clock.nanos(report.started),
            lasted: u64::try_from(report.lasted.as_nanos()).unwrap_or(u64::MAX),
            id_time: clock.nanos(report.started.saturating_add(report.lasted)),
        };
        let mut resource_profiles = Vec::new();
        for (pid, gone) in programs(report) {
            let member = report.members.iter().find(|member| (member.pid, member.gone) == (pid, gone));
            tables.runs(member.map_or(Runtime::default(), |member| member.runtime));
            let of_it = |stack: &&StackEvidence| (stack.pid, stack.gone) == (pid, gone);
            let stacks: Vec<_> = report.stacks.iter().filter(of_it).collect();
            let by_kind = KINDS.iter().map(|kind| {
                let values = stacks.iter().map(|stack| (&stack.trace, stack.operation, (kind.of)(stack)));
                (kind.name, kind.unit, values.collect::<Vec<_>>())
            });
            let grown = report.growth.iter().filter(|growth| growth.pid == pid && !gone);
            let grown = grown.map(|growth| (&growth.trace, "", growth.figures.bytes)).collect();
            let profiles: Vec<_> = by_kind
                .chain([(GROWTH.0, GROWTH.1, grown)])
                .filter_map(|(name, unit, values)| span.profile(&mut tables, (name, unit), &values))
                .collect();
            if profiles.is_empty() {
                continue;
            }
            let known = subjects.iter().find(|(of, _)| *of == pid && !gone);
            let subject =
                known.map_or_else(|| Arc::new(reported(pid, member)), |(_, subject)| Arc::clone(subject));
            resource_profiles.push(ResourceProfiles {
                resource: Some(subject.resource(&self.host)),
                scope_profiles: vec![ScopeProfiles {
                    scope: Some(scope()),
                    profiles,
                    schema_url: semconv::SCHEMA_URL.to_owned(),
                }],
                schema_url: semconv::SCHEMA_URL.to_owned(),
            });
        }
        ExportProfilesServiceRequest { resource_profiles, dictionary: Some(tables.into()) }
    }
}

/// Processes, and apart from them those that have ended or run another program now: each once, in the order of what they hold.
fn programs(report: &Report) -> Vec<(u32, bool)> {
    let mut programs = Vec::new();
    let growing = report.growth.iter().map(|growth| (growth.pid, false));
    for program in report.stacks.iter().map(|stack| (stack.pid, stack.gone)).chain(growing) {
        if !programs.contains(&program) {
            programs.push(program);
        }
    }
    programs
}

/// Of a process that is gone: what was kept of it.
fn reported(pid: u32, member: Option<&Member>) -> Subject {
    let Some(member) = member else {
        return Subject {
            reading: ProcessReading { pid, ..ProcessReading::default() },
            ..Subject::default()
        };
    };
    Subject {
        reading: ProcessReading {
            pid,
            comm: member.command.clone(),
            cgroup_id: Some(member.cgroup_id).filter(|id| *id != 0),
            ..ProcessReading::default()
        },
        executable_path: member.executable.clone(),
        container_id: member.container_id.clone(),
        ..Subject::default()
    }
}

/// The time that profiles are of, in nanoseconds.
struct Span {
    begun: u64,
    lasted: u64,
    id_time: u64,
}

impl Span {
    /// One profile, of the stacks that have any of it: each with its operation and value.
    fn profile(
        &self,
        tables: &mut Tables,
        (name, unit): (&str, &str),
        stacks: &[(&Trace, &'static str, u64)],
    ) -> Option<Profile> {
        let mut samples: Vec<Sample> = Vec::new();
        let mut known: HashMap<Indices, usize> = HashMap::new();
        for (trace, operation, value) in stacks {
            let value = i64::try_from(*value).unwrap_or(i64::MAX);
            if value == 0 {
                continue;
            }
            let (stack_index, attribute_indices) = tables.sample(trace, operation);
            // a sample is known by its stack and attributes: what has both in common is one
            match known.get(&(stack_index, attribute_indices.clone())) {
                Some(index) => {
                    let sum = samples.get_mut(*index).and_then(|sample| sample.values.first_mut());
                    if let Some(sum) = sum {
                        *sum = sum.saturating_add(value);
                    }
                }
                None => {
                    known.insert((stack_index, attribute_indices.clone()), samples.len());
                    let values = vec![value];
                    samples.push(Sample { stack_index, attribute_indices, values, ..Sample::default() });
                }
            }
        }
        (!samples.is_empty()).then(|| Profile {
            sample_type: Some(ValueType {
                type_strindex: tables.string(name),
                unit_strindex: tables.string(unit),
            }),
            samples,
            time_unix_nano: self.begun,
            duration_nano: self.lasted,
            profile_id: self.id(),
            ..Profile::default()
        })
    }

    /// Unique across hosts and restarts.
    fn id(&self) -> Vec<u8> {
        let at = Duration::from_nanos(self.id_time);
        let uuid = Uuid::new_v7(Timestamp::from_unix(NoContext, at.as_secs(), at.subsec_nanos()));
        uuid.as_bytes().to_vec()
    }
}
