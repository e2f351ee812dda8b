//! Loading the allocation probes, placing them, reading what they know, and taking them out again.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use libbpf_rs::{Link, MapCore as _, MapFlags, MapHandle, Object};
use nix::poll::PollTimeout;
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::decode::Decoder;
use super::frames::Frames;
use super::heard::{AllocCounters, CallSite, Heard, HitCosts, LiveBlock, Slot, Totals};
pub use super::links::Attached;
use super::links::{self, Spot, Trap};
use super::placed::InPlace;
use super::point::Point;
use super::program::{self, Found, Way};
use super::purse::Purse;
use super::subject;
use super::tables::{self, Tables};
use super::wire::{TARGETS_MAX, TargetEntry, WrapperKey};
use crate::error::SweepError;
use crate::object::{self, io_error, within};
use crate::python;
use crate::worker::{Source, Worker};

mod bursts;
mod said;

/// How often the ring is emptied though it is far from full, milliseconds.
const TICK_MS: u16 = 100;
/// A slot is an index above this many bits of generations.
const GENERATION_BITS: u32 = 8;

/// What is decided in the kernel. Fixed once loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllocOptions {
    /// Type information of the running kernel; `None`: where the kernel shows it.
    pub btf_path: Option<PathBuf>,
    /// Every allocation, whatever its size, in a table that evicts nothing.
    pub debug: bool,
    /// Bytes; smaller allocations are not tracked. Without effect in debug mode.
    pub min_allocation_size: u64,
    /// Bytes; from here on every allocation is tracked, below one in `sampling_rate`.
    pub large_allocation_size: u64,
    /// One in so many medium allocations. 1: all.
    pub sampling_rate: u32,
    /// Entries of the table that forgets what was not used for longest. Without effect in debug mode.
    pub max_tracked_allocations: u32,
    /// Tell of every tracked block ([`Heard::Block`]).
    pub emit: bool,
    /// So many of these a second, 0: no limit.
    pub max_events_per_second: u32,
}

/// The probes of one investigation. Dropping it takes all of them out.
#[derive(Debug)]
pub struct Probes {
    /// By the slot's index.
    members: HashMap<u32, Member>,
    in_place: InPlace,
    purse: Purse,
    /// Takes all probes out when what they may cost is spent.
    _alarm: Option<Worker>,
    // nothing may be told any more when the worker empties the ring for the last time
    _turns: Vec<Link>,
    _worker: Option<Worker>,
    tables: Tables,
    targets: MapHandle,
    threads: MapHandle,
    wrappers: MapHandle,
    has_wrappers: MapHandle,
    pythons: MapHandle,
    has_pythons: MapHandle,
    frames: Frames,
    /// Of the last process that was admitted.
    last_index: u32,
    found: Found,
    // what the handles above belong to; dropped last
    object: Object,
}

/// A process under observation.
#[derive(Debug)]
struct Member {
    /// The address space to which the links belong.
    slot: Slot,
    pid: u32,
    host_pid: u32,
    /// Device, inode and offset of what is in place.
    placed: HashSet<(u64, u64, u64)>,
    wrappers: HashSet<WrapperKey>,
    /// Frames whose sizes the kernel knows.
    frames: HashSet<WrapperKey>,
}

impl Probes {
    /// Loads the programs; nothing is attached yet. `sink` is called on a thread of its own; while it blocks, the ring fills.
    ///
    /// The first time in a process it also measures what hits cost: some 100 ms.
    ///
    /// # Errors
    /// The kernel refuses: the error says what to do.
    pub fn load(
        options: &AllocOptions,
        sink: impl FnMut(Heard) + Send + 'static,
    ) -> Result<Self, SweepError> {
        let (object, found) = program::load(options)?;
        let in_place = InPlace::default();
        let (purse, alarms) = object::explained(options.btf_path.as_deref(), || {
            let handle = |name| object::handle(&object, name);
            let alarms = Source { ring: handle("alarms")?, lost: handle(".data.lost_alarms")? };
            Ok((Purse::of(&object, found.costs)?, alarms))
        })?;
        let (spent, placed) = (purse.clone(), in_place.clone());
        // an alarm that comes late, when all begins anew already, is of no interest
        let alarm = Worker::start(vec![alarms], PollTimeout::NONE, move |_| {
            placed.close(|| spent.closed_since().is_ok_and(|since| since.is_some()));
        })?;
        let (turns, sources, handles) = object::explained(options.btf_path.as_deref(), || {
            let attach = |name| {
                object::program(&object, name)?.attach().map_err(|error| ("listening to processes", error))
            };
            let handle = |name| object::handle(&object, name);
            Ok((
                ["forked", "executed", "exited"].into_iter().map(attach).collect::<Result<_, _>>()?,
                // in this order: who has ended has done before what was told of him
                vec![
                    object::source(&object)?,
                    Source { ring: handle("turns")?, lost: handle(".data.lost_turns")? },
                ],
                (
                    Tables::of(&object)?,
                    handle("targets")?,
                    handle("threads")?,
                    handle("wrappers")?,
                    handle(".data.wrappers")?,
                    handle("pythons")?,
                    handle(".data.pythons")?,
                    Frames::of(&object)?,
                ),
            ))
        })?;
        let mut decoder = Decoder::default();
        let decode = move |bytes: &[u8]| decoder.read(bytes);
        let worker = Worker::decoding(sources, PollTimeout::from(TICK_MS), decode, Heard::Lost, sink)?;
        let (tables, targets, threads, wrappers, has_wrappers, pythons, has_pythons, frames) = handles;
        Ok(Self {
            members: HashMap::new(),
            in_place,
            purse,
            _alarm: alarm,
            _turns: turns,
            _worker: worker,
            tables,
            targets,
            threads,
            wrappers,
            has_wrappers,
            pythons,
            has_pythons,
            frames,
            last_index: 0,
            found,
            object,
        })
    }

