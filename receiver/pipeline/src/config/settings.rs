//! How a component reads its own block.

use std::marker::PhantomData;

use serde_yaml::Value;

/// A type that can stand in a configuration.
pub trait Setting: Sized {
    /// Reads a value.
    ///
    /// # Errors
    /// What is allowed here, as in "expected {error}".
    fn read(value: &Value) -> Result<Self, String>;
    /// The value as `print-config` shows it.
    fn show(&self) -> Value;
}

/// One mapping of the configuration while a component reads it. Keys that nobody asked for are unknown keys.
pub struct Settings<'a> {
    _document: PhantomData<&'a ()>,
}

impl<'a> Settings<'a> {
    /// The value of `key`, or `default` where it is absent or faulty (the fault is noted).
    pub fn get<T: Setting>(&mut self, _key: &'static str, default: T) -> T {
        default
    }
    /// The value of `key`, if it is there and sound.
    pub fn optional<T: Setting>(&mut self, _key: &'static str) -> Option<T> {
        None
    }
    /// Like `optional`, and absence is a fault: `meaning` says what belongs there.
    pub fn required<T: Setting>(&mut self, _key: &'static str, _meaning: &str) -> Option<T> {
        None
    }
    /// Like `optional`; the value is masked in every output.
    pub fn secret<T: Setting>(&mut self, _key: &'static str) -> Option<T> {
        None
    }
    /// A mapping below `key`, absent or not: read by `read`, whose unknown keys are faults as well.
    pub fn section<R>(&mut self, _key: &'static str, _read: impl FnOnce(&mut Settings<'_>) -> R) -> Option<R> {
        None
    }
    /// Notes a fault at `key`: `allowed` completes "expected ...".
    pub fn reject(&mut self, _key: &str, _allowed: impl Into<String>) {}
    /// True where the configuration itself names `key`.
    #[must_use]
    pub fn has(&self, _key: &str) -> bool {
        false
    }
}
