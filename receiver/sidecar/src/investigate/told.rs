//! What a look tells while it goes on: each becomes a record.

use std::sync::Arc;
use std::time::Duration;

use mlh_detect::Testimonies;
use mlh_stacks::trace::Trace;

use super::plan::{End, Mode, Origin};
use super::report::{Cost, StackEvidence};
use crate::ladder::Knowledge;
use crate::records::Subject;

/// One thing to tell.
#[derive(Debug, Clone, PartialEq)]
pub enum Told {
    /// An operation on memory: kinds 1 and 2.
    Operation(Box<Operation>),
    /// Blocks of one stack that have not been freed for too long: kind 3.
    Unfreed(Box<Unfreed>),
}

/// One allocation, deallocation or change of the address space.
#[derive(Debug, Clone, PartialEq)]
pub struct Operation {
    /// Since boot.
    pub at: Duration,
    /// Who.
    pub subject: Arc<Subject>,
    /// What it is called: `malloc`, `mmap`, ...
    pub name: &'static str,
    /// Memory was given back.
    pub freed: bool,
    /// Where the memory is.
    pub address: u64,
    /// Bytes.
    pub size: u64,
    /// How many such it stands for; 1 where nothing is sampled.
    pub weight: u32,
    /// Where the first frame outside the allocator goes on; where the stack is not known, the allocator's caller.
    pub caller_ip: u64,
    /// The stack of the allocation, where it is known.
    pub trace: Option<Arc<Trace>>,
    /// Resident memory of the process, pages.
    pub rss_pages: u64,
    /// Pages that this grew by since the record of this process before; 0 where it did not, or there was none.
    pub rss_growth: u64,
}

/// What one stack has not freed.
#[derive(Debug, Clone, PartialEq)]
pub struct Unfreed {
    /// When this was found, since boot.
    pub at: Duration,
    /// Who.
    pub subject: Arc<Subject>,
    /// The oldest block that is still there.
    pub address: u64,
    /// Its bytes.
    pub size: u64,
    /// Its age.
    pub age: Duration,
    /// Blocks of this stack older than `min_unfreed_age`; an estimate where sampled.
    pub occurrences: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The same stack has been told before, and holds more by now.
    pub grown: bool,
    /// All that is known of the stack.
    pub stack: StackEvidence,
    /// What the look has cost so far, of the target's CPU time.
    pub overhead: f64,
}

/// The mode of operation has changed: kind 10.
#[derive(Debug, Clone, PartialEq)]
pub struct ModeChange {
    /// When, since boot.
    pub at: Duration,
    /// What was done before.
    pub from: Mode,
    /// What is done from now on.
    pub to: Mode,
    /// The target, in words.
    pub target: String,
    /// The process or container it is, as far as it is known.
    pub subject: Arc<Subject>,
    /// All that the target consists of, not one process.
    pub whole_group: bool,
    /// Who asked for the look.
    pub asked_by: Origin,
    /// Why it has ended; absent where it begins.
    pub ended: Option<End>,
    /// For how long it is to be, or has been, looked.
    pub duration: Option<Duration>,
    /// What it has cost; absent where it begins.
    pub cost: Option<Cost>,
    /// Where it cost too much: the share that it took of the target's CPU time when it was stopped.
    pub over: Option<f64>,
    /// And the share that was allowed.
    pub budget: Option<f64>,
    /// Who was found to be to blame; absent where it begins.
    pub found: Option<Arc<Knowledge>>,
    /// What the rungs have said in the end; none where it begins, and of a look that somebody ordered.
    pub evidence: Testimonies,
}
