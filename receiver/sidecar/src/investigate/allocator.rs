//! Whether an allocator is at work on a stack, for whomever.

use mlh_stacks::blame::allocates;
use mlh_stacks::trace::Trace;

/// What is mapped from such a stack serves allocations; the filters may have kept those from being told, so that the
/// kernel's side knows nothing of them.
pub(super) fn is_on(trace: &Trace) -> bool {
    // what stands behind the frame to blame is the program's, and its functions may be called as they like
    let inner = match (trace.culprit, &trace.incomplete) {
        (Some(culprit), None) => culprit,
        _ => trace.frames.len(),
    };
    trace.frames.iter().take(inner).any(allocates)
}

#[cfg(test)]
mod tests {
    use mlh_stacks::trace::Frame;

    use super::*;

    fn trace(frames: &[&str], culprit: Option<usize>, incomplete: bool) -> Trace {
        let frame = |text: &&str| {
            let (function, module) = text.split_once('@').unwrap();
            let function = (!function.is_empty()).then(|| function.to_owned());
            Frame { function, module: module.to_owned(), ..Frame::default() }
        };
        let incomplete = incomplete.then(|| "the copy ends".to_owned());
        Trace { frames: frames.iter().map(frame).collect(), culprit, incomplete, ..Trace::default() }
    }

    /// Guarantees: an allocator is found by its functions, and by its library where they have no names, also on a stack
    /// that could not be followed to its end; what the program calls its own functions does not matter, nor what other
    /// parts of the C library map.
    #[test]
    fn allocators_at_work() {
        const C: &str = "@/usr/lib/libc.so.6";
        let at = |function: &str| format!("{function}{C}");
        let (sbrk, sys, malloc) = (at("__GI___sbrk"), at("sysmalloc"), at("__libc_malloc"));
        assert!(is_on(&trace(&[&sbrk, &sys, &malloc, "leak@/bin/app"], Some(3), false)));
        assert!(is_on(&trace(&[&sbrk, &at("__glibc_morecore")], Some(0), true)));
        assert!(is_on(&trace(&["@/usr/lib/libjemalloc.so.2", "leak@/bin/app"], Some(1), false)));
        assert!(is_on(&trace(&["_rjem_je_pages_map@/bin/app", "leak@/bin/app"], Some(1), false)));
        assert!(!is_on(&trace(&["map_all@/bin/app", "free@/bin/app"], Some(0), false)));
        assert!(!is_on(&trace(
            &[&at("allocate_stack"), &at("pthread_create"), "main@/bin/app"],
            Some(2),
            false
        )));
        assert!(!is_on(&trace(&[], None, false)));
    }
}
