//! What the sidecar needs to name stacks from a program of half a gigabyte, most of it debug information.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use mlh_integration::inspection::Inspection;
use mlh_integration::scenario::World;
use mlh_integration::statistics::median;
use mlh_integration::table::Table;
use mlh_integration::truth::Subject;
use mlh_integration::{compile, need};
use nix::sys::signal::Signal;
use serde_json::Value;

const FUNCTIONS: usize = 1000;
/// Each has the functions once, under names of its own.
const UNITS: usize = 440;
/// So many of them are on the stack.
const CALLED: usize = 16;
const LEAST_BYTES: u64 = 500_000_000;
const GOAL_MB: f64 = 100.0;
const PATIENCE: Duration = Duration::from_secs(600);

/// The source of one unit: functions with types, variables and inlined parts of their own; one that allocates, and one that
/// calls on. It needs nothing from elsewhere: every name in it gets a prefix.
fn unit() -> String {
    let mut text = String::new();
    for number in 0..FUNCTIONS {
        let weights = number % 7 + 1;
        let _ = write!(
            text,
            "struct record_{number} {{ int number_{number}; char *name_{number}; struct record_{number} *next_{number};
               double weights_{number}[{weights}]; union {{ long whole_{number}; char parts_{number}[8]; }} value_{number}; }};
             static inline __attribute__((always_inline))
             int weigh_{number}(const struct record_{number} *record_{number}, int factor_{number})
             {{ int sum_{number} = 0;
               for (int index_{number} = 0; index_{number} < factor_{number}; index_{number}++)
                 {{ int part_{number} = record_{number}->number_{number} * index_{number};
                   sum_{number} += part_{number} ^ record_{number}->value_{number}.parts_{number}[index_{number} & 7]; }}
               return sum_{number}; }}
             __attribute__((noinline)) int handle_{number}(struct record_{number} *first_{number}, int factor_{number})
             {{ int total_{number} = 0;
               for (struct record_{number} *at_{number} = first_{number}; at_{number}; at_{number} = at_{number}->next_{number})
                 total_{number} += weigh_{number}(at_{number}, factor_{number}) + weigh_{number}(at_{number}, 2);
               return total_{number}; }}\n"
        );
    }
    text + "__attribute__((noinline)) void leak_site(void *(*allocate)(unsigned long), long size)
{
    *(volatile char *)allocate(size) = 1;
}
__attribute__((noinline)) int enter(void (*next)(long), long level)
{
    next(level);
    return handle_0(0, 1);
}\n"
}

/// The main program: from unit to unit, and in the last one a block is kept, ten times.
fn main_program() -> String {
    let called: Vec<usize> = (0..CALLED).map(|level| level * UNITS / CALLED).collect();
    let mut text = String::from("#include \"truth.h\"\n");
    for number in &called {
        let _ = writeln!(
            text,
            "int u{number}_enter(void (*)(long), long); void u{number}_leak_site(void *(*)(unsigned long), long);"
        );
    }
    text += "static void next(long level) { switch (level) {\n";
    for (level, number) in called.iter().enumerate() {
        let _ = if level + 1 < CALLED {
            writeln!(text, "case {level}: u{number}_enter(next, {}); break;", level + 1)
        } else {
            writeln!(text, "case {level}: u{number}_leak_site(malloc, 100000); break;")
        };
    }
    text + "} __asm__ volatile(\"\" ::: \"memory\"); }
int main(void) {
    struct site site = {\"leak_site\", 10, 1000000, 0, 0};
    ready();
    for (int i = 0; i < 10; i++) next(0);
    tell(&site, 1, \"\");
}\n"
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

fn make(world: &World) -> anyhow::Result<PathBuf> {
    let (gcc, objcopy) = (need::program("gcc")?, need::program("objcopy")?);
    let (source, first) = (world.write("unit.c", &unit())?, world.path("unit.o"));
    run(Command::new(&gcc).args(["-O1", "-g", "-c", "-o"]).arg(&first).arg(source))?;
    let main = world.write("main.c", &main_program())?;
    let program = world.path("large");
    let mut link = Command::new(&gcc);
    link.args(["-O1", "-g", "-I"]).arg(compile::source("c")).arg("-o").arg(&program).arg(main);
    let mut units = Vec::new();
    for number in 0..UNITS {
        let unit = world.path(&format!("u{number}.o"));
        run(Command::new(&objcopy).arg(format!("--prefix-symbols=u{number}_")).arg(&first).arg(&unit))?;
        units.push(unit);
    }
    run(link.args(&units))?;
    for unit in units {
        std::fs::remove_file(unit)?;
    }
    Ok(program)
}

/// Anonymous memory of a process, megabytes.
fn anonymous(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).context("RssAnon")?;
    let kilobytes: f64 = line.split_whitespace().next().context("RssAnon")?.parse()?;
    Ok(kilobytes * 1024.0 / 1e6)
}

/// Debug mode on it, until the report is there.
pub(crate) fn measure(world: &World, table: &mut Table) -> anyhow::Result<()> {
    let program = make(world)?;
    let bytes = std::fs::metadata(&program)?.len();
    ensure!(bytes >= LEAST_BYTES, "the program has only {bytes} bytes");
    let mut subject = Subject::start(world, "large", &mut Command::new(&program))?;
    let look = Inspection::debug(world, "inspect", subject.pid())?;
    let pid = look.process.pid();
    let idle: Vec<f64> = (0..20).map(|_| anonymous(pid)).collect::<Result<_, _>>()?;
    subject.work()?;
    let mut inspect = look.process;
    inspect.signal(Signal::SIGINT)?;
    let (begun, mut peak) = (Instant::now(), 0.0_f64);
    while inspect.lives().is_ok() {
        // it may end meanwhile
        peak = peak.max(anonymous(pid).unwrap_or(0.0));
        ensure!(begun.elapsed() < PATIENCE, "no report");
        std::thread::sleep(Duration::from_millis(5));
    }
    let took = begun.elapsed().as_secs_f64();
    let report: Value = serde_json::from_str(&inspect.stdout()).context("the report is no JSON")?;
    let stack = report["culprits"][0]["stack"].as_array().context("a stack")?;
    let lines =
        stack.iter().filter(|frame| frame["file"].as_str().is_some_and(|file| file.ends_with("unit.c")));
    let lines = lines.count();
    ensure!(
        lines >= CALLED,
        "only {lines} frames have a file and a line: {}",
        report["culprits"][0]["stack"]
    );
    let above = peak - median(&idle);
    let what = format!("anonymous memory above idle while a stack of {:.0} MB is named", bytes as f64 / 1e6);
    table.goal(what, "<= 100 MB", format!("{above:.1} MB"), above <= GOAL_MB);
    table.beside(format!("  until the report, {lines} frames with file and line"), format!("{took:.1} s"));
    Ok(())
}
