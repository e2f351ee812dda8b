//! A copy of a stack to addresses.
//!
//! The tables that say how come from the target's files and may say anything, also programs that never end: each step is
//! bounded, and what a step yields is believed only if it is code.

use std::sync::Arc;

use super::registers::{Fault, Registers};
use super::row::{Row, Rule};
use super::scan::Found;
use crate::unwind::Captured;

/// One frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// Where execution goes on.
    pub(crate) address: u64,
    /// An address in the very instruction that is being executed: in the call, as a rule.
    pub(crate) inside: u64,
    /// The stack pointer there, where it is known.
    pub(crate) sp: Option<u64>,
    /// The frame pointer there, where it is known.
    pub(crate) fp: Option<u64>,
}

/// What lies at an address.
#[derive(Debug)]
pub(crate) enum Ground {
    /// Code, and how to get to its caller.
    Code(Way),
    /// No code.
    Nothing,
}

/// How to get to a function's caller.
#[derive(Debug)]
pub(crate) struct Way {
    /// How to undo its frame, if that is known.
    pub(crate) row: Option<Arc<Row>>,
    /// When frame pointers are to be followed.
    pub(crate) pointers: Pointers,
    /// Whether the code keeps them. `None`: that cannot be seen, or was not looked for.
    pub(crate) keeps: Option<bool>,
}

impl Way {
    /// The frame pointer is followed from here, rather than a row.
    fn by_pointers(&self, interrupted: bool) -> bool {
        match self.pointers {
            Pointers::Never | Pointers::Absent => false,
            Pointers::Instead => self.row.is_none(),
            // A frame that is not there yet only a row can tell.
            Pointers::First => {
                self.row.as_ref().is_none_or(|row| !row.is_outermost() && (row.framed || !interrupted))
            }
            Pointers::Only => true,
        }
    }

    /// The frame pointer is 0: that of the outermost is, where they are kept.
    fn without_frame(&self) -> End {
        match (self.keeps, self.pointers) {
            (Some(true), _) => End::Root,
            (_, Pointers::Only) => End::Chained,
            _ => End::Uncharted,
        }
    }

    /// The frame pointer cannot be followed.
    fn end(&self, fault: Fault, captured: &Captured<'_>) -> End {
        match (fault, self.pointers) {
            (Fault::Behind, _) if captured.truncated && self.keeps == Some(true) => End::Copied,
            (_, Pointers::First) => End::Elsewhere,
            (_, Pointers::Only) => End::Chained,
            _ => End::Uncharted,
        }
    }

    /// The frame pointer leads to where no code is.
    fn astray(&self, to: u64) -> End {
        if self.keeps == Some(true) || self.pointers == Pointers::Only {
            End::Astray(to)
        } else {
            End::Uncharted
        }
    }
}

/// When frame pointers are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pointers {
    /// Not at all.
    Never,
    /// Not at all, and there is no row: callers must be looked for.
    Absent,
    /// Where there is no row.
    Instead,
    /// Rather than the row: they lead from stack to stack.
    First,
    /// Whatever there is.
    Only,
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
    /// The kernel follows no more frame pointers at a time.
    Kernel,
    /// It cannot be followed; the last frame had instructions.
    Lost,
    /// The last frame came without instructions, and frame pointers were not to be followed, or led nowhere.
    Uncharted,
    /// It goes on on another stack, of which there is no copy.
    Elsewhere,
    /// Frame pointers end there.
    Chained,
    /// Frame pointers lead to where no code is: to this address.
    Astray(u64),
}

impl End {
    /// A row says that there is a caller, and it cannot be found.
    fn of_row(fault: Fault, captured: &Captured<'_>) -> Self {
        if fault == Fault::Behind && captured.truncated { Self::Copied } else { Self::Lost }
    }
}

/// A step whose caller may have been missed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// The code was interrupted where its frame pointer may still have been its caller's.
    Interrupted(usize),
    /// The code keeps no frame pointers, and they were followed through it.
    Pointless(usize),
    /// Nothing says how to leave the code: what looked like a return address was taken for one.
    Sought(usize),
}

/// Steps, innermost first, at least one.
#[derive(Debug, Clone)]
pub(crate) struct Walk {
    pub(crate) steps: Vec<Step>,
    pub(crate) end: End,
    /// The innermost of which there is some.
    pub(crate) doubt: Option<Doubt>,
}

/// Return addresses as they are in truth.
struct Returns<'a> {
    /// What stands on the stack where a probe catches the return.
    caught_at: Option<u64>,
    /// Where those functions go on, innermost first.
    truth: std::slice::Iter<'a, u64>,
    code_end: u64,
}

impl Returns<'_> {
    fn truth(&mut self, address: u64) -> u64 {
        let address = strip(address, self.code_end);
        let truth = (self.caught_at == Some(address)).then(|| self.truth.next()).flatten();
        truth.map_or(address, |truth| strip(*truth, self.code_end))
    }
}

