//! Bytes of the ring to what they tell. Pure and portable: whatever the bytes are, the answer is a value.

use std::time::Duration;

use zerocopy::{FromBytes, Immutable, KnownLayout};

use super::heard::{Block, CallSite, Change, Heard, Mapping, ProcessEvent, Slot, StackCopy};
use super::point::Operation;
use super::wire::{BlockRecord, CallSiteKey, MappingRecord, StackRecord, TurnRecord, kind};
use crate::capture::Form;
use crate::joining::Joining;
use crate::wire::Header;

/// Reads the records of the probes' rings in their order.
#[derive(Debug, Default)]
pub struct Decoder {
    python: Joining,
}

impl Decoder {
    /// One record. What cannot be read counts as one that was lost. `None`: it belongs to one that follows.
    pub fn read(&mut self, bytes: &[u8]) -> Option<Heard> {
        self.python.pass(bytes, Heard::Lost(1), |bytes, python| {
            let mut heard = read(bytes)?;
            if let Heard::Stack(copy) = &mut heard {
                copy.capture.python = python.take(copy.pid, copy.at);
            }
            Some(heard)
        })
    }
}

fn read(bytes: &[u8]) -> Option<Heard> {
    let (header, _) = Header::read_from_prefix(bytes).ok()?;
    let row = bytes.get(..usize::from(header.size))?;
    match header.kind {
        kind::STACK => stack(row, Form::Copy),
        kind::CHAIN => stack(row, Form::Addresses),
        kind::MAPPING => mapping(&whole(row)?),
        kind::BLOCK => block(&whole(row)?),
        kind::FORKED | kind::EXECUTED | kind::EXITED | kind::LOADED_CODE => Some(turn(&whole(row)?)),
        _ => None,
    }
}

fn whole<T: FromBytes + KnownLayout + Immutable>(row: &[u8]) -> Option<T> {
    T::read_from_bytes(row).ok()
}

pub(crate) fn call_site(key: CallSiteKey) -> CallSite {
    CallSite { slot: Slot(key.slot), ip: key.ip, depth: key.depth }
}

fn stack(row: &[u8], form: Form) -> Option<Heard> {
    let (record, rest) = StackRecord::read_from_prefix(row).ok()?;
    Some(Heard::Stack(StackCopy {
        at: Duration::from_nanos(record.at_ns),
        call_site: call_site(record.site),
        operation: Operation::from_number(record.operation)?,
        pid: record.pid,
        capture: record.capture.with(rest, form)?,
    }))
}

fn mapping(record: &MappingRecord) -> Option<Heard> {
    let (address, length) = (record.address, record.length);
    let change = match Operation::from_number(record.operation)? {
        Operation::Mmap => Change::Map { address, length, protection: record.kind, flags: record.flags },
        Operation::Munmap => Change::Unmap { address, length },
        Operation::Mremap => Change::Remap {
            old: address,
            old_length: length,
            new: record.new_address,
            new_length: record.new_length,
            flags: record.flags,
        },
        Operation::Brk => Change::Break { to: address },
        Operation::Madvise => Change::Advise { address, length, advice: record.kind },
        _ => return None,
    };
    Some(Heard::Mapping(Mapping {
        at: Duration::from_nanos(record.at_ns),
        call_site: call_site(record.site),
        pid: record.pid,
        change,
        serves_allocation: record.serves != 0,
        rss_pages: record.rss_pages,
    }))
}

fn block(record: &BlockRecord) -> Option<Heard> {
    Some(Heard::Block(Block {
        at: Duration::from_nanos(record.at_ns),
        call_site: call_site(record.site),
        pid: record.pid,
        operation: Operation::from_number(record.operation)?,
        freed: record.freed != 0,
        address: record.address,
        size: record.size,
        weight: record.weight,
        rss_pages: record.rss_pages,
    }))
}

fn turn(record: &TurnRecord) -> Heard {
    let slot = Slot(record.slot);
    Heard::Process(match record.header.kind {
        kind::FORKED => ProcessEvent::Forked { slot, child: record.pid },
        kind::EXECUTED => ProcessEvent::Executed { slot, next: Slot(record.next), pid: record.pid },
        kind::EXITED => ProcessEvent::Exited { slot },
        _ => ProcessEvent::LoadedCode { slot },
    })
}

#[cfg(test)]
mod tests {
    use zerocopy::IntoBytes as _;

    use super::*;
    use crate::capture::{Capture, CaptureRecord};

    const SITE: CallSiteKey = CallSiteKey { ip: 0x4010, slot: 0x102, depth: 96 };

    fn header(kind: u16, size: usize) -> Header {
        Header { kind, size: u16::try_from(size).unwrap() }
    }

    fn decode(bytes: &[u8]) -> Heard {
        Decoder::default().read(bytes).unwrap()
    }

    fn a_stack_as(kind: u16, length: u32) -> Vec<u8> {
        let record = StackRecord {
            header: header(kind, size_of::<StackRecord>() + 16),
            operation: 2,
            reserved: [0; 3],
            at_ns: 1_500,
            site: SITE,
            capture: CaptureRecord {
                ip: 0x4010,
                sp: 0x7ff0,
                bp: 0x7fff,
                length,
                truncated: 1,
                returns: [0x4020, 0, 0, 0],
            },
            pid: 21,
            reserved_too: 0,
        };
        [record.as_bytes(), &[7; 16]].concat()
    }

    fn a_stack() -> Vec<u8> {
        a_stack_as(kind::STACK, 10)
    }

