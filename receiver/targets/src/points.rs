//! Where a process allocates: the probe points of everything that it maps.

pub(crate) mod elf;
mod symbols;
mod names;
mod passing_on;
mod code;
mod flow;
mod place;
mod throwing;
mod gates;
mod system_calls;
mod usdt;
mod go;
mod analysis;
mod cache;
mod opened;
mod runtimes;
mod naming;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mlh_bpf::alloc::point::{Point, Role, Shape, Wrapper};
use mlh_stacks::java::names_methods;
use mlh_stacks::modules::{FileId, Module, Modules};
use mlh_stacks::names::has_javascript;

use crate::os;

use analysis::Analysis;
use cache::{Cache, Unread};
pub(crate) use naming::Started;
pub use opened::Opened;

/// Of a file's name so much is shown, characters.
const MAX_NAME: usize = 64;

/// Of a process so many files are looked at, those at the lowest addresses. Real ones map some hundred.
const MAX_FILES: usize = 1024;

/// To look at them takes a second or two; at files that were made to take long it ends. What was learnt is there next time.
const MAX_TIME: Duration = Duration::from_secs(60);

/// Of calls that are passed over so many are told for a process; those of `operator new` come first.
const MAX_WRAPPERS: usize = 1024;

/// What the probes are to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Bytes; smaller allocations need not be seen. 0: all must be.
    pub min_allocation_size: u64,
}

/// All probe points of one process.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Points {
    /// By file. Those with nothing to probe are not among them.
    pub images: Vec<Image>,
    /// Calls out of functions that only pass allocations on, anywhere.
    pub wrappers: Vec<Wrapper>,
    /// Bytes, below which the points do not see every free: such blocks are not to be tracked. A blind spot says so. 0: they see
    /// what was wished for.
    pub least: u64,
    /// What probes cannot see in this process.
    pub blind_spots: Vec<BlindSpot>,
    /// What its stacks cannot tell, whether there are probes or not.
    pub stack_blind_spots: Vec<BlindSpot>,
    /// What runs in it.
    pub runtime: Runtime,
}

/// The probe points of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// By this path this process (the agent) can open it: below `/proc/PID/root` or `/proc/PID/map_files`.
    pub path: PathBuf,
    /// As the target's own maps name it.
    pub name: PathBuf,
    /// The very file that the points are of: probes are to be placed by its [`path`](Opened::path).
    pub opened: Opened,
    /// Which file it is.
    pub file: FileId,
    /// Whose allocator it is.
    pub family: Family,
    /// In the order of attachment: ends of operations, then frees, then allocations.
    pub points: Vec<Point>,
    /// It offers the USDT `otel_memory`, which is used instead of points.
    pub usdt: bool,
    /// Offsets of those points that are gates: the thread cache before them hides what is small. No other point of their
    /// functions is there.
    pub gates: Vec<u64>,
}

/// An allocator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[allow(missing_docs)] // their own names
pub enum Family {
    Glibc,
    Musl,
    Jemalloc,
    Tcmalloc,
    Mimalloc,
    /// Memory that a runtime maps for itself (Go).
    Mappings,
    /// `malloc` by name, of nobody known.
    #[default]
    Other,
}

/// What cannot be seen, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlindSpot {
    /// In a few words, for a table: `allocations of the Go heap`.
    pub what: String,
    /// In a sentence: `Go's allocator works within memory that it has mapped; the mappings are seen, the objects in them are not`.
    pub reason: String,
}

/// What runs a process's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[allow(missing_docs)] // their own names
pub enum Runtime {
    #[default]
    Native,
    Go,
    Jvm,
    Cpython,
    Node,
    Ruby,
    Php,
    Dotnet,
}

impl Runtime {
    /// As reports say it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Go => "go",
            Self::Jvm => "jvm",
            Self::Cpython => "cpython",
            Self::Node => "node",
            Self::Ruby => "ruby",
            Self::Php => "php",
            Self::Dotnet => "dotnet",
        }
    }
}

/// Finds probe points, and remembers what it has learnt of files: processes share most of them.
#[derive(Debug, Default)]
pub struct Finder {
    cache: Cache,
}

impl Finder {
    /// With nothing known yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The probe points of what `pid` maps.
    #[must_use]
    pub fn find(&mut self, pid: u32, modules: &Modules, wish: &Wish) -> Points {
        let mut found = Found::default();
        let with_code = || modules.modules.iter().filter(|module| module.has_code());
        let too_many = with_code().count().saturating_sub(MAX_FILES);
        if too_many > 0 {
            found.blind_spots.insert(BlindSpot {
                what: format!("code in {too_many} more files"),
                reason: format!("of a process {MAX_FILES} files are looked at"),
            });
        }
        let began = Instant::now();
        for module in with_code().take(MAX_FILES) {
            if began.elapsed() > MAX_TIME {
                found.blind(module, "there was no time left to look at it");
                continue;
            }
            let Some(path) = module.reachable_path(pid) else {
                found.unreachable(module);
                continue;
            };
            match self.cache.analysis(module.file, &path, &base_name(&module.path), wish.min_allocation_size)
            {
                Ok((analysis, opened)) => found.files.push(File { module, path, opened, analysis }),
                Err(Unread::NotElf) => found.not_elf(module),
                Err(Unread::Reason(reason)) => found.blind(module, &reason),
            }
        }
        found.points(pid, modules)
    }
}

/// The probe points of what `pid` maps, by a [`Finder`] of its own.
#[must_use]
pub fn find(pid: u32, modules: &Modules, wish: &Wish) -> Points {
    Finder::new().find(pid, modules, wish)
}

