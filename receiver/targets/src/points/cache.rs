//! What is known of files, so that fifty processes with one C library cost one look at it.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use mlh_stacks::modules::FileId;

use super::analysis::{self, Analysis};
use super::elf::{Elf, ElfError};
use super::names::Names;
use super::opened::Opened;
use crate::os;

/// A host's processes map some hundred files with code.
const MAX_FILES: usize = 1024;

/// Why nothing is known of a file.
pub(super) enum Unread {
    /// It is something else.
    NotElf,
    /// Said so.
    Reason(String),
}

/// What was looked at: see [`os::version`].
type Version = (u64, u64, u64, i64, i64);

/// By file, and by the size of what is to be seen. Forgets everything once there are too many.
#[derive(Default)]
pub(super) struct Cache {
    files: HashMap<(FileId, u64), (Version, Arc<Analysis>)>,
    names: Option<Names>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("files", &self.files.len()).finish_non_exhaustive()
    }
}

impl Cache {
    /// Opens the file, and looks at it where it is new or has changed. Allocations below `smallest` bytes need not be seen. Returns
    /// the very file that was looked at as well.
    pub(super) fn analysis(
        &mut self,
        id: FileId,
        path: &Path,
        called: &str,
        smallest: u64,
    ) -> Result<(Arc<Analysis>, Opened), Unread> {
        let file = os::open_regular(path).map_err(|e| Unread::Reason(format!("it cannot be opened: {e}")))?;
        // its dates its owner sets as he likes, but for the one of its last change
        let version = os::version(&file).map_err(|e| Unread::Reason(format!("it cannot be read: {e}")))?;
        if let Some((known, analysis)) = self.files.get(&(id, smallest))
            && *known == version
        {
            return Ok((Arc::clone(analysis), Opened::new(file)));
        }
        let opened = file.try_clone().map_err(|e| Unread::Reason(format!("it cannot be kept open: {e}")))?;
        let elf = Elf::open(file).map_err(|e| match e {
            ElfError::NotElf => Unread::NotElf,
            e => Unread::Reason(e.to_string()),
        })?;
        if !elf.machine.is_here() {
            return Err(Unread::Reason(ElfError::OtherMachine.to_string()));
        }
        let names = self.names.get_or_insert_with(Names::new);
        let analysis = Arc::new(analysis::analyse(&elf, names, called, smallest));
        if self.files.len() >= MAX_FILES {
            self.files.clear();
        }
        self.files.insert((id, smallest), (version, Arc::clone(&analysis)));
        Ok((analysis, Opened::new(opened)))
    }
}
