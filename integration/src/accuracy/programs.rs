//! Our own programs: built, and listed.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

use super::case::{Case, Set, Start, shell};
use crate::need::{self, Skip};
use crate::scenario::repository;

fn sources() -> PathBuf {
    repository().join("integration/accuracy/programs")
}

/// How each is built and then run: `SRC` is the sources' folder, the working folder is where they are built.
const PROGRAMS: [(&str, &[&str], &str, &str); 8] = [
    ("leak", &["gcc"], "gcc -O2 -g -Wall -Wextra -Werror -pthread SRC/c/leak.c -o leak -lm", "./leak"),
    ("calm", &["gcc"], "gcc -O2 -g -Wall -Wextra -Werror -pthread SRC/c/calm.c -o calm -lm", "./calm"),
    (
        "program-cpp",
        &["g++"],
        "g++ -std=c++17 -O2 -g -Wall -Wextra -Werror -pthread SRC/cpp/program.cc -o program-cpp",
        "./program-cpp",
    ),
    ("program-python", &["python3"], "cp SRC/python/program.py .", "python3 program.py"),
    ("program-node", &["node"], "cp SRC/node/program.js .", "node --max-semi-space-size=1 program.js"),
    (
        "program-go",
        &["go"],
        "GOFLAGS=-mod=mod GOTOOLCHAIN=local GOPROXY=off go build -C SRC/go -buildvcs=false -o \"$PWD/program-go\" .",
        "./program-go",
    ),
    (
        "program-java",
        &["javac", "java"],
        "javac -Xlint:all -Werror -d . SRC/java/Program.java",
        "java -Xms16m -Xmx512m -XX:+UseSerialGC -cp . Program",
    ),
    (
        "program-rust",
        &["rustc"],
        "rustc --edition 2024 -O -g SRC/rust/program.rs -o program-rust",
        "./program-rust",
    ),
];

/// Builds one of them in `folder`.
///
/// # Errors
/// A [`Skip`] without its compiler; it does not compile, or there is no such program.
pub fn build(program: &str, folder: &Path) -> anyhow::Result<()> {
    let found = PROGRAMS.iter().find(|(name, ..)| *name == program);
    let (_, needs, build, _) = found.with_context(|| format!("no program {program}"))?;
    for name in *needs {
        need::program(name)?;
    }
    let build = build.replace("SRC", &sources().canonicalize()?.display().to_string());
    shell(&build, folder).with_context(|| program.to_owned())
}

/// The cases of `programs/cases.yaml` whose program can be built here, in `folder`. Those that cannot, and why, come beside.
///
/// # Errors
/// A program does not compile, or the list cannot be read.
pub fn cases(folder: &Path) -> anyhow::Result<(Vec<Case>, Vec<String>)> {
    let list = std::fs::read_to_string(sources().join("cases.yaml"))?;
    let list: serde_yaml::Mapping = serde_yaml::from_str(&list)?;
    let (mut cases, mut without) = (Vec::new(), Vec::new());
    for (program, _, _, run) in PROGRAMS {
        let missing = match build(program, folder) {
            Ok(()) => None,
            Err(error) => Some(error.downcast::<Skip>()?),
        };
        for (id, words) in list.iter().filter_map(|(id, words)| Some((id.as_str()?, words.as_str()?))) {
            let mut words = words.split(' ');
            if words.next() != Some(program) {
                continue;
            }
            match &missing {
                Some(reason) => without.push(format!("{id}: {reason}")),
                None if id == "c-swapped" && !swaps()? => without.push(format!("{id}: needs swap space")),
                None => {
                    let words = run.split(' ').chain(words).map(str::to_owned).collect();
                    let (id, folder) = (id.to_owned(), folder.to_owned());
                    cases.push(Case {
                        id,
                        set: Set::Programs,
                        start: Start::Seeded(words),
                        folder,
                        known: None,
                    });
                }
            }
        }
    }
    Ok((cases, without))
}

/// Whether the host has swap space.
fn swaps() -> anyhow::Result<bool> {
    Ok(std::fs::read_to_string("/proc/swaps")?.lines().count() > 1)
}
