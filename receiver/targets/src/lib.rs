//! What can be learnt of a process from outside, with no probe in it.
//!
//! The types and the rules (which path segment is a container, how far a counter may lag) are portable and pure;
//! what reads the host stands in one module for each platform.

#![forbid(unsafe_code)]

pub mod capability;
pub mod cgroup;
pub mod cgroup_reading;
pub mod container;
pub mod executable;
pub mod groups;
pub mod hierarchy;
pub mod host;
pub mod interpreters;
pub mod outside;
pub mod pagemap;
pub mod points;
pub mod process;
pub mod slack;
pub mod sweep;

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux;

#[cfg(not(target_os = "linux"))]
use elsewhere as os;
#[cfg(target_os = "linux")]
use linux as os;

/// Why the host could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// Not a platform whose processes can be watched.
    #[error("watching processes needs Linux; on this platform use `replay` with a recorded trace")]
    Unsupported,
    /// Something under `/proc` or `/sys` that everything else rests on could not be read.
    #[error("{what}: {reason}")]
    Unreadable {
        /// Which file.
        what: &'static str,
        /// What the kernel said.
        reason: String,
    },
}
