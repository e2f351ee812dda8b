//! Moving a full file aside.
//!
//! Written here because the rotating writers to be had hide failures or panic, and every lost line has to be
//! counted. Backups are named as the Collector names them: `events-2026-11-25T01-02-03.004.jsonl`, in UTC.

use std::ffi::OsStr;
use std::fs;
use std::io::Result;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use crate::config::Settings;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// `rotation`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rotation {
    /// A file is moved aside before it would grow beyond this. One request is never cut.
    pub(super) max_bytes: u64,
    /// Zero: for ever.
    pub(super) max_age: Duration,
    /// Zero: any number.
    pub(super) max_backups: usize,
}

impl Rotation {
    pub(super) fn read(settings: &mut Settings<'_>) -> Self {
        let megabytes: u32 = settings.get_in("max_megabytes", 100, 1..);
        let days: u32 = settings.get("max_days", 0);
        let max_backups = settings.get("max_backups", 100);
        if settings.get("localtime", false) {
            settings.reject("localtime", "false: backups are named in UTC");
        }
        Self { max_bytes: u64::from(megabytes) * 1024 * 1024, max_age: DAY * days, max_backups }
    }

    /// Renames the file and deletes the backups that are too old or too many.
    pub(super) fn rotate(&self, path: &Path, now: SystemTime) -> Result<()> {
        let mut at = now;
        let mut backup = backup_path(path, at);
        // Two rotations within one millisecond must not overwrite each other.
        while backup.exists() {
            at += Duration::from_millis(1);
            backup = backup_path(path, at);
        }
        fs::rename(path, &backup)?;
        for old in self.surplus(backups(path)?, now) {
            // A backup that cannot be deleted is no reason to lose new lines.
            if let Err(error) = fs::remove_file(&old) {
                tracing::warn!(path = %old.display(), %error, "an old backup cannot be deleted");
            }
        }
        Ok(())
    }

    /// Those of `backups`, newest first, that are to go.
    fn surplus(&self, mut backups: Vec<(SystemTime, PathBuf)>, now: SystemTime) -> Vec<PathBuf> {
        backups.sort();
        backups.reverse();
        let too_many = |index: usize| self.max_backups > 0 && index >= self.max_backups;
        let too_old = |time: SystemTime| {
            !self.max_age.is_zero() && now.duration_since(time).is_ok_and(|age| age > self.max_age)
        };
        let surplus = backups.into_iter().enumerate();
        surplus
            .filter(|(index, (time, _))| too_many(*index) || too_old(*time))
            .map(|(_, (_, path))| path)
            .collect()
    }
}

fn backup_path(path: &Path, at: SystemTime) -> PathBuf {
    let (stem, extension) = name_parts(path);
    // 2026-11-25T01:02:03.004Z, without what file systems refuse.
    let stamp = humantime::format_rfc3339_millis(at).to_string().replace(':', "-");
    path.with_file_name(format!("{stem}-{}{extension}", stamp.trim_end_matches('Z')))
}

/// The backups of `path`, with the times in their names.
fn backups(path: &Path) -> Result<Vec<(SystemTime, PathBuf)>> {
    let (stem, extension) = name_parts(path);
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let stamp = name
            .to_str()
            .and_then(|name| name.strip_prefix(&format!("{stem}-"))?.strip_suffix(extension.as_str()))
            .and_then(parse_stamp);
        if let Some(time) = stamp {
            found.push((time, path.with_file_name(name)));
        }
    }
    Ok(found)
}

/// The inverse of the stamp in [`backup_path`].
fn parse_stamp(stamp: &str) -> Option<SystemTime> {
    let (date, time) = stamp.split_once('T')?;
    humantime::parse_rfc3339(&format!("{date}T{}Z", time.replace('-', ":"))).ok()
}

/// `events` and `.jsonl`.
fn name_parts(path: &Path) -> (String, String) {
    let text = |part: Option<&OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let extension = text(path.extension()).map_or_else(String::new, |extension| format!(".{extension}"));
    (text(path.file_stem()).unwrap_or_default(), extension)
}
