//! Growth by page.

use serde::Serialize;

use super::{FrameObject, round};
use crate::commands::inspect::finding::{base_name, blamed};
use crate::investigate::report::GrowthStack;

/// A stack that touched memory that is still there: those that grow steadily first, by how much.
#[derive(Serialize)]
pub(super) struct GrowthObject<'a> {
    function: Option<&'a str>,
    file: Option<&'a str>,
    line: Option<u32>,
    module: Option<&'a str>,
    share: f64,
    bytes: u64,
    error_bytes: u64,
    steady_bytes: u64,
    touched_bytes: u64,
    samples: u64,
    survivors: u64,
    cohorts: &'a [u64],
    pattern: &'static str,
    velocity_bytes_per_second: f64,
    stack_hash: String,
    stack: Vec<FrameObject<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    incomplete: Option<&'a str>,
    pid: u32,
}

impl<'a> GrowthObject<'a> {
    pub(super) fn of(growth: &'a GrowthStack) -> Self {
        let trace = &growth.trace;
        let frame = blamed(trace);
        Self {
            function: frame.and_then(|frame| frame.function.as_deref()),
            file: frame.and_then(|frame| frame.file.as_deref()),
            line: frame.and_then(|frame| frame.line),
            module: frame.map(|frame| base_name(&frame.module)),
            share: round(growth.figures.share, 4),
            bytes: growth.figures.bytes,
            error_bytes: growth.figures.error_bytes,
            steady_bytes: growth.figures.steady_bytes,
            touched_bytes: growth.figures.touched_bytes,
            samples: growth.figures.samples,
            survivors: growth.figures.survivors,
            cohorts: &growth.figures.cohorts,
            pattern: growth.figures.pattern.name(),
            velocity_bytes_per_second: round(growth.figures.velocity, 1),
            stack_hash: format!("{:016x}", trace.hash),
            stack: trace.frames.iter().map(FrameObject::of).collect(),
            incomplete: trace.incomplete.as_deref(),
            pid: growth.pid,
        }
    }
}