    /// Takes a process (its thread group, by pid in the reader's pid namespace) under observation. Nothing is seen of it until
    /// probes are attached. One that is under observation already keeps its slot.
    ///
    /// # Errors
    /// No such process, too many, or the kernel refuses.
    pub fn admit(&mut self, pid: u32) -> Result<Slot, SweepError> {
        let present = |member: &&Member| member.pid == pid;
        if let Some(slot) = self.members.values().find(present).and_then(|member| self.current(member)) {
            return Ok(slot);
        }
        within(self.members.len() + 1, TARGETS_MAX, "processes")?;
        subject::require_observable(pid)?;
        let index = self.last_index + 1;
        if index >= 1 << (u32::BITS - GENERATION_BITS) {
            return Err(io_error("admitting a process", &"too many were admitted before it"));
        }
        let slot = Slot(index << GENERATION_BITS);
        let host_pid = object::explained(None, || subject::take(&self.object, pid, slot))?
            .ok_or_else(|| io_error("admitting a process", &format!("there is no process {pid}")))?;
        self.last_index = index;
        let member = Member {
            slot,
            pid,
            host_pid,
            placed: HashSet::new(),
            wrappers: HashSet::new(),
            frames: HashSet::new(),
        };
        self.members.insert(index, member);
        Ok(slot)
    }

    /// The address space that a process has now; `None`: it has ended.
    fn current(&self, member: &Member) -> Option<Slot> {
        let value = self.targets.lookup(&member.host_pid.to_ne_bytes(), MapFlags::ANY).ok().flatten()?;
        let (entry, _) = TargetEntry::read_from_prefix(&value).ok()?;
        (entry.slot >> GENERATION_BITS == member.slot.0 >> GENERATION_BITS).then_some(Slot(entry.slot))
    }

    /// The member of whom `slot` is the present address space. The probes of one that is gone are taken out.
    fn member(&mut self, slot: Slot) -> Result<&mut Member, SweepError> {
        let gone = || io_error("placing probes", &"the process has ended or runs another program");
        let index = slot.0 >> GENERATION_BITS;
        let current = self.members.get(&index).and_then(|member| self.current(member));
        let member = self.members.get_mut(&index).filter(|_| current == Some(slot)).ok_or_else(gone)?;
        if member.slot != slot {
            member.slot = slot;
            self.in_place.remove(index);
            member.placed.clear();
        }
        Ok(member)
    }

    /// Places probes in a file that the process of `slot` maps. `image` must open it. What is in place already stays as it is.
    ///
    /// # Errors
    /// None of them can be placed.
    pub fn attach(&mut self, slot: Slot, image: &Path, points: &[Point]) -> Result<Attached, SweepError> {
        let way = self.found.way;
        let member = self.member(slot)?;
        let (pid, file) = (member.pid, links::identity(image)?);
        let mut attached = Attached { multi: way != Way::Single, ..Attached::default() };
        let mut wanted: BTreeMap<Trap, Vec<(Spot, Point)>> = BTreeMap::new();
        let mut seen = HashSet::new();
        for point in points {
            let key = (file.0, file.1, point.offset);
            if member.placed.contains(&key) {
                attached.placed += 1;
                continue;
            }
            match links::spot(slot, point, pid) {
                Ok(_) if !seen.insert(point.offset) => {
                    attached.refused.push((*point, "another probe goes to the same place".to_owned()));
                }
                Ok((trap, spot)) => wanted.entry(trap).or_default().push((spot, *point)),
                Err(reason) => attached.refused.push((*point, reason)),
            }
        }
        let (mut links, mut placed) = (Vec::new(), Vec::new());
        for (trap, mut spots) in wanted {
            // they are placed in this order: of a block whose free was not seen yet nobody would hear again
            spots.sort_by_key(|(_, point)| !links::gives_back(point.shape));
            let failed = self.place(trap, pid, image, &spots, &mut links);
            let refused: HashSet<u64> = failed.iter().map(|(point, _)| point.offset).collect();
            let offsets = spots.iter().map(|(spot, _)| spot.offset);
            placed.extend(offsets.filter(|offset| !refused.contains(offset)));
            attached.refused.extend(failed);
        }
        attached.placed += placed.len();
        self.member(slot)?.placed.extend(placed.into_iter().map(|offset| (file.0, file.1, offset)));
        self.in_place.add(slot.0 >> GENERATION_BITS, links);
        match attached.refused.first() {
            Some((_, reason)) if attached.placed == 0 => Err(io_error("placing probes", reason)),
            _ => Ok(attached),
        }
    }

