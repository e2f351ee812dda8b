//! The programs' tables, read many entries at a time: a table of live blocks holds hundreds of thousands.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::ptr;
use std::time::Duration;

use libbpf_rs::libbpf_sys::bpf_map_lookup_batch;
use libbpf_rs::{MapCore as _, MapFlags, MapHandle, Object};
use nix::errno::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::decode::call_site;
use super::heard::{AllocCounters, CallSite, LiveBlock, Slot, Sums, Totals};
use super::point::Operation;
use super::wire::{BlockKey, CallSiteKey, CountersEntry, LiveEntry, SumsEntry, TotalsEntry};
use crate::error::SweepError;
use crate::object::io_error;

/// Entries asked for at once. No bucket of a hash table holds as many.
const BATCH: u32 = 8192;

/// All entries of a hash table. Those that come or go meanwhile may be among them or not; no other is left out or doubled.
///
/// # Errors
/// The kernel refuses.
#[expect(unsafe_code, reason = "libbpf-rs gives each key and each value a buffer of its own")]
pub(crate) fn entries<K, V>(map: &MapHandle) -> Result<Vec<(K, V)>, SweepError>
where
    K: FromBytes + IntoBytes + Immutable + Copy,
    V: FromBytes + IntoBytes + Immutable + Copy,
{
    let failed = |reason: &dyn std::fmt::Display| io_error("reading a table", reason);
    if size_of::<K>() != map.key_size() as usize || size_of::<V>() != map.value_size() as usize {
        return Err(failed(&"it is of another shape"));
    }
    let mut all = Vec::new();
    let mut keys = vec![K::new_zeroed(); BATCH as usize];
    let mut values = vec![V::new_zeroed(); BATCH as usize];
    // where to go on: the kernel writes four bytes for a hash table, at most a key for any
    let mut cursor = [0_u8; 64];
    let mut first = true;
    loop {
        let mut count = BATCH;
        let from = if first { ptr::null_mut() } else { cursor.as_mut_ptr() };
        first = false;
        // SAFETY: `keys` and `values` have room for BATCH entries of the map's own sizes, which were compared above; the kernel
        // writes no more than `count` of them. The cursor is larger than any key, and may be read and written in one call.
        let code = unsafe {
            bpf_map_lookup_batch(
                map.as_fd().as_raw_fd(),
                from.cast(),
                cursor.as_mut_ptr().cast(),
                keys.as_mut_ptr().cast(),
                values.as_mut_ptr().cast(),
                &raw mut count,
                ptr::null(),
            )
        };
        // the kernel's number, or libbpf's -1 with errno
        let error = if code == -1 { Errno::last() } else { Errno::from_raw(-code) };
        let ended = code < 0 && error == Errno::ENOENT;
        if code < 0 && !ended {
            return Err(failed(&io::Error::from(error)));
        }
        let count = (count as usize).min(keys.len());
        all.extend(keys.iter().copied().zip(values.iter().copied()).take(count));
        if ended {
            return Ok(all);
        }
    }
}

/// Removes the entries of which `is_gone` says so; so many there were.
pub(crate) fn remove<K, V>(map: &MapHandle, is_gone: impl Fn(&K) -> bool) -> u64
where
    K: FromBytes + IntoBytes + Immutable + Copy,
    V: FromBytes + IntoBytes + Immutable + Copy,
{
    let Ok(all) = entries::<K, V>(map) else { return 0 };
    // one that has gone by itself meanwhile is no error
    let removed = |(key, _): &&(K, V)| is_gone(key) && map.delete(key.as_bytes()).is_ok();
    all.iter().filter(removed).count() as u64
}

/// Forgets what the threads of a process are at that is observed no more; the kernel itself removes those that end before.
pub(crate) fn forget_threads(threads: &MapHandle, host_pid: u32) {
    let keys: Vec<Vec<u8>> = threads.keys().collect();
    for key in keys {
        let thread = u64::read_from_bytes(&key).unwrap_or_default();
        if thread >> 32 == u64::from(host_pid) {
            let _ = threads.delete(&key);
        }
    }
}

/// The tables that tell of allocations.
#[derive(Debug)]
pub(crate) struct Tables {
    live: MapHandle,
    call_sites: MapHandle,
    counters: MapHandle,
    lost: [MapHandle; 2],
    /// Blocks that went with their address space.
    gone: u64,
}

impl Tables {
    pub(crate) fn of(object: &Object) -> Result<Self, crate::object::Failure> {
        let handle = |name| crate::object::handle(object, name);
        Ok(Self {
            live: handle("live")?,
            call_sites: handle("call_sites")?,
            counters: handle("counters")?,
            lost: [handle(".data.lost")?, handle(".data.lost_turns")?],
            gone: 0,
        })
    }

