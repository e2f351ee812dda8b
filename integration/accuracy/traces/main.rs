//! How right the judgement is on traces, where growth is all there is: `make accuracy-traces`.
//!
//! Two sets that share no seed: the rules were tuned on `train` alone, and `test` says how right they are. Half of each leaks, and
//! every shape comes equally often.

mod calm;
mod judge;
mod leaks;
mod replay;
mod set;
mod sketch;
mod tally;

use std::path::PathBuf;

use anyhow::{Result, bail, ensure};
use serde_json::{Map, Value};

use mlh_integration::sidecar;
use set::{SETS, Set};

/// Traces in a set unless told otherwise.
const TRACES: usize = 2000;
/// Every so many traces one goes through the command as well. It has no divisor in common with the number of shapes.
const COMPARED: usize = 67;

/// What is asked for: sets, and where the results go.
struct Wish {
    sets: Vec<Set>,
    traces: usize,
    json: Option<PathBuf>,
}

fn wish() -> Result<Wish> {
    let mut wish = Wish { sets: Vec::new(), traces: TRACES, json: None };
    for argument in std::env::args().skip(1) {
        match argument.split_once('=') {
            Some(("traces", number)) => wish.traces = number.parse()?,
            Some(("json", path)) => wish.json = Some(path.into()),
            None if argument == "--bench" => {}
            _ => match SETS.into_iter().find(|set| set.name() == argument) {
                Some(set) => wish.sets.push(set),
                None => bail!("{argument}: expected train, test, traces=NUMBER or json=FILE"),
            },
        }
    }
    if wish.sets.is_empty() {
        wish.sets = SETS.to_vec();
    }
    Ok(wish)
}

fn main() -> Result<()> {
    let Wish { sets, traces, json } = wish()?;
    let mut results = Map::new();
    let mut missed = Vec::new();
    for set in sets {
        let tally = set.run(traces);
        println!("## {}: {traces} traces\n\n{}", set.name(), tally.markdown());
        let mut result = tally.json();
        let compared = compare(set, traces)?;
        println!("{compared} of them went through `replay` as well, and all of them alike.\n");
        result["through_replay"] = compared.into();
        results.insert(set.name().to_owned(), result);
        missed.extend(tally.goals().into_iter().filter(|(.., met)| !met).map(|(goal, ..)| goal));
    }
    if let Some(path) = json {
        std::fs::write(path, serde_json::to_string_pretty(&Value::Object(results))? + "\n")?;
    }
    ensure!(missed.is_empty(), "not met: {missed:?}");
    Ok(())
}

/// Has the command judge some of a set, and returns how many.
fn compare(set: Set, traces: usize) -> Result<usize> {
    let (program, folder) = (sidecar::executable()?, tempfile::tempdir()?);
    let mut compared = 0;
    for index in (0..traces).step_by(COMPARED) {
        let trace = set.draw(index);
        replay::agrees(&program, folder.path(), &trace, &judge::judge(&trace))?;
        compared += 1;
    }
    Ok(compared)
}
