//! Which frame is to blame for an allocation: the innermost that is not there to allocate on behalf of others.

pub(crate) use self::plumbing::MADE;
use self::plumbing::PLUMBING;
use crate::python;
use crate::trace::Frame;

mod plumbing;

/// The frame to blame, innermost first: an index. Where none stands out, the outermost that is in no library of the
/// language, else the first. `None`: there are no frames, or a runtime is at work and nothing of the program it runs is in sight.
/// A runtime's own frames are never to blame, nor is code that was made at run time and has no name: what they are called says
/// nothing of the program. Of what has no name, and of what Java calls, the caller is to blame.
#[must_use]
pub fn culprit(frames: &[Frame]) -> Option<usize> {
    let serves = server(frames);
    let is_program = |frame: &Frame| {
        !PLUMBING.is_library(&frame.module) && !PLUMBING.is_entry(frame) && !PLUMBING.hosts(frame)
    };
    let is_hosted = frames.iter().any(|frame| PLUMBING.hosts(frame));
    let (pooled, rest) = frames.split_at(pooled(frames, &serves));
    rest.iter()
        .position(|frame| !serves(frame))
        .map(|at| told(frames, pooled.len() + at, &serves))
        .or_else(|| frames.iter().position(is_python))
        .or_else(|| frames.iter().rposition(is_program))
        .or_else(|| (!frames.is_empty() && !is_hosted).then_some(0))
}

/// The file of the function without a name for which its caller, the frame at `culprit`, is told, where it is another file than his:
/// whoever reads of the caller is to know where it goes on.
#[must_use]
pub fn nameless_library(frames: &[Frame], culprit: usize) -> Option<&str> {
    let serves = server(frames);
    let (inner, caller) = (frames.get(pooled(frames, &serves)..culprit)?, frames.get(culprit)?);
    let blamed = inner.iter().find(|frame| !serves(frame))?;
    (blamed.function.is_none() && blamed.module != caller.module).then_some(blamed.module.as_str())
}

fn is_python(frame: &Frame) -> bool {
    frame.module == python::MODULE
}

/// Which frames of a stack are there on behalf of others.
fn server(frames: &[Frame]) -> impl Fn(&Frame) -> bool + use<> {
    let has_python = frames.iter().any(is_python);
    move |frame| {
        if is_python(frame) {
            return python::serves(frame);
        }
        (has_python && python::serves(frame))
            || PLUMBING.is_runtime(frame)
            || PLUMBING.is_nameless(frame)
            || PLUMBING.serves(frame)
    }
}

/// By whom the frame is told that would be to blame. One without a name is told by its nearest caller that has one, in the same file or in
/// the language that calls it, there past what its package has around it: nobody finds an address in their code. And what Java calls by
/// its own interface has its name there.
fn told(frames: &[Frame], at: usize, serves: impl Fn(&Frame) -> bool) -> usize {
    let Some((blamed, callers)) = frames.get(at..).and_then(<[Frame]>::split_first) else { return at };
    let of_language = |frame: &Frame| is_python(frame) || PLUMBING.is_made(frame);
    let outer = (at + 1..).zip(callers).filter(|(_, frame)| !serves(frame));
    if of_language(blamed) {
        return at;
    }
    let own = frames.iter().skip(at).take_while(|frame| !of_language(frame));
    let found = if own.into_iter().any(|frame| PLUMBING.is_bridge(frame)) {
        outer.clone().find(|(_, frame)| of_language(frame))
    } else if blamed.function.is_none() {
        let has_no_name = |frame: &Frame| frame.function.is_none() && frame.module == blamed.module;
        let mut named = outer.skip_while(|(_, frame)| has_no_name(frame)).peekable();
        let next = named.peek().copied().filter(|(_, frame)| {
            of_language(frame) || (frame.module == blamed.module && !PLUMBING.is_outermost(frame))
        });
        // a package's own wrapper around it says as little, where the program's call of that is known
        let wraps =
            next.is_some_and(|(_, frame)| python::is_installed(blamed) && python::is_installed(frame));
        let program =
            |frame: &Frame| is_python(frame) && !python::is_installed(frame) && !PLUMBING.is_outermost(frame);
        let caller = wraps.then(|| named.find(|(_, frame)| program(frame))).flatten();
        caller.or(next)
    } else {
        None
    };
    found.map_or(at, |(at, _)| at)
}

/// So many of the innermost frames are of a pool: what it calls has often no name, and nobody else calls it.
fn pooled(frames: &[Frame], serves: impl Fn(&Frame) -> bool) -> usize {
    let (within, pool) = match frames.iter().position(|frame| PLUMBING.is_pool(frame)) {
        Some(at) => frames.split_at(at),
        None => return 0,
    };
    let own = |frame: &Frame| {
        frame.function.is_none() && pool.first().is_some_and(|pool| pool.module == frame.module)
    };
    if within.iter().all(|frame| own(frame) || serves(frame)) { within.len() } else { 0 }
}

/// The frame is of an allocator: it makes, moves or frees memory for others.
#[must_use]
pub fn allocates(frame: &Frame) -> bool {
    PLUMBING.allocates(frame)
}

/// The frame is of a garbage collector, which goes through all that there is: it runs for whoever happens to allocate then.
#[must_use]
pub fn collects(frame: &Frame) -> bool {
    PLUMBING.collects(frame)
}

#[cfg(test)]
mod tests;
