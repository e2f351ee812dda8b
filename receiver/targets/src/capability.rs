//! The capabilities this process has: what decides how much of the host it may see.

use crate::os;

/// A capability that some way of looking needs (`linux/capability.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Capability {
    /// Reads any file.
    DacReadSearch = 2,
    /// Opens what belongs to other users' processes.
    SysPtrace = 19,
    /// Nearly everything; before Linux 5.8 what BPF needs.
    SysAdmin = 21,
    /// Raises resource limits.
    SysResource = 24,
    /// Lets BPF programs read kernel memory.
    Perfmon = 38,
    /// Loads BPF programs.
    Bpf = 39,
}

impl Capability {
    /// Its name without the `CAP_`, as Docker and Kubernetes want it.
    #[must_use]
    pub fn short_name(self) -> &'static str {
        match self {
            Self::DacReadSearch => "DAC_READ_SEARCH",
            Self::SysPtrace => "SYS_PTRACE",
            Self::SysAdmin => "SYS_ADMIN",
            Self::SysResource => "SYS_RESOURCE",
            Self::Perfmon => "PERFMON",
            Self::Bpf => "BPF",
        }
    }
}

/// A set of capabilities.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Capabilities(u64);

impl Capabilities {
    /// Those in effect for this process; `None` off Linux or where `/proc` does not tell.
    #[must_use]
    pub fn effective() -> Option<Self> {
        os::effective_capabilities().map(Self)
    }

    /// Exactly these.
    #[must_use]
    pub fn of(capabilities: &[Capability]) -> Self {
        Self(capabilities.iter().fold(0, |bits, &one| bits | 1 << one as u8))
    }

    /// Whether this one is in effect.
    #[must_use]
    pub fn has(self, capability: Capability) -> bool {
        self.0 & 1 << capability as u8 != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: the numbers are the kernel's: the mask that it shows for a process with `CAP_BPF` and `CAP_PERFMON`
    /// alone holds these two and no other.
    #[test]
    fn the_kernels_numbers() {
        let held = Capabilities(0x0000_00c0_0000_0000);
        assert_eq!(held, Capabilities::of(&[Capability::Bpf, Capability::Perfmon]));
        assert!(held.has(Capability::Bpf) && held.has(Capability::Perfmon));
        for absent in
            [Capability::DacReadSearch, Capability::SysPtrace, Capability::SysAdmin, Capability::SysResource]
        {
            assert!(!held.has(absent), "{}", absent.short_name());
        }
        assert_eq!(Capabilities::of(&[Capability::SysPtrace]), Capabilities(0x8_0000));
        assert_eq!(Capabilities::of(&[Capability::SysAdmin]), Capabilities(0x20_0000));
        assert_eq!(Capabilities::of(&[Capability::SysResource]), Capabilities(0x100_0000));
        assert_eq!(Capabilities::of(&[Capability::DacReadSearch]), Capabilities(0x4));
    }
}
