//! A leak as the control socket tells it. Members may be added, these stay.

use std::time::Duration;

use mlh_detect::About;
use mlh_detect::leaks::{Leak, Member};
use serde::{Deserialize, Serialize};

use crate::records::rfc3339;

/// So many leaks are told.
pub(super) const MOST: usize = 64;

/// One leak, in however many processes and containers.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LeakMessage {
    /// The same on every host, after every restart; sixteen hexadecimal digits.
    pub id: String,
    /// Path or name of the executable.
    pub executable: String,
    /// What is to blame, in words; absent where that has never been known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    /// The first verdict, RFC 3339.
    pub first_seen: String,
    /// The newest one, RFC 3339.
    pub last_seen: String,
    /// So many processes or containers have had it.
    pub occurrences: u64,
    /// So many of them were killed for lack of memory.
    pub kills: u64,
    /// Bytes per second, as is usual for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub typical_velocity_bytes_per_second: Option<f64>,
    /// Seconds from start to end, as is usual for those who had it; absent where none has ended yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub typical_life_s: Option<f64>,
    /// Who has it now.
    #[serde(default)]
    pub members: Vec<LeakMemberMessage>,
}

/// One who has it now.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct LeakMemberMessage {
    /// `process`, or `container` for all that it holds.
    pub scope: String,
    /// In the sidecar's own pid namespace; of a container the process in it that grew most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// The container's id, or the path of its cgroup.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// The verdict, RFC 3339.
    pub since: String,
    /// At the verdict.
    pub velocity_bytes_per_second: f64,
    /// At the verdict.
    pub leaked_bytes: u64,
}

impl From<&Leak> for LeakMessage {
    fn from(leak: &Leak) -> Self {
        Self {
            id: leak.id.to_string(),
            executable: leak.executable.clone(),
            place: leak.place.clone(),
            first_seen: time(leak.first_seen),
            last_seen: time(leak.last_seen),
            occurrences: leak.occurrences,
            kills: leak.kills,
            typical_velocity_bytes_per_second: leak.velocities.typical(),
            typical_life_s: leak.lives.typical(),
            members: leak.members.iter().map(LeakMemberMessage::from).collect(),
        }
    }
}

impl From<&Member> for LeakMemberMessage {
    fn from(member: &Member) -> Self {
        let scope = match member.about {
            About::Process(_) => crate::semconv::SCOPE_PROCESS,
            About::Container(_) => crate::semconv::SCOPE_CONTAINER,
        };
        Self {
            scope: scope.to_owned(),
            pid: member.process.map(|process| process.pid).filter(|pid| *pid != 0),
            container: member.container.clone(),
            since: time(member.since),
            velocity_bytes_per_second: member.velocity,
            leaked_bytes: member.bytes,
        }
    }
}

fn time(since_1970: Duration) -> String {
    rfc3339(u64::try_from(since_1970.as_nanos()).unwrap_or(u64::MAX))
}
