//! Gates: places behind an allocator's thread cache. Whoever looks at large blocks alone need not be told of those that the
//! cache serves, and a probe at a gate costs them nothing.
//!
//! A gate is used only where it is proven. All routes through the function are followed that a block of the least size or a
//! larger one can take, knowing nothing of memory but what stands below. Each must meet exactly one gate, with the registers
//! as they are to be; the gate is one instruction, which the kernel emulates, and nothing jumps into it. Otherwise the
//! function's entry is probed as ever.
//!
//! Taken for granted is that functions keep the calling convention; that nothing but the function itself writes to the part of the
//! stack that it has kept for itself; and, of glibc, that the variable for the number of its cache's bins, 64 from the start, never
//! gets larger; and, of jemalloc, that bit 0 of what it knows of a page says whether that page lies in a slab.
//!
//! - glibc (its cache since 2.26, in 2.42 another one): `malloc`, `calloc`, `free`, from 1,033 bytes on, of all three or of none.
//!   `realloc` and the aligned ones are rare, and probed at their entries: what they call counts as theirs.
//! - jemalloc: `malloc`, from 4,097 bytes on; `free`, from 14,337 on: smaller blocks lie in slabs, and go into the cache
//!   whatever their size. Where those between are asked for, they are left out: every `free` would have to be probed for
//!   them, at half as much again of a busy server's time.
//! - mimalloc 2: what allocates, from 1,025 bytes on. It frees blocks of all sizes in one way: there is no gate. Version 3 passes on
//!   to a function of its own before it looks at its cache: there is none either.
//! - tcmalloc: `malloc`, from the size on that its cache does not take (262,145 bytes). There is no gate where it frees.
//! - musl has no cache.
//!
//! Nothing is tried out on a process. The tests do that: they run programs with each of these libraries, and count.

mod glibc;
mod routes;
mod state;
pub(super) mod tails;
mod value;

use std::collections::{BTreeMap, BTreeSet};

use iced_x86::{Instruction, Register};
use mlh_bpf::alloc::point::{self, Operation, Point, Role, Shape};

use super::Family;
use super::code::is_emulated;
use super::elf::{Elf, Machine};
use super::place::Extent;
use routes::Program;
use state::State;

/// No allocator grants more.
const LARGEST: u64 = 1 << 62;
/// Every thread cache takes these.
const SMALL: u64 = 64;

/// A function of an allocator.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject {
    pub(super) extent: Extent,
    pub(super) operation: Operation,
    pub(super) shape: Shape,
}

/// The gates of an allocator.
#[derive(Debug, Default)]
pub(super) struct Gates {
    /// They take the place of functions' entries, by the function's address.
    pub(super) of: BTreeMap<u64, Vec<Point>>,
    /// Bytes, below which not every free passes one; 0: all do of blocks that are to be seen.
    pub(super) least: u64,
}

/// The gates for blocks from `smallest` bytes on.
pub(super) fn find(elf: &Elf, subjects: &[Subject], family: Option<Family>, smallest: u64) -> Gates {
    let mut gates = Gates::default();
    if elf.machine != Machine::X86_64 || subjects.is_empty() || !(SMALL + 1..LARGEST).contains(&smallest) {
        return gates;
    }
    let Some(program) = Program::of(elf) else { return gates };
    if family == Some(Family::Glibc) {
        gates.of = glibc::find(&program, subjects, smallest).unwrap_or_default();
        return gates;
    }
    for Subject { extent, operation, shape } in subjects {
        if let Shape::Size { size } = shape
            && let Some(points) = tails::made(&program, *extent, *operation, *size, smallest)
        {
            gates.of.insert(extent.address, points);
        }
    }
    let made_by_gates = subjects
        .iter()
        .any(|of| of.operation == Operation::Malloc && gates.of.contains_key(&of.extent.address));
    if family == Some(Family::Jemalloc) && made_by_gates {
        let least = smallest.max(tails::JEMALLOC_SMALL + 1);
        for Subject { extent, operation, shape } in subjects {
            if (*operation, *shape) == (Operation::Free, Shape::Free { pointer: 0 })
                && let Some(points) = tails::freed_by_jemalloc(&program, *extent, least)
            {
                gates.of.insert(extent.address, points);
                gates.least = if least > smallest { least } else { 0 };
            }
        }
    }
    gates
}

