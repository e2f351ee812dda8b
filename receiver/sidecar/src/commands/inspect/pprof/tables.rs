//! What samples refer to: texts, functions, locations and mappings, each once.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;

use mlh_stacks::modules::Modules;
use mlh_stacks::python;
use mlh_stacks::trace::{Frame, Trace};

use super::proto::{Function, Line, Location, Mapping, Profile};
use crate::investigate::report::Report;
use crate::records::words::printable;

/// Of what the mapping of a module without one that can be read is made.
const PAGE: u64 = 4096;

/// A mapping that was made: of whom, which file, where it begins.
type MappingKey = (u32, String, u64);
/// A location, with the functions at it: of two captures of one address one may know more.
type LocationKey = (u64, u64, Vec<(u64, i64)>);

/// See the module.
pub(super) struct Tables {
    texts: Vec<String>,
    text_ids: HashMap<String, i64>,
    functions: Vec<Function>,
    function_ids: HashMap<(i64, i64), u64>,
    locations: Vec<Location>,
    location_ids: HashMap<LocationKey, u64>,
    mappings: Vec<Mapping>,
    mapping_ids: HashMap<MappingKey, u64>,
    /// What the processes that live map, as far as it may be seen.
    maps: HashMap<u32, Modules>,
}

impl Tables {
    /// For the processes of a report.
    pub(super) fn new(report: &Report) -> Self {
        let stacks = report.stacks.iter().map(|stack| stack.pid);
        let pids: HashSet<u32> = stacks.chain(report.growth.iter().map(|stack| stack.pid)).collect();
        let lives = |pid: &u32| report.members.iter().any(|member| member.pid == *pid && !member.gone);
        let maps = pids.into_iter().filter(lives).filter_map(|pid| Some((pid, Modules::read(pid).ok()?)));
        Self {
            texts: vec![String::new()],
            text_ids: HashMap::from([(String::new(), 0)]),
            functions: Vec::new(),
            function_ids: HashMap::new(),
            locations: Vec::new(),
            location_ids: HashMap::new(),
            mappings: Vec::new(),
            mapping_ids: HashMap::new(),
            maps: maps.collect(),
        }
    }

    /// The place of a text.
    pub(super) fn text(&mut self, text: &str) -> i64 {
        if let Some(id) = self.text_ids.get(text) {
            return *id;
        }
        // as many as there are in memory: they fit
        let id = i64::try_from(self.texts.len()).unwrap_or_default();
        self.texts.push(text.to_owned());
        self.text_ids.insert(text.to_owned(), id);
        id
    }

    /// The locations of a stack, innermost first: functions inlined into one another share theirs.
    pub(super) fn locations(&mut self, pid: u32, trace: &Trace) -> Vec<u64> {
        let mut ids = Vec::with_capacity(trace.frames.len());
        for frames in trace.frames.chunk_by(|inner, _| inner.inlined) {
            ids.extend(self.location(pid, frames));
        }
        ids
    }

    /// `frames`: one or more at one address.
    fn location(&mut self, pid: u32, frames: &[Frame]) -> Option<u64> {
        let last = frames.last()?;
        let mapping_id = self.mapping(pid, last);
        let lines: Vec<(u64, i64)> = frames.iter().filter_map(|frame| self.line(frame)).collect();
        if let Some(mapping) = at(&mut self.mappings, mapping_id) {
            mapping.has_functions &= lines.len() == frames.len();
            mapping.has_filenames |= frames.iter().any(|frame| frame.file.is_some());
            mapping.has_line_numbers |= frames.iter().any(|frame| frame.line.is_some());
            mapping.has_inline_frames |= frames.len() > 1;
        }
        let line = lines.iter().map(|(function_id, line)| Line { function_id: *function_id, line: *line });
        let address = instruction(last);
        let location = Location { id: 0, mapping_id, address, line: line.collect() };
        let key = (mapping_id, address, lines);
        Some(take(&mut self.location_ids, &mut self.locations, key, |id| Location { id, ..location }))
    }

    fn line(&mut self, frame: &Frame) -> Option<(u64, i64)> {
        let name = self.text(&printable(frame.function.as_deref()?));
        let filename = self.text(&printable(frame.file.as_deref().unwrap_or_default()));
        let function = |id| Function { id, name, system_name: name, filename };
        let id = take(&mut self.function_ids, &mut self.functions, (name, filename), function);
        Some((id, frame.line.map_or(0, i64::from)))
    }

    /// The mapping that a frame's code is in; 0 for code that is in no file.
    fn mapping(&mut self, pid: u32, frame: &Frame) -> u64 {
        if frame.module.is_empty() || frame.module.starts_with('[') && frame.module != "[vdso]" {
            return 0;
        }
        let address = instruction(frame);
        let found = self.maps.get(&pid).and_then(|maps| maps.at(address));
        // the same file still: another one may have been mapped there since
        let found = found.filter(|(module, _)| module.path.to_string_lossy() == frame.module);
        let (start, limit, offset) = match found {
            Some((_, part)) => (part.start, part.end, part.offset),
            // it is where the file's first byte would be, and ends where it must at least
            None => (
                address.saturating_sub(frame.offset) & !(PAGE - 1),
                (address | (PAGE - 1)).saturating_add(1),
                0,
            ),
        };
        let key = (pid, frame.module.clone(), start);
        if let Some(id) = self.mapping_ids.get(&key) {
            if let Some(mapping) = at(&mut self.mappings, *id) {
                mapping.memory_limit = mapping.memory_limit.max(limit);
            }
            return *id;
        }
        let mapping = Mapping {
            memory_start: start,
            memory_limit: limit,
            file_offset: offset,
            filename: self.text(&printable(&frame.module)),
            build_id: self.text(frame.build_id.as_deref().unwrap_or_default()),
            has_functions: true,
            ..Mapping::default()
        };
        take(&mut self.mapping_ids, &mut self.mappings, key, |id| Mapping { id, ..mapping })
    }

    /// All of them, in a profile without samples. Viewers take the first mapping for the program: that is `executable`'s.
    pub(super) fn into_profile(mut self, executable: Option<&str>) -> Profile {
        let name = executable.map(printable);
        let place = name.and_then(|name| self.text_ids.get(&name));
        self.mappings.sort_by_key(|mapping| Some(&mapping.filename) != place);
        Profile {
            mapping: self.mappings,
            location: self.locations,
            function: self.functions,
            string_table: self.texts,
            ..Profile::default()
        }
    }
}

/// Where a frame's instruction is in the process: viewers look up lines there, and behind a call may be the next one. The offset says
/// which byte of which instruction it is, and files are mapped by whole pages.
fn instruction(frame: &Frame) -> u64 {
    let is_behind = (frame.address.wrapping_sub(1) ^ frame.offset).is_multiple_of(PAGE);
    if is_behind && frame.module != python::MODULE { frame.address - 1 } else { frame.address }
}

/// The number of what has this key, made where it is new. They count from 1.
fn take<K: Eq + Hash, V>(
    ids: &mut HashMap<K, u64>,
    all: &mut Vec<V>,
    key: K,
    make: impl FnOnce(u64) -> V,
) -> u64 {
    *ids.entry(key).or_insert_with(|| {
        let id = all.len() as u64 + 1;
        all.push(make(id));
        id
    })
}

fn at(mappings: &mut [Mapping], id: u64) -> Option<&mut Mapping> {
    mappings.get_mut(usize::try_from(id.checked_sub(1)?).ok()?)
}
