//! What a process maps, according to `strace`: the ledger of the kernel's own answers, to check another one by.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Context as _;
use nix::sys::signal::Signal;

use crate::need;
use crate::process::Process;
use crate::scenario::World;
use crate::wait::until;

const PAGE: u64 = 4096;

/// Whoever has one of these on its stack serves an allocation: what it maps is not counted beside it.
const ALLOCATORS: [&str; 9] = [
    "malloc",
    "__libc_malloc",
    "calloc",
    "__libc_calloc",
    "realloc",
    "posix_memalign",
    "aligned_alloc",
    "free",
    "cfree",
];

/// How what an allocator maps for itself is told from the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allocator {
    /// By the stack below each system call. In a program of a hundred megabytes each takes a second.
    OnTheStack,
    /// It maps nothing but the heap ([`ONLY_THE_HEAP`] sees to that), and nobody else moves the heap's end.
    OnTheHeap,
}

/// The variable of the environment, and its value, with which glibc's malloc maps nothing but the heap.
pub const ONLY_THE_HEAP: (&str, &str) =
    ("GLIBC_TUNABLES", "glibc.malloc.mmap_max=0:glibc.malloc.arena_max=1");

/// A strace that watches a process and all of its threads.
pub struct Strace {
    process: Process,
    file: PathBuf,
    /// Bytes of the file when counting began.
    begin: usize,
    ledger: Ledger,
}

impl Strace {
    /// Attaches it.
    ///
    /// # Errors
    /// A [`Skip`](need::Skip) without strace; when it cannot attach.
    pub fn start(world: &World, name: &str, pid: u32, allocator: Allocator) -> anyhow::Result<Self> {
        let file = world.path(&format!("{name}.trace"));
        let mut command = Command::new(need::program("strace")?);
        let calls = match allocator {
            Allocator::OnTheStack => &["-e", "trace=mmap,munmap,mremap,brk", "-k"][..],
            Allocator::OnTheHeap => &["-e", "trace=mmap,munmap,mremap"],
        };
        command.args(["-f", "-o"]).arg(&file).args(calls);
        command.args(["-p", &pid.to_string()]);
        let process = attached(world, name, &mut command, pid)?;
        let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
        let heap = maps.lines().find(|line| line.ends_with("[heap]"));
        let heap_end = heap.and_then(|line| u64::from_str_radix(line.split(['-', ' ']).nth(1)?, 16).ok());
        Ok(Self { process, file, begin: 0, ledger: Ledger::new(heap_end) })
    }

    /// What is mapped by now counts for nothing: a program that is being attached to may map something for that.
    ///
    /// # Errors
    /// When its output cannot be read.
    pub fn begin(&mut self) -> anyhow::Result<()> {
        self.begin = std::fs::read_to_string(&self.file)?.len();
        Ok(())
    }

    /// Detaches it, and tells the bytes that were mapped since the beginning, and are mapped still.
    ///
    /// # Errors
    /// When it does not end, or its output cannot be read.
    pub fn mapped(mut self) -> anyhow::Result<Mapped> {
        self.process.signal(Signal::SIGINT)?;
        self.process.end(Duration::from_secs(60))?;
        let text = std::fs::read_to_string(&self.file)?;
        let (before, since) = text.split_at_checked(self.begin).context("strace's output has shrunk")?;
        for text in [before, since] {
            // of what was before only the heap's end matters
            self.ledger.regions.clear();
            for call in calls(text) {
                self.ledger.apply(&call).with_context(|| call.text.clone())?;
            }
        }
        Ok(self.ledger.mapped())
    }
}

/// A thread that is born while strace attaches to the others is missed; what is born later is not.
fn attached(world: &World, name: &str, command: &mut Command, pid: u32) -> anyhow::Result<Process> {
    for _ in 0..10 {
        let mut process = world.spawn(name, command)?;
        until("strace being attached", Duration::from_secs(60), || {
            process.lives()?;
            Ok(process.stderr().contains("attached").then_some(()))
        })?;
        if all_traced(pid)? {
            return Ok(process);
        }
        process.signal(Signal::SIGINT)?;
        process.end(Duration::from_secs(60))?;
    }
    anyhow::bail!("strace misses threads again and again")
}

