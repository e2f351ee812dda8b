//! Names that nobody can turn back: hashed with a random key that is forgotten with the file.

use std::hash::{BuildHasher, RandomState};

use mlh_targets::cgroup_reading::{is_made_up, made_up_id};
use mlh_targets::container;

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
    /// A cgroup's path, segment by segment. What tells containers and services from other cgroups stays: the shape of
    /// an id, and the ending; a user's service manager stays known as one, for it is no service.
    pub(super) fn hide_cgroup(&self, path: &str) -> String {
        let hidden = |segment: &str| {
            if let Some(id) = container::id_from_path(segment) {
                return self.hide_id(id.as_str());
            }
            match segment.strip_suffix(".service") {
                Some(name) if name.starts_with("user@") => format!("user@{}.service", self.hide(name)),
                Some(name) => format!("{}.service", self.hide(name)),
                None => self.hide(segment),
            }
        };
        path.split('/').map(hidden).collect::<Vec<_>>().join("/")
    }

    /// An id in the same shape: 64 digits, or 32 and a number.
    fn hide_id(&self, id: &str) -> String {
        let digits = |part: u8| format!("{:016x}", self.0.hash_one((id, part)));
        match id.split_once('-') {
            None => (0..4).map(digits).collect(),
            Some(_) => format!("{}{}-{}", digits(0), digits(1), self.0.hash_one((id, 2)) >> 32),
        }
    }

    /// What identifies a program: the same in every trace of a host, it would tell which is which.
    pub(super) fn hide_image(&self, image: u64) -> u64 {
        self.0.hash_one(image).max(1)
    }

    /// The id of a cgroup. The kernel's own are numbers that tell nothing; one that was made from a path would let
    /// that path be guessed.
    pub(super) fn hide_cgroup_id(&self, id: u64) -> u64 {
        if is_made_up(id) { made_up_id(&format!("{:x}", self.0.hash_one(id))) } else { id }
    }
}
