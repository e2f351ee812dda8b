//! Which frame is to blame for an allocation: the innermost that is not there to allocate on behalf of others.

use self::plumbing::PLUMBING;
use crate::python;
use crate::trace::Frame;

mod plumbing;

/// The frame to blame, innermost first: an index. Where none stands out, the outermost that is in no library of the
/// language, else the first. `None`: there are no frames, or a runtime is at work and nothing of the program it runs is in sight.
/// A runtime's own frames are never to blame, nor is code that was made at run time and has no name: what they are called says
/// nothing of the program.
#[must_use]
pub fn culprit(frames: &[Frame]) -> Option<usize> {
    let is_python = |frame: &Frame| frame.module == python::MODULE;
    let has_python = frames.iter().any(is_python);
    let serves = |frame: &Frame| {
        if is_python(frame) {
            return python::serves(frame);
        }
        (has_python && python::serves(frame))
            || PLUMBING.is_runtime(frame)
            || PLUMBING.is_nameless(frame)
            || PLUMBING.serves(frame)
    };
    let is_program = |frame: &Frame| {
        !PLUMBING.is_library(&frame.module) && !PLUMBING.is_entry(frame) && !PLUMBING.hosts(frame)
    };
    let is_hosted = frames.iter().any(|frame| PLUMBING.hosts(frame));
    frames
        .iter()
        .position(|frame| !serves(frame))
        .or_else(|| frames.iter().position(is_python))
        .or_else(|| frames.iter().rposition(is_program))
        .or_else(|| (!frames.is_empty() && !is_hosted).then_some(0))
}

/// The frame is of an allocator: it makes, moves or frees memory for others.
#[must_use]
pub fn allocates(frame: &Frame) -> bool {
    PLUMBING.allocates(frame)
}

#[cfg(test)]
mod tests;
