//! A copy of a stack to addresses.
//!
//! The tables that say how come from the target's files and may say anything, also programs that never end: each step is
//! bounded, and what a step yields is believed only if it is code.

use std::sync::Arc;

use gimli::{EndianSlice, Evaluation, EvaluationResult, Expression, LittleEndian, Location, Register, Value};

use super::cfi::{REGISTERS, Row, Rule};
use crate::unwind::Captured;

/// Operations of one expression; real ones have ten.
const MAX_OPERATIONS: u32 = 200;

#[cfg(not(target_arch = "aarch64"))]
mod machine {
    pub(super) const FRAME: usize = 6;
    pub(super) const STACK: usize = 7;
    /// rbx, rbp, r12 to r15.
    pub(super) const PRESERVED: [usize; 6] = [3, 6, 12, 13, 14, 15];
}
#[cfg(target_arch = "aarch64")]
mod machine {
    pub(super) const FRAME: usize = 29;
    pub(super) const STACK: usize = 31;
    /// x19 to x29.
    pub(super) const PRESERVED: [usize; 11] = [19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29];
}

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Where execution goes on.
    pub(crate) address: u64,
    /// An address in the very instruction that is being executed: in the call, as a rule.
    pub(crate) inside: u64,
}

/// What lies at an address.
#[derive(Debug)]
pub(crate) enum Ground {
    /// Code, and how to undo its frame if that is known.
    Code(Option<Arc<Row>>),
    /// No code.
    Nothing,
}

/// Why a walk ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The outermost function says that nobody has called it.
    Root,
    /// The copy holds no more of the stack.
    Copied,
    /// There are more frames than were asked for.
    Limit,
    /// It cannot be followed; the last frame had instructions.
    Lost,
    /// The last frame came without instructions, and frame pointers led nowhere.
    Uncharted,
}

/// Walks up from `captured`, which gives the first step, until `most` steps.
pub(crate) fn walk(
    captured: &Captured<'_>,
    most: usize,
    code_end: u64,
    mut ground: impl FnMut(u64) -> Ground,
) -> (Vec<Step>, End) {
    let mut registers = Registers::of(captured);
    let mut step = Step { address: captured.ip, inside: captured.ip.saturating_sub(1) };
    let mut steps = vec![step];
    let mut here = ground(step.inside);
    loop {
        let Ground::Code(row) = here else { return (steps, End::Uncharted) };
        let row = row.as_deref();
        let charted = row.is_some();
        let undone = match row {
            Some(row) => registers.undo(row, captured),
            None => registers.follow_frame(captured),
        };
        let next = match undone {
            Ok(Some(next)) => strip(next, code_end),
            Ok(None) => return (steps, if charted { End::Root } else { End::Uncharted }),
            Err(Fault::Behind) if captured.truncated && charted => return (steps, End::Copied),
            Err(_) => return (steps, if charted { End::Lost } else { End::Uncharted }),
        };
        let interrupted = row.is_some_and(|row| row.signal);
        step = Step { address: next, inside: if interrupted { next } else { next.saturating_sub(1) } };
        here = ground(step.inside);
        if matches!(here, Ground::Nothing) {
            return (steps, if charted { End::Lost } else { End::Uncharted });
        }
        if steps.len() >= most {
            return (steps, End::Limit);
        }
        steps.push(step);
    }
}

/// Without the signature that 64-bit Arm may put into the upper bits of a return address.
fn strip(address: u64, code_end: u64) -> u64 {
    if cfg!(target_arch = "aarch64") {
        address & (u64::MAX >> code_end.leading_zeros().min(63))
    } else {
        address
    }
}

/// Why a frame could not be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    /// What is needed lies behind the end of the copy.
    Behind,
    /// Nonsense, or nothing that a copy of the stack could tell.
    Unknown,
}

/// What is known of the registers, by DWARF number.
#[derive(Debug, Clone)]
struct Registers([Option<u64>; REGISTERS]);

impl Registers {
    fn of(captured: &Captured<'_>) -> Self {
        let mut known = [None; REGISTERS];
        known[machine::STACK] = Some(captured.sp);
        known[machine::FRAME] = Some(captured.bp);
        Self(known)
    }

    fn get(&self, register: Register) -> Result<u64, Fault> {
        self.0.get(usize::from(register.0)).copied().flatten().ok_or(Fault::Unknown)
    }

