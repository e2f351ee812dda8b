//! How CPython keeps texts.

/// The state of a text whose characters lie right behind its head; others are no names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    /// Bytes of a character.
    pub(super) width: usize,
    /// All are ASCII: then the head is a shorter one.
    pub(super) is_ascii: bool,
}

impl State {
    /// From the bits of `PyASCIIObject.state`: whether the text is interned, in as many bits as the version has for it; three for the
    /// width; one for the characters being behind the head; one for ASCII. `None`: it is no such text.
    pub(super) fn of(bits: u32) -> Option<Self> {
        [2, 8, 16].into_iter().find_map(|interned| {
            let bits = bits >> interned;
            let (width, behind, is_ascii) = (bits & 7, bits & 8 != 0, bits & 16 != 0);
            let right = behind && matches!(width, 1 | 2 | 4) && (width == 1 || !is_ascii);
            right.then_some(Self { width: width as usize, is_ascii })
        })
    }
}

/// Characters of so many bytes each.
pub(super) fn text(bytes: &[u8], width: usize) -> String {
    let character = |bytes: &[u8]| {
        let value = bytes.iter().rev().fold(0, |value, byte| value << 8 | u32::from(*byte));
        char::from_u32(value).unwrap_or(char::REPLACEMENT_CHARACTER)
    };
    bytes.chunks_exact(width.max(1)).map(character).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: characters of each width become what they are; what is none becomes the sign for that.
    #[test]
    fn texts_of_every_width() {
        assert_eq!(text(b"caf\xe9", 1), "caf\u{e9}");
        assert_eq!(text(&[0x0b, 0x04, 0x00, 0xd8], 2), "\u{40b}\u{fffd}");
        assert_eq!(text(&[0x0d, 0xf4, 0x01, 0x00, 0xff, 0xff, 0xff, 0xff, 1, 2], 4), "\u{1f40d}\u{fffd}");
        assert_eq!(text(&[], 1), "");
    }

    /// Guarantees: the states of the versions are told, however wide the mark of being interned is; a text that is kept elsewhere, or
    /// that contradicts itself, is none.
    #[test]
    fn states() {
        let state = |width, is_ascii| Some(State { width, is_ascii });
        let bits = |ascii: u32, behind: u32, width: u32| ascii << 4 | behind << 3 | width;
        // 3.8 to 3.13: interned in two bits; up to 3.11 one more above, for being ready
        assert_eq!(State::of(bits(1, 1, 1) << 2 | 1), state(1, true));
        assert_eq!(State::of(bits(2, 1, 2) << 2), state(2, false));
        assert_eq!(State::of(bits(0, 1, 4) << 2 | 2), state(4, false));
        // 3.14: in 16
        assert_eq!(State::of(bits(1, 1, 1) << 16 | 3), state(1, true));
        for bits in [0, bits(1, 0, 1) << 2, bits(1, 1, 2) << 2, bits(0, 1, 3) << 2, u32::MAX] {
            assert_eq!(State::of(bits), None, "{bits:b}");
        }
    }
}
