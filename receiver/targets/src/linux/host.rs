//! Identity, memory, namespaces and clock of the host.

use std::path::Path;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use procfs::process::Process;
use procfs::{Current, Meminfo};

use crate::HostError;
use crate::host::{HostIdentity, MemoryTotals, Namespaces, count_cpus};

/// The kernel's fixed inode numbers of the first pid and user namespace (`include/linux/proc_ns.h`).
const INIT_PID_NAMESPACE: &str = "pid:[4026531836]";
const INIT_USER_NAMESPACE: &str = "user:[4026531837]";

pub(crate) fn host_identity() -> HostIdentity {
    let boot_id = one_line("/proc/sys/kernel/random/boot_id");
    // an image that is not booted yet says "uninitialized"
    let machine_id =
        one_line("/etc/machine-id").filter(|id| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()));
    let uname = nix::sys::utsname::uname().ok();
    let release = uname.as_ref().and_then(|u| u.release().to_str()).map(str::to_owned);
    HostIdentity {
        name: nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok()),
        id: machine_id.or_else(|| boot_id.clone()),
        boot_id,
        kernel_release: release,
        page_size: procfs::page_size(),
        possible_cpus: possible_cpus(),
    }
}

pub(crate) fn possible_cpus() -> u32 {
    one_line("/sys/devices/system/cpu/possible").and_then(|list| count_cpus(&list)).unwrap_or_else(|| {
        let configured = nix::unistd::sysconf(nix::unistd::SysconfVar::_NPROCESSORS_CONF);
        configured.ok().flatten().and_then(|n| u32::try_from(n).ok()).unwrap_or(1)
    })
}

pub(crate) fn memory() -> Result<MemoryTotals, HostError> {
    let info = Meminfo::current()
        .map_err(|e| HostError::Unreadable { what: "/proc/meminfo", reason: e.to_string() })?;
    Ok(MemoryTotals {
        total: info.mem_total,
        // kernels before 3.14 do not estimate it
        available: info.mem_available.unwrap_or(info.mem_free),
        swap_total: info.swap_total,
        swap_free: info.swap_free,
    })
}

pub(crate) fn namespaces() -> Namespaces {
    let is = |link: &str, init: &str| std::fs::read_link(link).ok().map(|found| found == Path::new(init));
    Namespaces {
        pid_is_host: is("/proc/self/ns/pid", INIT_PID_NAMESPACE),
        user_is_host: is("/proc/self/ns/user", INIT_USER_NAMESPACE),
    }
}

pub(crate) fn effective_capabilities() -> Option<u64> {
    Process::myself().and_then(|me| me.status()).ok().map(|status| status.capeff)
}

pub(crate) fn now_boot() -> Result<Duration, HostError> {
    clock_gettime(ClockId::CLOCK_BOOTTIME)
        .map(Duration::from)
        .map_err(|e| HostError::Unreadable { what: "CLOCK_BOOTTIME", reason: e.to_string() })
}

pub(crate) fn own_cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

pub(crate) fn thread_cpu_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map(Duration::from).unwrap_or_default()
}

fn one_line(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty()).then(|| line.to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::host::HostClock;

    /// Guarantees: the host this runs on has a name, an id, a release with a version, and plausible sizes.
    #[test]
    fn this_host() {
        let host = host_identity();
        assert!(host.name.as_deref().is_some_and(|name| !name.is_empty()));
        assert!(host.id.is_some() && host.boot_id.is_some());
        assert!(host.kernel_version().is_some());
        assert!(host.page_size.is_power_of_two() && host.possible_cpus >= 1);
        let memory = memory().unwrap();
        assert!(memory.available <= memory.total && memory.swap_free <= memory.swap_total);
        assert!(memory.total > 1 << 24);
    }

    /// Guarantees: "now" on the boot clock turns into the present time of day.
    #[test]
    fn the_clock_says_now() {
        let clock = HostClock::read().unwrap();
        let before = SystemTime::now();
        let now = clock.to_epoch(HostClock::now_boot().unwrap());
        let off = now.duration_since(before).unwrap_or_else(|e| e.duration());
        assert!(off < Duration::from_secs(1), "{off:?} off");
    }
}
