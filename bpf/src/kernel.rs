//! What this host allows, for errors that say what to do.

use std::fs::{self, File};
use std::path::Path;

use libbpf_rs::{Error, ErrorKind};
use nix::sys::utsname::uname;

use crate::error::SweepError;
use crate::messages;
use crate::object::io_error;

/// Where the kernel shows its type information.
pub const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

/// What the sweep needs: it loads BPF programs, and lets them read kernel memory. Names and numbers as in
/// `linux/capability.h`.
const NEEDED: [(&str, u32); 2] = [("CAP_BPF", 39), ("CAP_PERFMON", 38)];
/// `CAP_SYS_ADMIN`, which includes both on every kernel.
const SYS_ADMIN: u32 = 21;

/// The capabilities in effect for this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Capabilities(u64);

impl Capabilities {
    /// Those of this process; none where /proc cannot be read.
    fn of_this_process() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        Self::from_status(&status).unwrap_or_default()
    }

    fn from_status(status: &str) -> Option<Self> {
        let bits = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
        u64::from_str_radix(bits.trim(), 16).ok().map(Self)
    }

    fn has(self, bit: u32) -> bool {
        self.0 & (1 << bit) != 0
    }

    /// Names of those that the sweep lacks; empty: it has what it needs.
    fn missing_for_sweep(self) -> Vec<&'static str> {
        if self.has(SYS_ADMIN) {
            return Vec::new();
        }
        NEEDED.into_iter().filter(|(_, bit)| !self.has(*bit)).map(|(name, _)| name).collect()
    }
}

/// Refuses early, and with a better reason than libbpf would give.
pub(crate) fn require_btf(custom: Option<&Path>) -> Result<(), SweepError> {
    // The iterator is looked up in the kernel's own, whatever the relocations use.
    for path in [Some(Path::new(BTF_PATH)), custom].into_iter().flatten() {
        File::open(path).map_err(|reason| SweepError::NoBtf { path: path.into(), reason })?;
    }
    Ok(())
}

/// Turns libbpf's error and what it printed into the error that says what to do.
pub(crate) fn explain(doing: &'static str, error: &Error) -> SweepError {
    let said = messages::last();
    let find = |words: &str| said.iter().find(|line| line.contains(words));
    // Both end in a refusal by the verifier, but the cause is a kernel that lacks something.
    if let Some(line) =
        find("failed to resolve CO-RE relocation").or(find("failed to find kernel BTF type ID"))
    {
        return SweepError::Unsupported { release: release(), what: line.trim().to_owned(), since: "5.8" };
    }
    if find("PROG LOAD LOG --").is_some() {
        return SweepError::Verifier { log: said.join("\n") };
    }
    match error.kind() {
        ErrorKind::PermissionDenied => SweepError::MissingCapability {
            missing: Capabilities::of_this_process().missing_for_sweep(),
            memlock: is_older_than(&release(), (5, 11)),
        },
        _ => match said.last() {
            Some(line) => io_error(doing, &format!("{error:#} ({})", line.trim())),
            None => io_error(doing, error),
        },
    }
}

pub(crate) fn release() -> String {
    uname().map_or_else(|_: nix::Error| String::new(), |name| name.release().to_string_lossy().into_owned())
}

/// Unknown releases count as new.
pub(crate) fn is_older_than(release: &str, than: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse::<u32>);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) < than,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: capabilities are read from the line that holds those in effect, and what the sweep lacks is named.
    #[test]
    fn reads_capabilities() {
        let of = |bits: &str| {
            Capabilities::from_status(&format!("Name:\tx\nCapPrm:\t0\nCapEff:\t{bits}\n")).expect("bits")
        };
        assert_eq!(of("000001ffffffffff").missing_for_sweep(), [""; 0]);
        assert_eq!(of("0000000000000000").missing_for_sweep(), ["CAP_BPF", "CAP_PERFMON"]);
        assert_eq!(of("0000008000000000").missing_for_sweep(), ["CAP_PERFMON"]);
        assert_eq!(of("000000c000000000").missing_for_sweep(), [""; 0]);
        assert_eq!(of("0000000000200000").missing_for_sweep(), [""; 0]);
        assert_eq!(Capabilities::from_status("CapEff:\tnonsense"), None);
        assert_eq!(Capabilities::from_status(""), None);
    }

    /// Guarantees: releases are compared as numbers, and one that cannot be read gives no hint.
    #[test]
    fn compares_releases() {
        assert!(is_older_than("5.10.0-28-amd64", (5, 11)));
        assert!(is_older_than("4.19", (5, 11)));
        for release in ["5.11.0", "6.1.0-18", "10.0", "unknown", ""] {
            assert!(!is_older_than(release, (5, 11)), "{release}");
        }
    }

    /// Guarantees: what libbpf complained of decides the error: a field or iterator that this kernel lacks is told apart from a
    /// refusal by the verifier and from a lack of privileges.
    #[test]
    fn explains_what_libbpf_says() {
        let _guard = crate::object::one_at_a_time();
        let after = |said: &[&str], errno: i32| {
            messages::forget();
            for line in said {
                messages::receive(libbpf_rs::PrintLevel::Warn, (*line).to_owned());
            }
            explain("loading", &Error::from_raw_os_error(errno))
        };
        let log = ["-- BEGIN PROG LOAD LOG --", "R1 invalid mem access", "-- END PROG LOAD LOG --"];
        let refused = after(&log, errno::EACCES);
        assert!(
            matches!(&refused, SweepError::Verifier { log } if log.contains("R1 invalid mem access")),
            "{refused}"
        );
        let lacks =
            after(&["failed to resolve CO-RE relocation <byte_off> [5] struct x.y", log[2]], errno::EINVAL);
        assert!(
            matches!(&lacks, SweepError::Unsupported { what, .. } if what.contains("struct x.y")),
            "{lacks}"
        );
        let old = after(&["prog 'sweep': failed to find kernel BTF type ID of 'task': -3"], errno::ESRCH);
        assert!(matches!(old, SweepError::Unsupported { .. }), "{old}");
        assert!(matches!(after(&[], errno::EPERM), SweepError::MissingCapability { .. }));
        let io = after(&["no room"], errno::ENOMEM);
        assert!(matches!(&io, SweepError::Io { reason, .. } if reason.contains("no room")), "{io}");
        messages::forget();
    }

    /// Linux's numbers.
    mod errno {
        pub(super) const EPERM: i32 = 1;
        pub(super) const ESRCH: i32 = 3;
        pub(super) const ENOMEM: i32 = 12;
        pub(super) const EACCES: i32 = 13;
        pub(super) const EINVAL: i32 = 22;
    }
}
