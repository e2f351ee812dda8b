//! glibc: behind the calls of the function that makes chunks once the thread's cache is passed, and where a chunk is freed that
//! the cache does not take.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use iced_x86::{FlowControl, Instruction, OpKind, Register};
use mlh_bpf::alloc::point::{Operation, Point, Role, Shape};

use super::super::place::Extent;
use super::routes::{Program, Step, is_left};
use super::state::{Premise, State};
use super::value::{Origin, Value};
use super::{LARGEST, SMALL, Sites, Subject, as_point, numbered};

/// From the block back to the word that holds its chunk's size, and to the chunk.
const HEADER: i64 = -8;
const CHUNK: i64 = -16;
/// What a chunk takes beside what was asked for, what it is rounded up to, and the lowest bits of its size, which say
/// something else.
const OVERHEAD: u64 = 8;
const ALIGNMENT: u64 = 16;
const MARKS: u64 = 7;
/// Where blocks lie.
const ADDRESSES: Value = Value::between(1 << 12, 1 << 56);
/// `malloc` has four gates, `calloc` three, of those that are tried.
const MAX_GATES: usize = 16;
/// The gate in the function that frees is among the first places that the kernel emulates.
const MAX_TRIED: usize = 64;
/// The gate behind a call is not further away, instructions.
const REACH: usize = 6;

/// The gates of `malloc`, `calloc` and `free`, by the functions' addresses: of all three or of none, so that a block has one size
/// whoever has made it.
pub(super) fn find(
    program: &Program<'_>,
    subjects: &[Subject],
    smallest: u64,
) -> Option<BTreeMap<u64, Vec<Point>>> {
    let extent = |operation| subjects.iter().find(|it| it.operation == operation).map(|it| it.extent);
    let malloc = extent(Operation::Malloc)?;
    let calloc = extent(Operation::Calloc)?;
    let free = extent(Operation::Free)?;
    let maker = maker(program, malloc, calloc)?;
    Some(BTreeMap::from([
        (malloc.address, made(program, malloc, Operation::Malloc, maker, smallest)?),
        (calloc.address, made(program, calloc, Operation::Calloc, maker, smallest)?),
        (free.address, freed(program, free, smallest)?),
    ]))
}

/// The function that both call to have a chunk made: the one that `malloc` calls most often.
fn maker(program: &Program<'_>, malloc: Extent, calloc: Extent) -> Option<u64> {
    let called = |extent: Extent| -> Option<Vec<u64>> {
        let function = extent.decode(program.elf)?;
        let calls = function.instructions().iter().filter(|i| i.flow_control() == FlowControl::Call);
        Some(calls.map(Instruction::near_branch64).collect())
    };
    let also: BTreeSet<u64> = called(calloc)?.into_iter().collect();
    let mut times: BTreeMap<u64, usize> = BTreeMap::new();
    for target in called(malloc)?.into_iter().filter(|target| also.contains(target)) {
        *times.entry(target).or_default() += 1;
    }
    times.into_iter().max_by_key(|(_, times)| *times).map(|(target, _)| target)
}

