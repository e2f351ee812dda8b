//! What CPython from 3.13 on says of itself, at the beginning of its runtime's state (`_Py_DebugOffsets`): words of 8 bytes. Pure.

use mlh_bpf::python::{PythonLayout, entry};
use mlh_stacks::python::{CodeLayout, LineTable};

use super::{PythonError, Version};

/// So much of it is read, bytes.
pub(super) const SIZE: usize = 81 * 8;

/// It begins with this.
const COOKIE: &[u8] = b"xdebugpy";

/// The probes read so much of a frame, bytes.
const FRAME: u32 = 80;

/// No structure of an interpreter is larger, bytes.
const MAX_OFFSET: u64 = 1 << 24;

/// Which word says what, by version. A structure's size stands before its fields.
struct Words {
    free_threaded: usize,
    interpreters: usize,
    interpreter: usize,
    interpreter_next: usize,
    threads: usize,
    holder: usize,
    thread: usize,
    thread_next: usize,
    thread_interpreter: usize,
    frame: usize,
    thread_id: usize,
    frames: usize,
    caller: usize,
    executable: usize,
    instruction: usize,
    owner: usize,
    code: usize,
    file: usize,
    qualified_name: usize,
    lines: usize,
    first_line: usize,
    instructions: usize,
    object_type: usize,
    type_name: usize,
    bytes_size: usize,
    bytes: usize,
    text: usize,
    text_state: usize,
    text_length: usize,
    text_ascii: usize,
}

const V3_13: Words = Words {
    free_threaded: 2,
    interpreters: 5,
    interpreter: 6,
    interpreter_next: 8,
    threads: 9,
    holder: 18,
    thread: 19,
    thread_next: 21,
    thread_interpreter: 22,
    frame: 23,
    thread_id: 24,
    frames: 28,
    caller: 29,
    executable: 30,
    instruction: 31,
    owner: 33,
    code: 34,
    file: 35,
    qualified_name: 37,
    lines: 38,
    first_line: 39,
    instructions: 43,
    object_type: 45,
    type_name: 47,
    bytes_size: 65,
    bytes: 66,
    text: 67,
    text_state: 68,
    text_length: 69,
    text_ascii: 70,
};

const V3_14: Words = Words {
    holder: 19,
    thread: 22,
    thread_next: 24,
    thread_interpreter: 25,
    frame: 26,
    thread_id: 27,
    frames: 31,
    caller: 32,
    executable: 33,
    instruction: 34,
    owner: 36,
    code: 39,
    file: 40,
    qualified_name: 42,
    lines: 43,
    first_line: 44,
    instructions: 48,
    object_type: 51,
    type_name: 53,
    bytes_size: 75,
    bytes: 76,
    text: 77,
    text_state: 78,
    text_length: 79,
    text_ascii: 80,
    ..V3_13
};

/// From the first [`SIZE`] bytes of the runtime's state. `number` is the version as the interpreter has it elsewhere
/// (`PY_VERSION_HEX`).
pub(super) fn read(bytes: &[u8], number: u64) -> Result<Version, PythonError> {
    let [.., minor, major] = u32::try_from(number).unwrap_or(0).to_le_bytes();
    let strange = |what| PythonError::Strange { minor, what };
    let words = match (major, minor) {
        (3, 13) => V3_13,
        (3, 14) => V3_14,
        _ => return Err(PythonError::UnknownVersion { major, minor }),
    };
    let word = |index: usize| {
        let word = bytes.get(index * 8..)?.first_chunk();
        word.map(|word| u64::from_le_bytes(*word))
    };
    let word = |index| word(index).ok_or(strange("what it says of itself ends too early"));
    if !bytes.starts_with(COOKIE) || word(1)? != number {
        return Err(strange("it says nothing of itself"));
    }
    if word(words.free_threaded)? != 0 {
        return Err(PythonError::FreeThreaded);
    }
    // a field of a structure, whose size stands at `of`: one that does not lie in it shows that the words are others
    let field = |index: usize, of: usize, size: u64| {
        let (offset, whole) = (word(index)?, word(of)?);
        let inside = whole <= MAX_OFFSET && offset.checked_add(size).is_some_and(|end| end <= whole);
        u32::try_from(offset)
            .ok()
            .filter(|_| inside)
            .ok_or(strange("a field lies outside of what it is a part of"))
    };
    let of_frame = |index: usize, size: u32| {
        let offset = field(index, words.frames, size.into())?;
        let near = offset.is_multiple_of(size) && offset <= FRAME - size;
        if near { Ok(offset) } else { Err(strange("a field of a frame lies where none is looked for")) }
    };
    let interpreters = word(words.interpreters)?;
    let head = |index: usize, most: u64| {
        let offset = word(index)?;
        u32::try_from(offset)
            .ok()
            .filter(|_| offset <= most)
            .ok_or(strange("the head of an object is too large"))
    };
    if interpreters > MAX_OFFSET {
        return Err(strange("a field lies outside of what it is a part of"));
    }
    Ok(Version {
        layout: PythonLayout {
            interpreters,
            // the main interpreter, which holds the lock unless others have their own, is named behind the newest one
            current: interpreters + 8,
            holder: field(words.holder, words.interpreter, 8)?,
            interpreter_next: field(words.interpreter_next, words.interpreter, 8)?,
            threads: field(words.threads, words.interpreter, 8)?,
            thread_next: field(words.thread_next, words.thread, 8)?,
            thread_id: field(words.thread_id, words.thread, 8)?,
            frame: field(words.frame, words.thread, 8)?,
            current_frame: 0,
            caller: of_frame(words.caller, 8)?,
            code: of_frame(words.executable, 8)?,
            instruction: of_frame(words.instruction, 8)?,
            entry: of_frame(words.owner, 1)?,
            entry_kind: entry::SHIM,
            is_indirect: 0,
            is_index: 0,
            reserved: 0,
        },
        thread_interpreter: field(words.thread_interpreter, words.thread, 8)?.into(),
        code: CodeLayout {
            table: LineTable::Positions,
            object_type: head(words.object_type, 64)?,
            type_name: head(words.type_name, 256)?,
            file: field(words.file, words.code, 8)?,
            name: field(words.qualified_name, words.code, 8)?,
            first_line: field(words.first_line, words.code, 4)?,
            lines: field(words.lines, words.code, 8)?,
            // the code lies behind the object, as the last of its fields
            instructions: head(words.instructions, 4096)?,
            text_length: field(words.text_length, words.text, 8)?,
            text_state: field(words.text_state, words.text, 4)?,
            text_ascii: field(words.text_ascii, words.text, 0)?,
            // a text that is not ASCII has its UTF-8 form, and the length of that, in its head as well
            text_other: field(words.text_ascii, words.text, 16)?.saturating_add(16),
            bytes_size: head(words.bytes_size, 64)?,
            bytes: head(words.bytes, 64)?,
        },
    })
}
