//! Real packages, each pinned to a release whose leak was reported, or whose report turned out to be no leak; and their controls.
//! They are installed once from the registries of their languages, into a cache.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_yaml::Value;

use super::case::{Case, Set, Start, shell};
use super::story::Truth;
use crate::scenario::repository;

/// Beside the cases: what several of them have in common, put into the folder of each.
const SHARED: &str = "shared";

/// Where cases are installed and stay.
fn cache() -> anyhow::Result<PathBuf> {
    let cache = match std::env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(std::env::var_os("HOME").context("HOME is not set")?).join(".cache"),
    };
    Ok(cache.join("memory-leak-hunter/accuracy"))
}

/// The cases and their controls, those of `names` or all, installed. Those that cannot be, and why, come beside.
///
/// # Errors
/// A case's description cannot be read.
pub fn cases(names: &[String]) -> anyhow::Result<(Vec<Case>, Vec<String>)> {
    let folder = repository().join("integration/accuracy/corpus");
    let (mut cases, mut without) = (Vec::new(), Vec::new());
    let mut sources: Vec<_> =
        std::fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    sources.sort();
    let (shared, sources): (Vec<_>, Vec<_>) =
        sources.into_iter().partition(|source| source.ends_with(SHARED));
    let shared = shared.first().context("what cases have in common is missing")?;
    for source in sources {
        let text = std::fs::read_to_string(source.join("case.yaml"))
            .with_context(|| source.display().to_string())?;
        let case: Value = serde_yaml::from_str(&text).with_context(|| source.display().to_string())?;
        for control in [false, true] {
            let described = described(&case, control)?;
            if !names.is_empty() && !names.iter().any(|name| described.id.contains(name)) {
                continue;
            }
            let id = described.id.clone();
            match installed(&[shared, &source], described, &steps(&case, control)) {
                Ok(case) => cases.push(case),
                Err(error) => without.push(format!("{id}: {error:#}")),
            }
        }
    }
    Ok((cases, without))
}

fn text(value: &Value) -> anyhow::Result<String> {
    Ok(value.as_str().context("a text is missing")?.to_owned())
}

/// A case of the description, or its control: a run that must stay calm.
fn described(case: &Value, control: bool) -> anyhow::Result<Case> {
    let id = text(&case["id"])?;
    let expected = &case["expected"];
    let functions =
        expected["culprit_functions"].as_sequence().into_iter().flatten().filter_map(Value::as_str);
    let leaks = !control && text(&case["kind"])? == "leak";
    let known = Truth {
        leaks,
        functions: functions.map(named).filter(|name| !name.is_empty()).map(str::to_owned).collect(),
        mb_per_min: expected["mb_per_min"].as_f64().filter(|_| leaks),
    };
    let run = if control { &case["control"]["run"] } else { &case["run"] };
    let start = Start::Paced { line: text(run)?, rate: case["rate"].as_f64().context("rate is missing")? };
    let id = if control { format!("{id}-control") } else { id };
    Ok(Case { id, set: Set::Corpus, start, folder: PathBuf::new(), known: Some(known) })
}

/// What installs it: a control that needs no other release is installed like its case.
fn steps(case: &Value, control: bool) -> Vec<String> {
    let own = case["control"]["install"].as_sequence().filter(|_| control);
    let steps = own.or(case["install"].as_sequence());
    steps.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The case in its folder of the cache, where it is installed unless the same was before.
fn installed(sources: &[&Path], case: Case, steps: &[String]) -> anyhow::Result<Case> {
    let folder = cache()?.join(&case.id);
    std::fs::create_dir_all(&folder)?;
    let sources: Vec<_> =
        sources.iter().map(|source| Ok(source.canonicalize()?)).collect::<anyhow::Result<Vec<PathBuf>>>()?;
    let quoted: Vec<_> = sources.iter().map(|source| format!("'{}'", source.display())).collect();
    // the drivers and the steps, so that a change of either installs anew
    let sum = format!("find {} -type f | sort | xargs -d '\\n' cat | sha256sum", quoted.join(" "));
    shell(&format!("{sum} > sum; echo {:?} >> sum", steps.join("; ")), &folder)?;
    let (sum, done) = (std::fs::read_to_string(folder.join("sum"))?, folder.join("installed"));
    if std::fs::read_to_string(&done).ok().as_ref() != Some(&sum) {
        eprintln!("installing {}", case.id);
        for source in &quoted {
            shell(&format!("cp -r {source}/. ."), &folder)?;
        }
        for step in steps {
            shell(step, &folder)?;
        }
        std::fs::write(done, sum)?;
    }
    Ok(Case { folder, ..case })
}

/// The function's name alone: what stands in brackets behind it says where it is, and without one why there is none.
fn named(function: &str) -> &str {
    match function.strip_prefix('(') {
        Some(_) => "",
        None => function.split_once(" (").map_or(function, |(name, _)| name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CASE: &str = "
id: py-x
kind: leak
rate: 20
install: [make it]
run: ./driver --rate {rate}
control: {what: fixed release, run: './driver --rate {rate} --safe'}
expected: {verdict: leak, mb_per_min: 10.4, culprit_functions: [keep, Step.run (driver.py), (no symbols)]}
";

    /// Guarantees: a case is told with its rate and the functions that have names; its control leaks nothing and is installed alike.
    #[test]
    fn cases_and_controls_are_read() {
        let case: Value = serde_yaml::from_str(CASE).unwrap();
        let leak = described(&case, false).unwrap();
        let truth = Truth {
            leaks: true,
            functions: ["keep", "Step.run"].map(str::to_owned).to_vec(),
            mb_per_min: Some(10.4),
        };
        assert_eq!((leak.id.as_str(), leak.known), ("py-x", Some(truth)));
        let control = described(&case, true).unwrap();
        assert_eq!(control.id, "py-x-control");
        assert!(control.known.is_some_and(|truth| !truth.leaks && truth.mb_per_min.is_none()));
        assert_eq!(
            control.start,
            Start::Paced { line: "./driver --rate {rate} --safe".to_owned(), rate: 20.0 }
        );
        assert_eq!(steps(&case, true), ["make it"]);
    }
}
