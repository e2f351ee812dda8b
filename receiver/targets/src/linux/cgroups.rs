//! The cgroups that a pass over `/proc` comes upon.

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::cgroup_memory;
use super::trees::{Trees, View};
use super::unread::{Losses, Unread};
use crate::cgroup::{CgroupPaths, Steps};
use crate::cgroup_reading::{CgroupMemory, CgroupReading, made_up_id};

/// More cgroups than any host has with a process in them.
const MAX_CGROUPS: usize = 1 << 16;
/// Deeper than any host nests them.
const MAX_DEPTH: usize = 128;

/// Where a process is, by ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Placed {
    pub(super) cgroup_id: Option<u64>,
    pub(super) memory_cgroup_id: Option<u64>,
}

/// One cgroup by the tree it is of and its path below the topmost that can be seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Place {
    unified: bool,
    below: String,
}

/// What is known of cgroups from pass to pass, and what a pass gathers.
#[derive(Debug)]
pub(super) struct Cgroups {
    trees: Trees,
    slack: u64,
    /// Where the counted cgroups of the last full pass were, for the watched passes after it.
    counted: HashMap<u64, Place>,
    pass: Pass,
}

/// A path may be another cgroup by the next pass: what was learnt of it is kept for one pass only.
#[derive(Debug, Default)]
struct Pass {
    /// Whether every cgroup is read.
    full: bool,
    placed: HashMap<CgroupPaths, Placed>,
    ids: HashMap<Place, Option<u64>>,
    told: HashSet<Place>,
    made_up: HashSet<(bool, u64)>,
    readings: Vec<CgroupReading>,
    losses: Losses,
}

impl Place {
    fn around(&self) -> Option<Self> {
        let (around, _) = match self.below.rsplit_once('/') {
            Some(split) => split,
            None if self.below.is_empty() => return None,
            None => ("", ""),
        };
        Some(Self { unified: self.unified, below: around.to_owned() })
    }

    fn name(&self) -> &str {
        self.below.rsplit('/').next().unwrap_or_default()
    }
}

impl Cgroups {
    pub(super) fn open(slack: u64) -> Self {
        Self { trees: Trees::look(), slack, counted: HashMap::new(), pass: Pass::default() }
    }

    /// Begins a pass that reads every cgroup it comes upon.
    pub(super) fn begin_full(&mut self) {
        self.counted.clear();
        self.pass = Pass { full: true, ..Pass::default() };
    }

    /// Begins a pass that reads these cgroups and no other.
    pub(super) fn begin_watched(&mut self, ids: &[u64]) {
        self.pass = Pass::default();
        for &id in ids {
            // a path that is another cgroup by now tells nothing of the one that was
            if let Some(place) = self.counted.get(&id).cloned()
                && self.id(&place) == Some(id)
            {
                self.tell(&place);
            }
        }
    }

    /// The readings of the pass and what was lost in it.
    pub(super) fn end(&mut self) -> (Vec<CgroupReading>, Losses) {
        let Pass { readings, losses, .. } = std::mem::take(&mut self.pass);
        (readings, losses)
    }

    /// Where a process is; in a full pass the cgroups there are read.
    pub(super) fn place(&mut self, paths: CgroupPaths) -> Placed {
        if let Some(known) = self.pass.placed.get(&paths) {
            return *known;
        }
        let unified = paths.unified.as_deref().and_then(|path| self.resolve(true, path));
        let placed = Placed {
            cgroup_id: unified.as_ref().and_then(|place| self.id(place)),
            memory_cgroup_id: match &paths.memory {
                Some(path) => self.place_v1(path, unified.as_ref()),
                None => self.place_v2(paths.unified.as_deref(), unified),
            },
        };
        self.pass.placed.insert(paths, placed);
        placed
    }

    /// The memory controller sits on v1.
    fn place_v1(&mut self, path: &str, unified: Option<&Place>) -> Option<u64> {
        // systemd leaves services in the root of the memory tree and names them in the v2 tree
        if path == "/"
            && let Some(unified) = unified
        {
            self.tell_from(unified.clone());
        }
        let Some(place) = self.resolve(false, path) else { return self.make_up(false, path) };
        let id = self.id(&place);
        self.tell_from(place);
        id
    }

    /// The memory controller sits on v2: a process is charged to the innermost cgroup that has it switched on.
    fn place_v2(&mut self, path: Option<&str>, place: Option<Place>) -> Option<u64> {
        let Some(place) = place else { return self.make_up(true, path?) };
        let counting = around(place.clone()).find(|place| self.counts(place));
        if let Some(counting) = counting {
            let id = self.id(&counting);
            self.tell_from(counting);
            return id;
        }
        self.tell_from(place);
        // the root of the tree has no counters to show, and is charged all the same
        let root = Place { unified: true, below: String::new() };
        self.view(true).filter(|view| view.whole && view.has_memory)?;
        self.id(&root)
    }

