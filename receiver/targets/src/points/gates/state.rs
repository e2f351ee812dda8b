//! A machine that runs a function on what is known of its arguments instead of on numbers.

use std::collections::BTreeMap;

use iced_x86::{
    Code, ConditionCode, FlowControl, Instruction, InstructionInfoFactory, OpAccess, OpKind, Register,
    RflagsBits,
};

use super::value::{Origin, Value};

/// glibc's thread cache has so many bins, as the variable for it says from the start; a tunable may make them fewer. No other
/// variable that a size is compared with is trusted: they may grow.
const BINS: u64 = 64;
/// A call may change these.
const CALLER_SAVED: [Register; 9] = [
    Register::RAX,
    Register::RCX,
    Register::RDX,
    Register::RSI,
    Register::RDI,
    Register::R8,
    Register::R9,
    Register::R10,
    Register::R11,
];
/// No allocator keeps more in its stack; further values are not remembered.
const MAX_SLOTS: usize = 64;
/// The registers of arguments, in order.
pub(super) const ARGUMENTS: [Register; 6] =
    [Register::RDI, Register::RSI, Register::RDX, Register::RCX, Register::R8, Register::R9];

/// What is supposed of the arguments and of the memory that they lead to.
#[derive(Debug, Clone, Default)]
pub(super) struct Premise {
    pub(super) arguments: Vec<(Register, Value)>,
    /// The first argument times the second.
    pub(super) product: Option<Value>,
    /// The word so far from the first argument.
    pub(super) word: Option<(i64, Value)>,
    /// Calls of this function make blocks.
    pub(super) maker: Option<u64>,
}

/// What the last comparison was of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Flags {
    Unknown,
    /// Of these two.
    Compared(Value, Value),
}

/// Everything that is known before an instruction.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct State {
    registers: [Value; 16],
    /// What was put into the stack, by the distance from the return address.
    slots: BTreeMap<i64, Value>,
    flags: Flags,
    /// The gate that has seen the block at hand.
    pub(super) seen_at: Option<u64>,
}

impl State {
    /// At the function's first instruction.
    pub(super) fn at_entry(premise: &Premise) -> Self {
        let mut state = Self {
            registers: [Value::UNKNOWN; 16],
            slots: BTreeMap::new(),
            flags: Flags::Unknown,
            seen_at: None,
        };
        state.set(Register::RSP, Value::of(Origin::Frame));
        for (register, value) in &premise.arguments {
            state.set(*register, *value);
        }
        state
    }

    /// Everything but the stack pointer is forgotten.
    pub(super) fn forget(&mut self) {
        let stack = self.get(Register::RSP);
        self.registers = [Value::UNKNOWN; 16];
        self.set(Register::RSP, stack);
        self.slots.clear();
        self.flags = Flags::Unknown;
    }

    /// Everything is forgotten but where in the stack it is, where this value is, and the number that a function may be told.
    pub(super) fn keep(&mut self, origin: Origin, offset: i64) {
        let told = self.get(Register::RDI);
        for value in &mut self.registers {
            if value.is(origin, offset) {
                *value = Value { origin: value.origin, ..Value::UNKNOWN };
            } else if value.in_frame().is_none() {
                *value = Value::UNKNOWN;
            }
        }
        if told.origin.is_none() && told.least == told.most {
            self.set(Register::RDI, told);
        }
        self.slots.retain(|_, value| value.is(origin, offset));
        self.flags = Flags::Unknown;
    }

    /// Everything but bare numbers is forgotten.
    pub(super) fn keep_numbers(&mut self) {
        for value in &mut self.registers {
            if value.origin.is_some() || value.least != value.most {
                *value = Value::UNKNOWN;
            }
        }
        self.slots.clear();
    }

    pub(super) fn get(&self, register: Register) -> Value {
        let number = register.is_gpr64().then(|| register.number());
        number.and_then(|number| self.registers.get(number).copied()).unwrap_or(Value::UNKNOWN)
    }

