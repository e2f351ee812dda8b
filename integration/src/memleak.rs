//! bcc's `memleak`, to be measured beside: from `MLH_MEMLEAK`, else as it is installed.

use std::path::PathBuf;
use std::time::Duration;

use crate::code::Code;
use crate::need::{self, Skip};
use crate::process::Process;
use crate::wait::until;

/// The tool.
///
/// # Errors
/// A [`Skip`] without it.
pub fn program() -> Result<PathBuf, Skip> {
    match std::env::var_os("MLH_MEMLEAK") {
        Some(path) => Ok(PathBuf::from(path)),
        None => need::program("memleak-bpfcc"),
    }
}

/// Waits until all of its probes are in place. It places them one after the other: when for a second none has been added to
/// the code as it was `before`, these are all.
///
/// # Errors
/// A [`Skip`] where it does not run; not within `patience`.
pub fn attached(tool: &mut Process, pid: u32, before: &Code, patience: Duration) -> anyhow::Result<()> {
    let mut known = 0;
    until("the probes of bcc's memleak", patience, || {
        if tool.lives().is_err() {
            let said = tool.stdout() + &tool.stderr();
            let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
            return Err(Skip::because(format!("bcc's memleak does not run here: {last}")).into());
        }
        std::thread::sleep(Duration::from_secs(1));
        let placed = Code::of(pid)?.differences(before).len();
        Ok((placed > 0 && std::mem::replace(&mut known, placed) == placed).then_some(()))
    })
}
