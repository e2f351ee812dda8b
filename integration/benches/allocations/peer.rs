//! What a pair of malloc and free costs under another tool that pairs them, beside debug mode and beside neither, in turns: bcc's
//! `memleak`, from `MLH_MEMLEAK`, else as it is installed.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use mlh_integration::code::Code;
use mlh_integration::need::{self, Skip};
use mlh_integration::pairs::{Kind, Pairs};
use mlh_integration::process::Process;
use mlh_integration::scenario::World;
use mlh_integration::statistics::paired_ratio;
use mlh_integration::table::{Table, Verdict};
use mlh_integration::wait::until;
use nix::sys::signal::Signal;

use crate::look::{DEBUG, Look};
use crate::subject::{Slices, Subject as _, alone, nanoseconds, times};

const ROUNDS: usize = 7;
const PATIENCE: Duration = Duration::from_secs(120);

/// The tool, and where it is started.
struct Peer<'a> {
    world: &'a World,
    program: PathBuf,
}

impl Peer<'_> {
    /// What a pair costs while its probes are in place.
    fn during(&self, slices: &mut Slices) -> anyhow::Result<f64> {
        let pid = slices.pid();
        let before = Code::of(pid)?;
        let mut command = Command::new(&self.program);
        let mut peer = self.world.spawn("memleak", command.args(["-p", &pid.to_string(), "3600"]))?;
        attached(&mut peer, pid, &before)?;
        slices.cost()?;
        let cost = slices.cost()?;
        // as by hand: it takes its probes out and ends
        peer.signal(Signal::SIGINT)?;
        peer.end(PATIENCE)?;
        until("its probes being out", PATIENCE, || {
            Ok(Code::of(pid)?.differences(&before).is_empty().then_some(()))
        })?;
        Ok(cost)
    }
}

/// All of its probes are in place. It places them one after the other: when for a second none has been added, these are all.
fn attached(peer: &mut Process, pid: u32, before: &Code) -> anyhow::Result<()> {
    let mut known = 0;
    until("the peer's probes", PATIENCE, || {
        if peer.lives().is_err() {
            let said = peer.stdout() + &peer.stderr();
            let last = said.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
            return Err(Skip::because(format!("bcc's memleak does not run here: {last}")).into());
        }
        std::thread::sleep(Duration::from_secs(1));
        let placed = Code::of(pid)?.differences(before).len();
        Ok((placed > 0 && std::mem::replace(&mut known, placed) == placed).then_some(()))
    })
}

/// Neither, debug mode, the peer; and again.
pub(crate) fn measure(world: &World, table: &mut Table) -> anyhow::Result<()> {
    let program = match std::env::var_os("MLH_MEMLEAK") {
        Some(path) => PathBuf::from(path),
        None => need::program("memleak-bpfcc")?,
    };
    let peer = Peer { world, program };
    let mut slices = Slices::new(Pairs::start(world, "pairs")?, Kind::Malloc, 64);
    let mut look = Look::prepare(slices.pid(), &DEBUG)?;
    let mut costs = Vec::new();
    for _ in 0..ROUNDS {
        let neither = slices.cost()?;
        let ours = look.during(|_| slices.cost().and_then(|_| slices.cost()))?;
        costs.push([neither, ours, peer.during(&mut slices)?]);
    }
    let column = |tool: usize| alone(costs.iter().map(|costs| costs[tool]));
    let ratio = paired_ratio(&costs.iter().map(|[_, ours, peer]| (*ours, *peer)).collect::<Vec<_>>());
    let what = format!("malloc and free of 64 B, debug mode against bcc's memleak, {ROUNDS} pairs");
    table.judged(what, "< 1.00 times", times(&ratio), Verdict::at_most(1.0, &ratio));
    let [neither, ours, peer] = [0, 1, 2].map(|tool| nanoseconds(&column(tool)));
    table.beside("  memleak; debug mode; neither", format!("{peer}; {ours}; {neither}"));
    Ok(())
}
