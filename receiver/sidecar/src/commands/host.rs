//! `check`: what this host allows.

use std::path::PathBuf;

use super::{Exit, print};
use crate::check;

pub(super) fn check(btf_path: Option<PathBuf>) -> Exit {
    let report = check::examine(btf_path);
    match print(report.to_string()) {
        Exit::Success if report.can_run() => Exit::Success,
        Exit::Success => Exit::Host,
        failed => failed,
    }
}