    pub(crate) fn call_sites(&self) -> Result<Vec<(CallSite, Totals)>, SweepError> {
        let all = entries::<CallSiteKey, TotalsEntry>(&self.call_sites)?;
        let told = all.into_iter().map(|(key, entry)| (call_site(key), totals(&entry)));
        // one that only ever mapped memory has an entry, too
        Ok(told.filter(|(_, totals)| totals.exact.allocated + totals.sampled.allocated != 0).collect())
    }

    pub(crate) fn live(&self) -> Result<Vec<LiveBlock>, SweepError> {
        let all = entries::<BlockKey, LiveEntry>(&self.live)?;
        Ok(all.iter().filter_map(|(key, entry)| live_block(key, entry)).collect())
    }

    pub(crate) fn forget(&mut self, slot: Slot) {
        self.gone += remove::<BlockKey, LiveEntry>(&self.live, |key| key.slot == slot.0);
        remove::<CallSiteKey, TotalsEntry>(&self.call_sites, |key| key.slot == slot.0);
    }

    /// Removes every block. Nothing may come or go meanwhile.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn forget_blocks(&mut self) -> Result<(), SweepError> {
        let failed = |error: &dyn std::fmt::Display| io_error("emptying the table of blocks", error);
        let all = entries::<BlockKey, LiveEntry>(&self.live)?;
        for some in all.chunks(BATCH as usize) {
            let keys: Vec<u8> = some.iter().flat_map(|(key, _)| key.as_bytes()).copied().collect();
            let count = u32::try_from(some.len()).unwrap_or(BATCH);
            self.live
                .delete_batch(&keys, count, MapFlags::ANY, MapFlags::ANY)
                .map_err(|error| failed(&error))?;
        }
        self.gone += all.len() as u64;
        Ok(())
    }

    pub(crate) fn counters(&self) -> Result<AllocCounters, SweepError> {
        let failed = |error: &dyn std::fmt::Display| io_error("reading the probes' counters", error);
        let key = 0_u32.to_ne_bytes();
        let cpus = self.counters.lookup_percpu(&key, MapFlags::ANY).map_err(|error| failed(&error))?;
        let mut sum = AllocCounters { gone: self.gone, ..AllocCounters::default() };
        for cpu in cpus.unwrap_or_default() {
            let (entry, _) = CountersEntry::read_from_prefix(&cpu).map_err(|_| failed(&"they are cut"))?;
            add(&mut sum, &entry);
        }
        for map in &self.lost {
            let lost = map.lookup(&key, MapFlags::ANY).map_err(|error| failed(&error))?.unwrap_or_default();
            sum.ring_full += u64::read_from_prefix(&lost).map_or(0, |(count, _)| count);
        }
        Ok(sum)
    }

    /// Sets all counters back.
    pub(crate) fn reset_counters(&self) -> libbpf_rs::Result<()> {
        let nothing = vec![vec![0; size_of::<CountersEntry>()]; libbpf_rs::num_possible_cpus()?];
        self.counters.update_percpu(&0_u32.to_ne_bytes(), &nothing, MapFlags::ANY)
    }
}

fn add(sum: &mut AllocCounters, of: &CountersEntry) {
    sum.emulated_hits += of.emulated_hits;
    sum.stepped_hits += of.stepped_hits;
    sum.returns += of.returns;
    sum.handler_ns += of.handler_ns;
    sum.tracked += of.tracked;
    // one CPU may have put back what another one has taken out
    sum.untracked = sum.untracked.wrapping_add(of.untracked);
    sum.too_small += of.too_small;
    sum.sampled_out += of.sampled_out;
    sum.failed += of.failed;
    sum.unknown_frees += of.unknown_frees;
    sum.table_full += of.table_full;
    sum.call_sites_full += of.call_sites_full;
    sum.abandoned += of.abandoned;
    sum.rate_limited += of.rate_limited;
    sum.largest = sum.largest.max(of.largest);
}

fn totals(entry: &TotalsEntry) -> Totals {
    Totals {
        exact: sums(&entry.exact),
        sampled: sums(&entry.sampled),
        last: Duration::from_nanos(entry.last_ns),
    }
}

fn sums(entry: &SumsEntry) -> Sums {
    Sums {
        allocated: entry.allocated,
        allocated_bytes: entry.allocated_bytes,
        allocated_squares: entry.allocated_squares,
        freed: entry.freed,
        freed_bytes: entry.freed_bytes,
        freed_squares: entry.freed_squares,
    }
}

fn live_block(key: &BlockKey, entry: &LiveEntry) -> Option<LiveBlock> {
    Some(LiveBlock {
        call_site: CallSite { slot: Slot(key.slot), ip: entry.ip, depth: entry.depth },
        address: key.address,
        size: entry.size,
        weight: entry.weight,
        born: Duration::from_nanos(entry.born_ns),
        operation: u8::try_from(entry.operation).ok().and_then(Operation::from_number)?,
    })
}
