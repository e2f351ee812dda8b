//! Which processes can be probed, and how.

use std::fs::{self, File};
use std::io::Read as _;

use crate::error::SweepError;
use crate::kernel;
use crate::object::io_error;

/// Byte of an ELF file that tells its class, and that of 32 bits.
const CLASS_AT: usize = 4;
const CLASS_32: u8 = 1;

/// Kernels in which a function that is left by way of a return probe makes a system call of its own, which a filter of the
/// process does not know and may kill it for.
const UNFILTERED_SINCE: (u32, u32) = (6, 11);
const FILTER_KNOWS_SINCE: (u32, u32) = (6, 14);

/// The programs read registers and the stack as 64-bit code has them.
///
/// # Errors
/// The process runs 32-bit code.
pub(crate) fn require_observable(pid: u32) -> Result<(), SweepError> {
    let mut start = [0; CLASS_AT + 1];
    // what cannot be read is found out when it is to be probed
    let read = File::open(format!("/proc/{pid}/exe")).and_then(|mut file| file.read_exact(&mut start));
    if read.is_ok() && start == [0x7f, b'E', b'L', b'F', CLASS_32] {
        return Err(io_error("admitting a process", &"it runs 32-bit code, which is not understood"));
    }
    Ok(())
}

/// Whether functions of this process may be left by way of a return probe.
///
/// # Errors
/// Why not.
pub(crate) fn require_return_probes(pid: u32) -> Result<(), String> {
    let release = kernel::release();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    if is_in_danger(&release, &status) {
        return Err(format!(
            "on kernel {release} a seccomp filter, which this process has, may kill it for a return probe"
        ));
    }
    Ok(())
}

fn is_in_danger(release: &str, status: &str) -> bool {
    let filtered = status.lines().find_map(|line| line.strip_prefix("Seccomp:")).map(str::trim);
    let unknown = !kernel::is_older_than(release, UNFILTERED_SINCE)
        && kernel::is_older_than(release, FILTER_KNOWS_SINCE);
    unknown && !matches!(filtered, None | Some("0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: return probes are refused on the kernels that do not tell the filter, and there only to those who have one.
    #[test]
    fn knows_the_danger() {
        let filter = "Name:\tx\nSeccomp:\t2\nSeccomp_filters:\t1\n";
        for release in ["6.11.0", "6.12.9-cloud-amd64", "6.13.1"] {
            assert!(is_in_danger(release, filter), "{release}");
            assert!(!is_in_danger(release, "Name:\tx\nSeccomp:\t0\n"), "{release}");
        }
        for release in ["6.10.14", "6.14.0", "6.18.44", "5.15.1", "7.0", "", "unknown"] {
            assert!(!is_in_danger(release, filter), "{release}");
        }
        assert!(!is_in_danger("6.12.1", ""));
    }
}