    fn view(&self, unified: bool) -> Option<&View> {
        if unified { self.trees.unified.as_ref() } else { self.trees.memory_v1.as_ref() }
    }

    fn resolve(&self, unified: bool, path: &str) -> Option<Place> {
        Some(Place { unified, below: self.view(unified)?.below(path)? })
    }

    /// The inode of a cgroup's directory, which is its id.
    fn id(&mut self, place: &Place) -> Option<u64> {
        if let Some(known) = self.pass.ids.get(place) {
            return *known;
        }
        let directory = self.view(place.unified)?.directory(&place.below);
        let id = match std::fs::metadata(directory) {
            Ok(found) => Some(found.ino()),
            Err(error) => {
                self.pass.losses.count(error.into());
                None
            }
        };
        self.pass.ids.insert(place.clone(), id);
        id
    }

    /// Whether the memory controller counts for this cgroup of its own.
    fn counts(&self, place: &Place) -> bool {
        let view = self.view(place.unified);
        view.is_some_and(|view| view.directory(&place.below).join("memory.current").exists())
    }

    /// Reads a cgroup and those around it, in a full pass.
    fn tell_from(&mut self, place: Place) {
        if !self.pass.full {
            return;
        }
        for place in around(place).take(MAX_DEPTH) {
            // whoever told of this one has told of those around it
            if !self.tell(&place) {
                break;
            }
        }
    }

    /// Reads a cgroup; `false` where that has been done.
    fn tell(&mut self, place: &Place) -> bool {
        if self.pass.told.contains(place) {
            return false;
        }
        if self.pass.readings.len() >= MAX_CGROUPS {
            self.pass.losses.over_limit();
            return false;
        }
        self.pass.told.insert(place.clone());
        let parent = match place.around() {
            Some(around) => self.id(&around),
            None => Some(0),
        };
        let (Some(id), Some(parent)) = (self.id(place), parent) else { return true };
        let memory = self.memory(place);
        if memory.is_some() {
            self.counted.insert(id, place.clone());
        }
        self.pass.readings.push(CgroupReading {
            id,
            parent,
            unified: place.unified,
            name: place.name().to_owned(),
            memory,
            // another process's UTS namespace shows to the kernel only
            node_name: String::new(),
        });
        true
    }

    fn memory(&mut self, place: &Place) -> Option<CgroupMemory> {
        let directory = self.view(place.unified)?.directory(&place.below);
        let file = |name: &str| read(&directory, name);
        let memory = if place.unified { cgroup_memory::v2(file) } else { cgroup_memory::v1(file) };
        match memory {
            Ok(memory) => memory.map(|memory| CgroupMemory { slack: self.slack, ..memory }),
            Err(why) => {
                self.pass.losses.count(why);
                None
            }
        }
    }

    /// The id for a path that leads out of what can be seen; its names still say whose it is.
    fn make_up(&mut self, unified: bool, path: &str) -> Option<u64> {
        let Steps { up, down } = Steps::of(path)?;
        let top = vec![".."; up].join("/");
        let mut path = format!("/{top}");
        let mut id = self.tell_made_up(unified, &path, 0, &top);
        for name in down.split('/').filter(|name| !name.is_empty()).take(MAX_DEPTH) {
            if path.len() > 1 {
                path.push('/');
            }
            path.push_str(name);
            id = self.tell_made_up(unified, &path, id, name);
        }
        Some(id)
    }

    fn tell_made_up(&mut self, unified: bool, path: &str, parent: u64, name: &str) -> u64 {
        let id = made_up_id(path);
        if self.pass.full && self.pass.made_up.insert((unified, id)) {
            if self.pass.readings.len() < MAX_CGROUPS {
                let name = name.to_owned();
                self.pass.readings.push(CgroupReading {
                    id,
                    parent,
                    unified,
                    name,
                    ..CgroupReading::default()
                });
            } else {
                self.pass.losses.over_limit();
            }
        }
        id
    }
}

/// A cgroup and those around it, from the inside out.
fn around(place: Place) -> impl Iterator<Item = Place> {
    std::iter::successors(Some(place), Place::around)
}

/// A file of a cgroup; `None` where it has none of this name.
fn read(directory: &Path, name: &str) -> Result<Option<String>, Unread> {
    let path = directory.join(name);
    match super::read_text(&path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
