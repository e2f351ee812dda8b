//! From the bytes of a pass to its processes and cgroups. Pure and portable.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::cgroup::CgroupRow;
use crate::records::{Row, WireError, rows};
use crate::wire::{CgroupRecord, Pages, ProcessRecord, ThreadRecord, cgroup_flag, flag};

/// What turns the kernel's counters into bytes, and says how far they may lag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counters {
    /// Bytes of a page.
    pub page_size: u64,
    /// CPUs online. The kernel folds in what an offline one had counted.
    pub online_cpus: u32,
}

impl Counters {
    /// How far anon + shmem + swap may be from the truth while each is kept per CPU, in bytes. Each CPU holds back less than a
    /// batch of each counter (`percpu_counter_batch` in `lib/percpu_counter.c`: twice the CPUs, and 32 at least).
    #[must_use]
    pub fn percpu_slack(&self) -> u64 {
        const SUMMANDS: u64 = 3;
        let cpus = u64::from(self.online_cpus);
        let batch = (2 * cpus).max(32);
        (SUMMANDS * cpus).saturating_mul(batch).saturating_mul(self.page_size)
    }
}

/// A process as one pass saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessRow {
    /// Thread group id in the agent's pid namespace.
    pub pid: u32,
    /// Thread group id in the host's (initial) pid namespace.
    pub host_pid: u32,
    /// Thread group id in the process's own (innermost) pid namespace.
    pub own_pid: u32,
    /// The parent in the agent's pid namespace; 0 where it has none there.
    pub parent: u32,
    /// Nanoseconds from boot (`CLOCK_BOOTTIME`) to its start.
    pub start_ns: u64,
    /// The thread group leader's name.
    pub comm: String,
    /// Base name of the executable, its first 63 bytes; empty where there is none.
    pub executable: String,
    /// Identifies the program: the executable's inode and device and the count of execs. Under one (pid, start) it changes with
    /// every exec, also of the same file. 0 where there is no executable.
    pub image: u64,
    /// Inode of the cgroup v2 directory.
    pub cgroup_id: Option<u64>,
    /// Inode of the memory controller's cgroup; `None` where the kernel has no such controller.
    pub memory_cgroup_id: Option<u64>,
    /// Anonymous memory, bytes.
    pub anon: u64,
    /// File pages, bytes.
    pub file: u64,
    /// Shared memory, bytes.
    pub shmem: u64,
    /// Swapped out, bytes.
    pub swap: u64,
    /// How far anon + shmem + swap may be from the truth, bytes.
    pub slack: u64,
    /// Address space, bytes.
    pub virtual_size: u64,
    /// Page tables, bytes.
    pub page_tables: u64,
    /// Threads alive.
    pub threads: u32,
    /// CPU time of all its threads, those that have ended included, nanoseconds.
    pub cpu_ns: u64,
}

impl ProcessRow {
    /// From a record that stands alone: what other threads hold back (before 6.2, up to 64 pages each) and their CPU time is not
    /// in it.
    #[must_use]
    pub fn alone(record: ProcessRecord, counters: &Counters) -> Self {
        const HELD_BACK: u64 = 64;
        let others = u64::from(record.threads.saturating_sub(1));
        let cached = record.flags & flag::CACHED != 0;
        let mut row = Parts::new(record).finish(counters);
        if cached {
            row.slack = others.saturating_mul(HELD_BACK).saturating_mul(counters.page_size);
        }
        row
    }
}

/// What one pass saw.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pass {
    /// The visible processes (of a watched pass: the watched ones), each once, in the kernel's order.
    pub processes: Vec<ProcessRow>,
    /// The cgroups that they are charged to, and those above (of a watched pass: the watched ones), each once.
    pub cgroups: Vec<CgroupRow>,
    /// Rows that could not be read. After a broken header an unknown number more is missing.
    pub errors: u64,
    /// The first of those errors, for the log.
    pub first_error: Option<WireError>,
}

/// Reads the bytes of a pass. Threads are joined to their process; those without one (it had no memory, or has ended) tell
/// nothing and are passed over.
#[must_use]
pub fn collect(bytes: &[u8], counters: &Counters) -> Pass {
    let mut pass = Pass::default();
    let mut parts: Vec<Parts> = Vec::new();
    let mut index: HashMap<(u32, u64), usize> = HashMap::new();
    let mut threads: Vec<ThreadRecord> = Vec::new();
    let mut cgroups = Cgroups::default();
    for row in rows(bytes) {
        match row {
            Ok(Row::Process(process)) => match index.entry((process.host_pid, process.start_ns)) {
                Entry::Vacant(vacant) => {
                    vacant.insert(parts.len());
                    parts.push(Parts::new(process));
                }
                // The main thread has ended: each of the others says the same of the process, and its own of itself.
                Entry::Occupied(at) => {
                    if let Some(parts) = parts.get_mut(*at.get()) {
                        parts.add(process.cpu_ns, &process.base, &process.cached);
                    }
                }
            },
            Ok(Row::Thread(thread)) => threads.push(thread),
            Ok(Row::Cgroup(cgroup)) => cgroups.add(cgroup),
            Ok(Row::OomKill(_) | Row::Crossing(_)) => pass.fail(WireError::Misplaced),
            Err(error) => pass.fail(error),
        }
    }
    // Tasks come by pid, and after a wrap of the pids a thread may precede its process: hence only now.
    for thread in &threads {
        let at = index.get(&(thread.host_pid, thread.start_ns));
        if let Some(parts) = at.and_then(|at| parts.get_mut(*at)) {
            parts.add(thread.cpu_ns, &thread.base, &thread.cached);
        }
    }
    pass.processes = parts.into_iter().map(|parts| parts.finish(counters)).collect();
    pass.cgroups = cgroups.records.iter().map(|record| CgroupRow::new(record, counters)).collect();
    pass
}