    fn set(&mut self, register: Register, value: Value) {
        let full = register.full_register();
        if full.is_gpr64()
            && let Some(place) = self.registers.get_mut(full.number())
        {
            *place = value;
        }
    }

    /// Bytes from the stack pointer to the return address.
    pub(super) fn depth(&self) -> Option<u64> {
        u64::try_from(self.get(Register::RSP).in_frame()?.checked_neg()?).ok()
    }

    /// Where the memory operand lies, relative to what it is an address of.
    fn address(&self, instruction: &Instruction) -> Option<(Origin, i64)> {
        if instruction.memory_index() != Register::None || instruction.segment_prefix() != Register::None {
            return None;
        }
        let base = self.get(instruction.memory_base());
        base.plus(instruction.memory_displacement64().cast_signed()).origin
    }

    /// What the operand holds, of 64 bits.
    fn operand(
        &self,
        instruction: &Instruction,
        number: u32,
        premise: &Premise,
        initial: &dyn Fn(u64) -> Option<u64>,
    ) -> Value {
        match instruction.try_op_kind(number).unwrap_or(OpKind::FarBranch16) {
            OpKind::Register => self.get(instruction.try_op_register(number).unwrap_or(Register::None)),
            OpKind::Memory if instruction.segment_prefix() != Register::None => Value::UNKNOWN,
            OpKind::Memory if instruction.is_ip_rel_memory_operand() => {
                match initial(instruction.ip_rel_memory_address()) {
                    Some(BINS) => Value::between(0, BINS),
                    _ => Value::UNKNOWN,
                }
            }
            OpKind::Memory => match self.address(instruction) {
                Some((Origin::Frame, offset)) => self.slots.get(&offset).copied().unwrap_or(Value::UNKNOWN),
                Some((Origin::Argument(0), offset)) => match premise.word {
                    Some((at, value)) if at == offset => value,
                    _ => Value::UNKNOWN,
                },
                _ => Value::UNKNOWN,
            },
            _ => instruction.try_immediate(number).map_or(Value::UNKNOWN, Value::constant),
        }
    }

