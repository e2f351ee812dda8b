//! Stacks that the kernel walks by frame pointers, of a program that keeps them and that the test starts.
#![cfg(all(target_os = "linux", target_arch = "x86_64", feature = "kernel"))]
// clippy.toml allows it within a test, and not in what several tests share
#![allow(clippy::expect_used)]

mod support;

use std::path::PathBuf;
use std::process::Command;
use std::sync::mpsc::channel;

use mlh_bpf::alloc::heard::{Heard, StackCopy};
use mlh_bpf::alloc::point::{Operation, Role, Shape};
use mlh_bpf::alloc::probes::Probes;
use mlh_bpf::capture::Capture;
use mlh_bpf::faults::{self, Options, Sampler, Whom};
use support::allocator::{Image, built_with, debug, load, next, observe};
use support::{Subject, skip};

fn program() -> PathBuf {
    built_with("touches", &["-O0", "-fno-omit-frame-pointer"])
}

fn start() -> Subject {
    Subject::from(&mut Command::new(program()))
}

fn stack(heard: Heard) -> Option<StackCopy> {
    if let Heard::Stack(copy) = heard { Some(copy) } else { None }
}

/// Whether these functions are the innermost ones of the stack.
fn assert_innermost(subject: &Subject, capture: &Capture, names: &[&str]) {
    let image = Image::at(program());
    let found = std::iter::once(&capture.ip).chain(&capture.chain);
    assert!(capture.chain.len() + 1 >= names.len(), "{names:?}: {capture:x?}");
    for (address, name) in found.zip(names) {
        assert!(image.range_in(subject.pid(), name).contains(address), "{name}: {address:x} of {capture:x?}");
    }
}

/// The callers that a copy tells when it is walked from the frame pointer.
fn walked(capture: &Capture) -> Vec<u64> {
    let word = |address: u64| {
        let at = usize::try_from(address.checked_sub(capture.sp)?).ok()?;
        Some(u64::from_ne_bytes(capture.stack.get(at..at + 8)?.try_into().ok()?))
    };
    let mut found = Vec::new();
    let mut frame = capture.bp;
    while let (Some(next), Some(caller)) = (word(frame), word(frame + 8)) {
        found.push(caller);
        frame = next;
    }
    found
}

/// Probes with which the stacks of `subject` are walked.
fn walking(
    subject: &Subject,
) -> Option<(Probes, mlh_bpf::alloc::heard::Slot, std::sync::mpsc::Receiver<Heard>)> {
    let (mut probes, told) = load(&debug())?;
    let slot = observe(&mut probes, subject);
    probes.walk(slot, true).expect("it lives");
    Some((probes, slot, told))
}

/// Guarantees: at a function's entry the stack begins with its caller, and goes on with that one's; it is the same that a copy of the
/// stack tells, which comes again once walking is switched off.
/// Needs: eBPF, root, cc.
#[test]
fn walks_from_an_entry() {
    let mut subject = start();
    let Some((mut probes, slot, told)) = walking(&subject) else { return };
    subject.ask("malloc 100");
    let copy = next(&told, stack).expect("a stack");
    assert_innermost(&subject, &copy.capture, &["wants", "asks", "main"]);
    assert!(copy.capture.stack.is_empty() && !copy.capture.truncated);
    assert_eq!(copy.capture.ip, copy.call_site.ip);

    probes.walk(slot, false).expect("it lives");
    // a copy is made of every 64th
    let copied = (0..64).find_map(|_| {
        subject.ask("malloc 100");
        told.try_iter().find_map(stack)
    });
    let copied = copied.or_else(|| next(&told, stack)).expect("a stack").capture;
    assert!(copied.chain.is_empty());
    assert_eq!((copied.ip, walked(&copied)), (copy.capture.ip, copy.capture.chain));
}

/// Guarantees: in the middle of a function that has put the frame pointer aside and uses its register for something else, the stack
/// begins there, and goes on with its caller and that one's.
/// Needs: eBPF, root, cc.
#[test]
fn walks_from_within_a_function() {
    let mut subject = start();
    let Some((mut probes, slot, told)) = walking(&subject) else { return };
    let image = Image::at(program());
    // three registers
    let point = image.inside("gate", 24, Operation::Malloc, Role::Reached, Shape::GlibcMade);
    let attached = probes.attach(slot, &image.path, &[point]).expect("a probe");
    assert_eq!((attached.placed, attached.refused.as_slice()), (1, [].as_slice()));
    subject.ask("gate");
    let copy = next(&told, stack).expect("a stack");
    assert_eq!(copy.capture.ip, image.base_in(subject.pid()) + image.address("gate"));
    assert_innermost(&subject, &copy.capture, &["gated", "passes", "approaches", "main"]);
    assert!(copy.capture.stack.is_empty());
}

/// Guarantees: a page fault's stack is walked likewise, of the processes that were named and of no others, and is the same that a copy
/// tells.
/// Needs: eBPF, root, cc.
#[test]
fn walks_from_a_page_fault() {
    let mut subject = start();
    let (sender, told) = channel();
    let whom = Whom::Processes(vec![subject.pid()]);
    let options = Options { btf_path: None, frequency: 1000, whom };
    let mut sampler = match Sampler::open(&options, move |heard| drop(sender.send(heard))) {
        Ok(sampler) => sampler,
        Err(error) => return skip(&error.to_string()),
    };
    sampler.walk(subject.pid(), true).expect("room");
    subject.ask("touch 1000 20");
    sampler.walk(subject.pid(), false).expect("room");
    subject.ask("touch 1000 20");
    sampler.walk(subject.pid() + 1, true).expect("room");
    subject.ask("touch 1000 20");
    drop(sampler);
    let (mut chains, mut copies) = (Vec::new(), Vec::new());
    for heard in told {
        let faults::Heard::Touch(touch) = heard else { panic!("{heard:?}") };
        if (0x1000_0000_0000..0x1000_1000_0000).contains(&touch.address) {
            assert_innermost(&subject, &Capture { chain: Vec::new(), ..touch.capture.clone() }, &["inner"]);
            let of_its_kind = if touch.capture.stack.is_empty() { &mut chains } else { &mut copies };
            of_its_kind.push(touch.capture);
        }
    }
    assert!(chains.len() >= 3 && copies.len() >= 3, "{} and {}", chains.len(), copies.len());
    for capture in &chains {
        assert_innermost(&subject, capture, &["inner", "middle", "outer", "main"]);
        assert_eq!(capture.chain, walked(&copies[0]));
    }
}
