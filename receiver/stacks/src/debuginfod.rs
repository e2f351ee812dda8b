//! Debug information from servers, where the settings name some.

use std::path::PathBuf;
use std::time::Duration;

/// What a [`Library`](crate::unwind::Library) may do beside reading what processes map.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Ask servers for the debug information of files that have none, here or beside them.
    pub debuginfod: Option<Debuginfod>,
}

/// Servers of debug information, asked by build id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Debuginfod {
    /// Their addresses, asked in this order, e.g. `https://debuginfod.debian.net`.
    pub servers: Vec<String>,
    /// Folder of what has been fetched; made if it is not there.
    pub cache_dir: PathBuf,
    /// Bytes that the folder may hold: what was not used for longest is removed. A larger file is not fetched.
    pub max_bytes: u64,
    /// Longest time for one file, from one server.
    pub timeout: Duration,
}

impl Debuginfod {
    /// Whether the servers can be asked at all.
    ///
    /// # Errors
    /// The first address that is none, or needs what this build does not have.
    pub fn check(&self) -> Result<(), String> {
        for server in &self.servers {
            let host = server.strip_prefix("http://").or_else(|| server.strip_prefix("https://"));
            if host.is_none_or(|host| host.is_empty() || host.starts_with('/')) {
                return Err(format!("`{server}` is no address: it must begin with http:// or https://"));
            }
            if server.starts_with("https://") && !cfg!(feature = "tls") {
                return Err(format!("`{server}` needs TLS, which this build does not have"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: addresses that could never be asked are told.
    #[test]
    fn addresses() {
        let check = |server: &str| {
            let (cache_dir, timeout) = (PathBuf::from("/nowhere"), Duration::from_secs(1));
            Debuginfod { servers: vec![server.to_owned()], cache_dir, max_bytes: 1, timeout }.check()
        };
        assert_eq!(check("http://debuginfod.example:8002/path"), Ok(()));
        assert_eq!(check("https://debuginfod.example").is_ok(), cfg!(feature = "tls"));
        for wrong in ["", "debuginfod.example", "ftp://debuginfod.example", "http://", "https:///x"] {
            assert!(check(wrong).is_err(), "{wrong}");
        }
    }
}
