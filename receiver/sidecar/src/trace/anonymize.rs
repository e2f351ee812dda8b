//! Names that nobody can turn back: hashed with a random key that is forgotten with the file.

use std::hash::{BuildHasher, RandomState};

/// Hashes names, the same name to the same digits within one file.
#[derive(Debug, Default)]
pub(super) struct Anonymizer(RandomState);

impl Anonymizer {
    /// A name, or a path segment by segment, so that an executable's base name and path still belong together.
    /// Nothing of the text remains but the slashes; not an extension, not its length.
    pub(super) fn hide(&self, text: &str) -> String {
        let hidden = |segment: &str| match segment {
            "" => String::new(),
            // 12 of 16 digits: a command's name has at most 15 bytes
            _ => format!("{:012x}", self.0.hash_one(segment) >> 16),
        };
        text.split('/').map(hidden).collect::<Vec<_>>().join("/")
    }
}
