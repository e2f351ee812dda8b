//! What a probe says to the program that runs at it: a [`Point`] in 64 bits, as `c/abi.h` lays them out. Portable.

use super::heard::Slot;
use super::point::{Point, Role, Shape};

/// `enum mlh_cookie`: where the parts begin.
pub mod bits {
    /// The shape's number.
    pub const SHAPE: u32 = 5;
    /// The role's number.
    pub const ROLE: u32 = 9;
    /// The first argument.
    pub const FIRST: u32 = 12;
    /// The second argument.
    pub const SECOND: u32 = 15;
    /// The third argument.
    pub const THIRD: u32 = 18;
    /// The instruction is emulated.
    pub const EMULATED: u32 = 21;
    /// Words of 8 bytes to the return address.
    pub const DISTANCE: u32 = 22;
    /// The slot.
    pub const SLOT: u32 = 32;
}

/// `enum mlh_shape`.
pub mod shape {
    /// `Shape::Size`.
    pub const SIZE: u8 = 0;
    /// `Shape::Array`.
    pub const ARRAY: u8 = 1;
    /// `Shape::Resize`.
    pub const RESIZE: u8 = 2;
    /// `Shape::ResizeArray`.
    pub const RESIZE_ARRAY: u8 = 3;
    /// `Shape::Out`.
    pub const OUT: u8 = 4;
    /// `Shape::Free`.
    pub const FREE: u8 = 5;
    /// `Shape::GlibcMade`.
    pub const GLIBC_MADE: u8 = 6;
    /// `Shape::GlibcFreed`.
    pub const GLIBC_FREED: u8 = 7;
    /// `Shape::Map`.
    pub const MAP: u8 = 8;
    /// `Shape::Unmap`.
    pub const UNMAP: u8 = 9;
    /// `Shape::Remap`.
    pub const REMAP: u8 = 10;
    /// `Shape::Break`.
    pub const BREAK: u8 = 11;
    /// `Shape::Advise`.
    pub const ADVISE: u8 = 12;
    /// `Shape::LoadedCode`.
    pub const LOADED_CODE: u8 = 13;
    /// Only to measure what a hit costs.
    pub const NOTHING: u8 = 14;
}

/// `enum mlh_role`.
pub mod role {
    /// `Role::Entry`.
    pub const ENTRY: u8 = 0;
    /// `Role::EntryOnly`.
    pub const ENTRY_ONLY: u8 = 1;
    /// `Role::ReturnSite`.
    pub const RETURN_SITE: u8 = 2;
    /// `Role::AfterSyscall`.
    pub const AFTER_SYSCALL: u8 = 3;
    /// `Role::Reached`.
    pub const REACHED: u8 = 4;
}

/// Arguments that lie in registers.
const ARGUMENTS: u8 = 6;
/// `to_return_address` in words of 8 bytes has so many bits.
const DISTANCE_BITS: u32 = 10;

/// Whether an operation that begins so ends in a result.
#[must_use]
pub fn has_result(shape: Shape) -> bool {
    matches!(
        shape,
        Shape::Size { .. }
            | Shape::Array { .. }
            | Shape::Resize { .. }
            | Shape::ResizeArray { .. }
            | Shape::Out { .. }
    )
}

/// A cookie that has a hit counted and nothing done.
#[must_use]
pub fn nothing(slot: Slot, emulated: bool) -> u64 {
    u64::from(slot.0) << bits::SLOT
        | u64::from(emulated) << bits::EMULATED
        | u64::from(shape::NOTHING) << bits::SHAPE
}

