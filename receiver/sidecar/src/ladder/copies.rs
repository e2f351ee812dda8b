//! The rung `outside` of a container: pages that its processes share after a fork, and copy where they write to them.
//!
//! A container is charged for each copy, though nobody has allocated anything, and no one process shows it: what all of them have mapped
//! stays the same, and their parts of it grow. It needs the right to read `smaps_rollup` of each, for which the kernel walks their page
//! tables; the sidecar spends a hundredth of a CPU on it at most. While processes come and go it cannot tell.

use std::collections::BTreeSet;
use std::time::Duration;

use mlh_detect::outside::{Look as Noted, Series};
use mlh_detect::{Rung, Spare, Testimony};
use mlh_targets::outside::{Source, shared_pages};

use super::knowledge::Lead;
use super::rung::{Look, Paid};
use crate::investigate::report::GrowthStack;

/// Between two readings, at least,
const SPACING: Duration = Duration::from_secs(5);
/// and this often what it took.
const SPARING: u32 = 100;
/// In more processes nobody looks.
const MOST: usize = 64;
/// Less that is shared is no reason for growth that anybody looks for, bytes.
const WORTHWHILE: u64 = 4 << 20;

pub(super) struct Copies {
    series: Series,
    /// Whose pages the readings are of.
    pids: BTreeSet<u32>,
    /// So many are read beside each other.
    among: u32,
    due: Duration,
    now: Duration,
}

/// What all processes together have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Sum {
    mapped: u64,
    held: u64,
    cost: Duration,
}

impl Copies {
    /// Begins with the processes of a container. `None`: they share too little, are too many, or nobody may know.
    pub(super) fn begin(pids: &[u32], now: Duration) -> Option<Self> {
        let sum = sum(pids)?;
        (sum.mapped.saturating_sub(sum.held) >= WORTHWHILE).then(|| Self {
            series: Self::series(),
            pids: BTreeSet::new(),
            among: 1,
            due: now,
            now,
        })
    }

    fn series() -> Series {
        Series::new(Source::SharedPages.name(), Spare::Copies)
    }
}

/// `None`: not all of them could be read.
fn sum(pids: &[u32]) -> Option<Sum> {
    if !(2..=MOST).contains(&pids.len()) {
        return None;
    }
    pids.iter().try_fold(Sum::default(), |sum, pid| {
        let reading = shared_pages(*pid).read().ok()?;
        Some(Sum {
            mapped: sum.mapped.saturating_add(reading.in_use?),
            held: sum.held.saturating_add(reading.held?),
            cost: sum.cost.saturating_add(reading.cost),
        })
    })
}

impl Look for Copies {
    fn rung(&self) -> Rung {
        Rung::Outside
    }

    fn source(&self) -> &'static str {
        Source::SharedPages.name()
    }

    fn share(&mut self, among: u32) {
        self.among = among.max(1);
    }

    fn step(&mut self, now: Duration, pids: &[u32]) {
        self.now = now;
        let members: BTreeSet<u32> = pids.iter().copied().collect();
        if members != self.pids {
            // what a process brings or takes with it is no growth of those that stay
            (self.series, self.pids) = (Self::series(), members);
        }
        if now < self.due {
            return;
        }
        self.due = now + SPACING;
        let Some(sum) = sum(pids) else { return };
        self.due = now + sum.cost.saturating_mul(SPARING).saturating_mul(self.among).max(SPACING);
        let (in_use, held) = (Some(sum.mapped), Some(sum.held));
        // over all of them their parts add up to what the container is charged for
        self.series.note(now, &Noted { in_use, held, charged: sum.held, ..Noted::default() });
    }

    fn see(&mut self, now: Duration) {
        self.now = now;
    }

    fn says(&self, pid: Option<u32>) -> Vec<Testimony> {
        if pid.is_some() {
            return Vec::new();
        }
        self.series.testimony(self.now).into_iter().collect()
    }

    fn leads(&self, _: Option<u32>) -> Vec<Lead> {
        Vec::new()
    }

    fn not_seen(&self) -> &[String] {
        &[]
    }

    fn paid(&self) -> Paid {
        Paid::default()
    }

    fn growth(&self) -> &[GrowthStack] {
        &[]
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

    use mlh_detect::Says;

    use super::*;

    const PYTHON: &str = "/usr/bin/python3";

    /// A parent of four, of which each, at a command, copies half a MiB of the parent's pages, or takes as much of its own.
    const FORKS: &str = r"
import os, sys
heap, workers = bytearray(b'1' * (64 << 20)), []
for _ in range(4):
    (take, order), (answer, say) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        at, kept = 0, []
        os.close(order)
        while command := os.read(take, 1):
            if command == b'k':
                kept.append(bytearray(b'1' * (1 << 19)))
            else:
                for _ in range(128):
                    heap[at] = 2
                    at += 4096
            os.write(say, b'.')
        os._exit(0)
    workers.append((pid, order, answer))
print(os.getpid(), *(pid for pid, _, _ in workers), flush=True)
for line in sys.stdin:
    for _, order, answer in workers:
        os.write(order, line[:1].encode())
        os.read(answer, 1)
    print(flush=True)
";

    struct Forks {
        child: Child,
        put: ChildStdin,
        take: BufReader<ChildStdout>,
        pids: Vec<u32>,
    }

    impl Forks {
        fn start() -> Self {
            let mut command = Command::new(PYTHON);
            let piped = command.args(["-c", FORKS]).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = piped.spawn().unwrap();
            let (put, take) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
            let mut new = Self { child, put, take, pids: Vec::new() };
            new.pids = new.line().split_whitespace().map(|pid| pid.parse().unwrap()).collect();
            new
        }

        fn line(&mut self) -> String {
            let mut line = String::new();
            self.take.read_line(&mut line).unwrap();
            line
        }

        fn order(&mut self, command: &str) {
            writeln!(self.put, "{command}").unwrap();
            self.line();
        }
    }

    impl Drop for Forks {
        fn drop(&mut self) {
            // its children end with its pipes
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }

    fn at(step: u64) -> Duration {
        Duration::from_secs(step * 10)
    }

    /// Guarantees: where forked workers copy pages of their parent nothing is kept, though what they hold grows; where they take memory
    /// of their own as well, that is not said; nor is it of one process, nor right after one has come.
    /// Needs: python3.
    #[test]
    fn workers_copy() {
        if !std::path::Path::new(PYTHON).exists() {
            eprintln!("SKIPPED: there is no {PYTHON}");
            return;
        }
        for (commands, copies) in [(["c", "c"], true), (["k", "c"], false)] {
            let mut forks = Forks::start();
            let mut copying = Copies::begin(&forks.pids, at(0)).unwrap();
            for step in 0..8 {
                copying.step(at(step), &forks.pids);
                commands.iter().for_each(|command| forks.order(command));
            }
            let says: Vec<_> = copying.says(None).into_iter().map(|said| said.says).collect();
            assert_eq!(says == [Says::Spare(Spare::Copies)], copies, "{says:?}");
            assert!(copying.says(forks.pids.first().copied()).is_empty());
            copying.step(at(8), &forks.pids[1..]);
            assert!(copying.says(None).iter().all(|said| matches!(said.says, Says::Unclear(_))));
            assert!(Copies::begin(&forks.pids[..1], at(0)).is_none());
        }
    }
}