/// The instruction there, if a probe may stand on it: one begins there however the function is read, nothing jumps into
/// its middle, and it lies within the function.
fn may_stand(program: &Program<'_>, extent: Extent, address: u64) -> Option<Instruction> {
    let end = extent.address.checked_add(extent.size)?;
    let instruction = program.straight(address)?;
    if extent.size == 0 || address < extent.address || instruction.next_ip() > end {
        return None;
    }
    let function = extent.decode(program.elf)?;
    let flow = extent.walk(program.elf);
    (function.may_be_probed(address) && flow.is_unambiguous(&instruction)).then_some(instruction)
}

/// A gate as a point; `None` where no probe may stand on it. `depth`: bytes from there to the return address.
fn as_point(
    program: &Program<'_>,
    extent: Extent,
    gate: u64,
    (role, depth): (Role, u64),
    operation: Operation,
    shape: Shape,
) -> Option<Point> {
    let instruction = may_stand(program, extent, gate).filter(is_emulated)?;
    Some(Point {
        offset: program.elf.code_offset(instruction.ip())?,
        role,
        shape,
        operation,
        emulated: true,
        to_return_address: u16::try_from(depth).ok().filter(|depth| depth % 8 == 0)?,
    })
}

/// Where a function was on its routes, and what its registers held each time.
#[derive(Debug, Default)]
struct Sites {
    sites: BTreeMap<u64, Site>,
}

#[derive(Debug)]
struct Site {
    depth: Option<u64>,
    held: BTreeSet<Register>,
}

impl Sites {
    /// Those that may hold what is looked for.
    const REGISTERS: [Register; 15] = [
        Register::RAX,
        Register::RBX,
        Register::RCX,
        Register::RDX,
        Register::RSI,
        Register::RDI,
        Register::RBP,
        Register::R8,
        Register::R9,
        Register::R10,
        Register::R11,
        Register::R12,
        Register::R13,
        Register::R14,
        Register::R15,
    ];

    fn visit(&mut self, instruction: &Instruction, state: &State, holding: &[Register]) {
        if !is_emulated(instruction) {
            return;
        }
        let depth = state.depth();
        let now: BTreeSet<Register> = holding.iter().copied().collect();
        let site = self.sites.entry(instruction.ip()).or_insert_with(|| Site { depth, held: now.clone() });
        site.held.retain(|register| now.contains(register));
        site.depth = site.depth.filter(|known| Some(*known) == depth);
    }

    /// A register that held it there each time, and the bytes to the return address.
    fn holding(&self, address: u64) -> Option<(Register, u64)> {
        let site = self.sites.get(&address)?;
        Some((*site.held.first()?, site.depth?))
    }

    fn addresses(&self) -> impl Iterator<Item = u64> + '_ {
        self.sites.iter().filter(|(_, site)| !site.held.is_empty()).map(|(address, _)| *address)
    }
}

/// As a probe says it.
fn numbered(register: Register) -> Option<point::Register> {
    use point::Register as P;
    let named = [
        P::Rax,
        P::Rbx,
        P::Rcx,
        P::Rdx,
        P::Rsi,
        P::Rdi,
        P::Rbp,
        P::R8,
        P::R9,
        P::R10,
        P::R11,
        P::R12,
        P::R13,
        P::R14,
        P::R15,
    ];
    Sites::REGISTERS.iter().position(|it| *it == register).and_then(|index| named.get(index).copied())
}

#[cfg(test)]
mod tests;
