//! One function's instructions, one after the other, and where its jumps lead.

use std::ops::Range;

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, OpKind, Register};

/// Functions of C libraries and allocators have some hundreds.
const MAX_INSTRUCTIONS: usize = 20_000;

/// The instructions of one function, decoded from its first byte to its last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Function {
    instructions: Vec<Instruction>,
    /// Where jumps within it lead, sorted.
    targets: Vec<u64>,
}

impl Function {
    /// `bytes` are the function's own and begin at `address`; what cannot be decoded ends it.
    pub(super) fn decode(bytes: &[u8], address: u64) -> Self {
        let mut decoder = Decoder::with_ip(64, bytes, address, DecoderOptions::NONE);
        let mut instructions = Vec::new();
        while decoder.can_decode() && instructions.len() < MAX_INSTRUCTIONS {
            let instruction = decoder.decode();
            if instruction.is_invalid() {
                break;
            }
            instructions.push(instruction);
        }
        let mut targets: Vec<u64> = instructions.iter().filter_map(jump_target).collect();
        targets.sort_unstable();
        Self { instructions, targets }
    }

    /// As they stand in memory.
    pub(super) fn instructions(&self) -> &[Instruction] {
        &self.instructions
    }

    /// Whether a jump of the function leads to one of these addresses.
    pub(super) fn branches_into(&self, addresses: Range<u64>) -> bool {
        let from = self.targets.partition_point(|target| *target < addresses.start);
        self.targets.get(from).is_some_and(|target| *target < addresses.end)
    }

    /// Whether a probe may stand on the instruction there: one begins there, and nothing jumps into its middle.
    pub(super) fn may_be_probed(&self, address: u64) -> bool {
        let Ok(index) = self.instructions.binary_search_by_key(&address, Instruction::ip) else {
            return false;
        };
        !self.branches_into(address + 1..self.instructions[index].next_ip())
    }
}

/// Where a direct jump leads, conditional or not.
pub(super) fn jump_target(instruction: &Instruction) -> Option<u64> {
    let calls = instruction.flow_control() == FlowControl::Call;
    (!calls && instruction.op0_kind() == OpKind::NearBranch64).then(|| instruction.near_branch64())
}

/// Whether the kernel emulates it under a probe instead of stepping it: `arch/x86/kernel/uprobes.c` since 4.17.
pub(super) fn is_emulated(instruction: &Instruction) -> bool {
    // longer than said here: it has prefixes, with which the kernel is choosy
    let length = match instruction.code() {
        Code::Nopd => 1,
        // a push of the stack pointer itself is left out: it is pushed as it was before
        Code::Push_r64 => match instruction.op0_register() {
            Register::RSP => return false,
            register if register.number() < 8 => 1,
            _ => 2,
        },
        Code::Call_rel32_64 | Code::Jmp_rel32_64 => 5,
        Code::Jmp_rel8_64 => 2,
        _ if instruction.is_jcc_short() => 2,
        _ if instruction.is_jcc_near() => 6,
        _ => return false,
    };
    instruction.len() == length
}
