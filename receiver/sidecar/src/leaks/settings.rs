//! `state`: where what is known of leaks is kept.

use std::path::{Path, PathBuf};

use bytesize::ByteSize;
use mlh_pipeline::config::{Setting, Settings};
use serde_yaml::Value;

/// Where it is kept, unless the configuration says otherwise.
pub const PATH: &str = "/var/lib/memory-leak-hunter/state.jsonl";
/// Leaks are some hundred bytes each; this holds about a thousand.
const MAX_SIZE: ByteSize = ByteSize::mib(1);
/// Room for some leaks.
const SMALLEST: ByteSize = ByteSize::kib(16);
/// No file is believed that is larger.
pub(super) const LARGEST: ByteSize = ByteSize::mib(64);

/// Where what is known of leaks is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateSettings {
    /// The file; `None`: what is known is lost with the sidecar.
    pub path: Option<PathBuf>,
    /// Bytes that the file may have.
    pub max_size: u64,
}

impl Default for StateSettings {
    fn default() -> Self {
        Self { path: Some(PathBuf::from(PATH)), max_size: MAX_SIZE.0 }
    }
}

impl StateSettings {
    /// Reads the section `state`; faults are noted in `settings`.
    pub(crate) fn read(settings: &mut Settings<'_>) -> Self {
        let read = |state: &mut Settings<'_>| {
            let StatePath(path) = state.get("path", StatePath(PathBuf::from(PATH)));
            let max_size = state.get_in("max_size", MAX_SIZE, SMALLEST..=LARGEST);
            Self { path: Some(path).filter(|path| !path.as_os_str().is_empty()), max_size: max_size.0 }
        };
        settings.section("state", read).unwrap_or_default()
    }

    /// Whoever has not asked for another place may not need it: the hunt goes on without.
    #[must_use]
    pub fn is_dispensable(&self) -> bool {
        self.path.as_deref().is_none_or(|path| path == Path::new(PATH))
    }
}

/// An absolute path, or none.
#[derive(Debug, Clone, PartialEq)]
struct StatePath(PathBuf);

impl Setting for StatePath {
    fn read(value: &Value) -> Result<Self, String> {
        let text = String::read(value)?;
        let path = PathBuf::from(&text);
        // `has_root`, as a configuration is checked on every platform by the same rules
        let sound =
            path.has_root() && path.file_name().is_some() && !text.ends_with('/') && !text.contains('\0');
        if sound || text.is_empty() {
            Ok(Self(path))
        } else {
            Err(format!("the absolute path of a file such as {PATH}, or \"\" to keep nothing"))
        }
    }

    fn show(&self) -> Value {
        self.0.to_string_lossy().into_owned().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<StateSettings, String> {
        let read = Settings::of_text(text, StateSettings::read);
        read.map(|(state, _)| state).map_err(|problems| problems.to_string())
    }

    /// Guarantees: an empty block keeps a mebibyte at most in the usual place; each key is read, and an empty path switches it
    /// off; what is no path or too small is refused with what is allowed.
    #[test]
    fn values() {
        assert_eq!(read(""), Ok(StateSettings::default()));
        assert_eq!(StateSettings::default().max_size, 1 << 20);
        assert!(StateSettings::default().is_dispensable());
        let own = read("state: {path: /s/leaks, max_size: 16KiB}").unwrap();
        assert_eq!(own, StateSettings { path: Some("/s/leaks".into()), max_size: 16 << 10 });
        assert!(!own.is_dispensable());
        assert_eq!(read("state: {path: \"\"}").unwrap().path, None);
        let problems = read("state: {path: leaks, max_size: 1KiB, size: 1}").unwrap_err();
        for part in ["state::path", "absolute path", "state::max_size", "16KiB", "state::size"] {
            assert!(problems.contains(part), "{part} in {problems}");
        }
    }
}
