//! See [`crate::fuzz`].

use std::cell::Cell;
use std::io::Write as _;

use super::hotspot::{Hotspot, Place, Target};
use super::perf_map::PerfMap;
use super::{maps, pclntab, python, v8};
use crate::python::{CodeLayout, LineTable, PythonFrame};

pub(crate) fn maps(text: &[u8]) {
    drop(maps::parse(text));
}

pub(crate) fn perf_map(text: &[u8], address: u64) {
    let Ok(mut file) = tempfile::tempfile() else { return };
    if file.write_all(text).is_ok() {
        let mut map = PerfMap::of(file);
        drop(map.at(address));
    }
}

pub(crate) fn pclntab(table: &[u8], address: u64) {
    let Some(read) = pclntab::Table::parse(table) else { return };
    let _ = (read.end(table), read.is_absolute(), read.knows_inlined());
    let Some(function) = read.function(table, address) else { return };
    let _ = read.frame(table, &function, address);
    drop(read.lines(table, &function, address, Some(table)));
}

pub(crate) fn hotspot(memory: &[u8], code: u64, frame: u64) {
    let read = |address: u64, to: &mut [u8]| {
        let from = usize::try_from(address).ok().and_then(|at| memory.get(at..)?.get(..to.len()));
        from.map(|from| to.copy_from_slice(from)).is_some()
    };
    let target = Target(&read);
    let variables = std::array::from_fn(|nth| (nth as u64 + 1) * 8);
    let Some(mut hotspot) = Hotspot::read(&variables, target) else { return };
    for is_innermost in [false, true] {
        let place = Place { inside: code, is_innermost, frame: Some(frame) };
        drop(hotspot.row(place, target));
        drop(hotspot.names(place, &|at| target.word(at, 0), target));
    }
}

pub(crate) fn python(memory: &[u8], code: [u64; 2], instruction: u64) {
    let read = |address: u64, to: &mut [u8]| {
        let from = usize::try_from(address).ok().and_then(|at| memory.get(at..)?.get(..to.len()));
        from.map(|from| to.copy_from_slice(from)).is_some()
    };
    for table in [LineTable::Lnotab, LineTable::Linetable, LineTable::Positions] {
        let layout = CodeLayout {
            table,
            object_type: 8,
            type_name: 24,
            file: 16,
            name: 24,
            first_line: 32,
            lines: 40,
            instructions: if table == LineTable::Positions { 64 } else { 0 },
            text_length: 16,
            text_state: 32,
            text_ascii: 48,
            text_other: 56,
            bytes_size: 16,
            bytes: 32,
        };
        let frames = code.map(|code| PythonFrame { code, instruction, is_entry: true });
        drop(python::Names::new(layout).lines(&frames, &read));
    }
}

pub(crate) fn v8(memory: &[u8], inside: u64, frame: u64) {
    let read = |address: u64, to: &mut [u8]| {
        let from = address.checked_sub(4096).and_then(|at| usize::try_from(at).ok());
        let from = from.and_then(|at| memory.get(at..)?.get(..to.len()));
        from.map(|from| to.copy_from_slice(from)).is_some()
    };
    let slot = |address| {
        let mut word = [0; 8];
        read(address, &mut word).then(|| u64::from_le_bytes(word))
    };
    let Some(mut names) = v8::Names::crafted() else { return };
    for _ in 0..2 {
        drop(names.at(inside, frame, slot, &read, &Cell::new(v8::MOST_A_STACK)));
    }
}
