//! `make accuracy-oom`: how well the end of memory is foretold. Leaks of many shapes, each in a memory cgroup with a limit that ends it,
//! and for each the first warning beside the truth.
//!
//! Needs root, eBPF, gcc, and a release build of the sidecar (or `MLH_BIN`). `SEED` moves rates and limits, `CASES` are parts of the
//! names of shapes to run.

#![forbid(unsafe_code)]

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use mlh_integration::accuracy::programs;
use mlh_integration::accuracy::said::{number, words};
use mlh_integration::accuracy::tally::Share;
use mlh_integration::memory_cgroup::MemoryCgroup;
use mlh_integration::need;
use mlh_integration::oom::Foretold;
use mlh_integration::otlp::{Record, records};
use mlh_integration::process::Process;
use mlh_integration::scenario::{World, free_port};
use mlh_integration::sidecar;
use mlh_integration::statistics::median;
use mlh_integration::table::Table;
use mlh_integration::wait::until;

/// Ways and time courses of `programs/c/leak.c`; `two` of them leak half as fast each in a cgroup of its own, beneath one limit.
const SHAPES: [&str; 11] = [
    "blocks steady",
    "small steady",
    "large steady",
    "mmap steady",
    "blocks steady --churn 8",
    "blocks load",
    "blocks bursts",
    "large steps",
    "small accelerating",
    "threads steady",
    "two blocks steady",
];
/// MB a minute, and the minutes after which a steady leak would reach its limit.
const ENDS: [(f64, f64); 3] = [(20.0, 3.0), (12.0, 6.0), (30.0, 9.0)];
/// Later than the last of them.
const LAST_END: Duration = Duration::from_secs(1800);

struct Doomed {
    shape: &'static str,
    what: String,
    pids: Vec<u32>,
    /// Until the first of them is killed.
    processes: Vec<Process>,
    /// The inner ones first.
    cgroups: Vec<MemoryCgroup>,
    death: Option<SystemTime>,
}

impl Doomed {
    fn start(
        world: &World,
        around: &MemoryCgroup,
        shape: &'static str,
        end: (f64, f64),
        seed: u64,
    ) -> anyhow::Result<Self> {
        let mut dice = fastrand::Rng::with_seed(seed);
        let (rate, minutes) = (end.0, end.1 * (0.75 + 0.5 * dice.f64()));
        let limit = (rate * minutes) as u64;
        let name = format!("{}-{limit}", shape.replace(' ', "-"));
        let cgroup = around.create(&name)?;
        cgroup.limit(limit << 20)?;
        let what = format!("{shape} at {rate:.0} MB/min to {limit} MiB");
        let mut doomed =
            Self { shape, what, pids: Vec::new(), processes: Vec::new(), cgroups: Vec::new(), death: None };
        match shape.strip_prefix("two ") {
            None => doomed.leak(world, &cgroup, shape, rate, seed)?,
            Some(shape) => {
                for part in ["one", "other"] {
                    let inner = cgroup.create(part)?;
                    // far enough away
                    inner.limit(limit << 22)?;
                    doomed.leak(world, &inner, shape, rate / 2.0, seed)?;
                    doomed.cgroups.push(inner);
                }
            }
        }
        doomed.cgroups.push(cgroup);
        Ok(doomed)
    }

    fn leak(
        &mut self,
        world: &World,
        cgroup: &MemoryCgroup,
        shape: &str,
        rate: f64,
        seed: u64,
    ) -> anyhow::Result<()> {
        let mut command = Command::new("sh");
        command.args(["-c", "echo $$ > \"$0\" && exec nice -n 10 \"$@\""]);
        command.arg(cgroup.folder().join("cgroup.procs")).arg(world.path("leak")).args(shape.split(' '));
        command.args(["--rate", &rate.to_string(), "--seed", &seed.to_string()]);
        let name = format!("{}-{}", self.what.replace([' ', '/'], "-"), self.pids.len());
        let process = world.spawn(&name, &mut command)?;
        self.pids.push(process.pid());
        self.processes.push(process);
        Ok(())
    }

    /// Sees whether it lives. The truth of a death is a moment earlier.
    fn look(&mut self) {
        if self.death.is_none() && self.processes.iter_mut().any(|process| process.lives().is_err()) {
            self.death = Some(SystemTime::now());
            self.processes.clear();
        }
    }

