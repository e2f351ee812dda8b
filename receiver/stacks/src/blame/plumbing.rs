//! The list of those who allocate on behalf of others.

use std::collections::HashSet;
use std::sync::LazyLock;

use crate::trace::Frame;

/// The list, read when it is first needed.
pub(super) static PLUMBING: LazyLock<Plumbing> = LazyLock::new(|| Plumbing::read(TEXT).0);

const TEXT: &str = include_str!("plumbing.txt");

/// The module of code that was made at run time.
pub(crate) const MADE: &str = "[anon]";

/// What the names of functions begin with that Java calls.
const BRIDGE: &str = "Java_";

/// Outermost functions of programs: of C, Go, Java and Python.
const OUTERMOST: [&str; 4] = ["main", "main.main", "<module>", "runtime.main"];

/// What C libraries put before the names of functions that have another name for everybody else.
const ALIASES: [&str; 3] = ["__GI_", "__libc_", "__glibc_"];
/// What compilers put behind the names of parts of functions, and of copies.
const PARTS: [&str; 7] = [".cold", ".part.", ".constprop.", ".isra.", ".lto_priv.", ".llvm.", ".localalias"];

/// See the file for what the sections are.
#[derive(Debug, Default)]
pub(super) struct Plumbing {
    libraries: Names,
    functions: Functions,
    pools: HashSet<&'static str>,
    prefixes: Patterns,
    crates: HashSet<&'static str>,
    sources: Patterns,
    made: Patterns,
    runtimes: HashSet<&'static str>,
    entries: HashSet<&'static str>,
    collectors: HashSet<&'static str>,
    hosts: Patterns,
}

/// Of all, and of allocators alone.
#[derive(Debug, Default)]
struct Names {
    all: Vec<&'static str>,
    allocators: Vec<&'static str>,
}

#[derive(Debug, Default)]
struct Functions {
    all: HashSet<&'static str>,
    allocators: HashSet<&'static str>,
}

#[derive(Debug, Default)]
struct Patterns {
    all: Vec<Pattern>,
    allocators: Vec<Pattern>,
}

impl Patterns {
    fn add(&mut self, line: &'static str, is_allocator: bool) -> bool {
        let pattern = Pattern::new(line);
        let is_new = !self.all.contains(&pattern);
        self.allocators.extend(is_allocator.then(|| pattern.clone()));
        self.all.push(pattern);
        is_new
    }
}

/// Parts of a name, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern(Vec<&'static str>);

impl Pattern {
    fn new(text: &'static str) -> Self {
        Self(text.split('*').collect())
    }

    /// A text begins like that.
    fn begins(&self, text: &str) -> bool {
        let Some((first, rest)) = self.0.split_first() else { return false };
        text.strip_prefix(first).is_some_and(|behind| follow(rest, behind))
    }

    /// A text has that in it.
    fn is_in(&self, text: &str) -> bool {
        follow(&self.0, text)
    }
}

fn follow(parts: &[&str], text: &str) -> bool {
    let mut rest = text;
    parts.iter().all(|part| match rest.split_once(part) {
        Some((_, behind)) => {
            rest = behind;
            true
        }
        None => false,
    })
}