    /// What is known behind the instruction. Jumps change nothing; what a call returns from has kept the convention.
    pub(super) fn step(
        &mut self,
        instruction: &Instruction,
        premise: &Premise,
        initial: &dyn Fn(u64) -> Option<u64>,
        information: &mut InstructionInfoFactory,
    ) {
        if matches!(instruction.flow_control(), FlowControl::Call | FlowControl::IndirectCall) {
            return self.call(instruction, premise);
        }
        let operand = |number| self.operand(instruction, number, premise, initial);
        let plus = |sign: i64| {
            let number = instruction.try_immediate(1).ok().and_then(|it| it.cast_signed().checked_mul(sign));
            number.map_or(Value::UNKNOWN, |number| operand(0).plus(number))
        };
        let same = || {
            let registers = (instruction.op0_kind(), instruction.op1_kind());
            registers == (OpKind::Register, OpKind::Register)
                && instruction.op0_register() == instruction.op1_register()
        };
        let result = match instruction.code() {
            Code::Mov_r64_rm64 | Code::Mov_rm64_r64 | Code::Mov_rm64_imm32 => Some(operand(1)),
            Code::Mov_r32_rm32 | Code::Mov_rm32_r32 if instruction.op1_kind() == OpKind::Register => {
                Some(self.get(instruction.op1_register().full_register()).lower_half())
            }
            Code::Mov_r32_imm32 | Code::Mov_r64_imm64 => Some(Value::constant(instruction.immediate(1))),
            Code::Xor_rm32_r32 | Code::Xor_r32_rm32 | Code::Xor_rm64_r64 | Code::Xor_r64_rm64 if same() => {
                Some(Value::constant(0))
            }
            Code::Add_rm64_imm8 | Code::Add_rm64_imm32 | Code::Add_RAX_imm32 => Some(plus(1)),
            Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32 | Code::Sub_RAX_imm32 => Some(plus(-1)),
            Code::And_rm64_imm8 | Code::And_rm64_imm32 | Code::And_RAX_imm32 => {
                Some(operand(0).and(instruction.immediate(1)))
            }
            Code::And_rm32_imm8 if instruction.op0_kind() == OpKind::Register => {
                let half = self.get(instruction.op0_register().full_register()).lower_half();
                Some(half.and(instruction.immediate(1) & u64::from(u32::MAX)))
            }
            Code::Shr_rm64_imm8 => Some(operand(0).shifted_right(u32::from(instruction.immediate8()))),
            Code::Lea_r64_m if instruction.memory_index() == Register::None => {
                let base = self.get(instruction.memory_base());
                Some(base.plus(instruction.memory_displacement64().cast_signed()))
            }
            Code::Mul_rm64 => {
                let factors = [self.get(Register::RAX), operand(0)];
                let of = |number| factors.iter().any(|factor| factor.is(Origin::Argument(number), 0));
                premise.product.filter(|_| of(0) && of(1)).or(Some(Value::UNKNOWN))
            }
            _ => None,
        };
        let flags = match instruction.code() {
            Code::Cmp_rm64_r64
            | Code::Cmp_r64_rm64
            | Code::Cmp_rm64_imm8
            | Code::Cmp_rm64_imm32
            | Code::Cmp_RAX_imm32 => Flags::Compared(operand(0), operand(1)),
            Code::Test_rm64_r64 if same() => Flags::Compared(operand(0), Value::constant(0)),
            Code::Test_rm32_r32 if same() => {
                let half = self.get(instruction.op0_register().full_register()).lower_half();
                Flags::Compared(half, Value::constant(0))
            }
            _ if instruction.rflags_modified() != RflagsBits::NONE => Flags::Unknown,
            _ => self.flags,
        };
        let pushed = operand(0);
        self.flags = flags;
        match instruction.code() {
            Code::Push_r64 => {
                let stack = self.get(Register::RSP).plus(-8);
                self.set(Register::RSP, stack);
                if let Some(offset) = stack.in_frame() {
                    self.store(offset, 8, Some(pushed));
                }
            }
            Code::Pop_r64 => {
                let stack = self.get(Register::RSP);
                let value = stack.in_frame().and_then(|offset| self.slots.remove(&offset));
                self.set(Register::RSP, stack.plus(8));
                self.set(instruction.op0_register(), value.unwrap_or(Value::UNKNOWN));
            }
            Code::Leaveq => {
                let frame = self.get(Register::RBP);
                let value = frame.in_frame().and_then(|offset| self.slots.remove(&offset));
                self.set(Register::RSP, frame.plus(8));
                self.set(Register::RBP, value.unwrap_or(Value::UNKNOWN));
            }
            Code::Mul_rm64 => {
                self.set(Register::RDX, Value::UNKNOWN);
                self.set(Register::RAX, result.unwrap_or(Value::UNKNOWN));
            }
            _ => self.write(instruction, result, information),
        }
    }

    /// Every register and slot that the instruction writes holds `result`, or nobody knows what.
    fn write(
        &mut self,
        instruction: &Instruction,
        result: Option<Value>,
        information: &mut InstructionInfoFactory,
    ) {
        let writes = |access| {
            !matches!(access, OpAccess::None | OpAccess::Read | OpAccess::CondRead | OpAccess::NoMemAccess)
        };
        let stack = self.get(Register::RSP);
        let used = information.info(instruction);
        for memory in used.used_memory().iter().filter(|used| writes(used.access())) {
            let base = self.get(memory.base());
            if let Some(offset) = base.plus(memory.displacement().cast_signed()).in_frame() {
                match i64::try_from(memory.memory_size().size()) {
                    Ok(size @ 1..) if memory.index() == Register::None && !instruction.has_rep_prefix() => {
                        self.store(offset, size, None);
                    }
                    _ => self.slots.clear(),
                }
            }
        }
        for register in used.used_registers().iter().filter(|used| writes(used.access())) {
            self.set(register.register(), Value::UNKNOWN);
        }
        if let increment @ (..=-1 | 1..) = instruction.stack_pointer_increment() {
            self.set(Register::RSP, stack.plus(increment.into()));
        }
        let Some(value) = result else { return };
        match instruction.op0_kind() {
            OpKind::Register => self.set(instruction.op0_register(), value),
            OpKind::Memory => {
                if let Some((Origin::Frame, offset)) = self.address(instruction) {
                    self.store(offset, 8, Some(value));
                }
            }
            _ => {}
        }
    }

