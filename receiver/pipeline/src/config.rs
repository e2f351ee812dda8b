//! YAML in, checked settings out; every fault with its key, line, value and what is allowed.

mod settings;

pub use settings::{Setting, Settings};
