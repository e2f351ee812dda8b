//! What taking a stack adds to what the target pays anyway.

use std::time::Duration;

use anyhow::ensure;
use mlh_integration::need;
use mlh_integration::scenario::World;
use mlh_integration::statistics::{Ratio, average};
use mlh_integration::table::Table;

use crate::captures::{Allocations, Faults, sampled};
use crate::depths::Depths;

const ROUNDS: usize = 9;
/// As many call sites as the program has.
const CALLS: usize = 256;
/// A call site's stacks are taken at its first few hits, and then hardly ever.
const KNOWN_AFTER: usize = 12;
const PAGES: usize = 200;
/// Bytes of stack in use, with what they take where a copy is made: by its size class.
const DEPTHS: [(usize, &str); 3] = [(1_000, "2 KiB"), (6_000, "8 KiB"), (13_000, "16 KiB")];
const PYTHON_CALLS: usize = 20;
/// The whole stack keeps frame pointers: the C library as well, which has none to walk where it does not.
const FRAME_POINTERS: [&str; 2] = ["-fno-omit-frame-pointer", "-static"];

/// `2,210 ns (2,180 to 2,240)`. What is lost in noise adds nothing that can be told: 0.
fn nanoseconds(values: &[f64]) -> String {
    let Ratio { mean, low, high } = average(values);
    let [mean, low, high] = [mean, low, high].map(|figure| figure.max(0.0));
    format!("{mean:.0} ns ({low:.0} to {high:.0})")
}

/// Without, with the first, with the second as well: in turns. Rows of what each adds; of the first only where it has a name.
fn rows(table: &mut Table, first: Option<&str>, second: &str, rounds: &[[f64; 3]]) {
    let added = |with: usize, without: usize| -> Vec<f64> {
        rounds.iter().map(|round| round[with] - round[without]).collect()
    };
    if let Some(first) = first {
        table.beside(format!("{first}: added, {ROUNDS} rounds"), nanoseconds(&added(1, 0)));
    }
    table.beside(format!("  and {second}: added to that"), nanoseconds(&added(2, 1)));
}

/// Allocations and page faults, at several depths, copied and walked.
pub(crate) fn measure(world: &World, table: &mut Table) -> anyhow::Result<()> {
    let mut program = Depths::compiled(world, "depths", &[])?;
    let mut walked = Depths::compiled(world, "depths-walked", &FRAME_POINTERS)?;
    let mut allocations = Allocations::of(program.pid())?;
    let mut walked_allocations = Allocations::of(walked.pid())?;
    for (at, (deep, size)) in DEPTHS.into_iter().enumerate() {
        let rounds = allocating(&mut program, &mut allocations, false, deep)?;
        let seen = (at == 0).then_some("an allocation that is seen, no stack taken");
        rows(table, seen, &format!("a copy of {size}"), &rounds);
    }
    let rounds = allocating(&mut walked, &mut walked_allocations, true, DEPTHS[2].0)?;
    rows(table, None, "its frames walked in the kernel", &rounds);
    for (at, (deep, size)) in DEPTHS.into_iter().enumerate() {
        let rounds = touching(&mut program, Faults::Copied, deep)?;
        let counted = (at == 0).then_some("a page fault that is counted, no stack taken");
        rows(table, counted, &format!("a copy of {size}"), &rounds);
    }
    let rounds = touching(&mut walked, Faults::Walked, DEPTHS[2].0)?;
    rows(table, None, "its frames walked in the kernel", &rounds);
    Ok(())
}

fn allocating(
    program: &mut Depths,
    allocations: &mut Allocations,
    walk: bool,
    deep: usize,
) -> anyhow::Result<Vec<[f64; 3]>> {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let without = program.cost("allocate", deep, CALLS)?;
        let (stack, none) = allocations.during(walk, || {
            let stack = program.cost("allocate", deep, CALLS)?;
            for _ in 0..KNOWN_AFTER {
                program.cost("allocate", deep, CALLS)?;
            }
            Ok((stack, program.cost("allocate", deep, CALLS)?))
        })?;
        // the reader comes by ten times a second
        std::thread::sleep(Duration::from_millis(300));
        let told = allocations.taken.take().len();
        ensure!(told > CALLS * 3 / 4, "{told} stacks of {CALLS} call sites are told");
        rounds.push([without, none, stack]);
    }
    Ok(rounds)
}

fn touching(program: &mut Depths, how: Faults, deep: usize) -> anyhow::Result<Vec<[f64; 3]>> {
    let pid = program.pid();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let without = program.cost("touch", deep, PAGES)?;
        let (counted, _) = sampled(pid, Faults::Counted, || program.cost("touch", deep, PAGES))?;
        let (told, stacks) = sampled(pid, how, || program.cost("touch", deep, PAGES))?;
        // the middle is that of a fault that was told
        ensure!(stacks.len() > PAGES * 3 / 4, "{} of {PAGES} faults are told", stacks.len());
        rounds.push([without, counted, told]);
    }
    Ok(rounds)
}

/// What Python runs beside the stack.
pub(crate) fn python(world: &World, table: &mut Table) -> anyhow::Result<()> {
    let mut program = Depths::python(world, &need::program("python3")?)?;
    let pid = program.pid();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let without = program.cost("touch", PYTHON_CALLS, PAGES)?;
        let (copied, _) = sampled(pid, Faults::Copied, || program.cost("touch", PYTHON_CALLS, PAGES))?;
        let (both, stacks) = sampled(pid, Faults::Python, || program.cost("touch", PYTHON_CALLS, PAGES))?;
        let frames = stacks.iter().filter(|stack| stack.python.len() > PYTHON_CALLS).count();
        ensure!(frames > PAGES * 3 / 4, "{frames} of {PAGES} faults come with Python's frames");
        rounds.push([without, copied, both]);
    }
    let told = format!("a page fault in Python, {PYTHON_CALLS} calls deep, told with a copy of its stack");
    rows(table, Some(&told), "what Python runs", &rounds);
    Ok(())
}
