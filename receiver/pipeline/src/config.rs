//! YAML in, checked settings out; every fault with its key, line, value and what is allowed.
//!
//! Each source becomes a tree of values that remember their place ([`load()`] lays the trees over one another and
//! replaces the references to the environment). Then `Settings` hands each block to the component it belongs
//! to, and pipelines are checked against what was declared. Faults are collected, so that one run shows all.

mod source;
mod parse;
mod tree;
mod expand;
mod settings;
mod setting;
mod check;
mod plan;
mod load;
mod problem;
mod wording;
mod catalogue;

pub use catalogue::components;
pub use expand::Environment;
pub use load::{Kept, Loaded, load, load_with};
pub use plan::{LogEncoding, LogLevel, LogSettings};
pub(crate) use plan::{Pipeline, Plan};
pub use problem::{Place, Problem, Problems};
pub use setting::{Choice, Endpoint, Setting};
pub use settings::Settings;
