//! What users are given beside the programs, tried on the real thing: rules, dashboard, log queries, Collector.

#![forbid(unsafe_code)]

mod collector;
mod dashboard;
mod host;
mod names;
mod pictures;
mod queries;
mod rules;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use mlh_integration::scenario::repository;

/// A file that users are given.
fn shipped(name: &str) -> PathBuf {
    repository().join("otel-config").join(name)
}

/// The text of a file that users are given.
fn text_of(name: &str) -> anyhow::Result<String> {
    std::fs::read_to_string(shipped(name)).with_context(|| name.to_owned())
}

/// The files of a folder with an ending, as name without it and text, in order.
fn files(folder: &str, ending: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(shipped(folder))? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == ending) {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            files.push((name, std::fs::read_to_string(&path)?));
        }
    }
    files.sort();
    Ok(files)
}

/// Runs a command that must succeed, and gives what it printed.
fn printed(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.success(), "{command:?}\n{text}{}", String::from_utf8_lossy(&output.stderr));
    Ok(text)
}
