//! Bytes of the ring to what they tell. Pure and portable: whatever the bytes are, the answer is a value.

use std::time::Duration;

use zerocopy::FromBytes as _;

use super::wire::{TouchRecord, kind};
use super::{Heard, Touch};
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
            let mut touch = touch(bytes)?;
            touch.capture.python = python.take(touch.pid, touch.at);
            Some(Heard::Touch(touch))
        })
    }
}

fn touch(bytes: &[u8]) -> Option<Touch> {
    let (header, _) = Header::read_from_prefix(bytes).ok()?;
    let row = bytes.get(..usize::from(header.size))?;
    let form = match header.kind {
        kind::TOUCH => Form::Copy,
        kind::TOUCH_CHAIN => Form::Addresses,
        _ => return None,
    };
    let (record, rest) = TouchRecord::read_from_prefix(row).ok()?;
    Some(Touch {
        at: Duration::from_nanos(record.at_ns),
        pid: record.pid,
        thread: record.thread,
        address: record.address,
        weight: record.weight,
        one_of: record.one_of.max(1),
        capture: record.capture.with(rest, form)?,
    })
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes as _;

    use super::*;
    use crate::capture::{Capture, CaptureRecord};

    fn record(kind: u16, stack: &[u8], length: u32) -> Vec<u8> {
        let size = u16::try_from(size_of::<TouchRecord>() + stack.len()).unwrap();
        let record = TouchRecord {
            header: Header { kind, size },
            pid: 21,
            at_ns: 1_500,
            address: 0x7f00_1000,
            weight: 40,
            capture: CaptureRecord {
                ip: 0x4010,
                sp: 0x7ff0,
                bp: 0x7fff,
                length,
                truncated: 1,
                returns: [0x4020, 0, 0, 0],
            },
            thread: 22,
            one_of: 8,
        };
        [record.as_bytes(), stack].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Heard> {
        Decoder::default().read(bytes)
    }

    fn expected(stack: Vec<u8>, chain: Vec<u64>) -> Option<Heard> {
        let (ip, sp, bp, truncated) = (0x4010, 0x7ff0, 0x7fff, true);
        Some(Heard::Touch(Touch {
            at: Duration::from_nanos(1_500),
            pid: 21,
            thread: 22,
            address: 0x7f00_1000,
            weight: 40,
            one_of: 8,
            capture: Capture {
                ip,
                sp,
                bp,
                stack,
                truncated,
                chain,
                returns: vec![0x4020],
                python: Vec::new(),
            },
        }))
    }

    /// Guarantees: a fault becomes what it tells, with as much of the stack as was copied, or with the callers that were found, of whom
    /// one that is none is left out.
    #[test]
    fn reads_both_forms() {
        assert_eq!(decode(&record(kind::TOUCH, &[7; 16], 10)), expected(vec![7; 10], Vec::new()));
        let chain: Vec<u8> =
            [0, 0x4020, 0x4030, 9].iter().flat_map(|word: &u64| word.to_ne_bytes()).collect();
        let found = decode(&record(kind::TOUCH_CHAIN, &chain, 24));
        assert_eq!(found, expected(Vec::new(), vec![0x4020, 0x4030]));
    }

    /// Guarantees: a record that is cut, says more than it has, or is of another kind is a loss; never a panic.
    #[test]
    fn nonsense_is_a_loss() {
        let whole = record(kind::TOUCH, &[7; 16], 16);
        for length in 0..whole.len() {
            assert_eq!(decode(&whole[..length]), Some(Heard::Lost(1)), "{length}");
        }
        for length in [17, u32::MAX] {
            assert_eq!(decode(&record(kind::TOUCH, &[7; 16], length)), Some(Heard::Lost(1)));
            assert_eq!(decode(&record(kind::TOUCH_CHAIN, &[7; 16], length)), Some(Heard::Lost(1)));
        }
        for other in [0, 6, 14, 17, u16::MAX] {
            assert_eq!(decode(&record(other, &[7; 16], 16)), Some(Heard::Lost(1)), "{other}");
        }
    }
}
