//! What the program says of a configuration: `validate` and `print-config`, run as a user runs them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that meets the unexpected is to fail")]

mod broken;
mod shipped;
mod shown;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_yaml::Value;

/// What the program left behind.
struct Answer {
    code: Option<i32>,
    out: String,
    err: String,
}

/// Runs the program in `folder`, so that messages name files as they are given.
fn ask(folder: &Path, arguments: &[&str]) -> Answer {
    let output = Command::new(env!("CARGO_BIN_EXE_memory-leak-hunter"))
        .current_dir(folder)
        .args(arguments)
        .env("SECRET_TOKEN", SECRET)
        .env_remove("OTLP_ENDPOINT")
        .output()
        .expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Answer { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// What no output may ever hold.
const SECRET: &str = "s3cret";

/// `tests/` of this crate.
fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn parse(text: &str) -> Value {
    serde_yaml::from_str(text).expect("YAML")
}

/// The configuration in effect.
fn effective(folder: &Path, file: &str) -> Value {
    let answer = ask(folder, &["print-config", "--config", file]);
    assert_eq!((answer.code, answer.err.as_str()), (Some(0), ""), "{file}");
    parse(&answer.out)
}
