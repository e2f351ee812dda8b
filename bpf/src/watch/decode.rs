//! Bytes of the ring to what they tell. Pure and portable: whatever the bytes are, the answer is a value.

use std::time::Duration;

use zerocopy::FromBytes as _;

use super::wire::{BornRecord, WriteRecord, kind};
use super::{Heard, Write};
use crate::capture::Form;
use crate::joining::Joining;
use crate::wire::Header;

/// Reads the records of one ring in their order.
#[derive(Debug, Default)]
pub struct Decoder {
    python: Joining,
}

impl Decoder {
    /// One record. What cannot be read counts as one that was lost. `None`: it belongs to one that follows.
    pub fn read(&mut self, bytes: &[u8]) -> Option<Heard> {
        self.python.pass(bytes, Heard::Lost(1), |bytes, python| {
            let mut heard = heard(bytes)?;
            if let Heard::Write(write) = &mut heard {
                write.capture.python = python.take(write.pid, write.at);
            }
            Some(heard)
        })
    }
}

fn heard(bytes: &[u8]) -> Option<Heard> {
    let (header, _) = Header::read_from_prefix(bytes).ok()?;
    let row = bytes.get(..usize::from(header.size))?;
    let form = match header.kind {
        kind::WRITE => Form::Copy,
        kind::WRITE_CHAIN => Form::Addresses,
        kind::BORN => {
            let (record, _) = BornRecord::read_from_prefix(row).ok()?;
            return Some(Heard::Born { at: Duration::from_nanos(record.at_ns), thread: record.thread });
        }
        _ => return None,
    };
    let (record, rest) = WriteRecord::read_from_prefix(row).ok()?;
    Some(Heard::Write(Write {
        at: Duration::from_nanos(record.at_ns),
        pid: record.pid,
        thread: record.thread,
        watch: record.watch,
        capture: record.capture.with(rest, form)?,
    }))
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes as _;

    use super::*;
    use crate::capture::{Capture, CaptureRecord};

    fn write(kind: u16, stack: &[u8]) -> Vec<u8> {
        let size = u16::try_from(size_of::<WriteRecord>() + stack.len()).unwrap();
        let length = u32::try_from(stack.len()).unwrap();
        let capture = CaptureRecord { ip: 0x4010, sp: 0x7ff0, length, ..CaptureRecord::default() };
        let header = Header { kind, size };
        let record =
            WriteRecord { header, pid: 21, at_ns: 1_500, watch: 3, capture, thread: 22, reserved: 0 };
        [record.as_bytes(), stack].concat()
    }

    fn born() -> Vec<u8> {
        let size = u16::try_from(size_of::<BornRecord>()).unwrap();
        BornRecord { header: Header { kind: kind::BORN, size }, thread: 23, at_ns: 9 }.as_bytes().to_vec()
    }

    fn decode(bytes: &[u8]) -> Option<Heard> {
        Decoder::default().read(bytes)
    }

    /// Guarantees: a write becomes what it tells, with its stack in either form, and so does a beginning.
    #[test]
    fn reads_all_kinds() {
        let expected = |stack: &[u8], chain: &[u64]| {
            let capture = Capture {
                ip: 0x4010,
                sp: 0x7ff0,
                stack: stack.to_vec(),
                chain: chain.to_vec(),
                ..Capture::default()
            };
            let at = Duration::from_nanos(1_500);
            Some(Heard::Write(Write { at, pid: 21, thread: 22, watch: 3, capture }))
        };
        assert_eq!(decode(&write(kind::WRITE, &[7; 10])), expected(&[7; 10], &[]));
        let chain: Vec<u8> = [0, 0x4020].iter().flat_map(|word: &u64| word.to_ne_bytes()).collect();
        assert_eq!(decode(&write(kind::WRITE_CHAIN, &chain)), expected(&[], &[0x4020]));
        assert_eq!(decode(&born()), Some(Heard::Born { at: Duration::from_nanos(9), thread: 23 }));
    }

    /// Guarantees: a record that is cut, or is of another kind, is a loss; never a panic.
    #[test]
    fn nonsense_is_a_loss() {
        for whole in [write(kind::WRITE, &[7; 16]), born()] {
            for length in 0..whole.len() {
                assert_eq!(decode(&whole[..length]), Some(Heard::Lost(1)), "{length}");
            }
        }
        for other in [0, 6, 16, 20, u16::MAX] {
            assert_eq!(decode(&write(other, &[7; 16])), Some(Heard::Lost(1)), "{other}");
        }
    }
}
