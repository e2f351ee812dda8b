//! Memory of this process that the allocator keeps for later, although nothing lives there. A look at a target fills some
//! ten MiB of small blocks and frees them all at its end, and whoever limits the memory of this process counts what is kept
//! of them.
//!
//! Where the allocator is not glibc's, nothing is done.

/// Makes the allocator keep at most one MiB or so behind the last block of each of its arenas, and map larger blocks by
/// themselves. By default glibc raises both bounds with the largest block that it has seen freed, up to 64 MiB an arena, and
/// what lies behind the last block [`give_back`] cannot reach. To be called once, before there is much.
pub fn keep_little() {
    #[cfg(all(target_os = "linux", target_env = "gnu", feature = "kernel"))]
    glibc::fix_bounds();
}

/// Gives the kernel back what the allocator holds in reserve between blocks. Takes some milliseconds.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu", feature = "kernel"))]
    glibc::trim();
}

#[cfg(all(target_os = "linux", target_env = "gnu", feature = "kernel"))]
#[expect(unsafe_code, reason = "glibc's own functions are the only way")]
mod glibc {
    use nix::libc::{M_MMAP_THRESHOLD, M_TRIM_THRESHOLD, c_int, malloc_trim, mallopt};

    const BOUND: c_int = 1024 * 1024;

    pub(super) fn fix_bounds() {
        for bound in [M_MMAP_THRESHOLD, M_TRIM_THRESHOLD] {
            // SAFETY: any thread may call it at any time; it takes two numbers and locks what it changes.
            let _ = unsafe { mallopt(bound, BOUND) };
        }
    }

    pub(super) fn trim() {
        // SAFETY: any thread may call it at any time; it locks each arena and lets go of pages in which no block lives.
        let _ = unsafe { malloc_trim(0) };
    }
}

#[cfg(all(test, target_os = "linux", target_env = "gnu", feature = "kernel"))]
mod tests {
    use std::sync::Barrier;

    use super::*;

    /// Guarantees: small blocks that have been freed in another thread no longer count as memory of this process, with a
    /// block that lives above them all and without, also where a large block was freed before, which moves glibc's bounds.
    /// Needs: glibc's allocator.
    #[test]
    fn freed_blocks_are_given_back() {
        let anonymous_kib = || procfs::process::Process::myself().unwrap().status().unwrap().rssanon.unwrap();
        keep_little();
        for with_above in [true, false] {
            // nothing but the blocks is asked for in the thread, so that nothing else comes to lie above them
            let turn = Barrier::new(2);
            let (before, after) = std::thread::scope(|scope| {
                scope.spawn(|| {
                    drop(std::hint::black_box(vec![1_u8; 30 << 20]));
                    let blocks: Vec<_> = (0..32 * 1024_u32).map(|at| vec![at as u8 | 1; 1000]).collect();
                    let above = with_above.then(|| vec![1_u8; 1000]);
                    turn.wait();
                    turn.wait();
                    drop(blocks);
                    turn.wait();
                    turn.wait();
                    drop(above);
                });
                turn.wait();
                let before = anonymous_kib();
                turn.wait();
                turn.wait();
                give_back();
                let after = anonymous_kib();
                turn.wait();
                (before, after)
            });
            assert!(after + 24 * 1024 < before, "{before} KiB, then {after} KiB, {with_above}");
        }
    }
}