/// A file that was looked at.
struct File<'a> {
    module: &'a Module,
    path: PathBuf,
    opened: Opened,
    analysis: Arc<Analysis>,
}

/// What was found, file by file.
#[derive(Default)]
struct Found<'a> {
    files: Vec<File<'a>>,
    blind_spots: BTreeSet<BlindSpot>,
}

impl Found<'_> {
    fn points(mut self, pid: u32, modules: &Modules) -> Points {
        let usdt = self.files.iter().any(|file| file.analysis.usdt);
        let runtime = runtimes::of(self.files.iter().filter_map(|file| file.analysis.runtime));
        let mut points = Points { runtime, ..Points::default() };
        for File { module, path, opened, analysis } in &self.files {
            self.blind_spots.extend(analysis.blind_spots.iter().cloned());
            let allocator: &[Point] = if usdt { &[] } else { &analysis.allocator };
            let mut image_points = [allocator, &analysis.mappings].concat();
            image_points.sort_by_key(order);
            if !image_points.is_empty() || analysis.usdt {
                points.images.push(Image {
                    path: path.clone(),
                    name: module.path.clone(),
                    opened: opened.clone(),
                    file: module.file,
                    family: analysis.family.unwrap_or_default(),
                    points: image_points,
                    usdt: analysis.usdt,
                    gates: if usdt { Vec::new() } else { analysis.gates.clone() },
                });
            }
        }
        let passing_on = self.files.iter().map(|file| (file.module, &file.analysis.passing_on));
        let growing = self.files.iter().map(|file| (file.module, &file.analysis.growing));
        let calls = passing_on
            .chain(growing)
            .flat_map(|(module, calls)| calls.iter().map(move |call| (module, *call)));
        let wrappers = calls.flat_map(|(module, (offset, to_return_address))| {
            module.code_addresses(offset).map(move |returns_to| Wrapper { returns_to, to_return_address })
        });
        points.wrappers = wrappers.take(MAX_WRAPPERS).collect();
        let least = self.files.iter().map(|file| file.analysis.least).max();
        points.least = least.filter(|_| !usdt).unwrap_or_default();
        let allocates = usdt || self.files.iter().any(|file| !file.analysis.allocator.is_empty());
        self.blind_spots.extend(runtimes::blind_spots(
            self.files.iter().filter_map(|file| file.analysis.runtime),
            modules,
        ));
        // some say enough of themselves to have their functions named
        let names_itself = |runtime: &Runtime| match runtime {
            Runtime::Node => has_javascript(pid, modules),
            Runtime::Jvm => names_methods(pid, modules),
            _ => false,
        };
        let runtimes: BTreeSet<Runtime> =
            self.files.iter().filter_map(|file| file.analysis.runtime).collect();
        let runtimes: Vec<Runtime> = runtimes.into_iter().filter(|runtime| !names_itself(runtime)).collect();
        let depends = runtimes.iter().any(naming::depends);
        let started = if depends { os::started(pid) } else { Started::default() };
        points.stack_blind_spots = naming::blind_spots(runtimes.into_iter(), &started);
        if !allocates && runtime != Runtime::Go {
            self.blind_spots.insert(self.no_allocator());
            points.stack_blind_spots.extend(self.stripped().map(|file| unmarked(file.module)));
        }
        points.blind_spots = self.blind_spots.into_iter().collect();
        points
    }

    /// A program that nothing but its own code is in, and that says nothing of that.
    fn stripped(&self) -> Option<&File<'_>> {
        self.files.iter().find(|file| file.analysis.is_static && !file.analysis.has_symbols)
    }

    fn no_allocator(&self) -> BlindSpot {
        let reason = match self.stripped() {
            Some(File { module, .. }) => format!(
                "{} is statically linked and its symbols have been stripped: its allocator cannot be told from other code",
                base_name(&module.path)
            ),
            None => "no allocator is known by name in anything that it maps".to_owned(),
        };
        BlindSpot { what: "allocations".to_owned(), reason }
    }

    fn unreachable(&mut self, module: &Module) {
        if !module.path.as_os_str().as_encoded_bytes().starts_with(b"[") {
            self.blind(module, "the file cannot be opened any more, or may not be");
        }
    }

    fn not_elf(&mut self, module: &Module) {
        self.blind(
            module,
            "it is not an ELF file: what its code allocates through libraries is seen, the rest is not",
        );
    }

    fn blind(&mut self, module: &Module, reason: &str) {
        let what = format!("code in {}", base_name(&module.path));
        self.blind_spots.insert(BlindSpot { what, reason: reason.to_owned() });
    }
}

/// Whoever called such a program's allocator.
fn unmarked(module: &Module) -> BlindSpot {
    BlindSpot {
        what: "callers of the allocator".to_owned(),
        reason: format!(
            "{} is statically linked and its symbols have been stripped, so the function that is marked as the one to blame \
             may be the allocator's own",
            base_name(&module.path)
        ),
    }
}

/// Its name without the folders, as a terminal can bear it.
fn base_name(path: &Path) -> String {
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    name.chars()
        .take(MAX_NAME)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

/// Ends of operations first, so that none begins whose end is missed; frees before allocations, so that no block is taken
/// for a live one whose free came before the probe.
fn order(point: &Point) -> (u8, u64) {
    let class = match (point.role, point.shape) {
        (Role::ReturnSite | Role::AfterSyscall | Role::Reached, _) => 0,
        (_, Shape::Free { .. } | Shape::GlibcFreed { .. }) => 1,
        _ => 2,
    };
    (class, point.offset)
}
