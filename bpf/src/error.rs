//! Why the sweep or the listener cannot be had, and what to do about it.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why the sweep or the listener cannot be loaded, read or changed.
#[derive(Debug, Error)]
pub enum SweepError {
    /// The kernel does not describe its types.
    #[error(
        "the kernel's type information {} cannot be read ({reason}): run a kernel built with CONFIG_DEBUG_INFO_BTF=y, and in a container make /sys visible",
        path.display()
    )]
    NoBtf {
        /// Where it was looked for.
        path: PathBuf,
        /// What reading it said.
        reason: io::Error,
    },
    /// The kernel refuses for lack of a capability.
    #[error("the kernel refuses to load BPF programs: {}{}", what_to_grant(missing), memlock_hint(*memlock))]
    MissingCapability {
        /// Those that the process lacks; empty when it has all that are needed and is refused nevertheless.
        missing: Vec<&'static str>,
        /// The kernel is older than 5.11, where BPF memory counts against `RLIMIT_MEMLOCK`.
        memlock: bool,
    },
    /// This kernel lacks the task iterator, a tracepoint, or a field that is read.
    #[error("this kernel ({release}) does not offer what is needed: {what}; Linux {since} or later does")]
    Unsupported {
        /// `uname -r`.
        release: String,
        /// What is missing.
        what: String,
        /// The version that has it.
        since: &'static str,
    },
    /// The kernel's verifier refuses a program.
    #[error(
        "the kernel's verifier refuses a program; please report this with the kernel's version. It said:\n{log}"
    )]
    Verifier {
        /// The last lines of its log.
        log: String,
    },
    /// More was to be watched than fits.
    #[error("{asked} {what} are to be watched where {max} can be")]
    TooManyWatched {
        /// How many were asked for.
        asked: usize,
        /// How many can be.
        max: usize,
        /// Of what.
        what: &'static str,
    },
    /// A pass did not end within the bound on its size.
    #[error("a pass over the host's tasks exceeds {limit} bytes")]
    PassTooLarge {
        /// The bound.
        limit: usize,
    },
    /// Loading, attaching or reading failed in another way.
    #[error("{doing} failed: {reason}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system, or libbpf, said.
        reason: String,
    },
}

fn what_to_grant(missing: &[&str]) -> String {
    if missing.is_empty() {
        "though the process has CAP_BPF and CAP_PERFMON; they do not count inside a user namespace, and a seccomp profile, a security module or lockdown=confidentiality may forbid it as well".to_owned()
    } else {
        format!("grant {} (or run as root)", missing.join(" and "))
    }
}

fn memlock_hint(memlock: bool) -> &'static str {
    if memlock { "; before Linux 5.11 also raise RLIMIT_MEMLOCK (ulimit -l unlimited)" } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: each refusal tells what to do.
    #[test]
    fn says_what_to_do() {
        let refused = |missing: &[&'static str], memlock| {
            SweepError::MissingCapability { missing: missing.to_vec(), memlock }.to_string()
        };
        assert!(refused(&["CAP_BPF", "CAP_PERFMON"], false).contains("grant CAP_BPF and CAP_PERFMON"));
        assert!(!refused(&["CAP_BPF"], false).contains("MEMLOCK"));
        assert!(refused(&[], true).contains("seccomp"));
        assert!(refused(&[], true).contains("ulimit -l unlimited"));
        let no_btf = SweepError::NoBtf { path: "/x/btf".into(), reason: io::ErrorKind::NotFound.into() };
        assert!(
            no_btf.to_string().contains("/x/btf") && no_btf.to_string().contains("CONFIG_DEBUG_INFO_BTF")
        );
    }
}
