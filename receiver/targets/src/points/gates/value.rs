//! What is known of a register: where its value comes from, and between which numbers it lies.

/// Where a value comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Origin {
    /// The function's own argument, counted from 0.
    Argument(u8),
    /// Where the return address lies, as the function is entered.
    Frame,
    /// The result of the call that makes blocks.
    Made,
}

/// A number of 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Value {
    /// So much is added to what; `None`: nobody knows.
    pub(super) origin: Option<(Origin, i64)>,
    pub(super) least: u64,
    pub(super) most: u64,
}

impl Value {
    pub(super) const UNKNOWN: Self = Self::between(0, u64::MAX);

    pub(super) const fn between(least: u64, most: u64) -> Self {
        Self { origin: None, least, most }
    }

    pub(super) const fn constant(number: u64) -> Self {
        Self::between(number, number)
    }

    pub(super) const fn of(origin: Origin) -> Self {
        Self { origin: Some((origin, 0)), ..Self::UNKNOWN }
    }

    pub(super) fn is(self, origin: Origin, offset: i64) -> bool {
        self.origin == Some((origin, offset))
    }

    pub(super) fn is_made(self) -> bool {
        self.is(Origin::Made, 0)
    }

    /// The distance from the return address, of an address in the stack.
    pub(super) fn in_frame(self) -> Option<i64> {
        match self.origin {
            Some((Origin::Frame, offset)) => Some(offset),
            _ => None,
        }
    }

    /// Of a bare number nothing remains: a loop that counts would be followed for ever.
    pub(super) fn plus(self, number: i64) -> Self {
        if self.origin.is_none() && self.least == self.most {
            return Self::UNKNOWN;
        }
        let add = |bound: u64| bound.checked_add_signed(number);
        let (least, most) = match (add(self.least), add(self.most)) {
            (Some(least), Some(most)) => (least, most),
            _ => (0, u64::MAX),
        };
        let origin = self.origin.and_then(|(origin, offset)| Some((origin, offset.checked_add(number)?)));
        Self { origin, least, most }
    }

    pub(super) fn and(self, mask: u64) -> Self {
        if self.least == self.most {
            Self::constant(self.least & mask)
        } else if (!mask).wrapping_add(1) & !mask == 0 {
            // the lowest bits are cleared: the order stays
            Self::between(self.least & mask, self.most & mask)
        } else {
            Self::between(0, self.most.min(mask))
        }
    }

    pub(super) fn shifted_right(self, bits: u32) -> Self {
        Self::between(self.least >> (bits & 63), self.most >> (bits & 63))
    }

    /// What the lower half alone says.
    pub(super) fn lower_half(self) -> Self {
        let half = u64::from(u32::MAX);
        if self.most <= half { Self::between(self.least, self.most) } else { Self::between(0, half) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: the bounds hold whatever the number is, and are lost rather than wrong.
    #[test]
    fn bounds() {
        let size = Value::between(1033, 1 << 40);
        let index = size.plus(0x17).and(!0xf).plus(-0x11).shifted_right(4);
        assert_eq!(index.least, 64);
        assert_eq!(Value::between(3, u64::MAX).plus(1), Value::UNKNOWN);
        assert_eq!(Value::between(3, 5).plus(-4), Value::UNKNOWN);
        assert_eq!(Value::between(3, 9).and(4), Value::between(0, 4));
        assert_eq!(Value::constant(6).and(4), Value::constant(4));
        assert_eq!(Value::between(0, 1 << 33).lower_half(), Value::between(0, u64::from(u32::MAX)));
        let block = Value::of(Origin::Argument(0));
        assert!(block.plus(-16).plus(8).is(Origin::Argument(0), -8));
        assert_eq!(block.and(!15).origin, None);
    }
}
