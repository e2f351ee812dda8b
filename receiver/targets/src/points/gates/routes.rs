//! All routes through a function that its arguments allow.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::ops::Range;

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, OpKind, Register,
};

use super::super::code::jump_target;
use super::super::elf::Elf;
use super::super::symbols::function_starts;
use super::state::{Premise, State};

/// What an instruction takes at most.
const LONGEST_INSTRUCTION: u64 = 15;
/// A function that is longer or has more routes than that is no allocator's.
const MAX_STATES: usize = 20_000;
/// All questions about a file together may take so many; those about glibc take some ten thousand.
const MAX_STEPS: u64 = 400_000;
/// So often the answer may hang on another function's.
const MAX_NESTED: u32 = 3;
/// A function that never returns calls others that never do, some calls deep.
const MAX_CALLS: u32 = 8;
/// Of a file so many are looked at.
const MAX_INSTRUCTIONS: usize = 100_000;
/// So much of a function is looked at for its end.
const MAX_LENGTH: usize = 4096;

/// What to do at an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// On with it.
    On,
    /// This route is done with.
    Enough,
    /// The whole question is answered: no.
    Refuse,
}

/// The code of a file.
pub(super) struct Program<'a> {
    pub(super) elf: &'a Elf,
    /// Where functions begin, sorted.
    starts: Vec<u64>,
    instructions: RefCell<HashMap<u64, Option<Instruction>>>,
    returning: RefCell<HashMap<u64, bool>>,
    returning_with: RefCell<HashMap<(u64, u64), bool>>,
    steps_left: Cell<u64>,
    nested: Cell<u32>,
}

impl<'a> Program<'a> {
    /// `None`: it does not say where its functions begin.
    pub(super) fn of(elf: &'a Elf) -> Option<Self> {
        let mut starts = elf.function_starts();
        if starts.is_empty() {
            // static programs come without a table of their unwind tables
            starts = function_starts(elf);
        }
        (!starts.is_empty()).then(|| Self {
            elf,
            starts,
            instructions: RefCell::default(),
            returning: RefCell::default(),
            returning_with: RefCell::default(),
            steps_left: Cell::new(MAX_STEPS),
            nested: Cell::new(0),
        })
    }

    fn instruction(&self, address: u64) -> Option<Instruction> {
        let mut known = self.instructions.borrow_mut();
        if known.len() >= MAX_INSTRUCTIONS {
            return None;
        }
        *known.entry(address).or_insert_with(|| {
            let bytes = self.elf.code(address, LONGEST_INSTRUCTION)?;
            let instruction = Decoder::with_ip(64, &bytes, address, DecoderOptions::NONE).decode();
            (!instruction.is_invalid()).then_some(instruction)
        })
    }

    /// The instruction there.
    pub(super) fn straight(&self, address: u64) -> Option<Instruction> {
        self.instruction(address)
    }