    /// The first warning: of a process or of its cgroup, either of which names a pid.
    fn warning<'a>(&self, records: &'a [Record]) -> Option<&'a Record> {
        let of_it = records.iter().filter(|record| {
            let is_one = |pid: &u32| record.pid() == Some(u64::from(*pid));
            record.event == "memory_leak_hunter.oom.risk" && self.pids.iter().any(is_one)
        });
        of_it.min_by_key(|record| record.time)
    }
}

fn main() -> anyhow::Result<()> {
    need::ebpf()?;
    let (seed, cases) = (number("SEED", 1u64)?, words("CASES"));
    let is_chosen = |shape: &str| cases.is_empty() || cases.iter().any(|part| shape.contains(part.as_str()));
    let world = World::new()?;
    programs::build("leak", world.folder())?;
    let name = format!("mlh-accuracy-oom-{}", std::process::id());
    let around = MemoryCgroup::root()?.create(&name)?;
    let (file, port) = (world.path("records.jsonl"), free_port()?);
    let settings = format!("include: {{cgroups: ['/{name}']}}");
    let logs = format!("file: {{path: '{}', format: json}}", file.display());
    let config = sidecar::hunting_by(&settings, &logs, port);
    let mut hunter = sidecar::start(&world, "sidecar", &config, port)?;
    let mut doomed = Vec::new();
    for (number, shape) in (1..).zip(SHAPES).filter(|(_, shape)| is_chosen(shape)) {
        for (part, end) in (1..).zip(ENDS) {
            doomed.push(Doomed::start(&world, &around, shape, end, seed * 1000 + number * 10 + part)?);
        }
    }
    until("the last kill", LAST_END, || {
        hunter.lives()?;
        doomed.iter_mut().for_each(Doomed::look);
        Ok(doomed.iter().all(|one| one.death.is_some()).then_some(()))
    })?;
    // what was told before the last kill is in the file by now
    std::thread::sleep(Duration::from_secs(5));
    for cgroup in doomed.iter().flat_map(|one| &one.cgroups) {
        cgroup.remove()?;
    }
    around.remove()?;
    print!("{}", judged(&doomed, &file)?);
    Ok(())
}

fn judged(doomed: &[Doomed], file: &Path) -> anyhow::Result<Table> {
    let records = records(file)?;
    let (mut table, mut inside, mut widths) = (Table::default(), Share::default(), Vec::new());
    let mut shapes: Vec<(&str, Share, Vec<f64>)> = Vec::new();
    for one in doomed {
        let death = one.death.context("all are dead")?;
        if shapes.last().is_none_or(|(shape, ..)| *shape != one.shape) {
            shapes.push((one.shape, Share::default(), Vec::new()));
        }
        let Some((_, of_shape, widths_of_shape)) = shapes.last_mut() else { continue };
        inside.of += 1;
        of_shape.of += 1;
        let Some(risk) = one.warning(&records) else {
            table.beside(&one.what, "killed without a warning");
            widths.push(f64::INFINITY);
            widths_of_shape.push(f64::INFINITY);
            continue;
        };
        let foretold = Foretold::of(risk)?;
        let (holds, width) = (foretold.holds(death), foretold.half_width(death));
        inside.hits += usize::from(holds);
        of_shape.hits += usize::from(holds);
        widths.push(width);
        widths_of_shape.push(width);
        let Foretold { earliest, expected, latest, .. } = foretold;
        let (left, width) = (foretold.left(death), width * 100.0);
        let word = if holds { "inside" } else { "OUTSIDE" };
        let told =
            format!("{expected:.0} s ({earliest:.0} to {latest:.0}), was {left:.0}: {word}, +-{width:.0} %");
        table.beside(&one.what, told);
    }
    for (shape, of_shape, widths) in &shapes {
        let told = format!("{} of {} inside, +-{:.0} %", of_shape.hits, of_shape.of, median(widths) * 100.0);
        table.beside(format!("all of {shape}"), told);
    }
    table.goal(
        "kills inside the first warning's interval",
        ">= 85 %",
        inside.to_string(),
        inside.value() >= 0.85,
    );
    let width = median(&widths) * 100.0;
    let result = format!("{width:.0} % of the time left");
    table.goal("half the interval's width, median", "<= 20 %", result, width <= 20.0);
    Ok(table)
}
