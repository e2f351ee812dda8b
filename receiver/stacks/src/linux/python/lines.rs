//! Tables of lines, in the three forms that CPython has had. Pure: whatever the bytes are, the answer is a line or none.

use crate::python::LineTable;

/// An entry of a table of positions begins with this bit.
const BEGINS: u8 = 0x80;
/// Forms of such an entry, from here on: lines by themselves.
const ONE_LINE: u8 = 10;
const NO_COLUMNS: u8 = 13;
const LONG: u8 = 14;
const NOWHERE: u8 = 15;
/// A difference that says: no line.
const NO_LINE: i8 = -128;

/// The line of the instruction at `offset`, bytes from where the code begins. `None`: it has none, or the table does not reach there.
pub(super) fn line_at(form: LineTable, table: &[u8], first_line: u32, offset: u64) -> Option<u32> {
    let line = match form {
        LineTable::Lnotab => Some(by_lnotab(table, first_line.into(), offset)),
        LineTable::Linetable => by_linetable(table, first_line.into(), offset),
        LineTable::Positions => by_positions(table, first_line.into(), offset),
    };
    u32::try_from(line?).ok().filter(|line| *line > 0)
}

/// Pairs: bytes of code until the line changes, and by how much it does.
fn by_lnotab(table: &[u8], first_line: i64, offset: u64) -> i64 {
    let (mut line, mut at) = (first_line, 0);
    for pair in table.chunks_exact(2) {
        at += u64::from(pair[0]);
        if at > offset {
            break;
        }
        line += i64::from(pair[1].cast_signed());
    }
    line
}

/// Pairs: bytes of code, and by how much their line differs from that before.
fn by_linetable(table: &[u8], first_line: i64, offset: u64) -> Option<i64> {
    let (mut line, mut at) = (first_line, 0);
    for pair in table.chunks_exact(2) {
        let difference = pair[1].cast_signed();
        if difference != NO_LINE {
            line += i64::from(difference);
        }
        at += u64::from(pair[0]);
        if offset < at {
            return (difference != NO_LINE).then_some(line);
        }
    }
    None
}

/// Entries: units of code in the lowest three bits of the first byte, the form above them, then what the form has, without columns.
fn by_positions(table: &[u8], first_line: i64, offset: u64) -> Option<i64> {
    let (mut line, mut at, mut rest) = (first_line, 0, table);
    while let [head, behind @ ..] = rest {
        let form = head >> 3 & 0xf;
        let difference = match form {
            ONE_LINE..NO_COLUMNS => i64::from(form - ONE_LINE),
            NO_COLUMNS | LONG => signed(behind),
            _ => 0,
        };
        line = line.saturating_add(difference);
        at += (u64::from(head & 7) + 1) * 2;
        if offset < at {
            return (form != NOWHERE).then_some(line);
        }
        let next = behind.iter().position(|byte| byte & BEGINS != 0).unwrap_or(behind.len());
        rest = &behind[next..];
    }
    None
}

/// A number in groups of six bits, the lowest first; the lowest bit of all is its sign.
fn signed(bytes: &[u8]) -> i64 {
    let (mut value, mut shift) = (0_u64, 0);
    for byte in bytes.iter().take_while(|byte| *byte & BEGINS == 0) {
        value |= u64::from(byte & 0x3f) << shift;
        shift += 6;
        // a line has 31 bits
        if byte & 0x40 == 0 || shift > 36 {
            break;
        }
    }
    let size = (value >> 1).cast_signed();
    if value & 1 == 1 { -size } else { size }
}

#[cfg(test)]
mod tests;
