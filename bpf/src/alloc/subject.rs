//! Which processes can be probed, and how one comes under observation.

use std::fs::{self, File};
use std::io::Read as _;

use libbpf_rs::{MapCore as _, MapFlags, Object};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::heard::Slot;
use super::wire::{Admission, admit};
use crate::error::SweepError;
use crate::object::{self, Failure, failure, io_error};
use crate::{kernel, narrow};

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

/// Takes a process under observation in the kernel. Its pid in the initial pid namespace; `None`: there is no such process.
pub(crate) fn take(object: &Object, pid: u32, slot: Slot) -> Result<Option<u32>, Failure> {
    meet(object, pid, slot, admit::TAKE, 0)
}

/// Says of a process that is observed that its probes do not see all below `least` bytes.
pub(crate) fn say_least(object: &Object, pid: u32, slot: Slot, least: u32) -> Result<(), Failure> {
    meet(object, pid, slot, admit::LEAST, least).map(drop)
}

/// Says of a process that is observed whether the kernel is to follow its frame pointers.
pub(crate) fn say_walks(object: &Object, pid: u32, slot: Slot, walks: bool) -> Result<(), Failure> {
    meet(object, pid, slot, admit::WALKS, walks.into()).map(drop)
}

fn meet(object: &Object, pid: u32, slot: Slot, what: u32, value: u32) -> Result<Option<u32>, Failure> {
    let asked = Admission { pid, slot: slot.0, host_pid: 0, what, value, reserved: 0 };
    let doing = |error| ("admitting a process", error);
    let admission = object::handle(object, ".data.admission")?;
    let program = object::program(object, "admit_process")?;
    // kernels before 6.1 have no passes over one process
    let link = match narrow::attach(&program, asked.pid) {
        Ok(link) => link,
        Err(_) => program.attach().map_err(doing)?,
    };
    let key = 0_u32.to_ne_bytes();
    let mut found = None;
    // the second time it is seen whether it has ended before its end could be told
    for _ in 0..2 {
        admission.update(&key, asked.as_bytes(), MapFlags::ANY).map_err(doing)?;
        object::run_through(&link).map_err(doing)?;
        let value = admission.lookup(&key, MapFlags::ANY).map_err(doing)?.unwrap_or_default();
        let (answer, _) = Admission::read_from_prefix(&value)
            .map_err(|_| failure("admitting a process", "the answer is cut"))?;
        if answer.host_pid == 0 {
            if let Some(gone) = found {
                let gone: u32 = gone;
                let _ = object::handle(object, "targets")?.delete(&gone.to_ne_bytes());
            }
            return Ok(None);
        }
        found = Some(answer.host_pid);
    }
    Ok(found)
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
