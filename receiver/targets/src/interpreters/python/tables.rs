//! Where CPython 3.8 to 3.12 keep things. The numbers come from the versions' own headers, by `offsets.c` beside this file; they are
//! the same for x86-64 and arm64, but for one.

use mlh_bpf::python::{PythonLayout, entry};
use mlh_stacks::python::{CodeLayout, LineTable};

use super::Version;

/// glibc's locks are larger on arm64, and two of them lie before the pointer to the running thread up to 3.11. Where another library is
/// used the thread is looked for among all.
const LOCKS: u64 = if cfg!(target_arch = "aarch64") { 16 } else { 0 };

const OBJECTS: CodeLayout = CodeLayout {
    table: LineTable::Lnotab,
    object_type: 8,
    type_name: 24,
    file: 104,
    name: 112,
    first_line: 40,
    lines: 120,
    instructions: 0,
    text_length: 16,
    text_state: 32,
    text_ascii: 48,
    text_other: 72,
    bytes_size: 16,
    bytes: 32,
};

const V3_8: Version = Version {
    layout: PythonLayout {
        interpreters: 32,
        current: 1368 + LOCKS,
        holder: 0,
        interpreter_next: 0,
        threads: 8,
        thread_next: 8,
        thread_id: 176,
        frame: 24,
        current_frame: 0,
        caller: 24,
        code: 32,
        instruction: 104,
        entry: 0,
        entry_kind: entry::EACH,
        is_indirect: 0,
        is_index: 1,
        reserved: 0,
    },
    thread_interpreter: 16,
    code: OBJECTS,
};

const V3_9: Version = Version { layout: PythonLayout { current: 568 + LOCKS, ..V3_8.layout }, ..V3_8 };

const V3_10: Version = Version {
    layout: PythonLayout { instruction: 96, ..V3_9.layout },
    code: CodeLayout { table: LineTable::Linetable, ..OBJECTS },
    ..V3_9
};

const V3_11: Version = Version {
    layout: PythonLayout {
        interpreters: 40,
        current: 576 + LOCKS,
        threads: 16,
        thread_id: 152,
        frame: 56,
        current_frame: 8,
        caller: 48,
        instruction: 56,
        entry: 68,
        entry_kind: entry::FLAG,
        is_indirect: 1,
        is_index: 0,
        ..V3_10.layout
    },
    code: CodeLayout {
        table: LineTable::Positions,
        file: 112,
        name: 128,
        first_line: 72,
        lines: 136,
        instructions: 184,
        ..OBJECTS
    },
    ..V3_10
};

const V3_12: Version = Version {
    layout: PythonLayout {
        // of the main interpreter, which holds the lock unless others have their own
        current: 48,
        holder: 1048,
        threads: 72,
        thread_id: 136,
        current_frame: 0,
        caller: 8,
        code: 0,
        entry: 70,
        entry_kind: entry::SHIM,
        ..V3_11.layout
    },
    code: CodeLayout { first_line: 68, instructions: 192, text_ascii: 40, text_other: 56, ..V3_11.code },
    ..V3_11
};

/// Of 3.`minor`.
pub(super) fn of(minor: u8) -> Option<Version> {
    match minor {
        8 => Some(V3_8),
        9 => Some(V3_9),
        10 => Some(V3_10),
        11 => Some(V3_11),
        12 => Some(V3_12),
        _ => None,
    }
}
