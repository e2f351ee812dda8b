//! What a pair of malloc and free costs under another tool that pairs them, on the same machine: bcc's `memleak`, from
//! `MLH_MEMLEAK`, else as it is installed.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use mlh_integration::code::Code;
use mlh_integration::need::{self, Skip};
use mlh_integration::pairs::Pairs;
use mlh_integration::process::Process;
use mlh_integration::scenario::World;
use mlh_integration::statistics::median;
use mlh_integration::wait::until;

use crate::table::Table;

const SLICES: usize = 7;
const SLICE_MS: u32 = 150;

fn memleak() -> Result<PathBuf, Skip> {
    match std::env::var_os("MLH_MEMLEAK") {
        Some(path) => Ok(PathBuf::from(path)),
        None => need::program("memleak-bpfcc"),
    }
}

/// Its own words if it ends before its probes are in place.
fn attached(peer: &mut Process, pid: u32, before: &Code) -> anyhow::Result<Option<Skip>> {
    until("the peer's probes", Duration::from_secs(120), || {
        if peer.lives().is_err() {
            let said = peer.stderr() + &peer.stdout();
            let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
            return Ok(Some(Some(Skip::because(format!("it does not run here: {last}")))));
        }
        Ok((!Code::of(pid)?.differences(before).is_empty()).then_some(None))
    })
}

/// A row; where the tool does not run, the row says why.
pub(crate) fn measure(world: &World, table: &mut Table) -> anyhow::Result<()> {
    let what = "malloc and free of 64 B under bcc's memleak";
    let memleak = match memleak() {
        Ok(memleak) => memleak,
        Err(skip) => {
            table.beside(what, format!("skipped: {skip}"));
            return Ok(());
        }
    };
    let mut pairs = Pairs::start(world, "pairs-peer")?;
    let pid = pairs.pid();
    let without = pairs.slice(64, SLICE_MS)?.cost;
    let before = Code::of(pid)?;
    let mut peer = world.spawn("memleak", Command::new(memleak).args(["-p", &pid.to_string(), "3600"]))?;
    if let Some(skip) = attached(&mut peer, pid, &before)? {
        table.beside(what, format!("skipped: {skip}"));
        return Ok(());
    }
    // it places its probes one after the other
    let mut known = 0;
    until("all of its probes", Duration::from_secs(120), || {
        std::thread::sleep(Duration::from_secs(1));
        let placed = Code::of(pid)?.differences(&before).len();
        Ok((std::mem::replace(&mut known, placed) == placed).then_some(()))
    })?;
    let mut costs = Vec::new();
    for _ in 0..SLICES {
        costs.push(pairs.slice(64, SLICE_MS)?.cost);
    }
    table.beside(what, format!("{:.0} ns, {without:.1} ns without", median(&costs)));
    Ok(())
}