    fn store(&mut self, offset: i64, size: i64, value: Option<Value>) {
        let end = offset.saturating_add(size);
        self.slots.retain(|slot, _| slot.saturating_add(8) <= offset || *slot >= end);
        if let Some(value) = value.filter(|_| size == 8 && self.slots.len() < MAX_SLOTS) {
            self.slots.insert(offset, value);
        }
    }

    fn call(&mut self, instruction: &Instruction, premise: &Premise) {
        if ARGUMENTS.iter().any(|register| self.get(*register).in_frame().is_some()) {
            self.slots.clear();
        }
        match self.get(Register::RSP).in_frame() {
            Some(top) => self.slots.retain(|slot, _| *slot >= top),
            None => self.slots.clear(),
        }
        for register in CALLER_SAVED {
            self.set(register, Value::UNKNOWN);
        }
        self.flags = Flags::Unknown;
        let direct = instruction.flow_control() == FlowControl::Call;
        if direct && premise.maker == Some(instruction.near_branch64()) {
            // of what an earlier one has made nothing is known any more
            self.replace(Value::UNKNOWN, Some(Value::UNKNOWN));
            self.set(Register::RAX, Value::of(Origin::Made));
        }
    }

    /// What has been made, whatever was added to it, becomes something else.
    fn replace(&mut self, made: Value, derived: Option<Value>) {
        for value in self.registers.iter_mut().chain(self.slots.values_mut()) {
            match value.origin {
                Some((Origin::Made, 0)) => *value = made,
                Some((Origin::Made, _)) => *value = derived.unwrap_or(*value),
                _ => {}
            }
        }
    }

    /// What is known where the conditional jump goes (`taken`), or does not; `None`: it never does.
    pub(super) fn branch(&self, condition: ConditionCode, taken: bool) -> Option<Self> {
        let Flags::Compared(one, other) = self.flags else { return Some(self.clone()) };
        let below = (one.least < other.most, one.most >= other.least);
        let below_or_equal = (one.least <= other.most, one.most > other.least);
        let equal = (
            one.least <= other.most && other.least <= one.most,
            one.least != one.most || other.least != other.most || one.least != other.least,
        );
        let zero = other == Value::constant(0);
        let negative =
            if zero { (one.most > i64::MAX as u64, one.least <= i64::MAX as u64) } else { (true, true) };
        let reversed = |(yes, no)| (no, yes);
        let possible = match condition {
            ConditionCode::b => below,
            ConditionCode::ae => reversed(below),
            ConditionCode::be => below_or_equal,
            ConditionCode::a => reversed(below_or_equal),
            ConditionCode::e => equal,
            ConditionCode::ne => reversed(equal),
            ConditionCode::s => negative,
            ConditionCode::ns => reversed(negative),
            _ => (true, true),
        };
        if !(if taken { possible.0 } else { possible.1 }) {
            return None;
        }
        let mut state = self.clone();
        if zero && one.is_made() {
            let is_null = match condition {
                ConditionCode::e => Some(taken),
                ConditionCode::ne => Some(!taken),
                _ => None,
            };
            match is_null {
                Some(true) => {
                    state.replace(Value::constant(0), Some(Value::UNKNOWN));
                    // there was no block
                    state.seen_at = None;
                }
                Some(false) => {
                    state.replace(Value { least: 1, ..Value::of(Origin::Made) }, None);
                }
                None => {}
            }
        }
        Some(state)
    }
}
