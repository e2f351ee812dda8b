//! Which instruction of a function carries the probe.

use std::collections::HashMap;

use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, OpAccess, Register};
use mlh_bpf::alloc::point::{Operation, Point, Role, Shape};

use super::code::{Function, is_emulated, jump_target};
use super::elf::{Elf, Machine};
use super::flow::{Bounds, Flow};

/// Taken for the length of a function that has none written down.
const UNKNOWN_SIZE: u64 = 512;
/// More of a function is not decoded.
const MAX_SIZE: u64 = 64 * 1024;
/// A prologue is shorter.
const MAX_PROLOGUE: usize = 32;

/// The registers of arguments, in order.
const ARGUMENTS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];

/// A function of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) address: u64,
    /// Bytes; 0 where it is not known.
    pub(super) size: u64,
}

impl Extent {
    fn length(self) -> u64 {
        if self.size == 0 { UNKNOWN_SIZE } else { self.size.min(MAX_SIZE) }
    }

    pub(super) fn decode(self, elf: &Elf) -> Option<Function> {
        Some(Function::decode(&elf.code(self.address, self.length())?, self.address))
    }

    pub(super) fn walk(self, elf: &Elf) -> Flow {
        let end = self.address.saturating_add(self.length());
        Flow::walk(elf, self.address, &Bounds::Within(self.address..end))
    }
}

/// The probe that sees the arguments. `role` is [`Role::Entry`] or [`Role::EntryOnly`]. `None`: there is no code.
pub(super) fn entry(
    elf: &Elf,
    extent: Extent,
    role: Role,
    operation: Operation,
    shape: Shape,
) -> Option<Point> {
    let first = Point {
        offset: elf.code_offset(extent.address)?,
        role,
        shape,
        operation,
        emulated: false,
        to_return_address: 0,
    };
    if elf.machine != Machine::X86_64 {
        return Some(first);
    }
    let function = extent.decode(elf)?;
    if !function.may_be_probed(extent.address) {
        return None;
    }
    // a return probe takes what the stack pointer points at for the return address
    let returns = role == Role::Entry && !matches!(shape, Shape::Free { .. });
    let Some((address, depth)) = emulated_in_prologue(&function, &arguments(shape), returns) else {
        return Some(first);
    };
    let offset = elf.code_offset(address)?;
    // it is told in words of eight bytes
    Some(if depth % 8 == 0 {
        Point { offset, emulated: true, to_return_address: depth, ..first }
    } else {
        first
    })
}

/// The first instruction of the straight way from the entry that the kernel emulates, before an argument is touched.
fn emulated_in_prologue(function: &Function, arguments: &[Register], returns: bool) -> Option<(u64, u16)> {
    let mut information = InstructionInfoFactory::new();
    let entry = function.instructions().first()?.ip();
    let mut depth = 0;
    for instruction in function.instructions().iter().take(MAX_PROLOGUE) {
        // whatever leads here from elsewhere would be taken for another call
        if function.branches_into(entry + 1..instruction.next_ip()) || (returns && depth != 0) {
            return None;
        }
        if is_emulated(instruction) {
            return Some((instruction.ip(), depth));
        }
        let pushes = stack_use(instruction)?;
        if instruction.flow_control() != FlowControl::Next
            || touches(instruction, arguments, &mut information)
        {
            return None;
        }
        depth = depth.checked_add(pushes)?;
    }
    None
}

/// Bytes that it puts on the stack; `None` where that cannot be told, or it takes some off.
fn stack_use(instruction: &Instruction) -> Option<u16> {
    match instruction.code() {
        Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32 if instruction.op0_register() == Register::RSP => {
            u16::try_from(instruction.immediate(1)).ok()
        }
        _ => match instruction.stack_pointer_increment() {
            0 => {
                let mut information = InstructionInfoFactory::new();
                (!touches(instruction, &[Register::RSP], &mut information)).then_some(0)
            }
            increment => u16::try_from(-increment).ok(),
        },
    }
}

/// Whether it writes one of these registers, or a part of one.
pub(super) fn touches(
    instruction: &Instruction,
    registers: &[Register],
    information: &mut InstructionInfoFactory,
) -> bool {
    information.info(instruction).used_registers().iter().any(|used| {
        registers.contains(&used.register().full_register())
            && !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess)
    })
}

