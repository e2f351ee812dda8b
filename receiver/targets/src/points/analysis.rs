//! One file: what of it is to be probed, whoever maps it.

use std::collections::{BTreeMap, HashMap, HashSet};

use mlh_bpf::alloc::point::{Operation, Point, Role, Shape};

use super::elf::{Elf, Machine};
use super::flow::Bounds;
use super::gates::{self, Gates, Subject};
use super::names::{Meaning, Name, Names};
use super::place::{self, Extent};
use super::symbols::{self, Symbol};
use super::{BlindSpot, Family, Runtime, go, system_calls, throwing, usdt};

/// What is known of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Analysis {
    pub(super) family: Option<Family>,
    /// The allocator's.
    pub(super) allocator: Vec<Point>,
    /// Those of them that are gates, by their offsets.
    pub(super) gates: Vec<u64>,
    /// Bytes, below which they do not see every free; 0: they see what is to be seen.
    pub(super) least: u64,
    /// Those that see the address space change.
    pub(super) mappings: Vec<Point>,
    /// Offset in the file of where a call returns to, and bytes from there to the function's return address.
    pub(super) passing_on: Vec<(u64, u32)>,
    /// The same of functions that make what their caller holds grow.
    pub(super) growing: Vec<(u64, u32)>,
    pub(super) usdt: bool,
    pub(super) runtime: Option<Runtime>,
    pub(super) blind_spots: Vec<BlindSpot>,
    /// It is run by itself, without a dynamic linker.
    pub(super) is_static: bool,
    /// Its full symbol table was not stripped.
    pub(super) has_symbols: bool,
}

/// A function that is looked at.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    extent: Extent,
    meaning: Meaning,
    family: Option<Family>,
    indirect: bool,
}

/// Looks at a file; `called` is its name in blind spots. Allocations below `smallest` bytes need not be seen.
pub(super) fn analyse(elf: &Elf, names: &Names, called: &str, smallest: u64) -> Analysis {
    let symbols = symbols::look_up(elf, names);
    let mut analysis = Analysis {
        has_symbols: symbols.full,
        is_static: elf.is_program && !elf.interpreted,
        usdt: usdt::offers_otel_memory(elf),
        ..Analysis::default()
    };
    if symbols.too_large {
        analysis
            .blind(format!("functions of {called}"), "its symbol table is too large to be read".to_owned());
    }
    let mut candidates = candidates(elf, names, &symbols.found);
    analysis.runtime = candidates.iter().find_map(|candidate| match candidate.meaning {
        Meaning::Runtime(runtime) => Some(runtime),
        _ => None,
    });
    if elf.section(".go.buildinfo").is_some() {
        analysis.runtime = Some(Runtime::Go);
        if !symbols.full {
            candidates.extend(of_go(elf, names));
        }
    }
    let family = family(&candidates, analysis.runtime);
    analysis.family = family;
    // glibc's own dynamic linker has a malloc for itself alone, until that of the program takes over
    let linker = candidates.iter().any(|c| c.meaning == Meaning::Linker);
    let allocates = candidates.iter().any(|c| matches!(c.meaning, Meaning::Function(..)));
    let throws =
        candidates.iter().any(|c| matches!(c.meaning, Meaning::Throwing(..) | Meaning::Operator(..)));
    let gates =
        if linker { Gates::default() } else { gates::find(elf, &subjects(&candidates), family, smallest) };
    if gates.least > 0 {
        analysis.least = gates.least;
        analysis.blind(
            format!("allocations of {smallest} to {} bytes", gates.least - 1),
            format!(
                "{called} keeps them in caches of its threads; to see them every free would have to be probed, which a \
                 min_allocation_size of {} or less asks for",
                gates::tails::JEMALLOC_LOOKED_UP
            ),
        );
    }
    let context = Context {
        elf,
        called,
        linker,
        slots: if allocates || throws { symbols::slots(elf) } else { HashMap::new() },
        starts: if throws { elf.function_starts() } else { Vec::new() },
        gates: gates.of,
    };
    context.allocator(&mut analysis, &candidates);
    context.mappings(&mut analysis, &candidates);
    if elf.is_program && !symbols.full && matches!(family, None | Some(Family::Glibc | Family::Musl)) {
        analysis.hidden(elf, called);
    }
    // functions may share their ends
    let mut seen = HashSet::new();
    analysis.allocator.retain(|point| seen.insert((point.offset, point.role)));
    analysis.mappings.retain(|point| seen.insert((point.offset, point.role)));
    analysis
}