    fn a_mapping(operation: Operation) -> MappingRecord {
        MappingRecord {
            header: header(kind::MAPPING, size_of::<MappingRecord>()),
            operation: operation as u8,
            serves: 1,
            reserved: 0,
            at_ns: 2_000,
            site: SITE,
            address: 0x1000,
            length: 0x2000,
            new_address: 0x3000,
            new_length: 0x4000,
            kind: 3,
            flags: 0x22,
            rss_pages: 99,
            pid: 21,
            reserved_too: 0,
        }
    }

    fn a_block() -> BlockRecord {
        BlockRecord {
            header: header(kind::BLOCK, size_of::<BlockRecord>()),
            operation: 1,
            freed: 1,
            reserved: 0,
            at_ns: 3_000,
            site: SITE,
            address: 0x5000,
            size: 64,
            rss_pages: 99,
            weight: 10,
            pid: 21,
        }
    }

    fn a_turn(kind: u16) -> TurnRecord {
        TurnRecord {
            header: header(kind, size_of::<TurnRecord>()),
            slot: 0x102,
            at_ns: 4_000,
            next: 0x103,
            pid: 22,
        }
    }

    /// Guarantees: every kind of record becomes what it tells, field by field.
    #[test]
    fn reads_every_kind() {
        let call_site = CallSite { slot: Slot(0x102), ip: 0x4010, depth: 96 };
        assert_eq!(
            decode(&a_stack()),
            Heard::Stack(StackCopy {
                at: Duration::from_nanos(1_500),
                call_site,
                operation: Operation::Calloc,
                pid: 21,
                capture: Capture {
                    ip: 0x4010,
                    sp: 0x7ff0,
                    bp: 0x7fff,
                    stack: vec![7; 10],
                    truncated: true,
                    returns: vec![0x4020],
                    ..Capture::default()
                },
            })
        );
        let Heard::Stack(walked) = decode(&a_stack_as(kind::CHAIN, 16)) else { panic!("no stack") };
        assert_eq!(walked.capture.chain, [0x0707_0707_0707_0707; 2]);
        assert_eq!((walked.capture.ip, walked.capture.stack.len()), (0x4010, 0));
        let (address, length) = (0x1000, 0x2000);
        for (operation, change) in [
            (Operation::Mmap, Change::Map { address, length, protection: 3, flags: 0x22 }),
            (Operation::Munmap, Change::Unmap { address, length }),
            (
                Operation::Mremap,
                Change::Remap {
                    old: address,
                    old_length: length,
                    new: 0x3000,
                    new_length: 0x4000,
                    flags: 0x22,
                },
            ),
            (Operation::Brk, Change::Break { to: address }),
            (Operation::Madvise, Change::Advise { address, length, advice: 3 }),
        ] {
            let at = Duration::from_nanos(2_000);
            let expected = Mapping { at, call_site, pid: 21, change, serves_allocation: true, rss_pages: 99 };
            assert_eq!(decode(a_mapping(operation).as_bytes()), Heard::Mapping(expected));
        }
        assert_eq!(
            decode(a_block().as_bytes()),
            Heard::Block(Block {
                at: Duration::from_nanos(3_000),
                call_site,
                pid: 21,
                operation: Operation::Malloc,
                freed: true,
                address: 0x5000,
                size: 64,
                weight: 10,
                rss_pages: 99,
            })
        );
        let slot = Slot(0x102);
        for (kind, event) in [
            (kind::FORKED, ProcessEvent::Forked { slot, child: 22 }),
            (kind::EXECUTED, ProcessEvent::Executed { slot, next: Slot(0x103), pid: 22 }),
            (kind::EXITED, ProcessEvent::Exited { slot }),
            (kind::LOADED_CODE, ProcessEvent::LoadedCode { slot }),
        ] {
            assert_eq!(decode(a_turn(kind).as_bytes()), Heard::Process(event));
        }
    }

    /// Guarantees: a record that is cut anywhere is one that was lost, and what lies behind a whole one does not matter.
    #[test]
    fn a_cut_record_is_a_loss() {
        let whole = [
            a_stack(),
            a_mapping(Operation::Mmap).as_bytes().to_vec(),
            a_block().as_bytes().to_vec(),
            a_turn(kind::EXITED).as_bytes().to_vec(),
        ];
        for record in whole {
            for length in 0..record.len() {
                assert_eq!(decode(&record[..length]), Heard::Lost(1), "{length} of {}", record.len());
            }
            let longer = [record.as_slice(), &[0xff; 9]].concat();
            assert_eq!(decode(&longer), decode(&record));
        }
    }

    /// Guarantees: sizes, kinds and numbers that make no sense are losses: never a panic, never more memory than there are bytes.
    #[test]
    fn nonsense_is_a_loss() {
        // one byte more than the row has, and many
        for length in [17, u32::MAX] {
            assert_eq!(decode(&a_stack_as(kind::STACK, length)), Heard::Lost(1));
            assert_eq!(decode(&a_stack_as(kind::CHAIN, length)), Heard::Lost(1));
        }
        let unknown = BlockRecord { operation: 200, ..a_block() };
        assert_eq!(decode(unknown.as_bytes()), Heard::Lost(1));
        assert_eq!(decode(a_mapping(Operation::Malloc).as_bytes()), Heard::Lost(1));
        let longer = BlockRecord { header: header(kind::BLOCK, 72), ..a_block() };
        assert_eq!(decode(&[longer.as_bytes(), &[0; 8]].concat()), Heard::Lost(1));
        for kind in [0, 1, 5, 13, 15, u16::MAX] {
            assert_eq!(decode(a_turn(kind).as_bytes()), Heard::Lost(1), "{kind}");
        }
        // of every length, from a generator that anybody can repeat
        let mut state = 1_u64;
        for length in 0..300 {
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    state.to_le_bytes()[7]
                })
                .collect();
            std::hint::black_box(Decoder::default().read(&bytes));
        }
    }
}
