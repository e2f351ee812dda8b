//! Behind the system calls that change the address space.

use iced_x86::{Code, FlowControl, Instruction, InstructionInfoFactory, Register};
use mlh_bpf::alloc::point::{Operation, Point, Role, Shape};

use super::code::{Function, is_emulated};
use super::elf::Elf;
use super::flow::Flow;
use super::place::{Extent, touches};

/// So far behind the system call its result is looked at.
const REACH: usize = 6;

/// The points behind all system calls of a function that are of interest.
pub(super) fn points(elf: &Elf, extent: Extent) -> Vec<Point> {
    let Some(function) = extent.decode(elf) else { return Vec::new() };
    let flow = extent.walk(elf);
    let calls = flow.iter().filter(|(instruction, _)| instruction.code() == Code::Syscall);
    calls
        .filter_map(|(call, state)| {
            let (operation, shape, arguments) = meaning(state.rax?)?;
            let place = behind(&function, &flow, call, arguments)?;
            let (_, state) = flow.at(place.ip())?;
            Some(Point {
                offset: elf.code_offset(place.ip())?,
                role: Role::AfterSyscall,
                shape,
                operation,
                emulated: is_emulated(&place),
                to_return_address: u16::try_from(state.depth?).ok().filter(|depth| depth % 8 == 0)?,
            })
        })
        .collect()
}

/// musl's last instructions of a detached thread, which unmaps its own stack: they are written by hand, and no symbol leads to
/// them in a stripped library.
const UNMAP_SELF: [u8; 17] = [0xb8, 11, 0, 0, 0, 0x0f, 0x05, 0x48, 0x31, 0xff, 0xb8, 60, 0, 0, 0, 0x0f, 0x05];

/// The point behind the system call in them: there is no function to return to.
pub(super) fn unmap_self(elf: &Elf) -> Option<Point> {
    let at = elf.find_in_code(&UNMAP_SELF)?;
    let (operation, shape, _) = meaning(11)?;
    Some(Point {
        offset: at + 7,
        role: Role::AfterSyscall,
        shape,
        operation,
        emulated: false,
        to_return_address: 0,
    })
}

/// What a system call of this number is, and which of its arguments are read behind it.
fn meaning(number: u64) -> Option<(Operation, Shape, &'static [Register])> {
    use Register::{R10, RAX, RDI, RDX, RSI};
    Some(match number {
        9 => (Operation::Mmap, Shape::Map, &[RAX, RSI, RDX, R10]),
        11 => (Operation::Munmap, Shape::Unmap, &[RAX, RDI, RSI]),
        12 => (Operation::Brk, Shape::Break, &[RAX]),
        25 => (Operation::Mremap, Shape::Remap, &[RAX, RDI, RSI, RDX, R10]),
        28 => (Operation::Madvise, Shape::Advise, &[RAX, RDI, RSI, RDX]),
        _ => return None,
    })
}

/// The first instruction behind the call that the kernel emulates, while the result and the arguments are as they were;
/// else the very next one.
fn behind(function: &Function, flow: &Flow, call: &Instruction, kept: &[Register]) -> Option<Instruction> {
    let mut information = InstructionInfoFactory::new();
    let mut address = call.next_ip();
    let mut place = None;
    for _ in 0..REACH {
        // whoever comes from elsewhere has made no system call
        if function.branches_into(call.next_ip()..address + 1) {
            break;
        }
        let Some((instruction, _)) = flow.at(address) else { break };
        if !function.may_be_probed(address) || !flow.is_unambiguous(instruction) {
            break;
        }
        if is_emulated(instruction) {
            return Some(*instruction);
        }
        place = place.or(Some(*instruction));
        if instruction.flow_control() != FlowControl::Next || touches(instruction, kept, &mut information) {
            break;
        }
        address = instruction.next_ip();
    }
    place
}
