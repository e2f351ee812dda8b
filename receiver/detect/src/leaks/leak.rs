//! What is kept of a leak. All times are times of day, as durations since 1970.

use std::time::Duration;

use super::identity::{LeakId, Place, Program};
use super::recent::Recent;
use crate::sample::{About, ProcessKey};

/// A verdict, as far as it says which leak it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sighting<'a> {
    /// When.
    pub at: Duration,
    /// Of whom.
    pub about: About,
    /// The process that the program is known by: of a container the one that grew most.
    pub process: Option<ProcessKey>,
    /// The container's id, or what it is known by; `None` for a process outside any.
    pub container: Option<&'a str>,
    /// When that process was started.
    pub started: Option<Duration>,
    /// What runs.
    pub program: Program<'a>,
    /// What is to blame, where it is known.
    pub place: Option<Place<'a>>,
    /// Bytes per second.
    pub velocity: f64,
    /// Leaked so far, bytes.
    pub bytes: u64,
}

/// One leak.
#[derive(Debug, Clone, PartialEq)]
pub struct Leak {
    /// Which.
    pub id: LeakId,
    /// The id of the program alone: leaks of one program share it.
    pub program: LeakId,
    /// Path or name of the executable.
    pub executable: String,
    /// What is to blame, in words; `None` where that has never been known.
    pub place: Option<String>,
    /// The first verdict.
    pub first_seen: Duration,
    /// The newest one.
    pub last_seen: Duration,
    /// So many processes or containers have had it, those of now among them.
    pub occurrences: u64,
    /// So many of them were killed for lack of memory.
    pub kills: u64,
    /// Bytes per second, of the newest of them.
    pub velocities: Recent,
    /// How long the newest of those that ended with it had lived, in seconds.
    pub lives: Recent,
    /// Who has it now.
    pub members: Vec<Member>,
}

/// One who has a leak now.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Who.
    pub about: About,
    /// As in [`Sighting::process`].
    pub process: Option<ProcessKey>,
    /// As in [`Sighting::container`].
    pub container: Option<String>,
    /// When that process was started.
    pub started: Option<Duration>,
    /// The first verdict.
    pub since: Duration,
    /// Bytes per second at the newest one.
    pub velocity: f64,
    /// Bytes leaked by then.
    pub bytes: u64,
}

/// How it ended for a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was killed for lack of memory.
    Killed,
    /// It has exited, or runs another program now.
    Gone,
    /// It lives, and leaks no more.
    Stopped,
}

/// What is known of a leak that a verdict speaks of, the verdict itself included.
#[derive(Debug, Clone, PartialEq)]
pub struct Recognised {
    /// Which.
    pub id: LeakId,
    /// What is to blame, in words, perhaps from an earlier time.
    pub place: Option<String>,
    /// The first verdict of all.
    pub first_seen: Duration,
    /// So many processes or containers have had it.
    pub occurrences: u64,
    /// This verdict is the first on somebody who has it, and others had it before.
    pub returned: bool,
    /// So many of them were killed for lack of memory.
    pub kills: u64,
    /// So many have it now.
    pub members: usize,
    /// In so many containers.
    pub containers: usize,
    /// Bytes per second, as is usual for it.
    pub velocity: Option<f64>,
    /// Seconds from start to end, as is usual for those who had it; `None` where none has ended yet.
    pub life: Option<f64>,
}

impl Leak {
    /// What may be said of it.
    #[must_use]
    pub fn recognised(&self) -> Recognised {
        let mut containers: Vec<&str> =
            self.members.iter().filter_map(|member| member.container.as_deref()).collect();
        containers.sort_unstable();
        containers.dedup();
        Recognised {
            id: self.id,
            place: self.place.clone(),
            first_seen: self.first_seen,
            occurrences: self.occurrences,
            returned: false,
            kills: self.kills,
            members: self.members.len(),
            containers: containers.len(),
            velocity: self.velocities.typical(),
            life: self.lives.typical(),
        }
    }

    /// Bytes per second of all who have it now.
    #[must_use]
    pub fn velocity(&self) -> f64 {
        self.members.iter().map(|member| member.velocity).sum()
    }
}
