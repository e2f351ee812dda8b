//! What a function of x86-64 has put on the stack, by the instructions that it begins with.

use super::calls::operand;

/// What lies between the stack pointer and the return address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Prologue {
    /// Bytes.
    pub(crate) depth: u64,
    /// How far below the end of these the caller's frame pointer lies, if it was pushed.
    pub(crate) frame: Option<u64>,
}

impl Prologue {
    /// Reads the code up to where execution is, or until the function calls, or does what is not known here.
    pub(crate) fn read(code: &[u8]) -> Self {
        let mut it = Self::default();
        let mut rest = code;
        while let Some(behind) = it.step(rest).and_then(|length| rest.get(length..)) {
            rest = behind;
        }
        it
    }

    /// Follows one instruction, and returns its length. `None`: it is not here as a whole, or is not known.
    fn step(&mut self, code: &[u8]) -> Option<usize> {
        let prefixes = code.iter().take_while(|byte| [0x64, 0x66, 0xf2, 0xf3].contains(*byte)).count();
        let rex = code.get(prefixes).copied().filter(|byte| byte & 0xf0 == 0x40);
        let before = prefixes + usize::from(rex.is_some());
        let rex = rex.unwrap_or_default();
        let [operation, rest @ ..] = code.get(before..)? else { return None };
        let (length, pushed) = match *operation {
            push @ 0x50..=0x57 => (1, Some((8, push == 0x55 && rex & 1 == 0))),
            0x90 | 0x98 | 0x99 => (1, None),
            // Whoever has nothing to do leaves before anything is saved.
            0x70..=0x7f => (2, None),
            0xb8..=0xbf => (if rex & 8 == 0 { 5 } else { 9 }, None),
            0x0f => {
                let [operation, rest @ ..] = rest else { return None };
                if matches!(operation, 0x80..=0x8f) {
                    return code.get(..before + 6).map(<[u8]>::len);
                }
                let is_known = matches!(
                    operation,
                    0x10 | 0x11 | 0x1e | 0x1f | 0x28 | 0x29 | 0x40..=0x4f | 0x57 | 0x6e | 0x6f | 0x7e | 0x7f
                        | 0x90..=0x9f | 0xaf | 0xb6 | 0xb7 | 0xbe | 0xbf | 0xd6 | 0xef
                );
                (is_known.then_some(2)? + operand(*rest.first()?, rest.get(1).copied())?, None)
            }
            operation => {
                let (modrm, numbers) = (*rest.first()?, numbers(operation, *rest.first()?)?);
                let length = 1 + operand(modrm, rest.get(1).copied())?;
                let takes = matches!(operation, 0x81 | 0x83) && modrm == 0xec && rex & 1 == 0;
                if !takes && writes_stack_pointer(rex, operation, modrm) {
                    return None;
                }
                let number = rest.get(length - 1..)?.get(..numbers)?;
                let bytes = match number {
                    [byte] => i64::from(i8::from_le_bytes([*byte])),
                    other => other.first_chunk().map_or(0, |word| i32::from_le_bytes(*word).into()),
                };
                // Some take 128 bytes by adding a negative number.
                (length + numbers, if takes { Some((u64::try_from(bytes).ok()?, false)) } else { None })
            }
        };
        code.get(..before + length)?;
        if let Some((bytes, is_frame)) = pushed {
            self.depth += bytes;
            self.frame = if is_frame { Some(self.depth) } else { self.frame };
        }
        Some(before + length)
    }
}

/// Bytes of the number behind the operand of an instruction that goes on with the next. `None`: it is not known.
fn numbers(operation: u8, modrm: u8) -> Option<usize> {
    match operation {
        0x00..=0x3f if operation & 4 == 0 => Some(0),
        0x63 | 0x84 | 0x85 | 0x88..=0x8b | 0x8d | 0xd1 | 0xd3 => Some(0),
        0xf7 if modrm >> 3 & 7 > 1 => Some(0),
        0x6b | 0x80 | 0x83 | 0xc1 | 0xc6 => Some(1),
        0x69 | 0x81 | 0xc7 => Some(4),
        _ => None,
    }
}

fn writes_stack_pointer(rex: u8, operation: u8, modrm: u8) -> bool {
    match operation {
        0x63 | 0x69 | 0x6b | 0x8a | 0x8b | 0x8d => modrm >> 3 & 7 == 4 && rex & 4 == 0,
        0x00..=0x3f if operation & 2 != 0 => modrm >> 3 & 7 == 4 && rex & 4 == 0,
        _ => modrm >= 0xc0 && modrm & 7 == 4 && rex & 1 == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: what functions save is counted whatever stands in between, up to where execution is, and no further than
    /// what writes the stack pointer in another way.
    #[test]
    fn beginnings() {
        // malloc of musl: movabs, six pushes, sub, cmp, ja
        let malloc = [
            0x48, 0xb8, 0xfe, 0xef, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x41, 0x57, 0x41, 0x56, 0x41, 0x55,
            0x41, 0x54, 0x55, 0x53, 0x48, 0x83, 0xec, 0x08, 0x48, 0x39, 0xc7, 0x0f, 0x87, 0x5f, 0x03, 0x00,
            0x00, 0xe8,
        ];
        let at = |size: usize| Prologue::read(&malloc[..size]);
        let expected = |depth, frame| Prologue { depth, frame };
        assert_eq!((at(0), at(10), at(12)), (expected(0, None), expected(0, None), expected(8, None)));
        assert_eq!(
            (at(18), at(19), at(20)),
            (expected(32, None), expected(40, Some(40)), expected(48, Some(40)))
        );
        assert_eq!(
            (at(23), at(24), at(34)),
            (expected(48, Some(40)), expected(56, Some(40)), expected(56, Some(40)))
        );
        // sn_write: loads between the pushes and behind them
        let others: [(&[u8], _); 5] = [
            (
                &[0x41, 0x56, 0x49, 0x89, 0xf6, 0x55, 0x4c, 0x8b, 0xaf, 0x98, 0, 0, 0, 0x53],
                expected(24, Some(16)),
            ),
            (&[0x41, 0x54, 0x49, 0x0f, 0xaf, 0xf7, 0x53], expected(16, None)),
            (
                &[0x48, 0x81, 0xec, 0x48, 3, 0, 0, 0x64, 0x48, 0x8b, 0x14, 0x25, 0x28, 0, 0, 0, 0x50],
                expected(0x350, None),
            ),
            (&[0xf3, 0x0f, 0x1e, 0xfa, 0x41, 0x55, 0x48, 0x89, 0xe3, 0x53], expected(16, None)),
            (&[0x53, 0x48, 0x83, 0xe4, 0xf0, 0x53], expected(8, None)),
        ];
        for (code, expected) in others {
            assert_eq!(Prologue::read(code), expected, "{code:x?}");
        }
    }
}
