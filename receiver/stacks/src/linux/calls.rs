//! What is read in machine code of x86-64 about calls: which instruction has called, and where stubs and jumps lead.

/// Bytes of the longest call.
pub(crate) const CALL: usize = 7;

/// Where a call leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    At(u64),
    /// To what lies at an address.
    By(u64),
    /// To what was in registers, or where they said.
    Unknown,
}

/// The calls that the code before a return address may end with, the likeliest first. Instructions cannot be read backwards:
/// bytes of one may look like another.
pub(crate) fn calls(code: &[u8; CALL], next: u64) -> impl Iterator<Item = Target> + use<> {
    let direct = (code[2] == 0xe8).then(|| Target::At(relative(next, last_word(code))));
    let by = (code[1..3] == [0xff, 0x15]).then(|| Target::By(relative(next, last_word(code))));
    let length = |from: usize| match code.get(from..)? {
        [0xff, modrm, rest @ ..] if modrm >> 3 & 7 == 2 && *modrm != 0x15 => {
            Some(1 + operand(*modrm, rest.first().copied())?)
        }
        _ => None,
    };
    let unknown = (0..CALL).any(|from| length(from) == Some(CALL - from)).then_some(Target::Unknown);
    [direct, by, unknown].into_iter().flatten()
}

/// Bytes of an operand: `modrm`, and whatever it says that follows.
pub(crate) fn operand(modrm: u8, scale: Option<u8>) -> Option<usize> {
    Some(match (modrm >> 6, modrm & 7) {
        (3, _) => 1,
        (0, 5) => 5,
        (0, 4) if scale? & 7 == 5 => 6,
        (kind, base) => 1 + usize::from(base == 4) + [0, 1, 4][usize::from(kind).min(2)],
    })
}

fn last_word(code: &[u8]) -> i32 {
    code.last_chunk().copied().map_or(0, i32::from_le_bytes)
}

fn relative(next: u64, distance: i32) -> u64 {
    next.wrapping_add_signed(distance.into())
}

/// Where the address lies that a stub of the linker, at `at`, jumps to: `jmp *place(%rip)`, behind endbr64 and bnd or not.
pub(crate) fn stub(code: &[u8], at: u64) -> Option<u64> {
    let mut skipped = 0;
    for prefix in [&[0xf3, 0x0f, 0x1e, 0xfa][..], &[0xf2]] {
        if code.get(skipped..)?.starts_with(prefix) {
            skipped += prefix.len();
        }
    }
    let jump = code.get(skipped..skipped + 6)?;
    jump.starts_with(&[0xff, 0x25]).then(|| relative(at.wrapping_add(skipped as u64 + 6), last_word(jump)))
}

/// A jump, wherever a byte looks like one: where it stands, and where it leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Jump {
    pub(crate) from: u64,
    /// `None`: to what was in registers, or where they said.
    pub(crate) to: Option<u64>,
    /// Within 128 bytes.
    pub(crate) is_short: bool,
}

/// The jumps of code that begins at `at`.
pub(crate) fn jumps(code: &[u8], at: u64) -> impl Iterator<Item = Jump> {
    (0..code.len()).filter_map(move |nth| {
        let from = at.wrapping_add(nth as u64);
        let near = |length: usize| {
            let next = from.wrapping_add(length as u64);
            Some(relative(next, last_word(code.get(nth..nth + length)?)))
        };
        let (to, is_short) = match code.get(nth..)? {
            [0xe9, ..] => (Some(near(5)?), false),
            [0x0f, 0x80..=0x8f, ..] => (Some(near(6)?), false),
            [0xeb | 0x70..=0x7f, distance, ..] => {
                let distance = i8::from_le_bytes([*distance]);
                (Some(relative(from.wrapping_add(2), distance.into())), true)
            }
            [0xff, modrm, ..] if modrm >> 3 & 7 == 4 => (None, false),
            _ => return None,
        };
        Some(Jump { from, to, is_short })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn before(code: &[u8]) -> Vec<Target> {
        let mut seven = [0x90; CALL];
        seven[CALL - code.len()..].copy_from_slice(code);
        calls(&seven, 0x1000).collect()
    }

    /// Guarantees: each form of a call is known by the bytes before the address behind it, and nothing else is.
    #[test]
    fn forms_of_calls() {
        assert_eq!(before(&[0xe8, 0xf0, 0xff, 0xff, 0xff]), [Target::At(0xff0)]);
        assert_eq!(before(&[0xff, 0x15, 0x10, 0, 0, 0]), [Target::By(0x1010)]);
        let unknown: [&[u8]; 8] = [
            &[0xff, 0xd3],
            &[0x41, 0xff, 0xd4],
            &[0xff, 0x10],
            &[0xff, 0x50, 0x18],
            &[0xff, 0x14, 0xc3],
            &[0xff, 0x54, 0x24, 0x08],
            &[0xff, 0x90, 0x48, 1, 0, 0],
            &[0xff, 0x14, 0xc5, 0, 0x10, 0, 0],
        ];
        for code in unknown {
            assert_eq!(before(code), [Target::Unknown], "{code:x?}");
        }
        let others: [&[u8]; 6] = [
            &[],
            &[0xc3],
            &[0xff, 0xe0],
            &[0xff, 0x25, 1, 0, 0, 0],
            &[0xe9, 1, 0, 0, 0],
            &[0xff, 0xd3, 0x90],
        ];
        for code in others {
            assert_eq!(before(code), [], "{code:x?}");
        }
    }

    /// Guarantees: stubs of the linker are known in each of their forms, and where jumps lead.
    #[test]
    fn stubs_and_jumps() {
        assert_eq!(stub(&[0xff, 0x25, 0x10, 0, 0, 0], 0x100), Some(0x116));
        assert_eq!(stub(&[0xf3, 0x0f, 0x1e, 0xfa, 0xff, 0x25, 0x10, 0, 0, 0], 0x100), Some(0x11a));
        assert_eq!(stub(&[0xf3, 0x0f, 0x1e, 0xfa, 0xf2, 0xff, 0x25, 0x10, 0, 0, 0], 0x100), Some(0x11b));
        assert_eq!(
            (stub(&[0xff, 0x25, 1], 0), stub(&[0xff, 0xe0, 0, 0, 0, 0], 0), stub(&[], 0)),
            (None, None, None)
        );
        let all = |code: &[u8]| jumps(code, 0x100).map(|jump| jump.to).collect::<Vec<_>>();
        assert_eq!(all(&[0xe9, 0xfb, 0xff, 0xff, 0xff])[0], Some(0x100));
        assert_eq!(all(&[0x0f, 0x83, 0x10, 0, 0, 0]), [Some(0x116)]);
        assert_eq!(all(&[0xeb, 0xfe]), [Some(0x100)]);
        assert_eq!(all(&[0xff, 0xe0]), [None]);
        assert_eq!(all(&[0xe9, 0, 0]), []);
    }
}
