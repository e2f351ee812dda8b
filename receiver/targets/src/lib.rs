//! What can be learnt of a process from outside, with no probe in it.

#![forbid(unsafe_code)]

pub mod process;
