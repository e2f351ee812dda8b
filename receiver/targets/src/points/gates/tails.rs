//! Functions that serve what their thread's cache holds themselves, and leave for another one with what it does not: the jump
//! there is a gate. On top of the stack lies the return address then, and the arguments are where they were.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use iced_x86::{Code, FlowControl, Instruction, OpKind, Register};
use mlh_bpf::alloc::point::{Operation, Point, Role, Shape};

use super::super::code::jump_target;
use super::super::place::Extent;
use super::routes::{Program, Step, is_left};
use super::state::{ARGUMENTS, Premise, State};
use super::value::{Origin, Value};
use super::{LARGEST, SMALL, as_point};

/// Bytes. jemalloc's small blocks lie several in a slab, the largest of them two in seven pages.
pub(in super::super) const JEMALLOC_SMALL: u64 = 7 << (PAGE - 1);
/// Bytes. Up to this size jemalloc's `malloc` looks a block's size class up, and then into its cache.
pub(in super::super) const JEMALLOC_LOOKED_UP: u64 = 4096;
/// An x86-64 page, as a power of two.
const PAGE: u32 = 12;
/// No function has more of them.
const MAX_GATES: usize = 8;

/// The gates of a function that allocates: every block from `smallest` bytes on passes one, with its size in the register that
/// the shape says. One that only passes on has none: who else calls the function with the cache, and what for, is not known.
pub(super) fn made(
    program: &Program<'_>,
    extent: Extent,
    operation: Operation,
    size: u8,
    smallest: u64,
) -> Option<Vec<Point>> {
    let function = program.function(extent.address)?;
    let register = *ARGUMENTS.get(usize::from(size))?;
    let origin = Origin::Argument(size);
    let premise = |least, most| Premise {
        arguments: vec![(register, Value { origin: Some((origin, 0)), least, most })],
        ..Premise::default()
    };
    let mut gates: BTreeMap<u64, u8> = BTreeMap::new();
    let all_leave = program.follow(&function, &premise(smallest, LARGEST), &mut |instruction, state| {
        if !is_left(instruction, &function, state) {
            return Step::On;
        }
        let held = holding(instruction, state, origin);
        let same = held.is_some_and(|held| *gates.entry(instruction.ip()).or_insert(held) == held);
        if same { Step::Enough } else { Step::Refuse }
    });
    if !all_leave || gates.is_empty() || gates.len() > MAX_GATES {
        return None;
    }
    // smaller ones may come there as well: with the size in the same register
    let as_small = program.follow(&function, &premise(0, u64::MAX), &mut |instruction, state| {
        let expected = gates.get(&instruction.ip());
        if expected.is_some_and(|expected| holding(instruction, state, origin) != Some(*expected)) {
            return Step::Refuse;
        }
        if is_left(instruction, &function, state) { Step::Enough } else { Step::On }
    });
    if !as_small || !returns_itself(program, &function, &premise(SMALL, SMALL + 8)) {
        return None;
    }
    let of = |(gate, size): (&u64, &u8)| {
        as_point(program, extent, *gate, (Role::Entry, 0), operation, Shape::Size { size: *size })
    };
    gates.iter().map(of).collect()
}

/// The gates of jemalloc's `free`: every block from `smallest` bytes on passes one, with its address in the first argument's
/// register. What of a block the function looks at itself is whether it lies in a slab; that is so of small ones alone.
pub(super) fn freed_by_jemalloc(program: &Program<'_>, extent: Extent, smallest: u64) -> Option<Vec<Point>> {
    let function = program.function(extent.address)?;
    let origin = Origin::Argument(0);
    let premise = Premise { arguments: vec![(Register::RDI, Value::of(origin))], ..Premise::default() };
    let mut gates = BTreeSet::new();
    let mut page = None;
    let mut previous: Option<Instruction> = None;
    let mut asked = BTreeSet::new();
    // where bit 0 of what is known of the block decides, and it is not set
    let all_leave = program.follow(&function, &premise, &mut |instruction, state| {
        if instruction.code() == Code::Shr_rm64_imm8 && state.get(instruction.op0_register()).is(origin, 0) {
            let bits = u32::from(instruction.immediate8());
            page = Some(page.map_or(bits, |page: u32| page.min(bits)));
        }
        if instruction.is_jcc_short_or_near() && previous.is_some_and(|it| asks_for_bit_0(&it, instruction)) {
            asked.insert(instruction.ip());
            state.seen_at = Some(instruction.ip());
        }
        previous = Some(*instruction);
        if !is_left(instruction, &function, state) {
            return Step::On;
        }
        if holding(instruction, state, origin) == Some(0) {
            gates.insert(instruction.ip());
            return Step::Enough;
        }
        let in_slab = instruction.flow_control() == FlowControl::Return && state.seen_at.is_some();
        if in_slab { Step::Enough } else { Step::Refuse }
    });
    if !all_leave || page != Some(PAGE) || smallest <= JEMALLOC_SMALL || gates.len() > MAX_GATES {
        return None;
    }
    let unset_leaves = |jump: &u64| {
        let jump = program.straight(*jump)?;
        let unset = match jump.condition_code() {
            iced_x86::ConditionCode::e => jump_target(&jump)?,
            _ => jump.next_ip(),
        };
        gates.contains(&unset).then_some(())
    };
    if asked.is_empty() || !asked.iter().all(|jump| unset_leaves(jump).is_some()) {
        return None;
    }
    let of = |gate: &u64| {
        as_point(program, extent, *gate, (Role::Entry, 0), Operation::Free, Shape::Free { pointer: 0 })
    };
    gates.iter().map(of).collect()
}

/// The jump depends on the lowest bit of a register alone, which the instruction before has looked at.
fn asks_for_bit_0(before: &Instruction, jump: &Instruction) -> bool {
    let looks = matches!(
        before.code(),
        Code::And_rm32_imm8
            | Code::And_rm64_imm8
            | Code::Test_rm8_imm8
            | Code::Test_AL_imm8
            | Code::Test_rm32_imm32
            | Code::Test_EAX_imm32
    );
    let equal = matches!(jump.condition_code(), iced_x86::ConditionCode::e | iced_x86::ConditionCode::ne);
    looks
        && equal
        && before.next_ip() == jump.ip()
        && before.op0_kind() == OpKind::Register
        && before.immediate(1) == 1
}

/// Which argument's register holds it at a jump to another function; `None`: it is none, or none does.
fn holding(instruction: &Instruction, state: &State, origin: Origin) -> Option<u8> {
    if instruction.flow_control() != FlowControl::UnconditionalBranch || state.depth() != Some(0) {
        return None;
    }
    let held = ARGUMENTS.iter().position(|register| state.get(*register).is(origin, 0))?;
    u8::try_from(held).ok()
}

/// Whether some route ends in the function itself.
fn returns_itself(program: &Program<'_>, function: &Range<u64>, premise: &Premise) -> bool {
    let mut returns = false;
    program.follow(function, premise, &mut |instruction, state| {
        returns |= instruction.flow_control() == FlowControl::Return;
        if is_left(instruction, function, state) { Step::Enough } else { Step::On }
    });
    returns
}
