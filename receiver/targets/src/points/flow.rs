//! The ways through a function from its entry on: at each instruction how much the stack holds, and what the system call's
//! number register.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind,
    Register,
};

use super::code::jump_target;
use super::elf::Elf;

/// What an instruction takes at most.
const LONGEST_INSTRUCTION: u64 = 15;
/// A walk that is longer has lost its way.
const MAX_INSTRUCTIONS: usize = 20_000;

/// What is known before an instruction. `None`: it depends on the way, or cannot be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    /// Bytes from the stack pointer to the function's return address.
    pub(super) depth: Option<i64>,
    /// The same of the frame pointer, where it is one.
    frame: Option<i64>,
    /// What is in the return register.
    pub(super) rax: Option<u64>,
}

/// Where jumps out of the function are followed to.
pub(super) enum Bounds<'a> {
    /// Nowhere: these addresses are the function.
    Within(Range<u64>),
    /// Wherever they lead, through these slots of the linkage table; functions begin at `starts` (sorted), and none falls
    /// through into the next.
    Following { slots: &'a HashMap<u64, u64>, starts: &'a [u64] },
}

/// All instructions that can be reached.
#[derive(Debug, Default)]
pub(super) struct Flow {
    reached: BTreeMap<u64, (Instruction, State)>,
    /// Some jump leads nobody knows where.
    pub(super) lost: bool,
}

impl Flow {
    /// Walks from `entry`, where nothing but the return address is on the stack.
    pub(super) fn walk(elf: &Elf, entry: u64, bounds: &Bounds<'_>) -> Self {
        let mut flow = Self::default();
        let mut information = InstructionInfoFactory::new();
        let mut open = vec![(entry, State { depth: Some(0), frame: None, rax: None })];
        while let Some((address, state)) = open.pop() {
            let (instruction, state) = if let Some((instruction, known)) = flow.reached.get_mut(&address) {
                let joined = known.join(state);
                if joined == *known {
                    continue;
                }
                *known = joined;
                (*instruction, joined)
            } else {
                let instruction =
                    (flow.reached.len() < MAX_INSTRUCTIONS).then(|| decode(elf, address)).flatten();
                let Some(instruction) = instruction else {
                    flow.lost = true;
                    continue;
                };
                flow.reached.insert(address, (instruction, state));
                (instruction, state)
            };
            let after = state.after(&instruction, &mut information);
            let (target, falls_through) = match instruction.flow_control() {
                FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => (None, true),
                FlowControl::ConditionalBranch | FlowControl::XbeginXabortXend => {
                    (jump_target(&instruction), true)
                }
                FlowControl::UnconditionalBranch => (jump_target(&instruction), false),
                FlowControl::IndirectBranch => {
                    let target = bounds.through(&instruction);
                    flow.lost |= target.is_none() && matches!(bounds, Bounds::Following { .. });
                    (target, false)
                }
                FlowControl::Return | FlowControl::Interrupt | FlowControl::Exception => (None, false),
            };
            open.extend(target.filter(|target| bounds.follow(*target)).map(|target| (target, after)));
            if falls_through && bounds.follow_on(instruction.next_ip()) {
                open.push((instruction.next_ip(), after));
            }
        }
        flow
    }

    /// By address.
    pub(super) fn iter(&self) -> impl Iterator<Item = &(Instruction, State)> {
        self.reached.values()
    }

    /// What is known there; `None` where no way leads.
    pub(super) fn at(&self, address: u64) -> Option<&(Instruction, State)> {
        self.reached.get(&address)
    }

    /// Whether nothing that was reached overlaps this instruction: there is one reading of these bytes.
    pub(super) fn is_unambiguous(&self, instruction: &Instruction) -> bool {
        let before = self.reached.range(..instruction.ip()).next_back();
        let inside = self.reached.range(instruction.ip() + 1..instruction.next_ip()).next();
        inside.is_none() && before.is_none_or(|(_, (before, _))| before.next_ip() <= instruction.ip())
    }
}

fn decode(elf: &Elf, address: u64) -> Option<Instruction> {
    let bytes = elf.code(address, LONGEST_INSTRUCTION)?;
    let instruction = Decoder::with_ip(64, &bytes, address, DecoderOptions::NONE).decode();
    (!instruction.is_invalid()).then_some(instruction)
}

