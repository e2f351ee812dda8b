//! Tables that say from which place in the source an instruction comes.
//!
//! Each entry has two numbers, told by how much they differ from those before: where an instruction is, and where it comes from.
//! Numbers have as many bytes as they need, seven bits in each, the lowest first, and their sign is the lowest bit.

/// A place in the source of a function, or of one that was inlined into it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Position {
    /// Characters from the beginning of the script.
    pub(super) at: Option<u32>,
    /// Which of those that were inlined.
    pub(super) inlined: Option<usize>,
}

impl Position {
    /// One bit for what is no place in a script, 30 for the place and 16 for the function, each with one added.
    pub(super) fn of(bits: u64) -> Self {
        let inlined = usize::try_from(bits >> 31 & 0xffff).unwrap_or_default().checked_sub(1);
        let at = u32::try_from(bits >> 1 & 0x3fff_ffff).unwrap_or_default().checked_sub(1);
        Self { at: at.filter(|_| bits & 1 == 0), inlined }
    }
}

/// Of the last entry that is not behind an instruction.
pub(super) fn position_at(table: &[u8], instruction: u64) -> Option<Position> {
    let mut bytes = table.iter().copied();
    let (mut at, mut position, mut found) = (0i64, 0i64, None);
    while let Some(step) = signed(&mut bytes) {
        // whether it begins a statement is told by the sign
        at = at.checked_add(if step < 0 { step.checked_add(1)?.checked_neg()? } else { step })?;
        position = position.checked_add(signed(&mut bytes)?)?;
        if u64::try_from(at).ok()? > instruction {
            break;
        }
        found = Some(position);
    }
    found.map(|position| Position::of(position.cast_unsigned()))
}

fn signed(bytes: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let mut value = 0u64;
    for shift in (0..64).step_by(7) {
        let byte = bytes.next()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            let magnitude = (value >> 1).cast_signed();
            return Some(if value & 1 == 1 { !magnitude } else { magnitude });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As V8 writes them.
    fn table(entries: &[(i64, i64)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut put = |value: i64| {
            let mut rest = (value << 1 ^ value >> 63).cast_unsigned();
            while rest > 0x7f {
                bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
        };
        let (mut last_at, mut last_position) = (0, 0);
        for (nth, (at, position)) in entries.iter().enumerate() {
            let step = at - last_at;
            put(if nth % 2 == 0 { step } else { -step - 1 });
            put(position - last_position);
            (last_at, last_position) = (*at, *position);
        }
        bytes
    }

    /// Guarantees: an instruction comes from the place of the last entry before it, however far they are apart; which function was
    /// inlined is told; what comes from no place in a script is told as that.
    #[test]
    fn places() {
        let place = |at: i64, inlined: i64| (at + 1) << 1 | (inlined + 1) << 31;
        let table = table(&[(4, place(100, -1)), (9, place(20, 2)), (700, place(90_000, -1)), (900, 7)]);
        let at = |instruction| position_at(&table, instruction);
        let is = |at: u32, inlined| Some(Position { at: Some(at), inlined });
        assert_eq!(at(3), None);
        assert_eq!((at(4), at(8)), (is(100, None), is(100, None)));
        assert_eq!((at(9), at(699)), (is(20, Some(2)), is(20, Some(2))));
        assert_eq!(at(899), is(90_000, None));
        assert_eq!(at(u64::MAX), Some(Position { at: None, inlined: None }));
    }

    /// Guarantees: tables of any bytes end.
    #[test]
    fn hostile_tables() {
        for table in [&[][..], &[0x80; 64], &[0xff; 64], &[1; 64], &[0xff, 0xff, 0xff, 0xff, 1, 3, 0x80]] {
            let _ = (position_at(table, 0), position_at(table, u64::MAX));
        }
    }
}