    /// Turns these into those of the caller and returns where it goes on.
    fn undo(&mut self, row: &Row, captured: &Captured<'_>) -> Result<Option<u64>, Fault> {
        let cfa = match &row.cfa {
            Rule::Register(register, offset) => {
                self.get(*register)?.checked_add_signed(*offset).ok_or(Fault::Unknown)?
            }
            Rule::ValueExpression(program) => self.evaluate(program, None, row, captured)?,
            _ => return Err(Fault::Unknown),
        };
        // Stacks grow down. Where nothing moves a frame would be its own caller.
        if self.0[machine::STACK].is_some_and(|sp| cfa < sp) {
            return Err(Fault::Unknown);
        }
        let mut above = Self([None; REGISTERS]);
        for register in machine::PRESERVED {
            above.0[register] = self.0[register];
        }
        let mut return_address = Err(Fault::Unknown);
        for (register, rule) in &row.registers {
            let value = self.find(rule, *register, cfa, row, captured);
            if *register == row.return_address {
                if *rule == Rule::Undefined {
                    return Ok(None);
                }
                return_address = value;
            }
            if let Some(place) = above.0.get_mut(usize::from(register.0)) {
                *place = value.ok();
            }
        }
        above.0[machine::STACK] = Some(cfa);
        *self = above;
        return_address.map(|address| (address != 0).then_some(address))
    }

    fn find(
        &self,
        rule: &Rule,
        register: Register,
        cfa: u64,
        row: &Row,
        captured: &Captured<'_>,
    ) -> Result<u64, Fault> {
        let from_cfa = |offset: i64| cfa.checked_add_signed(offset).ok_or(Fault::Unknown);
        match rule {
            Rule::Undefined => Err(Fault::Unknown),
            Rule::Same => self.get(register),
            Rule::Offset(offset) => read(captured, from_cfa(*offset)?),
            Rule::ValueOffset(offset) => from_cfa(*offset),
            Rule::Register(other, offset) => {
                self.get(*other)?.checked_add_signed(*offset).ok_or(Fault::Unknown)
            }
            Rule::Expression(program) => read(captured, self.evaluate(program, Some(cfa), row, captured)?),
            Rule::ValueExpression(program) => self.evaluate(program, Some(cfa), row, captured),
        }
    }

    fn evaluate(
        &self,
        program: &[u8],
        initial: Option<u64>,
        row: &Row,
        captured: &Captured<'_>,
    ) -> Result<u64, Fault> {
        let program = Expression(EndianSlice::new(program, LittleEndian));
        let mut evaluation = Evaluation::new(program.0, row.encoding);
        evaluation.set_max_iterations(MAX_OPERATIONS);
        if let Some(initial) = initial {
            evaluation.set_initial_value(initial);
        }
        let mut state = evaluation.evaluate();
        loop {
            state = match state.map_err(|_| Fault::Unknown)? {
                EvaluationResult::Complete => break,
                EvaluationResult::RequiresRegister { register, .. } => {
                    evaluation.resume_with_register(Value::Generic(self.get(register)?))
                }
                EvaluationResult::RequiresMemory { address, size: 8, space: None, .. } => {
                    evaluation.resume_with_memory(Value::Generic(read(captured, address)?))
                }
                _ => return Err(Fault::Unknown),
            };
        }
        match evaluation.as_result().last().map(|piece| &piece.location) {
            Some(Location::Address { address }) => Ok(*address),
            _ => Err(Fault::Unknown),
        }
    }

    /// As [`undo`](Self::undo), for code that keeps a chain of frame pointers: each points to the caller's, and the
    /// return address lies behind it.
    fn follow_frame(&mut self, captured: &Captured<'_>) -> Result<Option<u64>, Fault> {
        let frame = self.0[machine::FRAME].ok_or(Fault::Unknown)?;
        let sp = self.0[machine::STACK].ok_or(Fault::Unknown)?;
        if frame == 0 {
            return Ok(None);
        }
        if frame < sp || frame % 8 != 0 {
            return Err(Fault::Unknown);
        }
        let behind = frame.checked_add(16).ok_or(Fault::Unknown)?;
        let return_address = read(captured, frame + 8)?;
        let caller = read(captured, frame)?;
        *self = Self([None; REGISTERS]);
        self.0[machine::FRAME] = Some(caller);
        self.0[machine::STACK] = Some(behind);
        Ok((return_address != 0).then_some(return_address))
    }
}

/// Eight bytes of the stack.
fn read(captured: &Captured<'_>, address: u64) -> Result<u64, Fault> {
    let offset = address.checked_sub(captured.sp).ok_or(Fault::Unknown)?;
    let offset = usize::try_from(offset).map_err(|_| Fault::Behind)?;
    let bytes = captured.stack.get(offset..).and_then(|rest| rest.first_chunk()).ok_or(Fault::Behind)?;
    Ok(u64::from_le_bytes(*bytes))
}
