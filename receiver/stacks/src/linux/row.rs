//! How one frame is undone: what remains of gimli's table of all registers.

use gimli::{
    CfaRule, Encoding, EndianSlice, Expression, FrameDescriptionEntry, LittleEndian, Register, RegisterRule,
    UnwindExpression, UnwindSection, UnwindTableRow,
};

/// Bytes of an expression; those of a signal's frame have some ten.
const MAX_PROGRAM: usize = 128;

/// The frame pointer.
pub(crate) const FRAME: Register = Register(if cfg!(target_arch = "aarch64") { 29 } else { 6 });
/// The stack pointer.
pub(crate) const STACK: Register = Register(if cfg!(target_arch = "aarch64") { 31 } else { 7 });
/// The return address: a register on 64-bit Arm.
pub(crate) const RETURN: Register = Register(if cfg!(target_arch = "aarch64") { 30 } else { 16 });

/// As many registers as DWARF knows by a number of its own on either machine.
pub(crate) const REGISTERS: usize = 33;

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// How to undo one frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    /// The stack pointer of the caller.
    pub(crate) cfa: Rule,
    /// By DWARF number: how registers of the caller are found, where the file says.
    pub(crate) registers: Vec<(Register, Rule)>,
    /// Which of them is the return address.
    pub(crate) return_address: Register,
    /// The kernel has called this: the address above is where execution was, not behind a call.
    pub(crate) signal: bool,
    /// The frame pointer points to this very frame then: the caller's is kept there, and the return address behind it.
    pub(crate) framed: bool,
    /// For expressions.
    pub(crate) encoding: Encoding,
}

/// How a value is found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Nobody knows it; of the return address: there is no caller.
    Undefined,
    /// As it is.
    Same,
    /// In memory, so many bytes from the caller's stack pointer.
    Offset(i64),
    /// The caller's stack pointer and so much.
    ValueOffset(i64),
    /// Another register and so much.
    Register(Register, i64),
    /// In memory, where a program says.
    Expression(Vec<u8>),
    /// What a program says.
    ValueExpression(Vec<u8>),
}

/// What is kept of a row of an entry. `None` if it is none that compilers write.
pub(super) fn keep<'a, S>(
    section: &S,
    entry: &FrameDescriptionEntry<Bytes<'a>>,
    row: &UnwindTableRow<usize>,
) -> Option<Row>
where
    S: UnwindSection<Bytes<'a>>,
{
    let program = |expression: &UnwindExpression<usize>| {
        let Expression(bytes) = expression.get(section).ok()?;
        (bytes.len() <= MAX_PROGRAM).then(|| bytes.slice().to_vec())
    };
    let cfa = match row.cfa() {
        CfaRule::RegisterAndOffset { register, offset } => Rule::Register(*register, *offset),
        CfaRule::Expression(expression) => Rule::ValueExpression(program(expression)?),
    };
    let rule = |rule: &RegisterRule<usize>| {
        Some(match rule {
            RegisterRule::Undefined => Rule::Undefined,
            RegisterRule::SameValue => Rule::Same,
            RegisterRule::Offset(offset) => Rule::Offset(*offset),
            RegisterRule::ValOffset(offset) => Rule::ValueOffset(*offset),
            RegisterRule::Register(register) => Rule::Register(*register, 0),
            RegisterRule::Expression(expression) => Rule::Expression(program(expression)?),
            RegisterRule::ValExpression(expression) => Rule::ValueExpression(program(expression)?),
            _ => return None,
        })
    };
    let return_address = entry.cie().return_address_register();
    let is_known = |register: Register| register == return_address || usize::from(register.0) < REGISTERS;
    let registers = row.registers().filter(|(register, _)| is_known(*register));
    let registers: Vec<_> =
        registers.filter_map(|(register, found)| Some((*register, rule(found)?))).collect();
    Some(Row {
        framed: framed(&cfa, &registers, return_address),
        cfa,
        registers,
        return_address,
        signal: entry.is_signal_trampoline(),
        encoding: entry.cie().encoding(),
    })
}

impl Row {
    /// How a register of the caller is found, if that is said.
    pub(crate) fn rule(&self, register: Register) -> Option<&Rule> {
        rule(&self.registers, register)
    }

    /// Nobody has called the function.
    pub(crate) fn is_outermost(&self) -> bool {
        self.rule(self.return_address) == Some(&Rule::Undefined)
    }
}

fn rule(registers: &[(Register, Rule)], register: Register) -> Option<&Rule> {
    registers.iter().find(|(known, _)| *known == register).map(|(_, rule)| rule)
}

fn framed(cfa: &Rule, registers: &[(Register, Rule)], return_address: Register) -> bool {
    if cfg!(target_arch = "aarch64") {
        // Compilers go on telling all by the stack pointer.
        let at = |register| match rule(registers, register) {
            Some(Rule::Offset(offset)) => Some(*offset),
            _ => None,
        };
        return at(FRAME).is_some_and(|frame| at(return_address) == frame.checked_add(8));
    }
    *cfa == Rule::Register(FRAME, 16)
}
