//! Captured stacks to frames and names. In reading order: [`modules`] is what a process maps, [`unwind`] turns the copy of a
//! stack into a [`trace`] of named frames, [`blame`] picks the one to blame.

#![forbid(unsafe_code)]

pub mod modules;

pub mod memory;

pub mod names;

pub mod python;

pub mod java;

pub mod debuginfod;

pub mod unwind;

pub mod trace;

pub mod blame;

#[cfg(all(fuzzing, target_os = "linux"))]
pub mod fuzz;

#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod linux;

#[cfg(not(target_os = "linux"))]
use elsewhere as os;
#[cfg(target_os = "linux")]
use linux as os;
