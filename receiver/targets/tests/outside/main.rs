//! What is read of running processes from outside, held against what they do.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a fixture that cannot go on has failed")]

mod go;
mod jvm;
mod moving;
mod moving_v8;
mod program;
mod python;
mod walks;
