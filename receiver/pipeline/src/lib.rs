//! The OpenTelemetry Collector's contract in Rust: configuration, components and how they are joined.
//!
//! Read in this order: [`data`] is what flows, [`component`] is what a part promises, [`config`] turns YAML
//! into checked settings, [`service`] joins parts into pipelines; processors, exporters and extensions follow.
//! Nothing here knows of memory, processes or BPF.

#![forbid(unsafe_code)]

pub mod data;
pub mod component;
pub mod config;
pub mod service;
pub mod processors;
pub mod exporters;
pub mod extensions;

mod custody;
pub mod http;
mod log_gate;
mod reporter;
#[cfg(test)]
mod testing;