/// The cookie of a probe.
///
/// # Errors
/// What of the point cannot be said.
pub fn pack(slot: Slot, point: &Point) -> Result<u64, String> {
    let (number, arguments) = shape_parts(point.shape);
    if !matches!(point.shape, Shape::GlibcFreed { .. })
        && arguments.iter().any(|argument| *argument >= ARGUMENTS)
    {
        return Err(format!("arguments beyond the first {ARGUMENTS} are not in registers"));
    }
    let words = point.to_return_address / 8;
    if !point.to_return_address.is_multiple_of(8) || words >> DISTANCE_BITS != 0 {
        return Err(format!("the return address is {} bytes away", point.to_return_address));
    }
    let role = match point.role {
        Role::Entry => role::ENTRY,
        Role::EntryOnly => role::ENTRY_ONLY,
        Role::ReturnSite => role::RETURN_SITE,
        Role::AfterSyscall => role::AFTER_SYSCALL,
        Role::Reached => role::REACHED,
    };
    let [first, second, third] = arguments;
    let parts = [
        (u32::from(point.operation as u8), 0),
        (u32::from(number), bits::SHAPE),
        (u32::from(role), bits::ROLE),
        (u32::from(first), bits::FIRST),
        (u32::from(second), bits::SECOND),
        (u32::from(third), bits::THIRD),
        (u32::from(point.emulated), bits::EMULATED),
        (u32::from(words), bits::DISTANCE),
        (slot.0, bits::SLOT),
    ];
    Ok(parts.into_iter().fold(0, |cookie, (part, at)| cookie | u64::from(part) << at))
}

fn shape_parts(of: Shape) -> (u8, [u8; 3]) {
    match of {
        Shape::Size { size } => (shape::SIZE, [size, 0, 0]),
        Shape::Array { count, size } => (shape::ARRAY, [count, size, 0]),
        Shape::Resize { pointer, size } => (shape::RESIZE, [pointer, size, 0]),
        Shape::ResizeArray { pointer, count, size } => (shape::RESIZE_ARRAY, [pointer, count, size]),
        Shape::Out { out, size } => (shape::OUT, [out, size, 0]),
        Shape::Free { pointer } => (shape::FREE, [pointer, 0, 0]),
        Shape::GlibcMade => (shape::GLIBC_MADE, [0; 3]),
        // four bits, which reach into the second argument's
        Shape::GlibcFreed { chunk } => (shape::GLIBC_FREED, [chunk as u8, 0, 0]),
        Shape::Map => (shape::MAP, [0; 3]),
        Shape::Unmap => (shape::UNMAP, [0; 3]),
        Shape::Remap => (shape::REMAP, [0; 3]),
        Shape::Break => (shape::BREAK, [0; 3]),
        Shape::Advise => (shape::ADVISE, [0; 3]),
        Shape::LoadedCode => (shape::LOADED_CODE, [0; 3]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::point::{Operation, Register};
    use super::*;

    fn point(shape: Shape) -> Point {
        Point {
            offset: 0x1234,
            role: Role::Entry,
            shape,
            operation: Operation::LoadedCode,
            emulated: true,
            to_return_address: 0,
        }
    }

    /// Guarantees: every part stands where the programs look for it, at its largest value too.
    #[test]
    fn packs_every_part() {
        let cookie = pack(
            Slot(0xffff_fffe),
            &Point {
                role: Role::Reached,
                to_return_address: 8 * 1023,
                ..point(Shape::ResizeArray { pointer: 5, count: 4, size: 3 })
            },
        )
        .unwrap();
        let part = |at: u32, width: u32| (cookie >> at) & ((1 << width) - 1);
        assert_eq!((part(0, 5), part(5, 4), part(9, 3)), (24, 3, 4));
        assert_eq!((part(12, 3), part(15, 3), part(18, 3)), (5, 4, 3));
        assert_eq!((part(21, 1), part(22, 10), cookie >> 32), (1, 1023, 0xffff_fffe));
        let freed = pack(Slot(1), &point(Shape::GlibcFreed { chunk: Register::R15 })).unwrap();
        assert_eq!((freed >> 12) & 15, 14);
    }

    /// Guarantees: what the programs could not make out is refused with the reason.
    #[test]
    fn refuses_what_cannot_be_said() {
        let far = |bytes| pack(Slot(0), &Point { to_return_address: bytes, ..point(Shape::Map) });
        assert!(far(8192).unwrap_err().contains("8192"));
        assert!(far(12).is_err());
        assert!(pack(Slot(0), &point(Shape::Free { pointer: 6 })).unwrap_err().contains("registers"));
        assert!(pack(Slot(0), &point(Shape::Free { pointer: 5 })).is_ok());
    }
}
