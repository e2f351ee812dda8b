//! What `c/python.bpf.h` reads of a Python interpreter, and what it tells. Portable, but for the map.

use std::time::Duration;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::capture::PythonFrame;
use crate::wire::Header;

/// `MLH_KIND_PYTHON`.
pub const KIND: u16 = 13;
/// `MLH_PYTHON_FRAMES_MAX`.
pub const FRAMES_MAX: usize = 64;

/// `enum mlh_python_entry`: how a frame tells that the interpreter was entered for it.
pub mod entry {
    /// It always is.
    pub const EACH: u8 = 0;
    /// By a byte that is not 0.
    pub const FLAG: u8 = 1;
    /// Its caller is a frame that is none, known by its owner.
    pub const SHIM: u8 = 2;
}

/// `struct mlh_python_layout`: where the interpreter of a process keeps what is read of it. Whatever it says, only the process's own
/// memory is read, and a bounded number of words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PythonLayout {
    /// Address of the pointer to the newest interpreter.
    pub interpreters: u64,
    /// Address of the pointer to the thread that runs; with `holder`, of that to the interpreter that knows it.
    pub current: u64,
    /// Offset in the interpreter of the pointer to the thread that runs; 0: there is none.
    pub holder: u32,
    /// Offset in an interpreter: the next older one.
    pub interpreter_next: u32,
    /// Offset in an interpreter: its newest thread.
    pub threads: u32,
    /// Offset in a thread: the next older one.
    pub thread_next: u32,
    /// Offset in a thread: what `pthread_self` says.
    pub thread_id: u32,
    /// Offset in a thread: its innermost frame; with `is_indirect`, what leads there.
    pub frame: u32,
    /// Offset in what leads to the frame.
    pub current_frame: u32,
    /// Offset in a frame: that which called it.
    pub caller: u32,
    /// Offset in a frame: its code object.
    pub code: u32,
    /// Offset in a frame: where in the code it is.
    pub instruction: u32,
    /// Offset in a frame: of what `entry_kind` says.
    pub entry: u32,
    /// See [`entry`].
    pub entry_kind: u8,
    /// Not 0: the thread does not point to a frame itself.
    pub is_indirect: u8,
    /// Not 0: an instruction is an index of 4 bytes, and no address.
    pub is_index: u8,
    /// 0.
    pub reserved: u8,
}

/// `struct mlh_python`; frames follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct PythonRecord {
    /// Kind and size.
    pub header: Header,
    /// As of the stack that follows.
    pub pid: u32,
    /// As of the stack that follows.
    pub at_ns: u64,
    /// A bit for each frame for which the interpreter was entered from C.
    pub entries: u64,
    /// Frames; the row may be longer.
    pub count: u32,
    /// Not 0: there are more.
    pub truncated: u32,
}

/// `struct mlh_python_frame`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct FrameRecord {
    /// Address of the code object.
    pub code: u64,
    /// Where in the code.
    pub instruction: u64,
}

/// What Python was running, for the stack of the same process and moment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PythonStack {
    /// In the reader's pid namespace.
    pub pid: u32,
    /// Since boot.
    pub at: Duration,
    /// Innermost first, at most [`FRAMES_MAX`].
    pub frames: Vec<PythonFrame>,
    /// There are more.
    pub truncated: bool,
}

/// One record of the ring, of this [`KIND`]. `None`: it contradicts itself.
#[must_use]
pub fn decode(row: &[u8]) -> Option<PythonStack> {
    let (record, rest) = PythonRecord::read_from_prefix(row).ok()?;
    let count = usize::try_from(record.count).ok().filter(|count| *count <= FRAMES_MAX)?;
    let (frames, _) = <[FrameRecord]>::ref_from_prefix_with_elems(rest, count).ok()?;
    let frame = |(index, frame): (usize, &FrameRecord)| PythonFrame {
        code: frame.code,
        instruction: frame.instruction,
        is_entry: record.entries >> index & 1 == 1,
    };
    Some(PythonStack {
        pid: record.pid,
        at: Duration::from_nanos(record.at_ns),
        frames: frames.iter().enumerate().map(frame).collect(),
        truncated: record.truncated != 0,
    })
}

/// Enters a layout into the map `pythons` of an object under the key that its programs look it up by, or takes it out.
///
/// # Errors
/// The kernel refuses.
#[cfg(all(target_os = "linux", feature = "kernel"))]
pub(crate) fn set(
    pythons: &libbpf_rs::MapHandle,
    key: u32,
    layout: Option<&PythonLayout>,
) -> Result<(), crate::error::SweepError> {
    use libbpf_rs::{MapCore as _, MapFlags};
    let key = key.to_ne_bytes();
    let Some(layout) = layout else {
        // one that is not there is gone as it should be
        let _ = pythons.delete(&key);
        return Ok(());
    };
    pythons
        .update(&key, layout.as_bytes(), MapFlags::ANY)
        .map_err(|error| crate::object::io_error("telling where an interpreter is", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(count: u32, frames: &[(u64, u64)]) -> Vec<u8> {
        let size = size_of::<PythonRecord>() + size_of_val(frames);
        let record = PythonRecord {
            header: Header { kind: KIND, size: u16::try_from(size).unwrap() },
            pid: 21,
            at_ns: 1_500,
            entries: 0b10,
            count,
            truncated: 1,
        };
        let frames =
            frames.iter().flat_map(|(code, instruction)| [code.to_ne_bytes(), instruction.to_ne_bytes()]);
        [record.as_bytes(), &frames.flatten().collect::<Vec<_>>()].concat()
    }

    /// Guarantees: frames become what they tell, in their order, each with its own mark; what lies behind them does not matter.
    #[test]
    fn reads_frames() {
        let told = decode(&row(2, &[(0x1000, 2), (0x2000, 4), (9, 9)])).unwrap();
        let frame = |code, instruction, is_entry| PythonFrame { code, instruction, is_entry };
        assert_eq!((told.pid, told.at, told.truncated), (21, Duration::from_nanos(1_500), true));
        assert_eq!(told.frames, [frame(0x1000, 2, false), frame(0x2000, 4, true)]);
    }

    /// Guarantees: more frames than there are, or than can be, are refused, as is a record that is cut anywhere.
    #[test]
    fn nonsense_is_refused() {
        for count in [3, 65, u32::MAX] {
            assert_eq!(decode(&row(count, &[(1, 1), (2, 2)])), None, "{count}");
        }
        let whole = row(1, &[(1, 1)]);
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), None, "{length}");
        }
        assert!(decode(&row(65, &[(1, 1); 65])).is_none());
        assert_eq!(decode(&row(64, &[(1, 1); 64])).unwrap().frames.len(), FRAMES_MAX);
    }
}
