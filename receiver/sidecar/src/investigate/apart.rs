//! Stacks that share a call site, and how the kernel can tell them apart.
//!
//! A call site is a return address and a depth of the stack. Two functions whose frames are of one size are one to it. Once two of
//! their stacks have come it is known where they part, and how large the frames up to there are; that is said to the kernel, which
//! from then on takes the callers in.

use mlh_bpf::alloc::point::FrameSize;
use mlh_stacks::unwind::{Caller, Stack};

/// Frames that are compared; the kernel looks at no more.
const MAX_CALLERS: usize = 32;

/// The inner frames of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Shape(Box<[Caller]>);

impl Shape {
    pub(super) fn of(stack: &Stack) -> Self {
        Self(stack.callers().take(MAX_CALLERS).collect())
    }

    /// The frames from the call site `ip` up to where the two part. Empty where they do not, or not in a way that the kernel
    /// could see: where a frame has no size of its own.
    pub(super) fn apart(&self, other: &Self, ip: u64) -> Vec<FrameSize> {
        let Some(from) = self.0.iter().position(|caller| caller.address == ip) else { return Vec::new() };
        let mut frames = Vec::new();
        for (these, those) in self.0.windows(2).zip(other.0.windows(2)).skip(from) {
            let (Some(this), Some(that)) = (frame_size(these), frame_size(those)) else { return Vec::new() };
            if this != that {
                return Vec::new();
            }
            frames.push(this);
            if these[1].address != those[1].address {
                return frames;
            }
        }
        Vec::new()
    }
}

/// Of the function that the first of two frames is in. Where it keeps its return address is known on machines that push it.
fn frame_size(frames: &[Caller]) -> Option<FrameSize> {
    let &[inner, outer] = frames else { return None };
    let whole = u32::try_from(outer.sp?.checked_sub(inner.sp?)?).ok()?;
    let pushed = if cfg!(target_arch = "x86_64") { 8 } else { return None };
    let to_return_address = whole.checked_sub(pushed)?;
    Some(FrameSize { returns_to: inner.address, to_return_address, to_caller: pushed })
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use super::*;

    fn shape(frames: &[(u64, u64)]) -> Shape {
        Shape(frames.iter().map(|&(address, sp)| Caller { address, sp: Some(sp) }).collect())
    }

    fn size(returns_to: u64, to_return_address: u32) -> FrameSize {
        FrameSize { returns_to, to_return_address, to_caller: 8 }
    }

    /// Guarantees: the frames from the call site to where two stacks part are told, with their sizes, and none behind it.
    #[test]
    fn where_they_part() {
        let one = shape(&[(1, 100), (2, 132), (3, 164), (4, 196)]);
        let other = shape(&[(1, 100), (2, 132), (5, 164), (4, 196)]);
        assert_eq!(one.apart(&other, 1), [size(1, 24), size(2, 24)]);
        // what only passes on is passed over in the kernel as well
        assert_eq!(one.apart(&other, 2), [size(2, 24)]);
        assert_eq!(one.apart(&one, 1), []);
        assert_eq!(one.apart(&other, 9), []);
    }

    /// Guarantees: where a frame is larger on one stack than on the other, or its size is not known, nothing is told.
    #[test]
    fn no_size_of_its_own() {
        let one = shape(&[(1, 100), (2, 132), (3, 164)]);
        assert_eq!(one.apart(&shape(&[(1, 100), (2, 148), (4, 180)]), 1), []);
        let mut unknown = one.clone();
        unknown.0[1].sp = None;
        assert_eq!(unknown.apart(&shape(&[(1, 100), (2, 132), (4, 164)]), 1), []);
        // a stack that goes down is none
        assert_eq!(shape(&[(1, 100), (2, 90)]).apart(&shape(&[(1, 100), (3, 90)]), 1), []);
    }
}