fn all_traced(pid: u32) -> anyhow::Result<bool> {
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // one that has ended meanwhile is not missed
        let status = std::fs::read_to_string(task?.path().join("status")).unwrap_or_default();
        if status.lines().any(|line| line == "TracerPid:\t0") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Bytes by what they are of. What serves allocations is in none of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mapped {
    /// Memory of nobody but the process, or its heap's growth.
    pub anonymous: u64,
    /// Mapped so that nobody may touch it.
    pub reserved: u64,
    /// Of files.
    pub file: u64,
}

impl Mapped {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.anonymous + self.reserved + self.file
    }
}

/// One system call that has returned.
struct Call {
    /// As strace writes it, in one piece.
    text: String,
    serves: bool,
}

/// Puts calls together that strace had to write in two pieces, and looks at the stacks below them.
fn calls(text: &str) -> Vec<Call> {
    let mut unfinished: HashMap<&str, &str> = HashMap::new();
    let mut calls: Vec<Call> = Vec::new();
    for line in text.lines() {
        if let Some(frame) = line.strip_prefix(" > ") {
            // `library(function+0x1) [0x2]`
            let function = frame.rsplit_once('(').and_then(|(_, rest)| rest.split(['+', ')']).next());
            if let (Some(call), Some(function)) = (calls.last_mut(), function) {
                call.serves |= ALLOCATORS.contains(&function);
            }
            continue;
        }
        // strace pads the pid to a width
        let Some((thread, rest)) = line.trim_start().split_once(' ') else { continue };
        let rest = rest.trim_start();
        if let Some(begin) = rest.strip_suffix(" <unfinished ...>") {
            unfinished.insert(thread, begin);
        } else if let Some((_, end)) = rest.split_once(" resumed>") {
            let begin = unfinished.remove(thread).unwrap_or_default();
            calls.push(Call { text: format!("{begin}{end}"), serves: false });
        } else if rest.contains('(') {
            calls.push(Call { text: rest.to_owned(), serves: false });
        }
    }
    calls
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Anonymous,
    Reserved,
    File,
    Serving,
}

/// What was mapped since the beginning, by start: end and kind. Regions do not touch what was there before.
struct Ledger {
    regions: BTreeMap<u64, (u64, Kind)>,
    heap_end: Option<u64>,
}

impl Ledger {
    fn new(heap_end: Option<u64>) -> Self {
        Self { regions: BTreeMap::new(), heap_end }
    }

