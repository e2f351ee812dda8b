//! Which threads have an event of their own. What they start inherits it, and needs none.

use std::collections::{HashMap, HashSet};
use std::io;

use libbpf_rs::{Link, ProgramMut};

use super::THREADS_MAX;
use super::perf::{self, Of};
use crate::error::SweepError;
use crate::object::{io_error, within};
use crate::perf::threads;

/// How often the threads of a process are listed again, because some were there that had not been before. One that is started by a
/// thread which has its event is covered whether it is listed or not.
const ROUNDS: usize = 16;

/// The events of processes, by pid in the reader's pid namespace.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    links: HashMap<u32, Vec<Link>>,
}

impl Coverage {
    /// Gives each thread of a process its event. One that has been given them stays as it is.
    ///
    /// # Errors
    /// No such process, too many threads, or the kernel refuses: then it has none.
    pub(crate) fn add(&mut self, program: &ProgramMut<'_>, pid: u32) -> Result<(), SweepError> {
        if self.links.contains_key(&pid) {
            return Ok(());
        }
        let others: usize = self.links.values().map(Vec::len).sum();
        let mut links = Vec::new();
        let mut known = HashSet::new();
        for _ in 0..ROUNDS {
            let mut news = threads(pid).map_err(|error| gone(pid, &error))?;
            news.retain(|thread| known.insert(*thread));
            if news.is_empty() {
                break;
            }
            for thread in news {
                within(others + links.len() + 1, THREADS_MAX, "threads")?;
                links.extend(perf::attach(program, Of::Thread(thread))?);
            }
        }
        if links.is_empty() {
            return Err(gone(pid, &io::Error::from(io::ErrorKind::NotFound)));
        }
        self.links.insert(pid, links);
        Ok(())
    }

    /// Takes its events away, and those that its children have inherited.
    pub(crate) fn remove(&mut self, pid: u32) {
        self.links.remove(&pid);
    }
}

fn gone(pid: u32, error: &io::Error) -> SweepError {
    io_error("sampling page faults", &format!("there is no process {pid} ({error})"))
}
