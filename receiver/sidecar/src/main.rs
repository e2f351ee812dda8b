//! The sidecar's story: read the command line, do what it says, end with a code that says how it went.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use memory_leak_hunter::cli::Cli;
use memory_leak_hunter::commands::{self, Exit};

fn main() -> ExitCode {
    mlh_bpf::memory::keep_little();
    match Cli::read() {
        Ok(cli) => commands::dispatch(cli).into(),
        Err(message) => {
            let asked_for = !message.use_stderr();
            // help and version go to standard output; when that is closed there is nobody to tell
            let _ = message.print();
            if asked_for { Exit::Success } else { Exit::Usage }.into()
        }
    }
}
