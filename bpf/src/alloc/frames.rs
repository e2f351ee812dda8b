//! The sizes of frames by which the kernel's side tells call sites apart (`c/callsite.bpf.h`).

use std::collections::HashSet;

use libbpf_rs::{MapCore as _, MapFlags, MapHandle, Object};
use zerocopy::IntoBytes as _;

use super::heard::Slot;
use super::point::FrameSize;
use super::wire::WrapperKey;
use crate::object::{self, Failure};

/// Frames of one process that are known at most: the table is shared.
const MAX_FRAMES: usize = 2048;
/// Sizes are kept in words of so many bytes.
const WORD: u32 = 8;

/// See the module.
#[derive(Debug)]
pub(super) struct Frames {
    table: MapHandle,
    any: MapHandle,
}

impl Frames {
    pub(super) fn of(object: &Object) -> Result<Self, Failure> {
        Ok(Self { table: object::handle(object, "frames")?, any: object::handle(object, ".data.frames")? })
    }

    /// Enters those that fit. `known` are those of the process that are in.
    pub(super) fn enter(&self, slot: Slot, frames: &[FrameSize], known: &mut HashSet<WrapperKey>) {
        for frame in frames {
            let key = WrapperKey { returns_to: frame.returns_to, slot: slot.0, reserved: 0 };
            let Some(value) = packed(frame) else { continue };
            if known.len() >= MAX_FRAMES && !known.contains(&key) {
                continue;
            }
            // what the table has no room for is not told apart
            if self.table.update(key.as_bytes(), &value.to_ne_bytes(), MapFlags::ANY).is_ok() {
                known.insert(key);
            }
        }
        if !known.is_empty() {
            let _ = self.any.update(&0_u32.to_ne_bytes(), &1_u32.to_ne_bytes(), MapFlags::ANY);
        }
    }

    pub(super) fn remove(&self, key: &WrapperKey) {
        // one that is not there is gone as it should be
        let _ = self.table.delete(key.as_bytes());
    }
}

/// As the kernel's side reads it. `None`: too large, or none that code makes.
fn packed(frame: &FrameSize) -> Option<u32> {
    let whole = frame.to_return_address.checked_add(frame.to_caller)?;
    if !frame.to_return_address.is_multiple_of(WORD) || !whole.is_multiple_of(WORD) || frame.to_caller == 0 {
        return None;
    }
    let near = u16::try_from(frame.to_return_address / WORD).ok()?;
    let far = u16::try_from(whole / WORD).ok()?;
    Some(u32::from(near) | u32::from(far) << 16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: sizes are packed as the kernel's side takes them apart, and what does not fit is left out.
    #[test]
    fn packing() {
        let frame = |near, to_caller| FrameSize { returns_to: 1, to_return_address: near, to_caller };
        assert_eq!(packed(&frame(24, 8)), Some(3 | 4 << 16));
        assert_eq!(packed(&frame(0, 8)), Some(1 << 16));
        for wrong in [frame(20, 8), frame(24, 4), frame(24, 0), frame(8 << 16, 8), frame(u32::MAX, 8)] {
            assert_eq!(packed(&wrong), None, "{wrong:?}");
        }
    }
}
