//! What makes two leaks the same.

use std::fmt;

/// The same for the same leak in every process and container, after every restart, on every host: made of the program
/// and of what is to blame in it, or of the program alone where nothing is known of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeakId(pub u64);

impl fmt::Display for LeakId {
    /// Sixteen hexadecimal digits.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:016x}", self.0)
    }
}

impl LeakId {
    /// From its sixteen digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        digits.then(|| u64::from_str_radix(text, 16).ok())?.map(Self)
    }

    /// Of a leak of `program` for which `place` is to blame.
    #[must_use]
    pub fn of(program: &Program<'_>, place: Option<&Place<'_>>) -> Self {
        let image = program.build_id.unwrap_or(program.executable);
        let hash = Hash::default().field("image").field(image);
        let hash = match place {
            Some(Place::Function { module, name }) => hash.field("function").field(module).field(name),
            Some(Place::Stack(stack)) => hash.field("stack").field(&format!("{stack:016x}")),
            Some(Place::Class(name)) => hash.field("class").field(name),
            // an interpreter's executable is that of many programs
            None => hash.field("program").field(program.command).field(program.service.unwrap_or_default()),
        };
        Self(hash.0)
    }
}

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Program<'a> {
    /// Build id of its executable, hexadecimal.
    pub build_id: Option<&'a str>,
    /// Path of its executable, or its name where no path is known.
    pub executable: &'a str,
    /// What its main thread calls itself.
    pub command: &'a str,
    /// What it is a part of, by a name that a restart does not change: a service, a workload.
    pub service: Option<&'a str>,
}

/// What is to blame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// A function. What it is called by does not matter: one bug is reached on many ways.
    Function {
        /// Base name of the file that it is in.
        module: &'a str,
        /// Its name, demangled.
        name: &'a str,
    },
    /// A stack without names, by what is the same for it everywhere.
    Stack(u64),
    /// What is kept: a type, or a class of sizes.
    Class(&'a str),
}

impl fmt::Display for Place<'_> {
    /// As people say it.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Function { module, name } => write!(out, "{name} in {module}"),
            Self::Stack(hash) => write!(out, "stack {hash:016x}"),
            Self::Class(name) => out.write_str(name),
        }
    }
}

/// FNV-1a of 64 bits: short, well known, and the same everywhere and for ever. Whoever forges a collision joins two
/// findings of their own.
struct Hash(u64);

impl Default for Hash {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hash {
    /// With one more field. Its length comes first, so that no two lists of fields are the same bytes.
    fn field(self, text: &str) -> Self {
        let length = (text.len() as u64).to_le_bytes();
        let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        Self(length.iter().chain(text.as_bytes()).fold(self.0, step))
    }
}