/// The gates of `malloc` or `calloc`: every block from `smallest` bytes on passes exactly one, with its address in the return
/// register.
fn made(
    program: &Program<'_>,
    extent: Extent,
    operation: Operation,
    maker: u64,
    smallest: u64,
) -> Option<Vec<Point>> {
    let function = program.function(extent.address)?;
    let premise = |size: Value| {
        let [first, second] = [0, 1].map(|number| Value::of(Origin::Argument(number)));
        match operation {
            Operation::Calloc => Premise {
                arguments: vec![(Register::RDI, first), (Register::RSI, second)],
                product: Some(size),
                maker: Some(maker),
                ..Premise::default()
            },
            _ => Premise {
                arguments: vec![(Register::RDI, Value { least: size.least, most: size.most, ..first })],
                maker: Some(maker),
                ..Premise::default()
            },
        }
    };
    // of whatever size: here the register holds a new block, and nothing else
    let mut sites = Sites::default();
    let mut calls = BTreeSet::new();
    let ends = program.follow(&function, &premise(Value::UNKNOWN), &mut |instruction, state| {
        let made = state.get(Register::RAX).is_made();
        sites.visit(instruction, state, if made { &[Register::RAX] } else { &[] });
        if is_call(instruction, maker) {
            calls.insert(instruction.next_ip());
        }
        if is_left(instruction, &function, state) { Step::Enough } else { Step::On }
    });
    if !ends {
        return None;
    }
    let behind =
        |call: &u64| program.straight_on(*call).take(REACH).find(|place| sites.holding(*place).is_some());
    let mut gates: BTreeSet<u64> = calls.iter().filter_map(behind).collect();
    let large = premise(Value::between(smallest, LARGEST));
    only_once(&mut gates, |gates, twice| {
        program.follow(&function, &large, &mut |instruction, state| {
            if gates.contains(&instruction.ip()) && !see(instruction, state, twice) {
                return Step::Refuse;
            }
            if is_call(instruction, maker) && state.seen_at.is_some() {
                return Step::Refuse;
            }
            let nothing = state.get(Register::RAX) == Value::constant(0);
            match is_left(instruction, &function, state) {
                true if state.seen_at.is_some() || (nothing && is_return(instruction)) => Step::Enough,
                _ if state.seen_at.is_none() && is_hook(instruction) => Step::Enough,
                true => Step::Refuse,
                false => Step::On,
            }
        })
    })?;
    let mut points = Vec::new();
    for gate in gates {
        let (_, depth) = sites.holding(gate)?;
        points.push(as_point(program, extent, gate, (Role::Reached, depth), operation, Shape::GlibcMade)?);
    }
    Some(points)
}

/// The gates of `free`: every block from `smallest` bytes on passes exactly one, with its chunk in that register.
fn freed(program: &Program<'_>, extent: Extent, smallest: u64) -> Option<Vec<Point>> {
    let function = program.function(extent.address)?;
    let block = Value { origin: Some((Origin::Argument(0), 0)), ..ADDRESSES };
    let large = premise(Register::RDI, block, chunks_from(smallest)?);
    let mut sites = Sites::default();
    let mut gates = BTreeSet::new();
    let unknown = premise(Register::RDI, Value::of(Origin::Argument(0)), Value::UNKNOWN);
    let ends = program.follow(&function, &unknown, &mut |instruction, state| {
        let left = is_left(instruction, &function, state);
        let away = instruction.flow_control() == FlowControl::Call
            || (left && instruction.flow_control() == FlowControl::UnconditionalBranch);
        let passed =
            [Register::RDI, Register::RSI].into_iter().find(|register| holds_chunk(state, *register));
        if let Some(register) = passed.filter(|_| away) {
            sites.visit(instruction, state, &[register]);
            gates.insert(instruction.ip());
        } else {
            sites.visit(instruction, state, &[]);
        }
        if left { Step::Enough } else { Step::On }
    });
    if !ends {
        return None;
    }
    only_once(&mut gates, |gates, twice| passes(program, &function, &large, gates, twice))?;
    let small = premise(Register::RDI, block, Value::between(SMALL, SMALL + MARKS));
    let cached_before = avoids(program, &function, &small, &gates);
    let mut points = Vec::new();
    for gate in gates {
        let (register, depth) = sites.holding(gate)?;
        if register == Register::RSI && !cached_before {
            // what it calls puts the chunk into the cache, if into any
            let callee = program.called(gate)?;
            points.push(freed_within(program, callee, smallest)?);
        } else {
            let shape = Shape::GlibcFreed { chunk: numbered(register)? };
            points.push(as_point(program, extent, gate, (Role::Reached, depth), Operation::Free, shape)?);
        }
    }
    Some(points)
}