/// One for each address, the first by the table of names: what has several names is probed once.
fn candidates(elf: &Elf, names: &Names, symbols: &[Symbol]) -> Vec<Candidate> {
    let mut by_address: BTreeMap<(u64, bool), (usize, Candidate)> = BTreeMap::new();
    for symbol in symbols {
        let Some(name) = names.get(symbol.name) else { continue };
        let marks = matches!(name.meaning, Meaning::Family(_) | Meaning::Runtime(_) | Meaning::Linker);
        let is_code = symbol.function && elf.code_offset(symbol.address).is_some();
        if (name.common && symbol.local) || (!marks && !is_code) {
            continue;
        }
        let candidate = Candidate {
            extent: Extent { address: symbol.address, size: symbol.size },
            meaning: name.meaning,
            family: name.family,
            indirect: symbol.indirect,
        };
        // marks stand for themselves, several may share an address with a function
        let key = (symbol.address, marks);
        let known = by_address.entry(key).or_insert((symbol.name, candidate));
        let family = known.1.family.or(candidate.family);
        let size = known.1.extent.size.max(symbol.size);
        if symbol.name < known.0 {
            *known = (symbol.name, candidate);
        }
        known.1.family = family;
        known.1.extent.size = size;
    }
    by_address.into_values().map(|(_, candidate)| candidate).collect()
}

/// Functions that may have gates.
fn subjects(candidates: &[Candidate]) -> Vec<Subject> {
    let subjects = candidates.iter().filter(|candidate| !candidate.indirect).filter_map(|candidate| {
        let Meaning::Function(operation, shape) = candidate.meaning else { return None };
        Some(Subject { extent: candidate.extent, operation, shape })
    });
    subjects.collect()
}

/// What a stripped Go program knows of itself.
fn of_go(elf: &Elf, names: &Names) -> Vec<Candidate> {
    let functions = go::functions(elf, names).into_iter();
    let functions = functions.filter_map(|(name, extent)| {
        let Name { meaning, family, .. } = names.get(name)?;
        let indirect = false;
        (*meaning == Meaning::SystemCalls).then_some(Candidate {
            extent,
            meaning: *meaning,
            family: *family,
            indirect,
        })
    });
    functions.collect()
}

/// Whose allocator it is; `None` where it defines none.
fn family(candidates: &[Candidate], runtime: Option<Runtime>) -> Option<Family> {
    let has =
        |family| candidates.iter().any(|c| c.family == Some(family) || c.meaning == Meaning::Family(family));
    let jemalloc = |c: &Candidate| matches!(c.meaning, Meaning::Function(Operation::Mallocx, _));
    let allocates = candidates
        .iter()
        .any(|c| matches!(c.meaning, Meaning::Function(Operation::Malloc, Shape::Size { .. })));
    let known =
        [Family::Mimalloc, Family::Tcmalloc, Family::Jemalloc].into_iter().find(|family| has(*family));
    let known = known.or_else(|| candidates.iter().any(jemalloc).then_some(Family::Jemalloc));
    if known.is_some() {
        return known;
    }
    if allocates {
        let library = [Family::Glibc, Family::Musl].into_iter().find(|family| has(*family));
        return Some(library.unwrap_or(Family::Other));
    }
    (runtime == Some(Runtime::Go)).then_some(Family::Mappings)
}

/// What the points of one file are found with.
struct Context<'a> {
    elf: &'a Elf,
    called: &'a str,
    linker: bool,
    slots: HashMap<u64, u64>,
    starts: Vec<u64>,
    /// By the function's address.
    gates: BTreeMap<u64, Vec<Point>>,
}

