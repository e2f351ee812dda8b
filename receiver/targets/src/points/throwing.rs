//! Functions that may unwind: no return probe may stand in their callers' way, so their ends are probed one by one.

use iced_x86::{FlowControl, Instruction};
use mlh_bpf::alloc::point::{Operation, Point, Role, Shape};

use super::elf::{Elf, Machine};
use super::flow::{Bounds, Flow};
use super::place::{Extent, entry};

/// No allocator's function ends in more places.
const MAX_ENDS: usize = 64;

/// The entry and all ends, also those of functions that it jumps to. `None`: not all ends can be told.
pub(super) fn points(
    elf: &Elf,
    extent: Extent,
    operation: Operation,
    shape: Shape,
    bounds: &Bounds<'_>,
) -> Option<Vec<Point>> {
    if elf.machine != Machine::X86_64 {
        return None;
    }
    let entry = entry(elf, extent, Role::EntryOnly, operation, shape)?;
    let flow = Flow::walk(elf, extent.address, bounds);
    if flow.lost {
        return None;
    }
    let mut points = vec![entry];
    for (end, state) in
        flow.iter().filter(|(instruction, _)| instruction.flow_control() == FlowControl::Return)
    {
        match state.depth {
            Some(0) if flow.is_unambiguous(end) => {
                points.push(Point {
                    offset: elf.code_offset(end.ip())?,
                    role: Role::ReturnSite,
                    shape,
                    operation,
                    emulated: false,
                    to_return_address: 0,
                });
            }
            // behind a call that never comes back: another function's
            Some(depth) if depth != 0 => {}
            _ => return None,
        }
    }
    (points.len() <= MAX_ENDS).then_some(points)
}

/// The calls in a function that passes allocations on: where each returns to, and how far from there it is to the
/// function's own return address. A call through a register is somebody's handler.
pub(super) fn calls(elf: &Elf, extent: Extent) -> Vec<(u64, u32)> {
    if elf.machine != Machine::X86_64 {
        return Vec::new();
    }
    let flow = extent.walk(elf);
    let calls = flow.iter().filter(|(instruction, _)| is_named_call(instruction));
    calls
        .filter_map(|(call, state)| {
            // behind its last call a function has nothing to return to
            flow.at(call.next_ip())?;
            let offset = elf.code_offset(call.next_ip())?;
            Some((offset, u32::try_from(state.depth?).ok()?))
        })
        .collect()
}

fn is_named_call(instruction: &Instruction) -> bool {
    match instruction.flow_control() {
        FlowControl::Call => true,
        FlowControl::IndirectCall => instruction.is_ip_rel_memory_operand(),
        _ => false,
    }
}
