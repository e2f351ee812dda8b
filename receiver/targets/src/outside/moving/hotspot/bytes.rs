//! Pieces of the process's memory.

use mlh_stacks::memory::Memory;

/// No piece that is read at once is larger.
const MAX: u64 = 512 << 10;

/// What was read at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bytes {
    at: u64,
    bytes: Vec<u8>,
}

impl Bytes {
    /// `None`: not all of it can be read, or it is larger than anything that is looked at.
    pub(super) fn read(memory: Memory, at: u64, size: u64) -> Option<Self> {
        let mut bytes = vec![0; usize::try_from(size).ok().filter(|_| size <= MAX)?];
        memory.read(at, &mut bytes).then_some(Self { at, bytes })
    }

    /// Of an object: all that lies between these fields of it, each of 8 bytes at most.
    pub(super) fn around(memory: Memory, object: u64, fields: &[u64]) -> Option<Self> {
        let (first, last) = (fields.iter().min()?, fields.iter().max()?);
        Self::read(memory, object.checked_add(*first)?, last.checked_sub(*first)?.checked_add(8)?)
    }

    /// The four bytes at an address.
    pub(super) fn int(&self, address: u64) -> Option<u32> {
        self.array(address).map(u32::from_le_bytes)
    }

    /// The eight bytes at an address.
    pub(super) fn word(&self, address: u64) -> Option<u64> {
        self.array(address).map(u64::from_le_bytes)
    }

    /// The byte at an address.
    pub(super) fn byte(&self, address: u64) -> Option<u8> {
        self.array::<1>(address).map(|[byte]| byte)
    }

    fn array<const N: usize>(&self, address: u64) -> Option<[u8; N]> {
        let from = usize::try_from(address.checked_sub(self.at)?).ok()?;
        self.bytes.get(from..)?.first_chunk().copied()
    }
}
