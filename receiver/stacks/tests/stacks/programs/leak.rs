// An allocation by a container of the library, through an allocator of the program's own.
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, Ordering};

unsafe extern "C" {
    fn spill();
}

static ARMED: AtomicBool = AtomicBool::new(false);

struct Counting;

// SAFETY: it does what the system's allocator does.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if ARMED.swap(false, Ordering::SeqCst) {
            // SAFETY: it writes its own registers and stack to standard output, and allocates nothing.
            unsafe { spill() };
        }
        // SAFETY: the caller keeps the same contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

mod cache {
    #[inline(never)]
    pub fn remember(kept: &mut Vec<u64>, it: u64) {
        kept.push(it);
    }
}

#[inline(never)]
fn serve(n: u64) -> usize {
    let mut kept = Vec::new();
    ARMED.store(true, Ordering::SeqCst);
    (0..n).for_each(|it| cache::remember(&mut kept, it));
    kept.len()
}

fn main() {
    let worker = std::thread::spawn(|| serve(std::env::args().count() as u64));
    println!("{}", worker.join().unwrap());
}