/// The registers that must still hold what the caller put there.
fn arguments(shape: Shape) -> Vec<Register> {
    let numbers: &[u8] = match shape {
        Shape::Size { size } => &[size],
        Shape::Array { count, size } => &[count, size],
        Shape::Resize { pointer, size } => &[pointer, size],
        Shape::ResizeArray { pointer, count, size } => &[pointer, count, size],
        Shape::Out { out, size } => &[out, size],
        Shape::Free { pointer } => &[pointer],
        _ => &[],
    };
    numbers.iter().filter_map(|number| ARGUMENTS.get(usize::from(*number)).copied()).collect()
}

/// Whether the function is nothing but a jump to one that is probed: another name for it.
pub(super) fn only_jumps_to_one_of(
    elf: &Elf,
    extent: Extent,
    slots: &HashMap<u64, u64>,
    is_probed: &dyn Fn(u64) -> bool,
) -> bool {
    if elf.machine != Machine::X86_64 {
        return false;
    }
    let mut at = extent.address;
    // a jump may lead to the linkage table first
    for _ in 0..3 {
        let Some(code) = elf.code(at, 32) else { return false };
        let function = Function::decode(&code, at);
        let Some(first) = function.instructions().iter().find(|i| i.code() != Code::Endbr64) else {
            return false;
        };
        let target = match first.flow_control() {
            FlowControl::UnconditionalBranch => jump_target(first),
            FlowControl::IndirectBranch if first.is_ip_rel_memory_operand() => {
                slots.get(&first.ip_rel_memory_address()).copied()
            }
            _ => None,
        };
        match target {
            Some(target) if target != extent.address && is_probed(target) => return true,
            Some(target) => at = target,
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENTRY: u64 = 0x1000;

    /// Where the probe of a function of this code comes to stand, from its entry, and how much is on the stack there.
    fn place(code: &[u8], shape: Shape) -> Option<(u64, u16)> {
        let function = Function::decode(code, ENTRY);
        let returns = !matches!(shape, Shape::Free { .. });
        emulated_in_prologue(&function, &arguments(shape), returns).map(|(at, depth)| (at - ENTRY, depth))
    }

    /// Guarantees: a probe stands on the first instruction that the kernel emulates, as long as the arguments are what the
    /// caller gave, nothing but the caller leads there, and a return address can be caught where one is to be.
    #[test]
    fn prologues() {
        let size = Shape::Size { size: 0 };
        let free = Shape::Free { pointer: 0 };
        // push rbx; ret
        assert_eq!(place(&[0x53, 0xc3], size), Some((0, 0)));
        // endbr64; test rdi, rdi; je +1; ret; ret
        let null = [0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x85, 0xff, 0x74, 0x01, 0xc3, 0xc3];
        assert_eq!(place(&null, free), Some((7, 0)));
        // sub rsp, 8; push rbx: the return address is no longer where a return probe looks for it
        let deep = [0x48, 0x83, 0xec, 0x08, 0x53, 0xc3];
        assert_eq!((place(&deep, free), place(&deep, size)), (Some((4, 8)), None));
        // mov edi, 1; push rbx: the first argument is gone, the second is not
        let touched = [0xbf, 1, 0, 0, 0, 0x53, 0xc3];
        assert_eq!(place(&touched, size), None);
        assert_eq!(place(&touched, Shape::Size { size: 1 }), Some((5, 0)));
        // mov dil, 1; push rbx: a part of it is enough
        assert_eq!(place(&[0x40, 0xb7, 1, 0x53, 0xc3], size), None);
        // xor eax, eax; push rbx; pop rbx; jmp back to the push
        assert_eq!(place(&[0x31, 0xc0, 0x53, 0x5b, 0xeb, 0xfc], size), None);
        // xor eax, eax; ret; push rbx
        assert_eq!(place(&[0x31, 0xc0, 0xc3, 0x53], size), None);
        // 66 90, a nop of two bytes is stepped, and so is push rsp
        assert_eq!(place(&[0x66, 0x90, 0xc3], size), None);
        assert_eq!(place(&[0x54, 0xc3], size), None);
        // push r12
        assert_eq!(place(&[0x41, 0x54, 0xc3], size), Some((0, 0)));
        assert_eq!(place(&[], size), None);
    }
}