    /// The addresses of the instructions from there on, as long as none of them leads elsewhere, and of the one that does.
    pub(super) fn straight_on(&self, address: u64) -> impl Iterator<Item = u64> + '_ {
        std::iter::successors(self.instruction(address), |instruction| {
            let on = instruction.flow_control() == FlowControl::Next;
            on.then(|| self.instruction(instruction.next_ip()))?
        })
        .map(|instruction| instruction.ip())
    }

    /// The function that the instruction there calls or jumps to.
    pub(super) fn called(&self, address: u64) -> Option<u64> {
        let instruction = self.instruction(address)?;
        (instruction.op0_kind() == OpKind::NearBranch64).then(|| instruction.near_branch64())
    }

    /// From its first byte to where the next one begins. `None`: no function begins there.
    pub(super) fn function(&self, address: u64) -> Option<Range<u64>> {
        let index = self.starts.binary_search(&address).ok()?;
        let end = self.starts[index..].iter().find(|start| **start > address)?;
        Some(address..*end)
    }

    /// Whether a function may come back to its caller. What cannot be told may.
    fn returns(&self, address: u64, calls: u32) -> bool {
        if let Some(known) = self.returning.borrow().get(&address) {
            return *known;
        }
        let Some(function) = self.function(address).filter(|_| calls < MAX_CALLS) else { return true };
        // until the contrary is known, also for those that it calls and that call it
        self.returning.borrow_mut().insert(address, true);
        let returns = self.may_return(&function, calls);
        self.returning.borrow_mut().insert(address, returns);
        returns
    }

    fn may_return(&self, function: &Range<u64>, calls: u32) -> bool {
        let (mut open, mut seen) = (vec![function.start], HashSet::new());
        while let Some(address) = open.pop() {
            if !function.contains(&address) || !seen.insert(address) {
                continue;
            }
            let Some(instruction) = self.instruction(address).filter(|_| seen.len() < MAX_LENGTH) else {
                return true;
            };
            let target = jump_target(&instruction);
            let elsewhere = |target: u64| !function.contains(&target) && self.returns(target, calls + 1);
            match instruction.flow_control() {
                FlowControl::Return | FlowControl::IndirectBranch => return true,
                FlowControl::Call if !self.returns(instruction.near_branch64(), calls + 1) => continue,
                FlowControl::Interrupt | FlowControl::Exception => continue,
                _ if target.is_some_and(elsewhere) => return true,
                FlowControl::UnconditionalBranch => {
                    open.extend(target);
                    continue;
                }
                _ if instruction.code() == Code::Hlt => continue,
                _ => open.extend(target),
            }
            open.push(instruction.next_ip());
        }
        false
    }

    /// Whether a call may come back, when it is told a number: some do unless they are told to end the program.
    fn comes_back(&self, call: &Instruction, state: &State) -> bool {
        let address = call.near_branch64();
        if !self.returns(address, 0) {
            return false;
        }
        let told = state.get(Register::RDI);
        let (true, Some(function)) = (told.least == told.most, self.function(address)) else { return true };
        if self.nested.get() >= MAX_NESTED {
            return true;
        }
        let key = (address, told.least);
        if let Some(known) = self.returning_with.borrow().get(&key) {
            return *known;
        }
        self.returning_with.borrow_mut().insert(key, true);
        let premise = Premise { arguments: vec![(Register::RDI, told)], ..Premise::default() };
        self.nested.set(self.nested.get() + 1);
        let never = self.follow(&function, &premise, &mut |instruction, state| {
            // the memory that it sets apart may grow in a loop
            state.keep_numbers();
            if is_left(instruction, &function, state) { Step::Refuse } else { Step::On }
        });
        self.nested.set(self.nested.get() - 1);
        self.returning_with.borrow_mut().insert(key, !never);
        !never
    }

    /// Follows all routes that the premise allows from the function's entry to where it is left, also through parts of it that
    /// lie elsewhere. `at` is asked at every instruction, and may note in the state that a gate has seen the block. Where a
    /// route ends without its consent (`Enough`) the answer is no.
    pub(super) fn follow(
        &self,
        function: &Range<u64>,
        premise: &Premise,
        at: &mut dyn FnMut(&Instruction, &mut State) -> Step,
    ) -> bool {
        let mut information = InstructionInfoFactory::new();
        let initial = |address| self.elf.initial_word(address);
        let mut seen: HashSet<(u64, State)> = HashSet::new();
        let mut open = vec![(function.start, State::at_entry(premise))];
        while let Some((address, mut state)) = open.pop() {
            let Some(left) = self.steps_left.get().checked_sub(1).filter(|_| seen.len() < MAX_STATES) else {
                return false;
            };
            self.steps_left.set(left);
            if !seen.insert((address, state.clone())) {
                continue;
            }
            let Some(instruction) = self.instruction(address) else { return false };
            // such a jump ends one route and not the other
            if instruction.flow_control() == FlowControl::ConditionalBranch
                && is_left(&instruction, function, &state)
            {
                return false;
            }
            match at(&instruction, &mut state) {
                Step::On => {}
                Step::Enough => continue,
                Step::Refuse => return false,
            }
            if is_left(&instruction, function, &state) {
                return false;
            }
            match instruction.flow_control() {
                FlowControl::Interrupt | FlowControl::Exception => continue,
                FlowControl::Call if !self.comes_back(&instruction, &state) => continue,
                FlowControl::ConditionalBranch if instruction.is_jcc_short_or_near() => {
                    let condition = instruction.condition_code();
                    let target = jump_target(&instruction);
                    let on = state.branch(condition, false).map(|state| (instruction.next_ip(), state));
                    let away = target.zip(state.branch(condition, true));
                    open.extend(on.into_iter().chain(away));
                }
                FlowControl::UnconditionalBranch => {
                    open.extend(jump_target(&instruction).map(|target| (target, state)));
                }
                FlowControl::Next | FlowControl::Call | FlowControl::IndirectCall => {
                    state.step(&instruction, premise, &initial, &mut information);
                    open.push((instruction.next_ip(), state));
                }
                _ => return false,
            }
        }
        true
    }
}

/// Whether the function is over with this instruction: it returns, or another one takes its place.
pub(super) fn is_left(instruction: &Instruction, function: &Range<u64>, state: &State) -> bool {
    match instruction.flow_control() {
        FlowControl::Return | FlowControl::IndirectBranch => true,
        FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
            // with something on the stack still it is a part of the function that lies elsewhere
            let outside = jump_target(instruction).is_some_and(|target| !function.contains(&target));
            outside && state.depth() == Some(0)
        }
        _ => false,
    }
}
