//! Rust with the system's allocator: boxes, vectors that grow, strings, zeroed and aligned memory, and panics that are
//! caught. With the argument `churn` it does that in two threads until its input ends.

use std::alloc::{Layout, alloc, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};

/// A function, and what was allocated by it.
#[derive(Clone, Copy, Default)]
struct Site {
    allocated: usize,
    bytes: usize,
    freed: usize,
    freed_bytes: usize,
}

/// By the functions' names. The map is filled before anything is counted: looking up allocates nothing.
struct Ledger(BTreeMap<&'static str, Site>);

impl Ledger {
    fn new() -> Self {
        let names = ["keep_box", "keep_vec", "grow_vec", "keep_string", "keep_zeroed", "keep_aligned", "in_panic"];
        Self(names.into_iter().map(|name| (name, Site::default())).collect())
    }

    fn took(&mut self, name: &str, bytes: usize) {
        let site = self.0.get_mut(name).unwrap();
        site.allocated += 1;
        site.bytes += bytes;
    }

    fn gave(&mut self, name: &str, bytes: usize) {
        let site = self.0.get_mut(name).unwrap();
        site.freed += 1;
        site.freed_bytes += bytes;
    }
}

#[inline(never)]
fn keep_box(ledger: &mut Ledger) -> Box<[u64; 20]> {
    ledger.took("keep_box", 160);
    black_box(Box::new(black_box([1; 20])))
}

#[inline(never)]
fn keep_vec(ledger: &mut Ledger, bytes: usize) -> Vec<u8> {
    ledger.took("keep_vec", bytes);
    black_box(Vec::with_capacity(bytes))
}

/// The vector's memory is reallocated: what was `keep_vec`'s, or this function's own, is this function's now.
#[inline(never)]
fn grow_vec(ledger: &mut Ledger, vec: &mut Vec<u8>, owner: &str, bytes: usize) {
    ledger.gave(owner, vec.capacity());
    vec.reserve_exact(bytes);
    ledger.took("grow_vec", bytes);
    assert_eq!(black_box(vec).capacity(), bytes);
}

#[inline(never)]
fn keep_string(ledger: &mut Ledger, text: &str) -> String {
    ledger.took("keep_string", text.len());
    black_box(text.to_owned())
}

#[inline(never)]
fn keep_zeroed(ledger: &mut Ledger, bytes: usize) -> Vec<u8> {
    ledger.took("keep_zeroed", bytes);
    let vec = black_box(vec![0; bytes]);
    assert!(vec.iter().all(|byte| *byte == 0));
    vec
}

/// More than what `malloc` aligns to by itself; given back at once unless kept.
#[inline(never)]
fn keep_aligned(ledger: &mut Ledger, bytes: usize, keep: bool) {
    let layout = Layout::from_size_align(bytes, 256).unwrap();
    // SAFETY: the layout has a size, and the block is freed by the same one
    unsafe {
        let block = black_box(if bytes % 2 == 0 { alloc(layout) } else { alloc_zeroed(layout) });
        assert!(!block.is_null() && block as usize % 256 == 0);
        ledger.took("keep_aligned", bytes);
        if !keep {
            dealloc(block, layout);
            ledger.gave("keep_aligned", bytes);
        }
    }
}

/// A vector that a panic takes down.
#[inline(never)]
fn in_panic(ledger: &mut Ledger, bytes: usize) {
    ledger.took("in_panic", bytes);
    ledger.gave("in_panic", bytes);
    let vec: Vec<u8> = black_box(Vec::with_capacity(bytes));
    if black_box(vec.capacity()) == bytes {
        unwinds();
    }
}

/// A panic is memory too: this function's.
#[inline(never)]
fn unwinds() -> ! {
    std::panic::resume_unwind(Box::new(1u64))
}

fn kinds(ledger: &mut Ledger, rounds: usize, keep: bool) {
    let text = "the quick brown fox jumps over the lazy dog";
    for round in 0..rounds {
        let stays = keep && round % 4 == 0;
        let boxed = keep_box(ledger);
        let first = keep_vec(ledger, 10 + round % 700);
        let mut vec = keep_vec(ledger, 20 + round % 300);
        grow_vec(ledger, &mut vec, "keep_vec", 2000 + round % 100);
        grow_vec(ledger, &mut vec, "grow_vec", 6000 + round % 100);
        let string = keep_string(ledger, &text[..1 + round % 42]);
        let zeroed = keep_zeroed(ledger, 1 + round % 3000);
        keep_aligned(ledger, 1 + round % 1000, stays);
        if stays {
            std::mem::forget((boxed, first, vec, string, zeroed));
            continue;
        }
        ledger.gave("keep_box", 160);
        ledger.gave("keep_vec", first.capacity());
        ledger.gave("grow_vec", vec.capacity());
        ledger.gave("keep_string", string.len());
        ledger.gave("keep_zeroed", zeroed.len());
    }
}

fn panics(ledger: &mut Ledger, rounds: usize) {
    for round in 0..rounds {
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| in_panic(ledger, 100 + round % 50)));
        assert!(caught.is_err());
    }
}

fn say(text: &[u8]) {
    let mut out = std::io::stdout().lock();
    out.write_all(text).unwrap();
    out.flush().unwrap();
}

fn wait_for_end() {
    while matches!(std::io::stdin().lock().read(&mut [0; 64]), Ok(1..)) {}
}

fn churn() {
    static ENDED: AtomicBool = AtomicBool::new(false);
    let work = || {
        let mut ledger = Ledger::new();
        for round in 1u32.. {
            if ENDED.load(Ordering::Relaxed) {
                break;
            }
            kinds(&mut ledger, 100, false);
            panics(&mut ledger, 20);
            if round % 50 == 0 {
                say(b".\n");
            }
        }
        assert!(ledger.0.values().all(|site| site.bytes == site.freed_bytes));
    };
    say(b"ready\n");
    std::thread::spawn(|| {
        wait_for_end();
        ENDED.store(true, Ordering::Relaxed);
    });
    let other = std::thread::spawn(work);
    work();
    other.join().unwrap();
    say(b"sound\n");
}

fn main() {
    if std::env::args().nth(1).as_deref() == Some("churn") {
        return churn();
    }
    let mut ledger = Ledger::new();
    // all that allocates once does so before anything is counted
    panics(&mut ledger, 1);
    ledger.0.values_mut().for_each(|site| *site = Site::default());
    say(b"ready\n");
    let mut byte = [0];
    while std::io::stdin().lock().read(&mut byte).is_ok_and(|length| length == 1) && byte != *b"\n" {}
    kinds(&mut ledger, 20_000, true);
    panics(&mut ledger, 10_000);
    let mut text = [0; 4096];
    let mut line = std::io::Cursor::new(&mut text[..]);
    write!(line, "{{\"sites\":[").unwrap();
    for (index, (name, site)) in ledger.0.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let (live, live_bytes) = (site.allocated - site.freed, site.bytes - site.freed_bytes);
        let Site { allocated, bytes, .. } = site;
        write!(
            line,
            "{comma}{{\"function\":\"{name}\",\"allocated\":{allocated},\"bytes\":{bytes},\
             \"live\":{live},\"live_bytes\":{live_bytes}}}"
        )
        .unwrap();
    }
    writeln!(line, "],\"live_whole\":true,\"mapped_bytes\":0}}").unwrap();
    let length = line.position() as usize;
    say(&text[..length]);
    wait_for_end();
}
