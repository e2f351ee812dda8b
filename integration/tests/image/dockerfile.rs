//! The build stage of `docker/Dockerfile`, which is too long to be run by a test: that what it reads is there.

use std::collections::BTreeSet;

use anyhow::{Context as _, ensure};
use mlh_integration::scenario::{repository, scenario};

/// An instruction and its arguments, on one line.
type Instruction = (String, String);

/// The instructions in order, comments left out and continued lines joined.
fn instructions() -> anyhow::Result<Vec<Instruction>> {
    let text = std::fs::read_to_string(repository().join("docker/Dockerfile"))?;
    let code: Vec<_> = text.lines().filter(|line| !line.trim_start().starts_with('#')).collect();
    let joined = code.join("\n").replace("\\\n", " ");
    let lines = joined.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| {
            let (word, rest) = line.split_once(' ').with_context(|| format!("no arguments: {line}"))?;
            Ok((word.to_owned(), rest.trim().to_owned()))
        })
        .collect()
}

/// The instructions of one stage.
fn stage(name: &str) -> anyhow::Result<Vec<Instruction>> {
    let suffix = format!(" AS {name}");
    let all = instructions()?;
    let begin =
        all.iter().position(|(word, rest)| word == "FROM" && rest.ends_with(&suffix)).context("no stage")?;
    let rest = all.into_iter().skip(begin + 1);
    Ok(rest.take_while(|(word, _)| word != "FROM").collect())
}

/// What is copied from the repository.
fn copied(stage: &[Instruction]) -> BTreeSet<String> {
    let copies = stage.iter().filter(|(word, rest)| word == "COPY" && !rest.contains("--from="));
    let sources = copies.flat_map(|(_, rest)| {
        let words: Vec<_> = rest.split_whitespace().filter(|word| !word.starts_with("--")).collect();
        let sources = words.len().saturating_sub(1);
        words.into_iter().take(sources).map(str::to_owned).collect::<Vec<_>>()
    });
    sources.collect()
}

/// Guarantees: everything that is copied exists and gets past `.dockerignore`; the build stage has every crate of the
/// workspace, without which cargo refuses the lock file.
#[test]
fn it_copies_what_is_there() {
    scenario(|_| {
        let ignore = std::fs::read_to_string(repository().join(".dockerignore"))?;
        let admitted: BTreeSet<&str> = ignore.lines().filter_map(|line| line.strip_prefix('!')).collect();
        ensure!(ignore.lines().any(|line| line == "*"), "the rest is not ignored");
        let build = copied(&stage("build")?);
        let all: BTreeSet<_> = build.union(&copied(&stage("runtime")?)).cloned().collect();
        ensure!(!build.is_empty(), "nothing is copied");
        for source in &all {
            ensure!(repository().join(source).exists(), "{source} is not there");
            ensure!(admitted.contains(source.as_str()), "{source} is ignored");
        }
        let unused: Vec<_> = admitted.iter().filter(|path| !all.contains(**path)).collect();
        ensure!(unused.is_empty(), "admitted for nothing: {unused:?}");

        let workspace = std::fs::read_to_string(repository().join("Cargo.toml"))?;
        let members =
            workspace.lines().find_map(|line| line.strip_prefix("members = ")).context("no members")?;
        let members: Vec<String> = serde_json::from_str(members)?;
        for member in members {
            let folder = member.split('/').next().unwrap_or_default();
            ensure!(build.contains(folder), "{member} is not copied");
        }
        Ok(())
    });
}

/// Guarantees: both bases can be named by whoever builds, the default of the builder has a compiler that is new enough,
/// and nothing is run in the runtime stage, so that it can be built for another architecture.
#[test]
fn its_bases_can_be_replaced() {
    scenario(|_| {
        let all = instructions()?;
        let arguments: Vec<_> =
            all.iter().take_while(|(word, _)| word != "FROM").filter(|(word, _)| word == "ARG").collect();
        let bases: Vec<_> = all.iter().filter(|(word, _)| word == "FROM").collect();
        ensure!(bases.len() == 2, "{bases:?}");
        for (_, base) in bases {
            let name =
                base.strip_prefix("${").and_then(|base| base.split('}').next()).context("a fixed base")?;
            ensure!(
                arguments.iter().any(|(_, argument)| argument.starts_with(&format!("{name}="))),
                "{name}"
            );
        }
        let run = stage("runtime")?.into_iter().find(|(word, _)| word == "RUN");
        ensure!(run.is_none(), "{run:?}");

        let minor = |text: &str| {
            text.split('.').nth(1)?.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u32>().ok()
        };
        let builder =
            arguments.iter().find_map(|(_, argument)| argument.split_once("/rust:")).context("no Rust")?;
        let manifest = std::fs::read_to_string(repository().join("Cargo.toml"))?;
        let needed =
            manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).context("no version")?;
        let (has, needs) = (minor(builder.1).context("a version")?, minor(needed).context("a version")?);
        ensure!(has >= needs, "Rust 1.{has} is older than 1.{needs}");
        Ok(())
    });
}