impl Plumbing {
    /// The list, and the lines that are not understood.
    pub(super) fn read(text: &'static str) -> (Self, Vec<&'static str>) {
        let (mut found, mut odd) = (Self::default(), Vec::new());
        let mut section = "";
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
                section = name;
            } else if line.trim() != line || !found.add(section, line) {
                odd.push(line);
            }
        }
        (found, odd)
    }

    /// False: there is no such section, or the line stands there already.
    fn add(&mut self, section: &str, line: &'static str) -> bool {
        let kind = section.strip_prefix("allocator ");
        let is_allocator = kind.is_some();
        match kind.unwrap_or(section) {
            "libraries" => {
                let is_new = !self.libraries.all.contains(&line);
                self.libraries.all.push(line);
                self.libraries.allocators.extend(is_allocator.then_some(line));
                is_new
            }
            "functions" => {
                self.functions.allocators.extend(is_allocator.then_some(line));
                self.functions.all.insert(line) && !line.starts_with('_')
            }
            "pools" if !is_allocator => self.pools.insert(line) && self.functions.all.insert(line),
            "prefixes" => self.prefixes.add(line, is_allocator),
            "sources" if !is_allocator => self.sources.add(line, false),
            "made" if !is_allocator => self.made.add(line, false),
            "hosts" if !is_allocator => self.hosts.add(line, false),
            "runtimes" if !is_allocator => self.runtimes.insert(line),
            "crates" if !is_allocator => self.crates.insert(line),
            "collectors" if !is_allocator => self.collectors.insert(line) && !line.starts_with('_'),
            "entries" if !is_allocator => self.entries.insert(line),
            _ => false,
        }
    }

    pub(super) fn serves(&self, frame: &Frame) -> bool {
        let function = frame.function.as_deref();
        let named = if frame.module == MADE {
            function.is_some_and(|name| {
                let names = [name, without_type(name)];
                self.made.all.iter().any(|known| names.iter().any(|name| known.begins(name)))
            })
        } else {
            self.is_library(&frame.module) || function.is_some_and(|name| self.is_function(name))
        };
        named
            || frame
                .file
                .as_deref()
                .is_some_and(|file| self.sources.all.iter().any(|known| known.is_in(file)))
    }

    /// The frame is of a collector.
    pub(super) fn collects(&self, frame: &Frame) -> bool {
        frame.function.as_deref().is_some_and(|name| self.collectors.contains(plain(bare(name))))
    }

    /// The frame is of code that was made at run time.
    pub(super) fn is_made(&self, frame: &Frame) -> bool {
        frame.module == MADE
    }

    /// The frame is of a function by which Java calls into a library.
    pub(super) fn is_bridge(&self, frame: &Frame) -> bool {
        frame.function.as_deref().is_some_and(|name| name.starts_with(BRIDGE))
    }

    /// The frame is of code that was made at run time, and nothing has a name for it.
    pub(super) fn is_nameless(&self, frame: &Frame) -> bool {
        frame.module == MADE && frame.function.is_none()
    }

    /// The frame is of a function that hands out parts of larger pieces.
    pub(super) fn is_pool(&self, frame: &Frame) -> bool {
        frame.function.as_deref().is_some_and(|name| self.pools.contains(plain(bare(name))))
    }

    /// The frame is of a runtime that makes code. What a program brings along for it is not: addons of Node, libraries for JNI.
    pub(super) fn is_runtime(&self, frame: &Frame) -> bool {
        let name = base_name(&frame.module);
        let stem = name.split('.').next().unwrap_or(name);
        // `libnode-18`, and not `node-agent`
        let is_version = |behind: &str| behind.starts_with(|first: char| first.is_ascii_digit());
        let stem =
            stem.split_once('-').filter(|(_, behind)| is_version(behind)).map_or(stem, |(stem, _)| stem);
        self.runtimes.contains(stem) && !name.ends_with(".node")
    }

    /// The frame is of what runs a program and is none: of a runtime, or of the code that it brings along.
    pub(super) fn hosts(&self, frame: &Frame) -> bool {
        let function = frame.function.as_deref().unwrap_or_default();
        self.is_runtime(frame)
            || self.is_nameless(frame)
            || (frame.module == MADE && self.serves(frame))
            || self.hosts.all.iter().any(|known| known.begins(function))
    }

    pub(super) fn is_library(&self, module: &str) -> bool {
        self.libraries.all.iter().any(|known| base_name(module).starts_with(known))
    }

    fn is_function(&self, name: &str) -> bool {
        let name = bare(name);
        self.functions.all.contains(plain(name))
            || self.entries.contains(name)
            || self.prefixes.all.iter().any(|known| known.begins(name))
            || (crate_of(name).is_some_and(|known| self.crates.contains(known)) && !has_parameters(name))
    }

    pub(super) fn allocates(&self, frame: &Frame) -> bool {
        let name = bare(frame.function.as_deref().unwrap_or_default());
        self.libraries.allocators.iter().any(|known| base_name(&frame.module).starts_with(known))
            || self.functions.allocators.contains(plain(name))
            || self.prefixes.allocators.iter().any(|known| known.begins(name))
    }

    /// The frame is a program's outermost function: that somebody was called from there says nothing.
    pub(super) fn is_outermost(&self, frame: &Frame) -> bool {
        self.is_entry(frame) || frame.function.as_deref().is_some_and(|name| OUTERMOST.contains(&bare(name)))
    }

    pub(super) fn is_entry(&self, frame: &Frame) -> bool {
        frame.function.as_deref().is_some_and(|name| self.entries.contains(bare(name)))
    }
}

fn base_name(module: &str) -> &str {
    module.rsplit('/').next().unwrap_or(module)
}

/// Without the version of a symbol, and the mark of a part or copy of the function.
fn bare(name: &str) -> &str {
    let name = name.split_once(" [clone").map_or(name, |(name, _)| name);
    if name.contains(['(', '<', '/']) {
        return name;
    }
    let name = name.find('@').filter(|at| *at > 0).and_then(|at| name.get(..at)).unwrap_or(name);
    let end = PARTS.iter().filter_map(|part| name.find(part)).min();
    end.filter(|end| *end > 0).and_then(|end| name.get(..end)).unwrap_or(name)
}

/// As everybody else calls it.
fn plain(name: &str) -> &str {
    let mut name = name;
    while let Some(rest) = ALIASES.iter().find_map(|alias| name.strip_prefix(alias)) {
        name = rest;
    }
    name.trim_start_matches('_')
}

/// A method of Java, without what it returns: `long jdk.internal.misc.Unsafe.allocateMemory(long)`.
fn without_type(name: &str) -> &str {
    let head = name.find('(').and_then(|at| name.get(..at)).unwrap_or(name);
    head.find(' ').and_then(|at| name.get(at + 1..)).unwrap_or(name)
}

/// Of a function of Rust: `alloc::vec::..`, `<alloc::vec::Vec<u8>>::push`, `<&alloc::..`. What a trait does for a type that belongs to
/// nobody is the trait's: `<u8 as alloc::..>::..`, `<T as alloc::..>::..`.
fn crate_of(name: &str) -> Option<&str> {
    let implemented = name.strip_prefix('<').and_then(|inside| inside.split_once(" as "));
    let path = match implemented {
        Some((implementor, trait_path)) if !implementor.contains("::") => trait_path,
        _ => name,
    };
    Some(path.trim_start_matches(['<', '&', '[', '*']).split_once("::")?.0)
}

/// Functions of C++ are told with their parameters, those of Rust are not.
fn has_parameters(name: &str) -> bool {
    name.ends_with(')') || name.ends_with(") const")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: every line of the list is understood, and none stands there twice; what is no line of it is found.
    #[test]
    fn the_list_is_sound() {
        let (plumbing, odd) = Plumbing::read(TEXT);
        assert_eq!(odd, [""; 0]);
        assert!(plumbing.functions.all.len() > 100 && plumbing.prefixes.all.len() > 100);
        let (_, odd) =
            Plumbing::read("[functions]\nmalloc\nmalloc\n_x\n[nothing]\ny\n[libraries]\nlib.so \n");
        assert_eq!(odd, ["malloc", "_x", "y", "lib.so "]);
    }
}