impl Walk {
    fn from(captured: &Captured<'_>, returns: &mut Returns<'_>) -> (Self, Step) {
        let address = if captured.interrupted { captured.ip } else { returns.truth(captured.ip) };
        let inside = if captured.interrupted { address } else { address.saturating_sub(1) };
        let step = Step { address, inside, sp: Some(captured.sp), fp: Some(captured.bp) };
        (Self { steps: vec![step], end: End::Root, doubt: None }, step)
    }

    /// Frame pointers lead on from the last step, which `way` is about.
    fn note(&mut self, way: &Way, interrupted: bool) {
        if way.pointers == Pointers::Absent {
            let last = self.steps.len() - 1;
            self.doubt.get_or_insert(Doubt::Sought(last));
            return;
        }
        let is_sure = match way.row.as_deref() {
            Some(row) if row.framed => true,
            Some(Row { cfa: Rule::Register(..), .. }) => false,
            _ => !interrupted && way.keeps != Some(false),
        };
        if !is_sure {
            let last = self.steps.len() - 1;
            self.doubt.get_or_insert(if interrupted {
                Doubt::Interrupted(last)
            } else {
                Doubt::Pointless(last)
            });
        }
    }
}

/// Walks up from `captured`, which gives the first step, until `most` steps. At `caught_at` functions go on whose return a probe
/// catches.
pub(crate) fn walk(
    captured: &Captured<'_>,
    most: usize,
    code_end: u64,
    caught_at: Option<u64>,
    mut ground: impl FnMut(u64) -> Ground,
    seek: impl Fn(u64, &Registers) -> Option<Found>,
) -> Walk {
    let mut returns = Returns { caught_at, truth: captured.returns.iter(), code_end };
    if !captured.chain.is_empty() {
        return follow(captured, most, returns, ground);
    }
    let (mut walk, mut step) = Walk::from(captured, &mut returns);
    let mut registers = Registers::of(captured);
    let mut here = ground(step.inside);
    walk.end = loop {
        let Ground::Code(way) = here else { break End::Uncharted };
        let interrupted = step.inside == step.address;
        let row = way.row.as_deref().filter(|_| !way.by_pointers(interrupted));
        let risen = match row {
            Some(row) => registers.undo(row, captured),
            None if way.pointers == Pointers::Never => break End::Uncharted,
            None if way.pointers == Pointers::Absent => match seek(step.inside, &registers) {
                None => break End::Uncharted,
                Some(found) => {
                    registers.leave(found, captured);
                    Ok(Some(found.address))
                }
            },
            None => registers.follow_frame(captured),
        };
        let next = match risen {
            Ok(Some(next)) => returns.truth(next),
            Ok(None) => break if row.is_some() { End::Root } else { way.without_frame() },
            Err(fault) if row.is_some() => break End::of_row(fault, captured),
            Err(fault) => break way.end(fault, captured),
        };
        let is_signal = row.is_some_and(|row| row.signal);
        let inside = if is_signal { next } else { next.saturating_sub(1) };
        let above = Step { address: next, inside, sp: registers.stack(), fp: registers.frame() };
        let found = ground(above.inside);
        if matches!(found, Ground::Nothing) {
            break if row.is_some() { End::Lost } else { way.astray(next) };
        }
        if row.is_none() {
            walk.note(&way, interrupted);
        }
        if walk.steps.len() >= most {
            break End::Limit;
        }
        (step, here) = (above, found);
        walk.steps.push(step);
    };
    walk
}

/// The kernel has followed frame pointers: what it has found.
fn follow(
    captured: &Captured<'_>,
    most: usize,
    mut returns: Returns<'_>,
    mut ground: impl FnMut(u64) -> Ground,
) -> Walk {
    let (mut walk, mut step) = Walk::from(captured, &mut returns);
    let mut here = ground(step.inside);
    walk.end = if captured.truncated { End::Kernel } else { End::Chained };
    for next in captured.chain {
        let Ground::Code(way) = &here else { break };
        let next = returns.truth(*next);
        let above = Step { address: next, inside: next.saturating_sub(1), sp: None, fp: None };
        let found = ground(above.inside);
        if matches!(found, Ground::Nothing) {
            walk.end = if next == 0 { End::Chained } else { End::Astray(next) };
            return walk;
        }
        walk.note(way, step.inside == step.address);
        if walk.steps.len() >= most {
            walk.end = End::Limit;
            return walk;
        }
        (step, here) = (above, found);
        walk.steps.push(step);
    }
    match here {
        Ground::Nothing => walk.end = End::Uncharted,
        Ground::Code(Way { row: Some(row), .. }) if row.is_outermost() => walk.end = End::Root,
        Ground::Code(_) => {}
    }
    walk
}

/// Without the signature that 64-bit Arm may put into the upper bits of a return address.
fn strip(address: u64, code_end: u64) -> u64 {
    if cfg!(target_arch = "aarch64") {
        address & (u64::MAX >> code_end.leading_zeros().min(63))
    } else {
        address
    }
}