/// The gate in the function that `free` calls with the chunk as its second argument: the first place that all large chunks
/// pass, and small ones need not.
fn freed_within(program: &Program<'_>, address: u64, smallest: u64) -> Option<Point> {
    let function = program.function(address)?;
    let extent = Extent { address, size: function.end - function.start };
    let chunk = Value { origin: Some((Origin::Argument(0), CHUNK)), ..ADDRESSES };
    let mut sites = Sites::default();
    let unknown = premise(Register::RSI, chunk, Value::UNKNOWN);
    let ends = program.follow(&function, &unknown, &mut |instruction, state| {
        let holding: Vec<Register> =
            Sites::REGISTERS.into_iter().filter(|r| holds_chunk(state, *r)).collect();
        sites.visit(instruction, state, &holding);
        state.keep(Origin::Argument(0), CHUNK);
        if is_left(instruction, &function, state) { Step::Enough } else { Step::On }
    });
    if !ends {
        return None;
    }
    let large = premise(Register::RSI, chunk, chunks_from(smallest)?);
    let small = premise(Register::RSI, chunk, Value::between(SMALL, SMALL + MARKS));
    sites.addresses().take(MAX_TRIED).find_map(|gate| {
        let (register, depth) = sites.holding(gate)?;
        let gates = BTreeSet::from([gate]);
        let needed = avoids(program, &function, &small, &gates);
        if !needed || !passes(program, &function, &large, &gates, &mut None) {
            return None;
        }
        let shape = Shape::GlibcFreed { chunk: numbered(register)? };
        as_point(program, extent, gate, (Role::Reached, depth), Operation::Free, shape)
    })
}

/// Of what a call is given: a block, and what the word says that holds its chunk's size.
fn premise(register: Register, value: Value, size: Value) -> Premise {
    Premise { arguments: vec![(register, value)], word: Some((HEADER, size)), ..Premise::default() }
}

/// What the word with the size may say of a block of so many bytes or more.
fn chunks_from(smallest: u64) -> Option<Value> {
    let chunk = smallest.checked_add(OVERHEAD)?.checked_next_multiple_of(ALIGNMENT)?;
    (chunk < LARGEST).then_some(Value::between(chunk, LARGEST))
}

fn holds_chunk(state: &State, register: Register) -> bool {
    state.get(register).is(Origin::Argument(0), CHUNK)
}

/// Whether every route meets exactly one of the gates; else `twice` may say which met another one behind it.
fn passes(
    program: &Program<'_>,
    function: &Range<u64>,
    premise: &Premise,
    gates: &BTreeSet<u64>,
    twice: &mut Option<u64>,
) -> bool {
    program.follow(function, premise, &mut |instruction, state| {
        if gates.contains(&instruction.ip()) {
            if !see(instruction, state, twice) {
                return Step::Refuse;
            }
            // nothing behind it depends on what the block is
            if gates.len() == 1 {
                state.forget();
            }
        }
        match is_left(instruction, function, state) {
            true if state.seen_at.is_some() => Step::Enough,
            _ if state.seen_at.is_none() && is_hook(instruction) => Step::Enough,
            true => Step::Refuse,
            false => Step::On,
        }
    })
}

/// Whether some route leaves the function without having met a gate.
fn avoids(program: &Program<'_>, function: &Range<u64>, premise: &Premise, gates: &BTreeSet<u64>) -> bool {
    let mut avoids = false;
    program.follow(function, premise, &mut |instruction, state| {
        if gates.contains(&instruction.ip()) {
            return Step::Enough;
        }
        avoids |= is_left(instruction, function, state) && is_return(instruction);
        if avoids { Step::Refuse } else { Step::On }
    });
    avoids
}

/// Notes that the gate has seen the block; false: another one has before, which `twice` then says.
fn see(instruction: &Instruction, state: &mut State, twice: &mut Option<u64>) -> bool {
    *twice = state.seen_at;
    state.seen_at = Some(instruction.ip());
    twice.is_none()
}

/// Takes gates away that another one follows on the same route, until every route meets exactly one.
fn only_once(
    gates: &mut BTreeSet<u64>,
    mut check: impl FnMut(&BTreeSet<u64>, &mut Option<u64>) -> bool,
) -> Option<()> {
    while (1..=MAX_GATES).contains(&gates.len()) {
        let mut twice = None;
        if check(gates, &mut twice) {
            return Some(());
        }
        gates.remove(&twice?);
    }
    None
}

fn is_call(instruction: &Instruction, function: u64) -> bool {
    instruction.flow_control() == FlowControl::Call && instruction.near_branch64() == function
}

fn is_return(instruction: &Instruction) -> bool {
    instruction.flow_control() == FlowControl::Return
}

/// glibc before 2.34 lets the program serve calls itself: through a pointer that it has loaded.
fn is_hook(instruction: &Instruction) -> bool {
    matches!(instruction.flow_control(), FlowControl::IndirectCall | FlowControl::IndirectBranch)
        && instruction.op0_kind() == OpKind::Register
}