    /// All at once; if that fails, one by one, so that those which cannot be placed are known.
    fn place(
        &self,
        trap: Trap,
        pid: u32,
        image: &Path,
        spots: &[(Spot, Point)],
        links: &mut Vec<Link>,
    ) -> Vec<(Point, String)> {
        let place = |spots: &[Spot]| {
            object::explained(None, || links::place(&self.object, self.found.way, trap, pid, image, spots))
        };
        let all: Vec<Spot> = spots.iter().map(|(spot, _)| *spot).collect();
        if let Ok(placed) = place(&all) {
            links.extend(placed);
            return Vec::new();
        }
        let mut refused = Vec::new();
        for (spot, point) in spots {
            match place(&[*spot]) {
                Ok(placed) => links.extend(placed),
                Err(error) => refused.push((*point, error.to_string())),
            }
        }
        refused
    }

    /// Places the probes of the USDT `otel_memory:alloc` and `:free`. What the process tells there it has sampled itself: a
    /// block counts as often as its weighted bytes are larger than it is, and no filter is applied.
    ///
    /// # Errors
    /// They cannot be placed.
    pub fn attach_usdt(&mut self, slot: Slot, image: &Path) -> Result<(), SweepError> {
        let pid = self.member(slot)?.pid;
        let (device, inode) = links::identity(image)?;
        // no instruction begins at the end of the largest file
        let key = (device, inode, u64::MAX);
        if self.member(slot)?.placed.contains(&key) {
            return Ok(());
        }
        let links = object::explained(None, || links::place_usdt(&self.object, slot, pid, image))?;
        self.member(slot)?.placed.insert(key);
        self.in_place.add(slot.0 >> GENERATION_BITS, links);
        Ok(())
    }

    /// Ends the observation of an address space: its probes are out once this returns. What its process executes after it stays
    /// under observation. What is known of it stays readable until [`forget`](Self::forget).
    pub fn release(&mut self, slot: Slot) {
        let index = slot.0 >> GENERATION_BITS;
        let Some(mut member) = self.members.remove(&index) else { return };
        let current = self.current(&member);
        let goes_on = current.is_some_and(|now| now > slot);
        // first, so that hits meanwhile end at once
        if current.is_some() && !goes_on {
            let _ = self.targets.delete(&member.host_pid.to_ne_bytes());
        }
        if member.slot <= slot {
            self.in_place.remove(index);
            member.placed.clear();
        }
        let _ = python::set(&self.pythons, slot.0, None);
        for key in member.wrappers.extract_if(|key| key.slot <= slot.0) {
            let _ = self.wrappers.delete(key.as_bytes());
        }
        for key in member.frames.extract_if(|key| key.slot <= slot.0) {
            self.frames.remove(&key);
        }
        if goes_on {
            self.members.insert(index, member);
        } else {
            tables::forget_threads(&self.threads, member.host_pid);
        }
    }

    /// Removes what the tables hold of an address space that is gone.
    pub fn forget(&mut self, slot: Slot) {
        self.tables.forget(slot);
    }

    /// What each call site has done, of those that have allocated.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn call_sites(&self) -> Result<Vec<(CallSite, Totals)>, SweepError> {
        self.tables.call_sites()
    }

    /// Every block in the table.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn live(&self) -> Result<Vec<LiveBlock>, SweepError> {
        self.tables.live()
    }

    /// What the probes have counted.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn counters(&self) -> Result<AllocCounters, SweepError> {
        self.tables.counters()
    }

    /// Kernel memory of all maps, bytes, as the kernel itself accounts it.
    #[must_use]
    pub fn kernel_bytes(&self) -> u64 {
        object::kernel_bytes(&self.object)
    }

    /// Measured on this machine when the programs were loaded for the first time.
    #[must_use]
    pub fn costs(&self) -> HitCosts {
        self.found.costs
    }
}

impl Drop for Probes {
    fn drop(&mut self) {
        // first, so that hits end at once while the probes are being taken out
        for member in self.members.values() {
            let _ = self.targets.delete(&member.host_pid.to_ne_bytes());
        }
        self.in_place.close(|| true);
    }
}
