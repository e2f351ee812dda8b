//! The host itself: who it is, how much memory it has, and its clock.

use std::time::{Duration, SystemTime};

use crate::{HostError, os};

/// What identifies the host. Members that this platform or container does not show are `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostIdentity {
    /// Its network name.
    pub name: Option<String>,
    /// `/etc/machine-id`, else the boot id. Inside a container the machine id is the image's, if it has one.
    pub id: Option<String>,
    /// The kernel's random id of this boot.
    pub boot_id: Option<String>,
    /// `uname -r`.
    pub kernel_release: Option<String>,
    /// Bytes in a page; 4096 where the platform does not say.
    pub page_size: u64,
    /// CPUs that may ever be online.
    pub possible_cpus: u32,
}

impl HostIdentity {
    /// Reads it. Never fails: what cannot be read is absent.
    #[must_use]
    pub fn read() -> Self {
        os::host_identity()
    }

    /// Major and minor number of the running kernel.
    #[must_use]
    pub fn kernel_version(&self) -> Option<(u32, u32)> {
        self.kernel_release.as_deref().and_then(kernel_version)
    }
}

/// Major and minor number in a kernel release such as `6.1.0-28-cloud-amd64`.
#[must_use]
pub fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

/// How many CPUs a kernel list such as `0-3,8` names; at most 65,536. `None` when it is no such list.
#[must_use]
pub fn count_cpus(list: &str) -> Option<u32> {
    let mut count = 0_u32;
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (first.parse::<u32>().ok()?, last.parse::<u32>().ok()?);
        count = count.checked_add(last.checked_sub(first)?.checked_add(1)?)?;
    }
    (1..=65_536).contains(&count).then_some(count)
}

/// The host's memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryTotals {
    /// All of it.
    pub total: u64,
    /// What can be handed out without swapping.
    pub available: u64,
    /// Swap space, all of it.
    pub swap_total: u64,
    /// Swap space still free.
    pub swap_free: u64,
}

impl MemoryTotals {
    /// Reads `/proc/meminfo`.
    ///
    /// # Errors
    /// Off Linux, and where the file cannot be read.
    pub fn read() -> Result<Self, HostError> {
        os::memory()
    }
}

/// The namespaces that decide what this process sees and may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Namespaces {
    /// Whether its pid namespace is the host's own.
    pub pid_is_host: Option<bool>,
    /// Whether its user namespace is the host's own: capabilities held in another one do not reach BPF.
    pub user_is_host: Option<bool>,
}

impl Namespaces {
    /// Reads those of this process; unknown where `/proc` does not say.
    #[must_use]
    pub fn read() -> Self {
        os::namespaces()
    }
}

/// CPU time of this very process, all threads, since it was started; 0 where the platform does not say.
#[must_use]
pub fn own_cpu_time() -> Duration {
    os::own_cpu_time()
}

/// CPU time of the calling thread since it was started; 0 where the platform does not say.
#[must_use]
pub fn thread_cpu_time() -> Duration {
    os::thread_cpu_time()
}

/// Turns times of the boot clock (`CLOCK_BOOTTIME`) into the time of day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostClock {
    origin: SystemTime,
}

impl HostClock {
    /// The live clock, as the time of day stands now. Read it anew after a while: the time of day gets corrected.
    ///
    /// # Errors
    /// Off Linux.
    pub fn read() -> Result<Self, HostError> {
        let before = os::now_boot()?;
        let now = SystemTime::now();
        let after = os::now_boot()?;
        let boot = before + after.saturating_sub(before) / 2;
        Ok(Self { origin: now.checked_sub(boot).unwrap_or(SystemTime::UNIX_EPOCH) })
    }

    /// A clock whose zero is at `origin`: that of a trace.
    #[must_use]
    pub fn starting_at(origin: SystemTime) -> Self {
        Self { origin }
    }

    /// Time since boot, suspended time included.
    ///
    /// # Errors
    /// Off Linux.
    pub fn now_boot() -> Result<Duration, HostError> {
        os::now_boot()
    }

    /// The time of day at `since_origin`. A sum no calendar can hold gives the origin.
    #[must_use]
    pub fn to_epoch(&self, since_origin: Duration) -> SystemTime {
        self.origin.checked_add(since_origin).unwrap_or(self.origin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: versions are read from the releases that distributions write, and nonsense has none.
    #[test]
    fn versions() {
        assert_eq!(kernel_version("6.1.0-28-cloud-amd64"), Some((6, 1)));
        assert_eq!(kernel_version("5.15.167.4-microsoft-standard-WSL2"), Some((5, 15)));
        assert_eq!(kernel_version("7.3-rc1"), Some((7, 3)));
        assert_eq!(kernel_version("6"), None);
        assert_eq!(kernel_version("99999999999.1"), None);
        assert_eq!(kernel_version("linux"), None);
    }

    /// Guarantees: CPU lists are counted, and a hostile one cannot overflow or claim millions.
    #[test]
    fn cpu_lists() {
        assert_eq!(count_cpus("0-1\n"), Some(2));
        assert_eq!(count_cpus("0"), Some(1));
        assert_eq!(count_cpus("0-63,128-191"), Some(128));
        assert_eq!(count_cpus("3-1"), None);
        assert_eq!(count_cpus(""), None);
        assert_eq!(count_cpus("0-4294967295"), None);
        assert_eq!(count_cpus("0-100000"), None);
    }

    /// Guarantees: times are counted from the origin, and one beyond the calendar does not panic.
    #[test]
    fn trace_clock() {
        let origin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_764_032_400);
        let clock = HostClock::starting_at(origin);
        assert_eq!(clock.to_epoch(Duration::from_millis(1500)), origin + Duration::from_millis(1500));
        assert_eq!(clock.to_epoch(Duration::MAX), origin);
    }
}
