//! What a hit costs on this machine, measured on functions of this process itself that do nothing. By the way it turns out
//! whether hits of all threads arrive: before 6.10 the kernel's filter by process lets only the main thread's pass.

use libbpf_rs::Object;

use super::heard::HitCosts;
use super::program::Way;
use super::tables::Tables;
use crate::object::Failure;

/// Where it cannot be measured: what it was on a slow virtual machine.
const UNMEASURED: HitCosts = HitCosts { emulated: 700, stepped: 9_500, returned: 1_000 };

#[cfg(target_arch = "x86_64")]
pub(crate) fn costs(object: &Object, way: Way, tables: &Tables) -> Result<HitCosts, Failure> {
    own::costs(object, way, tables)
}

/// No machine but x86-64 tells emulated from stepped instructions here.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn costs(_: &Object, way: Way, _: &Tables) -> Result<HitCosts, Failure> {
    // untried, it is not known whether hits of all threads would arrive
    if way == Way::Multi {
        return Err(crate::object::failure("trying out the probes", "not tried on this machine"));
    }
    Ok(UNMEASURED)
}

#[cfg(target_arch = "x86_64")]
mod own {
    use std::fs;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use libbpf_rs::{MapCore as _, MapFlags};
    use zerocopy::IntoBytes as _;

    use super::*;
    use crate::alloc::cookie::nothing;
    use crate::alloc::heard::Slot;
    use crate::alloc::links::{Spot, Trap, place};
    use crate::alloc::subject;
    use crate::alloc::wire::TargetEntry;
    use crate::object::{failure, handle};

    /// Calls in a row, and rounds of which the fastest counts: others had the CPU in between in the rest.
    const CALLS: u32 = 200;
    const ROUNDS: u32 = 7;

    /// Begins with an instruction that the kernel emulates.
    // SAFETY: it leaves the stack and all registers as they were.
    #[unsafe(naked)]
    extern "C" fn emulated_function() {
        core::arch::naked_asm!("push rbp", "pop rbp", "ret")
    }

    /// Begins with one that it steps over.
    // SAFETY: it changes rax alone, which the caller does not rely on.
    #[unsafe(naked)]
    extern "C" fn stepped_function() {
        core::arch::naked_asm!("mov rax, rdi", "ret")
    }

    /// As the first, to be left by way of a return probe.
    // SAFETY: it leaves the stack and all registers as they were. The `nop` keeps it apart from the first.
    #[unsafe(naked)]
    extern "C" fn returning_function() {
        core::arch::naked_asm!("push rbp", "pop rbp", "nop", "ret")
    }

    /// Never given to anybody else.
    const OWN: Slot = Slot(u32::MAX);

    fn doing(error: libbpf_rs::Error) -> Failure {
        ("trying out the probes", error)
    }

    pub(super) fn costs(object: &Object, way: Way, tables: &Tables) -> Result<HitCosts, Failure> {
        let targets = handle(object, "targets")?;
        let key = host_pid(object)?.to_ne_bytes();
        let entry = TargetEntry { slot: OWN.0, pid: std::process::id(), least: 0, walks: 0 };
        targets.update(&key, entry.as_bytes(), MapFlags::ANY).map_err(doing)?;
        let measured = measure(object, way, tables);
        targets.delete(&key).map_err(doing)?;
        measured
    }

    /// This process's number in the initial pid namespace, which is what the kernel's side knows it by.
    fn host_pid(object: &Object) -> Result<u32, Failure> {
        subject::take(object, std::process::id(), OWN)?
            .ok_or_else(|| failure("trying out the probes", "this process is not to be seen"))
    }

    fn measure(object: &Object, way: Way, tables: &Tables) -> Result<HitCosts, Failure> {
        let counters = || tables.counters().unwrap_or_default();
        let spent = || Duration::from_nanos(counters().handler_ns);
        let free = fastest(|| emulated_function(), Duration::default);
        let at = |function: extern "C" fn(), emulated: bool| {
            let offset = file_offset(function as usize as u64)?;
            Ok(Spot { offset, cookie: nothing(OWN, emulated) })
        };
        let image = Path::new("/proc/self/exe");
        let pid = std::process::id();
        let plain = [at(emulated_function, true)?, at(stepped_function, false)?];
        let links = place(object, way, Trap::Hit, pid, image, &plain)?;
        let heard = || counters().emulated_hits;
        let before = heard();
        let thread = std::thread::spawn(|| emulated_function());
        let _ = thread.join();
        if heard() == before {
            return Err(failure("trying out the probes", "hits of further threads do not arrive"));
        }
        let emulated = fastest(|| emulated_function(), spent).saturating_sub(free);
        let stepped = fastest(|| stepped_function(), spent).saturating_sub(free);
        drop(links);
        if subject::require_return_probes(pid).is_err() {
            return Ok(HitCosts { emulated, stepped, ..UNMEASURED });
        }
        let links = place(object, way, Trap::HitAndReturn, pid, image, &[at(returning_function, true)?])?;
        let before = counters().returns;
        let both = fastest(|| returning_function(), spent).saturating_sub(free);
        if counters().returns == before {
            return Err(failure("trying out the probes", "returns do not arrive"));
        }
        drop(links);
        Ok(HitCosts { emulated, stepped, returned: both.saturating_sub(emulated) })
    }

    /// Nanoseconds a call, in the fastest round; what `spent` says was spent elsewhere meanwhile does not count.
    fn fastest(mut call: impl FnMut(), mut spent: impl FnMut() -> Duration) -> u64 {
        let mut round = || {
            let before = spent();
            let began = Instant::now();
            (0..CALLS).for_each(|_| call());
            let took = began.elapsed();
            took.saturating_sub(spent().saturating_sub(before)) / CALLS
        };
        let least = (0..ROUNDS).map(|_| round()).min().unwrap_or_default();
        u64::try_from(least.as_nanos()).unwrap_or(u64::MAX)
    }

    /// Where in the executable the code at this address lies.
    fn file_offset(address: u64) -> Result<u64, Failure> {
        let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
        offset_in(&maps, address)
            .ok_or_else(|| failure("trying out the probes", "its own code is not to be found"))
    }

    pub(super) fn offset_in(maps: &str, address: u64) -> Option<u64> {
        maps.lines().find_map(|line| {
            let mut fields = line.split_ascii_whitespace();
            let (from, to) = fields.next()?.split_once('-')?;
            let [from, to] = [from, to].map(|end| u64::from_str_radix(end, 16).ok());
            let offset = u64::from_str_radix(fields.nth(1)?, 16).ok()?;
            (from? <= address && address < to?).then_some(offset + (address - from?))
        })
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        /// Guarantees: the line that holds the address is used, and its place in the file added to.
        #[test]
        fn finds_code_in_its_file() {
            let maps = "1000-2000 r--p 00000000 08:01 7 /x\n2000-4000 r-xp 00001000 08:01 7 /x\nnonsense\n";
            assert_eq!(offset_in(maps, 0x2345), Some(0x1345));
            assert_eq!(offset_in(maps, 0x4000), None);
        }

        /// Guarantees: the fastest round counts, less what was spent elsewhere.
        #[test]
        fn the_fastest_round_counts() {
            let mut spent = Duration::ZERO;
            let cost = fastest(
                || std::thread::sleep(Duration::from_micros(5)),
                || {
                    spent += Duration::from_micros(200);
                    spent
                },
            );
            assert!((4_000..1_000_000).contains(&cost), "{cost}");
            assert_eq!(fastest(|| {}, || Duration::from_secs(0)) / 1_000, 0);
        }
    }
}
