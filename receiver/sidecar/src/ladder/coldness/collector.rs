//! Who references a process's memory beside the program: its collector, now and then.

use mlh_detect::coldness::{Heap, References};
use mlh_stacks::modules::Modules;
use mlh_targets::outside::walks::{Walked, Walks};
use mlh_targets::points::Runtime;

#[derive(Debug)]
pub(super) enum Collector {
    Nobody,
    /// One that tells nobody when it walks.
    Untold,
    Told {
        walks: Walks,
        /// What is dead stays until it has walked; and it may walk for a while before that is told.
        late: bool,
        /// When the last window was over.
        last: Option<Walked>,
    },
}

impl Collector {
    /// That of a process with this runtime.
    ///
    /// # Errors
    /// It may walk all of the heap at any time: a sentence.
    pub(super) fn of(pid: u32, runtime: Runtime) -> Result<Self, String> {
        let told = |late| {
            let modules = Modules::read(pid).map_err(|error| error.to_string())?;
            let walks = Walks::find(pid, &modules).map_err(|error| error.to_string())?;
            Ok::<_, String>(Self::Told { walks, late, last: None })
        };
        match runtime {
            Runtime::Native => Ok(Self::Nobody),
            // it walks seldom, and only what holds other objects
            Runtime::Cpython => Ok(told(false).unwrap_or(Self::Untold)),
            Runtime::Jvm => told(true)
                .map_err(|why| format!("a collector references what it walks, in use or not, and {why}")),
            _ => Err("a collector references what it walks, in use or not".to_owned()),
        }
    }

    /// Where the windows of the process are noted.
    pub(super) fn references(&self) -> References {
        References::of(match self {
            Self::Nobody => Heap::Plain,
            Self::Told { late: true, .. } => Heap::Collected,
            Self::Untold | Self::Told { .. } => Heap::Counted,
        })
    }

    /// What it tells now.
    pub(super) fn read(&self) -> Option<Walked> {
        match self {
            Self::Told { walks, .. } => walks.read().ok(),
            Self::Nobody | Self::Untold => None,
        }
    }

    /// From when on it must not have walked for a window that begins now, when it tells this. What is told late belongs to what lies
    /// behind.
    pub(super) fn since(&self, now: Option<Walked>) -> Option<Walked> {
        match self {
            Self::Told { late: true, last: Some(last), .. } => Some(*last),
            _ => now,
        }
    }

    /// Whether it has walked between two moments, the later of which ends a window. `None`: nobody knows.
    pub(super) fn has_walked(&mut self, since: Option<Walked>, now: Option<Walked>) -> Option<bool> {
        match self {
            Self::Nobody => Some(false),
            Self::Untold => None,
            Self::Told { last, .. } => {
                *last = now;
                let (since, now) = (since?, now?);
                Some(since.count != now.count || since.under_way || now.under_way)
            }
        }
    }
}
