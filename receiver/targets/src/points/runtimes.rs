//! Runtimes that allocate within memory of their own, and what of them cannot be seen.

use mlh_stacks::modules::Modules;

use super::{BlindSpot, Runtime};

/// The one that a process is of: an embedded interpreter is not.
const BY_WEIGHT: [Runtime; 7] = [
    Runtime::Go,
    Runtime::Jvm,
    Runtime::Node,
    Runtime::Dotnet,
    Runtime::Cpython,
    Runtime::Ruby,
    Runtime::Php,
];

/// Of all that were found in what a process maps.
pub(super) fn of(found: impl Iterator<Item = Runtime>) -> Runtime {
    let found: Vec<_> = found.collect();
    BY_WEIGHT.into_iter().find(|runtime| found.contains(runtime)).unwrap_or_default()
}

/// What cannot be seen because of them, and of code that no file holds.
pub(super) fn blind_spots(found: impl Iterator<Item = Runtime>, modules: &Modules) -> Vec<BlindSpot> {
    let mut spots: Vec<BlindSpot> = found
        .filter_map(heap)
        .map(|(what, reason)| BlindSpot { what: what.to_owned(), reason: reason.to_owned() })
        .collect();
    if spots.iter().any(|spot| spot.what == GO_HEAP) {
        spots.push(BlindSpot {
            what: "mappings made by Go code through package syscall".to_owned(),
            reason:
                "one function serves every system call of the program: a probe there would slow all of them"
                    .to_owned(),
        });
    }
    // the kernel's own: system calls, and where it single-steps what probes stand on
    let is_kernels = |name: &str| name.starts_with("[v") || name == "[uprobes]";
    if modules.anonymous.iter().any(|part| part.executable && !is_kernels(&part.name)) {
        spots.push(BlindSpot {
            what: "system calls of code made at run time".to_owned(),
            reason: "no file holds that code, so no probe can be placed in it; what it allocates through libraries is seen"
                .to_owned(),
        });
    }
    spots
}

const GO_HEAP: &str = "allocations of the Go heap";

fn heap(runtime: Runtime) -> Option<(&'static str, &'static str)> {
    Some(match runtime {
        Runtime::Native => return None,
        Runtime::Go => (
            GO_HEAP,
            "Go's allocator works within memory that it has mapped; the mappings are seen, the objects in them are not",
        ),
        Runtime::Jvm => (
            "objects of the JVM heap",
            "the JVM allocates objects within memory that it has mapped; the mappings are seen, the objects in them are not",
        ),
        Runtime::Node => (
            "objects of the V8 heap",
            "V8 allocates objects within memory that it has mapped; the mappings are seen, the objects in them are not",
        ),
        Runtime::Dotnet => (
            "objects of the .NET heap",
            ".NET allocates objects within memory that it has mapped; the mappings are seen, the objects in them are not",
        ),
        Runtime::Cpython => (
            "small Python objects",
            "pymalloc carves objects of up to 512 bytes out of arenas that it maps; the arenas are seen, the objects in them are not",
        ),
        Runtime::Ruby => (
            "Ruby objects",
            "Ruby carves objects out of pages of its own; the pages are seen, the objects in them are not",
        ),
        Runtime::Php => (
            "values of the PHP heap",
            "the Zend allocator works within chunks of 2 MiB that it maps; the chunks are seen, the values in them are not",
        ),
    })
}

#[cfg(test)]
mod tests {
    use mlh_stacks::modules::Anonymous;

    use super::*;

    /// Guarantees: code made at run time is a blind spot; what the kernel puts into every process, or into one that has been
    /// probed, is none.
    #[test]
    fn code_without_a_file() {
        let spots = |name: &str| {
            let part = Anonymous { start: 0x1000, end: 0x2000, name: name.to_owned(), executable: true };
            let modules = Modules { anonymous: vec![part], ..Modules::default() };
            blind_spots(std::iter::empty(), &modules).len()
        };
        assert_eq!(["", "[anon:jit]", "[vsyscall]", "[uprobes]"].map(spots), [1, 1, 0, 0]);
    }
}
