//! What a pair of malloc and free costs under another tool that pairs them, beside debug mode and beside neither, in turns.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use mlh_integration::code::Code;
use mlh_integration::memleak;
use mlh_integration::pairs::{Kind, Pairs};
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
        memleak::attached(&mut peer, pid, &before, PATIENCE)?;
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

/// Neither, debug mode, the peer; and again.
pub(crate) fn measure(world: &World, table: &mut Table) -> anyhow::Result<()> {
    let peer = Peer { world, program: memleak::program()? };
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
