//! Blocks and keys that need more than a plain reading.

use serde_yaml::Value;

use crate::config::{Setting, Settings};

/// Any value.
struct Anything(Value);

impl Setting for Anything {
    fn read(value: &Value) -> Result<Self, String> {
        Ok(Self(value.clone()))
    }

    fn show(&self) -> Value {
        self.0.clone()
    }
}

/// A block that says something by being there: absent it is off, and empty it is on with its defaults.
pub(crate) fn optional_section<R>(
    settings: &mut Settings<'_>,
    key: &'static str,
    read: impl FnOnce(&mut Settings<'_>) -> R,
) -> Option<R> {
    settings.optional::<Anything>(key)?;
    settings.section(key, read)
}

/// A key that the Collector knows and that cannot be honoured here: refused with the reason, which completes
/// "expected ...".
pub(crate) fn refuse(settings: &mut Settings<'_>, key: &str, reason: &str) {
    if settings.has(key) {
        settings.reject(key, reason);
    }
}