impl Context<'_> {
    fn allocator(&self, analysis: &mut Analysis, candidates: &[Candidate]) {
        if self.linker {
            return;
        }
        let own_operators =
            !matches!(analysis.family, None | Some(Family::Glibc | Family::Musl | Family::Mappings));
        let probed: HashSet<u64> = candidates
            .iter()
            .filter(|c| match c.meaning {
                Meaning::Function(..) | Meaning::Throwing(..) => true,
                Meaning::Operator(..) => own_operators,
                _ => false,
            })
            .map(|c| c.extent.address)
            .collect();
        for candidate in candidates {
            let extent = candidate.extent;
            match candidate.meaning {
                Meaning::Function(operation, shape) => {
                    self.function(analysis, candidate, &probed, operation, shape, false);
                }
                Meaning::Throwing(operation, shape) => {
                    self.function(analysis, candidate, &probed, operation, shape, true);
                }
                Meaning::Operator(operation, shape) if own_operators => {
                    self.function(analysis, candidate, &probed, operation, shape, true);
                }
                Meaning::Operator(Operation::New, _) | Meaning::PassesOn => {
                    analysis.passing_on.extend(throwing::calls(self.elf, extent));
                }
                Meaning::Grows => analysis.growing.extend(throwing::calls(self.elf, extent)),
                _ => {}
            }
        }
    }

    fn function(
        &self,
        analysis: &mut Analysis,
        candidate: &Candidate,
        probed: &HashSet<u64>,
        operation: Operation,
        shape: Shape,
        may_throw: bool,
    ) {
        let extent = candidate.extent;
        if candidate.indirect {
            analysis.blind(
                format!("some calls of {} in {}", operation.name(), self.called),
                "which of several functions serves them is decided as the program starts".to_owned(),
            );
            return;
        }
        let is_probed = |address| probed.contains(&address);
        if place::only_jumps_to_one_of(self.elf, extent, &self.slots, &is_probed) {
            return;
        }
        if let Some(gates) = self.gates.get(&extent.address) {
            analysis.allocator.extend(gates);
            analysis.gates.extend(gates.iter().map(|point| point.offset));
            return;
        }
        let frees = matches!(shape, Shape::Free { .. });
        let points = if may_throw && !frees {
            let bounds = Bounds::Following { slots: &self.slots, starts: &self.starts };
            throwing::points(self.elf, extent, operation, shape, &bounds)
        } else {
            place::entry(self.elf, extent, Role::Entry, operation, shape).map(|point| vec![point])
        };
        match points {
            Some(points) => analysis.allocator.extend(points),
            None => analysis.blind(
                format!("calls of {} in {}", operation.name(), self.called),
                "its instructions are not such that a probe can be placed safely".to_owned(),
            ),
        }
    }

    fn mappings(&self, analysis: &mut Analysis, candidates: &[Candidate]) {
        for candidate in candidates {
            match candidate.meaning {
                Meaning::SystemCalls if self.elf.machine == Machine::X86_64 => {
                    analysis.mappings.extend(system_calls::points(self.elf, candidate.extent));
                }
                Meaning::SystemCalls => analysis.blind(
                    format!("mappings by {}", self.called),
                    "the way back from system calls is not known on this machine".to_owned(),
                ),
                Meaning::LoaderNotice => analysis.mappings.extend(place::entry(
                    self.elf,
                    candidate.extent,
                    Role::Reached,
                    Operation::LoadedCode,
                    Shape::LoadedCode,
                )),
                _ => {}
            }
        }
        if analysis.family == Some(Family::Musl)
            && self.elf.machine == Machine::X86_64
            && !analysis.has_symbols
        {
            analysis.mappings.extend(system_calls::unmap_self(self.elf));
        }
        let seen = |operation| analysis.mappings.iter().any(|point| point.operation == operation);
        let of_a_library = matches!(analysis.family, Some(Family::Glibc | Family::Musl));
        if of_a_library && self.elf.machine == Machine::X86_64 && !seen(Operation::Mmap) {
            analysis.blind(
                format!("mappings by {}", self.called),
                "the way back from its system calls has an unknown form".to_owned(),
            );
        }
    }
}

impl Analysis {
    /// An allocator whose symbols have been stripped betrays itself by its messages.
    fn hidden(&mut self, elf: &Elf, called: &str) {
        let messages = [("<jemalloc>", "jemalloc"), ("tcmalloc: ", "tcmalloc"), ("mimalloc: ", "mimalloc")];
        let said = elf.mentions(&messages.map(|(message, _)| message));
        if let Some((_, allocator)) = messages.iter().find(|(message, _)| Some(*message) == said) {
            self.blind(
                format!("allocations by {allocator} in {called}"),
                format!("{allocator} is linked into it, and its symbols have been stripped"),
            );
        }
    }

    fn blind(&mut self, what: String, reason: String) {
        self.blind_spots.push(BlindSpot { what, reason });
    }
}

#[cfg(test)]
mod tests;
