//! The file that what is known of leaks is kept in. It is small, and written whole each time, beside the old one, which it then
//! replaces: whenever the machine stops, one of the two is there.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::path::{Path, PathBuf};

use mlh_detect::leaks::Registry;

use super::settings::LARGEST;
use super::stored;
pub(crate) use super::stored::Known;

/// The end of a file's name while it is written.
const UNFINISHED: &str = ".part";
/// The end of the name of one that could not be read.
const DAMAGED: &str = ".damaged";

/// Where leaks are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Store {
    path: PathBuf,
    /// Bytes.
    max_size: u64,
    /// This boot, where it is known.
    boot: Option<String>,
}

impl Store {
    /// A store that is kept in a file; nothing is opened yet.
    pub(crate) fn new(path: PathBuf, max_size: u64, boot: Option<String>) -> Self {
        Self { path, max_size, boot }
    }

    /// This boot, where it is known.
    pub(crate) fn boot(&self) -> Option<&str> {
        self.boot.as_deref()
    }

    /// What is kept there, nothing where there is no file yet; its folder is made. A file that cannot be understood is set
    /// aside, and why is said beside what is known then, which is nothing.
    ///
    /// # Errors
    /// Nothing can be kept there: why, and what to do.
    pub(crate) fn open(&self) -> Result<(Known, Option<String>), String> {
        let folder = self.folder();
        if let Err(error) = fs::create_dir(folder)
            && error.kind() != ErrorKind::AlreadyExists
        {
            let shown = folder.display();
            return Err(format!("{shown} cannot be made: {error}; make it, writable for the sidecar's user"));
        }
        self.sweep();
        match self.read() {
            Ok(Ok(known)) => Ok((known, None)),
            Ok(Err(reason)) => {
                let aside = self.beside(DAMAGED);
                fs::rename(&self.path, &aside).map_err(|error| self.failed(&error))?;
                let note =
                    format!("{}: {reason}; it is set aside as {}", self.path.display(), aside.display());
                Ok((Known::default(), Some(note)))
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok((Known::default(), None)),
            Err(error) => Err(self.failed(&error)),
        }
    }

    /// Keeps what is known, and says how many leaks there was no room for.
    ///
    /// # Errors
    /// The file could not be written; what was kept before is still there.
    pub(crate) fn save(&self, registry: &Registry) -> io::Result<usize> {
        let (text, left) = stored::write(self.boot(), &registry.leaks(), self.max_size)?;
        let mut named = tempfile::Builder::new();
        let prefix = self.unfinished();
        let mut file = named.prefix(&prefix).suffix(UNFINISHED).tempfile_in(self.folder())?;
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(&self.path).map_err(|failed| failed.error)?;
        // a folder cannot be opened on every platform; the file is whole all the same
        if let Ok(folder) = File::open(self.folder()) {
            let _ = folder.sync_all();
        }
        Ok(left)
    }

    /// What went wrong with it.
    pub(crate) fn failed(&self, error: &io::Error) -> String {
        format!("{}: {error}", self.path.display())
    }

    /// The inner error: it was read, and cannot be understood.
    fn read(&self) -> io::Result<Result<Known, String>> {
        // a pipe would keep whoever opens it waiting
        if !fs::metadata(&self.path)?.is_file() {
            return Err(io::Error::other("it is no file"));
        }
        let mut bytes = Vec::new();
        // one that was written under a larger bound is read, and shortened when it is written
        File::open(&self.path)?.take(LARGEST.0 + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > LARGEST.0 {
            return Ok(Err("it is larger than any that was ever written".to_owned()));
        }
        let text = String::from_utf8(bytes).map_err(|_| "it is no text".to_owned());
        Ok(text.and_then(|text| stored::read(&text)))
    }

    /// Removes what was being written when a program was killed.
    fn sweep(&self) {
        let prefix = self.unfinished();
        let entries = fs::read_dir(self.folder()).into_iter().flatten().flatten();
        for entry in entries {
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| name.starts_with(&prefix) && name.ends_with(UNFINISHED)) {
                // what stays is in nobody's way
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    fn folder(&self) -> &Path {
        self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// What the names of files begin with that are not finished.
    fn unfinished(&self) -> String {
        format!(".{}.", self.path.file_name().unwrap_or_default().to_string_lossy())
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(ending);
        name.into()
    }
}

#[cfg(test)]
mod tests;
