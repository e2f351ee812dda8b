//! The shapes of the file: a head, then a leak a line, each as JSON. What stands there may be anybody's.

use std::time::Duration;

use flate2::Crc;
use mlh_detect::leaks::{Leak, LeakId, Member};
use mlh_detect::{About, ContainerKey, ProcessKey};
use serde::{Deserialize, Serialize};

/// What the file says it is.
const FORMAT: &str = "memory-leak-hunter state";
/// Raised when what an older program wrote cannot be read any more, or the other way about.
const VERSION: u32 = 1;

/// What the file holds.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Known {
    /// The boot in which the members lived.
    pub(crate) boot: Option<String>,
    pub(crate) leaks: Vec<Leak>,
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: String,
    version: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    boot: Option<String>,
    /// Of all that follows the head's line.
    crc32: u32,
}

#[derive(Serialize, Deserialize)]
struct StoredLeak {
    id: String,
    program: String,
    executable: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<String>,
    first_seen: Duration,
    last_seen: Duration,
    occurrences: u64,
    kills: u64,
    velocities: Vec<f64>,
    lives: Vec<f64>,
    members: Vec<StoredMember>,
}

#[derive(Serialize, Deserialize)]
struct StoredMember {
    about: StoredAbout,
    #[serde(skip_serializing_if = "Option::is_none")]
    process: Option<(u32, u64)>,
    #[serde(skip_serializing_if = "Option::is_none")]
    container: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<Duration>,
    since: Duration,
    velocity: f64,
    bytes: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredAbout {
    /// Pid, and the start in nanoseconds since boot.
    Process(u32, u64),
    Container(u64),
}

/// The file's text, of at most `most` bytes, and how many leaks did not fit. Those that come first are the ones to keep.
///
/// # Errors
/// A figure cannot be written.
pub(super) fn write(boot: Option<&str>, leaks: &[&Leak], most: u64) -> serde_json::Result<(String, usize)> {
    let head =
        |crc32| Head { format: FORMAT.to_owned(), version: VERSION, boot: boot.map(str::to_owned), crc32 };
    // room for the head, however long its number is
    let mut room = most.saturating_sub(serde_json::to_string(&head(u32::MAX))?.len() as u64 + 1);
    let (mut body, mut left) = (String::new(), 0);
    for leak in leaks {
        let line = serde_json::to_string(&StoredLeak::from(*leak))?;
        let size = line.len() as u64 + 1;
        if size > room {
            left += 1;
            continue;
        }
        room -= size;
        body.extend([line.as_str(), "\n"]);
    }
    Ok((format!("{}\n{body}", serde_json::to_string(&head(crc32(&body)))?), left))
}

/// What a file's text says.
///
/// # Errors
/// What is wrong with it: it was damaged, or written by a later version, or is something else.
pub(super) fn read(text: &str) -> Result<Known, String> {
    let (head, body) = text.split_once('\n').ok_or("it has no whole line")?;
    let head: Head = serde_json::from_str(head).map_err(|error| format!("its first line: {error}"))?;
    if head.format != FORMAT {
        return Err("it is something else".to_owned());
    }
    if head.version != VERSION {
        return Err(format!("it is of version {}, this program knows version {VERSION}", head.version));
    }
    if head.crc32 != crc32(body) {
        return Err("it is not what was written".to_owned());
    }
    let leaks = body.lines().enumerate().map(|(index, line)| {
        let stored = serde_json::from_str::<StoredLeak>(line).map_err(|error| error.to_string());
        stored.and_then(Leak::try_from).map_err(|reason| format!("line {}: {reason}", index + 2))
    });
    Ok(Known { boot: head.boot, leaks: leaks.collect::<Result<_, _>>()? })
}

fn crc32(text: &str) -> u32 {
    let mut crc = Crc::new();
    crc.update(text.as_bytes());
    crc.sum()
}

impl From<&Leak> for StoredLeak {
    fn from(leak: &Leak) -> Self {
        Self {
            id: leak.id.to_string(),
            program: leak.program.to_string(),
            executable: leak.executable.clone(),
            place: leak.place.clone(),
            first_seen: leak.first_seen,
            last_seen: leak.last_seen,
            occurrences: leak.occurrences,
            kills: leak.kills,
            velocities: leak.velocities.iter().collect(),
            lives: leak.lives.iter().collect(),
            members: leak.members.iter().map(StoredMember::from).collect(),
        }
    }
}

impl TryFrom<StoredLeak> for Leak {
    type Error = String;

    fn try_from(stored: StoredLeak) -> Result<Self, String> {
        let id = |text: &str| LeakId::parse(text).ok_or_else(|| format!("{text:?} is no id"));
        Ok(Self {
            id: id(&stored.id)?,
            program: id(&stored.program)?,
            executable: stored.executable,
            place: stored.place,
            first_seen: stored.first_seen,
            last_seen: stored.last_seen,
            occurrences: stored.occurrences,
            kills: stored.kills,
            velocities: stored.velocities.into_iter().collect(),
            lives: stored.lives.into_iter().collect(),
            members: stored.members.into_iter().map(Member::from).collect(),
        })
    }
}

impl From<&Member> for StoredMember {
    fn from(member: &Member) -> Self {
        Self {
            about: match member.about {
                About::Process(key) => StoredAbout::Process(key.pid, key.start_ns),
                About::Container(key) => StoredAbout::Container(key.0),
            },
            process: member.process.map(|key| (key.pid, key.start_ns)),
            container: member.container.clone(),
            started: member.started,
            since: member.since,
            velocity: member.velocity,
            bytes: member.bytes,
        }
    }
}

impl From<StoredMember> for Member {
    fn from(stored: StoredMember) -> Self {
        let key = |(pid, start_ns)| ProcessKey { pid, start_ns };
        Self {
            about: match stored.about {
                StoredAbout::Process(pid, start_ns) => About::Process(key((pid, start_ns))),
                StoredAbout::Container(id) => About::Container(ContainerKey(id)),
            },
            process: stored.process.map(key),
            container: stored.container,
            started: stored.started,
            since: stored.since,
            velocity: stored.velocity,
            bytes: stored.bytes,
        }
    }
}
