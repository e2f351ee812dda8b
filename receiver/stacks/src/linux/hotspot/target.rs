//! The memory of the process, in the pieces that are read of it.

use std::fmt;

/// Reads the process's memory: from an address, into all of the bytes. False: it cannot be read.
pub(crate) type Read<'a> = dyn Fn(u64, &mut [u8]) -> bool + 'a;

/// What is mapped ends with a page, the smallest that there are.
const PAGE: u64 = 4096;

/// See the module. What lies beyond the end of the address space cannot be read, either.
#[derive(Clone, Copy)]
pub(crate) struct Target<'a>(pub(crate) &'a Read<'a>);

impl fmt::Debug for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Target")
    }
}

impl Target<'_> {
    fn array<const N: usize>(self, base: u64, offset: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        (self.0)(base.checked_add(offset)?, &mut bytes).then_some(bytes)
    }

    pub(crate) fn word(self, base: u64, offset: u64) -> Option<u64> {
        self.array(base, offset).map(u64::from_le_bytes)
    }

    /// One that is not null.
    pub(crate) fn pointer(self, base: u64, offset: u64) -> Option<u64> {
        self.word(base, offset).filter(|address| *address != 0)
    }

    pub(crate) fn int(self, base: u64, offset: u64) -> Option<u32> {
        self.array(base, offset).map(u32::from_le_bytes)
    }

    pub(crate) fn half(self, base: u64, offset: u64) -> Option<u16> {
        self.array(base, offset).map(u16::from_le_bytes)
    }

    pub(crate) fn byte(self, base: u64, offset: u64) -> Option<u8> {
        self.array::<1>(base, offset).map(|[byte]| byte)
    }

    /// All of so many bytes.
    pub(crate) fn bytes(self, address: u64, size: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; size];
        (self.0)(address, &mut bytes).then_some(bytes)
    }

    /// So many bytes; fewer where the page ends and nothing follows.
    pub(crate) fn up_to(self, address: u64, most: usize) -> Vec<u8> {
        let whole = || self.bytes(address, most);
        let rest = || self.bytes(address, most.min(usize::try_from(PAGE - address % PAGE).ok()?));
        whole().or_else(rest).unwrap_or_default()
    }

    /// A text that ends with a 0 within so many bytes.
    pub(crate) fn text(self, address: u64, most: usize) -> Option<String> {
        let mut bytes = self.up_to(address, most);
        let end = bytes.iter().position(|byte| *byte == 0)?;
        bytes.truncate(end);
        String::from_utf8(bytes).ok()
    }
}
