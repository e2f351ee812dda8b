//! The rooms of the sidecar, in the order in which a finding walks through them.

#![forbid(unsafe_code)]

pub mod cli;
pub mod commands;

pub mod observe;
pub mod trace;
pub mod check;

pub mod hunt;
pub mod leaks;

pub mod investigate;
pub mod growth_stacks;
pub mod ladder;
pub mod control;

pub mod semconv;
pub mod records;
pub mod event;
pub mod metrics;