    fn apply(&mut self, call: &Call) -> anyhow::Result<()> {
        let Some((head, result)) = call.text.rsplit_once(" = ") else { return Ok(()) };
        let Some((name, arguments)) = head.trim_end().split_once('(') else { return Ok(()) };
        let arguments: Vec<&str> = arguments.trim_end_matches(')').split(", ").collect();
        let argument = |index: usize| arguments.get(index).copied().unwrap_or_default();
        let result = result.split(' ').next().unwrap_or_default();
        if result.starts_with('-') || result == "?" {
            return Ok(());
        }
        let of = |kind: Kind| if call.serves { Kind::Serving } else { kind };
        match name {
            "mmap" => {
                let kind = match (argument(3).contains("MAP_ANONYMOUS"), argument(2)) {
                    (false, _) => Kind::File,
                    (true, "PROT_NONE") => Kind::Reserved,
                    (true, _) => Kind::Anonymous,
                };
                self.map(number(result)?, pages(number(argument(1))?), of(kind));
            }
            "munmap" => self.unmap(number(argument(0))?, pages(number(argument(1))?)),
            "mremap" => {
                let (old, new) = (number(argument(0))?, number(result)?);
                let (old_length, length) = (pages(number(argument(1))?), pages(number(argument(2))?));
                let kind = self.regions.range(..=old).next_back().filter(|(_, (end, _))| *end > old);
                let kind = kind.map(|(_, (_, kind))| *kind);
                self.unmap(old, old_length);
                match kind {
                    Some(kind) => self.map(new, length, kind),
                    // of a mapping from before only the growth is new
                    None if length > old_length => {
                        self.map(new + old_length, length - old_length, of(Kind::Anonymous));
                    }
                    None => {}
                }
            }
            "brk" => {
                let end = number(result)?;
                let before = self.heap_end.replace(pages(end)).unwrap_or(pages(end));
                if pages(end) > before {
                    self.map(before, pages(end) - before, of(Kind::Anonymous));
                } else {
                    self.unmap(pages(end), before - pages(end));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn map(&mut self, start: u64, length: u64, kind: Kind) {
        self.unmap(start, length);
        self.regions.insert(start, (start + length, kind));
    }

    fn unmap(&mut self, start: u64, length: u64) {
        let end = start + length;
        let touched: Vec<_> = self
            .regions
            .range(..end)
            .filter(|(_, (stop, _))| *stop > start)
            .map(|(begin, _)| *begin)
            .collect();
        for begin in touched {
            let Some((stop, kind)) = self.regions.remove(&begin) else { continue };
            if begin < start {
                self.regions.insert(begin, (start, kind));
            }
            if stop > end {
                self.regions.insert(end, (stop, kind));
            }
        }
    }

    fn mapped(&self) -> Mapped {
        let mut mapped = Mapped::default();
        for (start, (end, kind)) in &self.regions {
            match kind {
                Kind::Anonymous => mapped.anonymous += end - start,
                Kind::Reserved => mapped.reserved += end - start,
                Kind::File => mapped.file += end - start,
                Kind::Serving => {}
            }
        }
        mapped
    }
}

fn pages(bytes: u64) -> u64 {
    bytes.next_multiple_of(PAGE)
}

fn number(text: &str) -> anyhow::Result<u64> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed.with_context(|| format!("`{text}` is no number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: strace's lines are understood, those in two pieces too; what is unmapped in part, mapped over, moved
    /// or failed counts as the kernel has it, and what serves an allocation counts for nothing.
    #[test]
    fn a_trace_is_added_up() {
        let text = "\
12  mmap(NULL, 12000, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x10000
 > /lib/libc.so.6(mmap+0x13) [0x1]
 > /tmp/leak(work+0x13) [0x2]
12  munmap(0x11000, 4096)             = 0
13  mmap(NULL, 65536, PROT_NONE, MAP_PRIVATE|MAP_ANONYMOUS|MAP_NORESERVE, -1, 0 <unfinished ...>
12  mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, 3, 0) = 0x50000
13  <... mmap resumed>) = 0x100000
13  mmap(0x104000, 8192, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_FIXED|MAP_ANONYMOUS, -1, 0) = 0x104000
12  mremap(0x10000, 4096, 8192, MREMAP_MAYMOVE) = 0x20000
12  mmap(NULL, 1, PROT_READ, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = -1 ENOMEM (Cannot allocate memory)
12  mmap(NULL, 200704, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x900000
 > /lib/libc.so.6(__libc_malloc+0x13) [0x1]
12  brk(NULL) = 0x8000
12  brk(0xa000) = 0xa000
12  +++ exited with 0 +++
";
        let mut ledger = Ledger::new(Some(0x8000));
        for call in calls(text) {
            ledger.apply(&call).unwrap();
        }
        let expected = Mapped { anonymous: 8192 + 4096 + 8192 + 8192, reserved: 65536 - 8192, file: 4096 };
        assert_eq!(ledger.mapped(), expected);
        assert_eq!(expected.all(), 28672 + 57344 + 4096);
    }
}