impl Bounds<'_> {
    fn follow(&self, target: u64) -> bool {
        match self {
            Self::Within(function) => function.contains(&target),
            Self::Following { .. } => true,
        }
    }

    fn follow_on(&self, next: u64) -> bool {
        match self {
            Self::Within(function) => function.contains(&next),
            Self::Following { starts, .. } => starts.binary_search(&next).is_err(),
        }
    }

    /// Where a jump through a slot leads.
    fn through(&self, jump: &Instruction) -> Option<u64> {
        let Self::Following { slots, .. } = self else { return None };
        let slot = jump.is_ip_rel_memory_operand().then(|| jump.ip_rel_memory_address())?;
        slots.get(&slot).copied()
    }
}

impl State {
    /// What is known where two ways meet.
    fn join(self, other: Self) -> Self {
        fn same<T: Copy + PartialEq>(one: Option<T>, other: Option<T>) -> Option<T> {
            if one == other { one } else { None }
        }
        Self {
            depth: same(self.depth, other.depth),
            frame: same(self.frame, other.frame),
            rax: same(self.rax, other.rax),
        }
    }

    fn after(self, instruction: &Instruction, information: &mut InstructionInfoFactory) -> Self {
        let mut next = self;
        if matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall) {
            // it comes back with the stack and the frame pointer as they were
            next.rax = None;
            return next;
        }
        let mut writes = |wanted: Register| {
            information.info(instruction).used_registers().iter().any(|used| {
                used.register().full_register() == wanted
                    && !matches!(used.access(), OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess)
            })
        };
        if writes(Register::RAX) || instruction.code() == Code::Syscall {
            next.rax = constant(instruction);
        }
        if writes(Register::RSP) {
            next.depth = self.depth_after(instruction);
        }
        if writes(Register::RBP) {
            let copied = is_move(instruction, Register::RBP, Register::RSP);
            next.frame = if copied { self.depth } else { None };
        }
        next
    }

    fn depth_after(self, instruction: &Instruction) -> Option<i64> {
        let immediate = || instruction.immediate(1).cast_signed();
        let on_stack = instruction.op0_register() == Register::RSP;
        match instruction.code() {
            Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32 if on_stack => self.depth?.checked_add(immediate()),
            Code::Add_rm64_imm8 | Code::Add_rm64_imm32 if on_stack => self.depth?.checked_sub(immediate()),
            Code::Lea_r64_m if instruction.memory_index() == Register::None => {
                let base = match instruction.memory_base() {
                    Register::RSP => self.depth?,
                    Register::RBP => self.frame?,
                    _ => return None,
                };
                base.checked_sub(instruction.memory_displacement64().cast_signed())
            }
            Code::Leaveq => self.frame?.checked_sub(8),
            _ if is_move(instruction, Register::RSP, Register::RBP) => self.frame,
            Code::Pop_r64 if on_stack => None,
            _ => match i64::from(instruction.stack_pointer_increment()) {
                0 => None,
                increment => self.depth?.checked_sub(increment),
            },
        }
    }
}

fn is_move(instruction: &Instruction, to: Register, from: Register) -> bool {
    matches!(instruction.code(), Code::Mov_r64_rm64 | Code::Mov_rm64_r64)
        && instruction.op0_kind() == OpKind::Register
        && instruction.op1_kind() == OpKind::Register
        && instruction.op0_register() == to
        && instruction.op1_register() == from
}

/// The number that the instruction puts into rax, whole.
fn constant(instruction: &Instruction) -> Option<u64> {
    match instruction.code() {
        Code::Mov_r32_imm32 | Code::Mov_r64_imm64 | Code::Mov_rm64_imm32
            if matches!(instruction.op0_register().full_register(), Register::RAX) =>
        {
            Some(instruction.immediate(1))
        }
        Code::Xor_rm32_r32 | Code::Xor_r32_rm32
            if instruction.op0_register() == Register::EAX && instruction.op1_register() == Register::EAX =>
        {
            Some(0)
        }
        _ => None,
    }
}
