//! Interpreters within a process, and where they keep what they are running.

pub mod python;
