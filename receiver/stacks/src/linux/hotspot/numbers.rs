//! HotSpot's compressed numbers: one to five bytes each, six bits in each byte that is not the last; and lines that are written with
//! them.

/// From here on a byte is not the last of its number.
const NOT_LAST: u8 = 192;
/// Of a table of lines: the differences follow as numbers.
const LONG: u8 = 0xff;

/// A stream of numbers.
#[derive(Debug)]
pub(super) struct Numbers<'a> {
    bytes: std::slice::Iter<'a, u8>,
    /// Bytes from 0 on that no number has in it.
    excluded: u8,
}

impl<'a> Numbers<'a> {
    pub(super) fn new(bytes: &'a [u8], excluded: u8) -> Self {
        Self { bytes: bytes.iter(), excluded }
    }

    /// `None` at the end, and where no number is.
    pub(super) fn next(&mut self) -> Option<u32> {
        let mut number = 0_u32;
        for shift in [0, 6, 12, 18, 24] {
            let byte = *self.bytes.next()?;
            let digit = u32::from(byte.checked_sub(self.excluded)?);
            number = number.wrapping_add(digit.wrapping_shl(shift));
            if byte < NOT_LAST {
                break;
            }
        }
        Some(number)
    }

    /// One that may be negative: the last bit says so.
    fn next_signed(&mut self) -> Option<i32> {
        let number = self.next()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }
}

/// The line of a bytecode: that of the last entry that is not behind it. `None` without one.
pub(super) fn line_at(table: &[u8], excluded: u8, wanted: u32) -> Option<u32> {
    let mut numbers = Numbers::new(table, excluded);
    let (mut code, mut line) = (0_u32, 0_u32);
    let mut best = None::<(u32, u32)>;
    loop {
        let step = match numbers.bytes.next() {
            None | Some(0) => break,
            Some(&LONG) => numbers.next_signed().zip(numbers.next_signed()),
            Some(byte) => Some((i32::from(byte >> 3), i32::from(byte & 7))),
        };
        let Some((codes, lines)) = step else { break };
        (code, line) = (code.wrapping_add_signed(codes), line.wrapping_add_signed(lines));
        // entries need not be in order
        if code <= wanted && best.is_none_or(|(known, _)| known <= code) {
            best = Some((code, line));
        }
    }
    best.map(|(_, line)| line).filter(|line| (1..=u32::from(u16::MAX)).contains(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: numbers of one to five bytes are read, with and without the bytes that versions leave out; a stream that ends
    /// within one, or has a byte in it that is left out, yields none.
    #[test]
    fn numbers() {
        let all = |bytes: &[u8], excluded| {
            let mut numbers = Numbers::new(bytes, excluded);
            std::iter::from_fn(|| numbers.next()).collect::<Vec<_>>()
        };
        assert_eq!(all(&[0, 5, 191, 192, 0, 192, 1, 255, 191], 0), [0, 5, 191, 192, 256, 255 + (191 << 6)]);
        assert_eq!(all(&[1, 6, 191, 192, 1, 192, 2], 1), [0, 5, 190, 191, 255]);
        assert_eq!(all(&[255, 255, 255, 255, 255, 7], 0).len(), 2);
        assert_eq!(all(&[192, 192], 0), [0; 0]);
        assert_eq!(all(&[3, 0, 3], 1), [2]);
    }

    /// Guarantees: a bytecode has the line of the entry before it, also where the differences are long, negative or out of order;
    /// none where there is no entry, or only nonsense.
    #[test]
    fn lines() {
        // 0: 7, then 1 and 3 more, then 4 codes on and 2 lines back
        let table = [7, 1 << 3 | 3, LONG, 8, 3, 0];
        let line = |code| line_at(&table, 0, code);
        assert_eq!([0, 1, 4, 5, 900].map(line), [Some(7), Some(10), Some(10), Some(8), Some(8)]);
        assert_eq!(line_at(&[0], 0, 3), None);
        assert_eq!(line_at(&[2 << 3 | 1, 0], 0, 1), None);
        assert_eq!(line_at(&[LONG, 255], 0, 1), None);
        assert_eq!(line_at(&[LONG, 0, 255, 255, 255, 255, 255], 0, 1), None);
        assert_eq!(line_at(&[LONG, 1, 15], 1, 0), Some(7));
    }
}
