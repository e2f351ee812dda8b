//! A file as binutils see it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use mlh_bpf::alloc::point::{Operation, Role, Shape};
use mlh_targets::points::Image;
use object::{Object, ObjectSegment, ObjectSymbol, SegmentFlags};

/// Instructions by address, and the functions' names.
pub(crate) struct Listing {
    instructions: BTreeMap<u64, String>,
    names: BTreeMap<u64, BTreeSet<String>>,
    /// Address, offset in the file and size of what may run.
    code: Vec<(u64, u64, u64)>,
    /// From which address on how far the stack pointer is from the caller's, by the unwind tables; `None` where they do not
    /// rest on the stack pointer.
    frames: BTreeMap<u64, Option<u64>>,
}

impl Listing {
    pub(crate) fn of(path: &Path) -> Self {
        let output =
            Command::new("objdump").args(["-d", "-w", "--no-show-raw-insn"]).arg(path).output().unwrap();
        assert!(output.status.success());
        let mut instructions = BTreeMap::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Some((address, text)) = line.split_once(":\t") else { continue };
            if let Ok(address) = u64::from_str_radix(address.trim(), 16) {
                instructions.insert(address, text.trim().to_owned());
            }
        }
        let bytes = std::fs::read(path).unwrap();
        let file = object::File::parse(&*bytes).unwrap();
        let mut names: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
        for symbol in file.symbols().chain(file.dynamic_symbols()).filter(ObjectSymbol::is_definition) {
            names.entry(symbol.address()).or_default().insert(symbol.name().unwrap_or_default().to_owned());
        }
        let code = file
            .segments()
            .filter(|segment| match segment.flags() {
                SegmentFlags::Elf { p_flags, .. } => p_flags & object::elf::PF_X != 0,
                _ => false,
            })
            .map(|segment| (segment.address(), segment.file_range().0, segment.file_range().1))
            .collect();
        Self { instructions, names, code, frames: frames(path) }
    }

    pub(crate) fn address(&self, offset: u64) -> u64 {
        let (address, start, _) =
            self.code.iter().find(|(_, start, size)| (*start..start + size).contains(&offset)).unwrap();
        offset - start + address
    }

    /// The function that the offset lies in, by all its names.
    pub(crate) fn names(&self, offset: u64) -> BTreeSet<String> {
        self.names
            .range(..=self.address(offset))
            .next_back()
            .map(|(_, names)| names.clone())
            .unwrap_or_default()
    }

    /// The instruction there.
    pub(crate) fn instruction(&self, offset: u64) -> &str {
        let address = self.address(offset);
        self.instructions.get(&address).unwrap_or_else(|| panic!("no instruction begins at {address:#x}"))
    }

    /// The one before.
    pub(crate) fn instruction_before(&self, offset: u64) -> &str {
        self.instructions.range(..self.address(offset)).next_back().map_or("", |(_, text)| text)
    }

    /// Whether one of the six instructions before is a system call.
    fn behind_syscall(&self, offset: u64) -> bool {
        let address = self.address(offset);
        self.instructions.range(..address).rev().take(6).any(|(_, text)| text == "syscall")
    }

    /// By the unwind tables, bytes from the stack pointer there to the function's return address.
    pub(crate) fn to_return_address(&self, offset: u64) -> Option<u64> {
        let (_, frame) = self.frames.range(..=self.address(offset)).next_back()?;
        frame.map(|frame| frame - 8)
    }

    /// Every point stands where its kind may stand.
    pub(crate) fn check(&self, image: &Image) {
        let mut seen = BTreeSet::new();
        for point in &image.points {
            let text = self.instruction(point.offset);
            let emulated = ["push", "nop", "call", "j"].iter().any(|start| text.starts_with(start));
            assert!(seen.insert((point.offset, point.role)), "twice: {point:?}");
            assert!(!point.emulated || emulated, "{point:?} on {text}");
            if let Some(expected) = self.to_return_address(point.offset) {
                assert_eq!(u64::from(point.to_return_address), expected, "{point:?} on {text}");
            }
            match point.role {
                Role::ReturnSite => assert!(text.starts_with("ret"), "{point:?} on {text}"),
                Role::AfterSyscall => assert!(self.behind_syscall(point.offset), "{point:?} on {text}"),
                Role::Entry if !matches!(point.shape, Shape::Free { .. }) => {
                    assert_eq!(point.to_return_address, 0, "{point:?}");
                }
                _ => {}
            }
        }
    }

    /// Whether a function whose name ends so is entered there as this operation.
    pub(crate) fn enters(&self, image: &Image, operation: Operation, name: &str) -> bool {
        image.points.iter().any(|point| {
            let enters = matches!(point.role, Role::Entry | Role::EntryOnly | Role::Reached);
            let named = || self.names(point.offset).iter().any(|it| it.ends_with(name));
            point.operation == operation && enters && named()
        })
    }
}

fn frames(path: &Path) -> BTreeMap<u64, Option<u64>> {
    let output =
        Command::new("readelf").args(["-W", "--debug-dump=frames-interp"]).arg(path).output().unwrap();
    let mut frames = BTreeMap::new();
    let mut end = None;
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        if let Some((_, range)) = line.split_once(" FDE ").and_then(|(_, rest)| rest.split_once("..")) {
            end = u64::from_str_radix(range.trim(), 16).ok();
            frames.extend(end.map(|end| (end, None)));
        } else if line.contains(" CIE ") {
            end = None;
        } else if end.is_some() {
            let mut words = line.split_whitespace();
            let address = words.next().and_then(|word| u64::from_str_radix(word, 16).ok());
            let frame =
                words.next().and_then(|cfa| cfa.strip_prefix("rsp+")).and_then(|bytes| bytes.parse().ok());
            frames.extend(address.map(|address| (address, frame)));
        }
    }
    frames
}
