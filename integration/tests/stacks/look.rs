//! Two looks at a row's program: at its allocations, and at the faults by which it grows.

use std::time::Duration;

use anyhow::ensure;
use mlh_integration::inspection::Inspection;
use mlh_integration::need;
use mlh_integration::scenario::{World, scenario};

use crate::judge::{Found, Judge};
use crate::program::{Program, Running};
use crate::rivals;
use crate::row::{Goal, Row};

/// For so long a program leaks: time for several moments at which its new pages are asked for.
const LOOK: Duration = Duration::from_secs(8);
/// What is asked for, by which a look chooses these moments. It is ended before.
const ASKED: &str = "20s";

/// Checks a row, and prints its line of the table.
pub(crate) fn check(row: &Row) {
    scenario(|world| {
        need::ebpf()?;
        let program = Program::make(world, row)?;
        let (allocations, growth) = looks(world, row, &program)?;
        let mut why: Vec<&str> = [row.allocations, row.growth].into_iter().filter_map(Goal::reason).collect();
        why.dedup();
        let rivals = match std::env::var_os("MLH_RIVALS") {
            Some(_) => rivals::columns(world, row, &program)?.map(|column| format!("{column} | ")).concat(),
            None => String::new(),
        };
        println!("| {} | {allocations} | {growth} | {rivals}{} |", row.name, why.join("; "));
        let faults: Vec<String> =
            [("allocations", &allocations, row.allocations), ("growth", &growth, row.growth)]
                .into_iter()
                .filter_map(|(what, found, goal)| Some(format!("{what}: {}", found.fault(row, goal)?)))
                .collect();
        ensure!(faults.is_empty(), "{}: {}", row.name, faults.join("\n"));
        Ok(())
    });
}

/// Each at a process of its own: where a probe waits for a function's return, a fault in it cannot tell who called it.
fn looks(world: &World, row: &Row, program: &Program) -> anyhow::Result<(Found, Found)> {
    let begin =
        |name: &str, mode: &str, asked: &str, goal: Goal| -> anyhow::Result<Option<(Running, Inspection)>> {
            if matches!(goal, Goal::Unseen(_)) {
                return Ok(None);
            }
            let mut running = program.start(world, row, &format!("{name}-leak"))?;
            let target = running.target();
            let target: Vec<&str> = target.iter().map(String::as_str).collect();
            let arguments = [&["--mode", mode, "--top", "0", "--duration", asked], &row.options[..]].concat();
            let look = Inspection::of(world, name, &target, &arguments)?;
            running.go()?;
            Ok(Some((running, look)))
        };
    let allocations = begin("allocations", "debug", "10m", row.allocations)?;
    let growth = begin("growth", "growth_stacks", ASKED, row.growth)?;
    std::thread::sleep(LOOK);
    let allocations = match allocations {
        Some((mut running, look)) => {
            let judge = Judge { row, program, leaked: running.stop()? };
            let report = look.report()?;
            judge.allocations(&report)?
        }
        None => Found::default(),
    };
    let growth = match growth {
        Some((mut running, look)) => {
            let judge = Judge { row, program, leaked: running.stop()? };
            let report = look.report()?;
            judge.growth(&report)?
        }
        None => Found::default(),
    };
    Ok((allocations, growth))
}