impl Pass {
    fn fail(&mut self, error: WireError) {
        self.errors += 1;
        self.first_error.get_or_insert(error);
    }
}

/// The cgroups of a pass, each once. Ids are unique in one hierarchy only: the roots of both are 1, for example.
#[derive(Default)]
struct Cgroups {
    records: Vec<CgroupRecord>,
    /// By id, and whether it is of v2.
    index: HashMap<(u64, bool), usize>,
}

impl Cgroups {
    /// The kernel's map of what it has written forgets: of several rows the last is kept.
    fn add(&mut self, record: CgroupRecord) {
        match self.index.entry((record.id, record.flags & cgroup_flag::UNIFIED != 0)) {
            Entry::Vacant(vacant) => {
                vacant.insert(self.records.len());
                self.records.push(record);
            }
            Entry::Occupied(at) => {
                if let Some(kept) = self.records.get_mut(*at.get()) {
                    *kept = record;
                }
            }
        }
    }
}

/// A process while its threads are being joined.
struct Parts {
    process: ProcessRecord,
    cpu_ns: u64,
    cached: Pages,
    /// Lowest and highest of what the rows said of the process's counters.
    low: i64,
    high: i64,
}

impl Parts {
    fn new(process: ProcessRecord) -> Self {
        let charged = process.base.charged();
        Self {
            cpu_ns: process.cpu_ns.saturating_add(process.ended_cpu_ns),
            cached: process.cached,
            low: charged,
            high: charged,
            process,
        }
    }

    fn add(&mut self, cpu_ns: u64, base: &Pages, cached: &Pages) {
        self.cpu_ns = self.cpu_ns.saturating_add(cpu_ns);
        // A thread that is ending has let go of the memory: it holds nothing back and says nothing of the counters.
        if self.process.flags & flag::CACHED == 0 || *base == Pages::default() {
            return;
        }
        self.cached = sum(&self.cached, cached);
        self.low = self.low.min(base.charged());
        self.high = self.high.max(base.charged());
    }

    /// In pages or bytes as `counters` says. What threads hold back is exact but for what one of them handed over between its
    /// process's row and its own: that shows in the process's counters.
    fn slack(&self, counters: &Counters) -> u64 {
        let flags = self.process.flags;
        if flags & flag::EXACT != 0 {
            0
        } else if flags & flag::PERCPU != 0 {
            counters.percpu_slack()
        } else {
            self.high.abs_diff(self.low).saturating_mul(counters.page_size)
        }
    }

    fn finish(self, counters: &Counters) -> ProcessRow {
        let slack = self.slack(counters);
        let bytes = |pages: i64| pages.max(0).unsigned_abs().saturating_mul(counters.page_size);
        let pages = sum(&self.process.base, &self.cached);
        let row = self.process;
        ProcessRow {
            pid: row.pid,
            host_pid: row.host_pid,
            own_pid: row.own_pid,
            parent: row.parent,
            start_ns: row.start_ns,
            comm: text(&row.comm),
            executable: text(&row.executable),
            image: image(&row),
            cgroup_id: Some(row.cgroup_id).filter(|id| *id != 0),
            memory_cgroup_id: Some(row.memory_cgroup_id).filter(|id| *id != 0),
            anon: bytes(pages.anon),
            file: bytes(pages.file),
            shmem: bytes(pages.shmem),
            swap: bytes(pages.swap),
            slack,
            virtual_size: row.total_vm.saturating_mul(counters.page_size),
            page_tables: row.page_tables,
            threads: row.threads,
            cpu_ns: self.cpu_ns,
        }
    }
}

fn sum(a: &Pages, b: &Pages) -> Pages {
    Pages {
        anon: a.anon.saturating_add(b.anon),
        file: a.file.saturating_add(b.file),
        shmem: a.shmem.saturating_add(b.shmem),
        swap: a.swap.saturating_add(b.swap),
    }
}

fn image(row: &ProcessRecord) -> u64 {
    if row.inode == 0 {
        return 0;
    }
    let mut hasher = DefaultHasher::new();
    (row.inode, row.device, row.exec_id).hash(&mut hasher);
    hasher.finish().max(1)
}

/// The bytes before the first NUL. What is no UTF-8 is replaced.
pub(crate) fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(bytes.get(..end).unwrap_or_default()).into_owned()
}

#[cfg(test)]
#[path = "pass_tests.rs"]
mod tests;
