//! How the JVM was told to run: its flags, as they are in force.

use std::collections::HashMap;

use mlh_stacks::java::Published;
use mlh_stacks::memory::Memory;

use super::bytes::Bytes;

/// Versions have up to some 1,600.
const MAX_FLAGS: u64 = 4096;
/// No entry is larger, bytes.
const MAX_ENTRY: u64 = 64;
/// Bytes of a name that are read.
const MAX_NAME: u64 = 32;

/// Those that matter.
const NAMES: [&str; 6] = [
    "ObjectAlignmentInBytes",
    "UseCompactObjectHeaders",
    "UseCompressedClassPointers",
    "UseG1GC",
    "UseParallelGC",
    "UseSerialGC",
];

/// See the module.
#[derive(Debug)]
pub(super) struct Flags {
    memory: Memory,
    /// Where their values are.
    values: HashMap<&'static str, u64>,
}

impl Flags {
    pub(super) fn read(memory: Memory, published: &Published) -> Option<Self> {
        let class = ["JVMFlag", "Flag"].into_iter().find(|it| published.address(it, "flags").is_some())?;
        let table = memory.word(published.address(class, "flags")?)?;
        let count = memory.word(published.address(class, "numFlags")?)?.min(MAX_FLAGS);
        let entry = published.size(class).filter(|size| (8..=MAX_ENTRY).contains(size))?;
        let (name, value) = (published.offset(class, "_name")?, published.offset(class, "_addr")?);
        let mut values = HashMap::new();
        for at in (0..count).map_while(|nth| table.checked_add(nth * entry)) {
            let Some(bytes) = Bytes::around(memory, at, &[name, value]) else { break };
            let name = bytes.word(at.checked_add(name)?)?;
            if let Some(name) = name_at(memory, name) {
                values.insert(name, bytes.word(at.checked_add(value)?)?);
            }
        }
        Some(Self { memory, values })
    }

    /// It is there, and on.
    pub(super) fn is_on(&self, name: &str) -> bool {
        let value = self.values.get(name).and_then(|at| Bytes::read(self.memory, *at, 1)?.byte(*at));
        value == Some(1)
    }

    /// What a number is that needs no more than 4 bytes: some have 8 until version 20, and 4 since.
    pub(super) fn number(&self, name: &str) -> Option<u32> {
        let at = *self.values.get(name)?;
        Bytes::read(self.memory, at, 4)?.int(at)
    }
}

/// Which of [`NAMES`] is here.
fn name_at(memory: Memory, at: u64) -> Option<&'static str> {
    let bytes = Bytes::read(memory, at, MAX_NAME)?;
    NAMES.into_iter().find(|name| {
        let mut expected = name.bytes().chain([0]).zip(at..);
        expected.all(|(byte, at)| bytes.byte(at) == Some(byte))
    })
}
