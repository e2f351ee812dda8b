//! The registers of a function's caller, by a row or by the frame pointer.

use gimli::{EndianSlice, Evaluation, EvaluationResult, Expression, LittleEndian, Location, Register, Value};

use super::row::{FRAME, REGISTERS, RETURN, Row, Rule, STACK};
use super::scan::Found;
use crate::unwind::Captured;

/// Operations of one expression; real ones have ten.
const MAX_OPERATIONS: u32 = 200;

const FRAME_AT: usize = FRAME.0 as usize;
const STACK_AT: usize = STACK.0 as usize;
/// Registers that functions leave as they have found them: rbx, rbp, r12 to r15.
#[cfg(not(target_arch = "aarch64"))]
const PRESERVED: [usize; 6] = [3, 6, 12, 13, 14, 15];
/// x19 to x29.
#[cfg(target_arch = "aarch64")]
const PRESERVED: [usize; 11] = [19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29];

/// Why a frame could not be undone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// What is needed lies behind the end of the copy.
    Behind,
    /// Nonsense, or nothing that a copy of the stack could tell.
    Unknown,
}

/// What is known of the registers, by DWARF number.
#[derive(Debug, Clone)]
pub(super) struct Registers([Option<u64>; REGISTERS]);

impl Registers {
    pub(super) fn of(captured: &Captured<'_>) -> Self {
        let mut known = [None; REGISTERS];
        known[STACK_AT] = Some(captured.sp);
        known[FRAME_AT] = Some(captured.bp);
        // Stubs of the linker tell by where in them execution is.
        if cfg!(target_arch = "x86_64") {
            known[usize::from(RETURN.0)] = Some(captured.ip);
        }
        Self(known)
    }

    /// The stack pointer, if it is known.
    pub(super) fn stack(&self) -> Option<u64> {
        self.0[STACK_AT]
    }

    /// The frame pointer, if it is known.
    pub(super) fn frame(&self) -> Option<u64> {
        self.0[FRAME_AT]
    }

    fn get(&self, register: Register) -> Result<u64, Fault> {
        self.0.get(usize::from(register.0)).copied().flatten().ok_or(Fault::Unknown)
    }

    /// Turns these into those of the caller and returns where it goes on.
    pub(super) fn undo(&mut self, row: &Row, captured: &Captured<'_>) -> Result<Option<u64>, Fault> {
        let cfa = match &row.cfa {
            Rule::Register(register, offset) => {
                self.get(*register)?.checked_add_signed(*offset).ok_or(Fault::Unknown)?
            }
            Rule::ValueExpression(program) => self.evaluate(program, None, row, captured)?,
            _ => return Err(Fault::Unknown),
        };
        // Stacks grow down. Where nothing moves a frame would be its own caller.
        if self.0[STACK_AT].is_some_and(|sp| cfa < sp) {
            return Err(Fault::Unknown);
        }
        let mut above = Self([None; REGISTERS]);
        for register in PRESERVED {
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
        above.0[STACK_AT] = Some(cfa);
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
            Rule::Offset(offset) => {
                let place = from_cfa(*offset)?;
                // Compilers do not say that a register is restored at the end of a function: what it was taken from lies
                // below the stack then.
                if register != row.return_address && self.0[STACK_AT].is_some_and(|sp| place < sp) {
                    return self.get(register);
                }
                read(captured, place)
            }
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

    /// As [`undo`](Self::undo), for a return address that was found on the stack. Whatever else the function has put into
    /// registers stays there.
    pub(super) fn leave(&mut self, found: Found, captured: &Captured<'_>) {
        let mut above = Self([None; REGISTERS]);
        above.0[FRAME_AT] = match found.frame {
            Some(place) => read(captured, place).ok(),
            None => self.0[FRAME_AT],
        };
        above.0[STACK_AT] = found.slot.checked_add(8);
        *self = above;
    }

    /// As [`undo`](Self::undo), for code that keeps a chain of frame pointers: each points to the caller's, and the
    /// return address lies behind it.
    pub(super) fn follow_frame(&mut self, captured: &Captured<'_>) -> Result<Option<u64>, Fault> {
        let frame = self.0[FRAME_AT].ok_or(Fault::Unknown)?;
        let sp = self.0[STACK_AT].ok_or(Fault::Unknown)?;
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
        self.0[FRAME_AT] = Some(caller);
        self.0[STACK_AT] = Some(behind);
        Ok((return_address != 0).then_some(return_address))
    }
}

/// Eight bytes of the stack.
pub(super) fn read(captured: &Captured<'_>, address: u64) -> Result<u64, Fault> {
    let offset = address.checked_sub(captured.sp).ok_or(Fault::Unknown)?;
    let offset = usize::try_from(offset).map_err(|_| Fault::Behind)?;
    let bytes = captured.stack.get(offset..).and_then(|rest| rest.first_chunk()).ok_or(Fault::Behind)?;
    Ok(u64::from_le_bytes(*bytes))
}
