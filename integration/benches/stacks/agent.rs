//! What a stack costs the sidecar: unwinding it, naming it for the first time, and again.

use std::time::Instant;

use anyhow::{Context as _, ensure};
use mlh_bpf::capture::Capture;
use mlh_integration::need;
use mlh_integration::scenario::World;
use mlh_integration::statistics::median;
use mlh_integration::table::Table;
use mlh_stacks::modules::Modules;
use mlh_stacks::python::PythonFrame;
use mlh_stacks::unwind::{Captured, Library, Unwind, Unwinder};
use mlh_targets::interpreters::python;

use crate::captures::{Faults, sampled};
use crate::depths::Depths;

const ROUNDS: usize = 9;
const PAGES: usize = 100;
const DEEP: usize = 13_000;
const PYTHON_CALLS: usize = 20;

fn unwound(unwinder: &mut Unwinder, capture: &Capture) -> mlh_stacks::unwind::Stack {
    let python: Vec<PythonFrame> = capture
        .python
        .iter()
        .map(|frame| PythonFrame {
            code: frame.code,
            instruction: frame.instruction,
            is_entry: frame.is_entry,
        })
        .collect();
    unwinder.unwind(&Captured {
        ip: capture.ip,
        interrupted: true,
        sp: capture.sp,
        bp: capture.bp,
        stack: &capture.stack,
        truncated: capture.truncated,
        chain: &capture.chain,
        returns: &capture.returns,
        python: &python,
    })
}

/// Of stacks of each kind.
pub(crate) fn measure(world: &World, table: &mut Table) -> anyhow::Result<()> {
    let mut copied = Depths::compiled(world, "depths", &[])?;
    kind(table, "copied, 13 KB deep", &mut copied, Faults::Copied, DEEP)?;
    let flags = ["-fno-omit-frame-pointer", "-static"];
    let mut walked = Depths::compiled(world, "depths-walked", &flags)?;
    kind(table, "walked in the kernel", &mut walked, Faults::Walked, DEEP)?;
    let mut interpreter = Depths::python(world, &need::program("python3")?)?;
    kind(table, "copied, of Python", &mut interpreter, Faults::Python, PYTHON_CALLS)
}

fn kind(table: &mut Table, what: &str, program: &mut Depths, how: Faults, deep: usize) -> anyhow::Result<()> {
    let pid = program.pid();
    let (_, stacks) = sampled(pid, how, || program.cost("touch", deep, PAGES))?;
    // others are of what the program does besides
    let last = stacks.iter().max_by_key(|stack| stack.size()).context("no stack is told")?;
    let modules = Modules::read(pid)?;
    let code = python::find(pid, &modules)?.map(|python| python.code);
    let (mut opening, mut unwinding, mut first, mut again, mut frames) = (vec![], vec![], vec![], vec![], 0);
    let micros = |since: Instant| since.elapsed().as_secs_f64() * 1e6;
    for _ in 0..ROUNDS {
        // a library of its own each time: nothing is known of any file
        let library = Library::default();
        let mut unwinder = Unwinder::with_library(pid, 64, Unwind::Auto, &library);
        let begun = Instant::now();
        unwinder.refresh(&modules);
        unwinder.set_python(code);
        let _ = unwound(&mut unwinder, last);
        opening.push(micros(begun));
        let begun = Instant::now();
        for stack in &stacks {
            let _ = std::hint::black_box(unwound(&mut unwinder, stack));
        }
        unwinding.push(micros(begun) / stacks.len() as f64);
        let stack = unwound(&mut unwinder, last);
        let begun = Instant::now();
        let trace = stack.trace();
        first.push(micros(begun));
        frames = trace.frames.len();
        let begun = Instant::now();
        for _ in 0..PAGES {
            let _ = std::hint::black_box(stack.trace());
        }
        again.push(micros(begun) / PAGES as f64);
    }
    ensure!(frames > 5, "a stack of {frames} frames is too short to measure anything");
    let [opening, unwinding, first, again] = [opening, unwinding, first, again].map(|values| median(&values));
    table.beside(
        format!("a stack {what}, {frames} frames: unwound; named first; named again, {ROUNDS} rounds"),
        format!("{unwinding:.1} us; {:.1} ms; {again:.1} us", first / 1000.0),
    );
    table.beside("  before the first one, files opened and read", format!("{:.1} ms", opening / 1000.0));
    Ok(())
}
