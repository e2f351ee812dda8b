//! `target`, `release`, `status`: orders to the running sidecar, over its control socket.

mod text;

use std::path::PathBuf;

use clap::{ArgGroup, ValueEnum};

use super::{Exit, pid, print};
use crate::control::{self, Answer, Ask, StatusMessage};

const EXAMPLES: &str = "\
Examples:
  memory-leak-hunter target --pid 4711
  memory-leak-hunter target --container 4f1e --duration 15m --min-allocation-size 1KiB
  memory-leak-hunter target --cgroup-id 98765 --mode debug
  memory-leak-hunter target --pid 4711 --mode growth_stacks
  memory-leak-hunter status
  memory-leak-hunter release";

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the command line is wrong
  2  no sidecar answers at the socket, or it cannot do what was asked";

/// Whom the running sidecar is to look at.
#[derive(Debug, Clone, clap::Args)]
#[command(
    after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"),
    group(ArgGroup::new("whom").required(true).args(["pid", "cgroup_id", "container"]))
)]
pub struct Target {
    /// A process, by its pid in the sidecar's own pid namespace
    #[arg(long, value_name = "N", value_parser = pid, allow_negative_numbers = true)]
    pid: Option<u32>,
    /// Every process of a cgroup and of those below it, also those that join later: the inode of its directory
    /// below /sys/fs/cgroup (`stat -c %i DIRECTORY`), as `cgroup_id` of a record says it
    #[arg(long, value_name = "N", value_parser = cgroup_id, allow_negative_numbers = true)]
    cgroup_id: Option<u64>,
    /// Every process of a container, by its id or the unambiguous beginning of it
    #[arg(long, value_name = "ID")]
    container: Option<String>,
    /// How long, 1s to 168h; then the sidecar goes back to growth detection [default: `target_duration` of the
    /// configuration]
    #[arg(long, value_name = "TIME")]
    duration: Option<String>,
    /// Smaller allocations are passed over, such as 512 or 1KiB [default: as configured]
    #[arg(long, value_name = "SIZE")]
    min_allocation_size: Option<String>,
    /// How closely: `debug` sees every allocation, and costs the target microseconds for each; `growth_stacks` sees none, and who
    /// touches memory that stays, in any language [default: as configured, else targeted]
    #[arg(long, value_enum)]
    mode: Option<Mode>,
    #[command(flatten)]
    asking: Asking,
}

/// How closely.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// What the filters let through
    Targeted,
    /// Every allocation
    Debug,
    /// Who touches memory that stays, with no probe in the target
    #[value(name = "growth_stacks")]
    GrowthStacks,
}

/// Whom to ask, and how to print what is answered.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXIT_CODES)]
pub struct Asking {
    /// The sidecar's control socket: `extensions::control::socket` of its configuration
    #[arg(long, value_name = "PATH", default_value = control::SOCKET)]
    socket: PathBuf,
    /// For people, or the JSON of the answer
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// How the answer is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// One JSON object
    Json,
}

impl Target {
    fn ask(&self) -> Ask {
        let size = self.min_allocation_size.as_ref();
        // digits alone are bytes, as in a configuration
        let size = size.map(|text| text.parse::<u64>().map_or_else(|_| text.as_str().into(), Into::into));
        let mode = self.mode.map(|mode| match mode {
            Mode::Targeted => "targeted",
            Mode::Debug => "debug",
            Mode::GrowthStacks => "growth_stacks",
        });
        Ask {
            pid: self.pid,
            cgroup_id: self.cgroup_id,
            container: self.container.clone(),
            duration: self.duration.as_deref().map(Into::into),
            min_allocation_size: size,
            mode: mode.map(Into::into),
        }
    }
}

pub(super) fn target(args: &Target) -> Exit {
    let ask = args.ask();
    // what is wrong with it is wrong whoever may be there to hear it
    if let Err(fault) = ask.order(0) {
        return wrong(&fault);
    }
    match serde_json::to_string(&ask) {
        Ok(body) => send(&args.asking, "POST", "/v1/target", body),
        Err(fault) => wrong(&fault.to_string()),
    }
}

pub(super) fn release(asking: &Asking) -> Exit {
    send(asking, "DELETE", "/v1/target", String::new())
}

pub(super) fn status(asking: &Asking) -> Exit {
    send(asking, "GET", "/v1/status", String::new())
}

fn send(asking: &Asking, method: &str, path: &str, body: String) -> Exit {
    match control::request(&asking.socket, method, path, body) {
        Ok(answer) => tell(asking.output, &answer),
        Err(reason) => {
            eprintln!("error: {reason}");
            Exit::Host
        }
    }
}

fn tell(output: Output, answer: &Answer) -> Exit {
    if answer.status != 200 {
        let said: Option<serde_json::Value> = serde_json::from_str(&answer.body).ok();
        let reason = said.as_ref().and_then(|said| said["error"].as_str());
        let reason = text::printable(reason.unwrap_or(&answer.body));
        return match answer.status {
            400 | 413 => wrong(&reason),
            _ => {
                eprintln!("error: {reason}");
                Exit::Host
            }
        };
    }
    match (output, serde_json::from_str::<StatusMessage>(&answer.body)) {
        (Output::Json, _) => print(format!("{}\n", answer.body)),
        (Output::Text, Ok(status)) => print(text::status(&status)),
        (Output::Text, Err(fault)) => {
            eprintln!("error: the answer is no status ({fault}); does another program own the socket?");
            Exit::Host
        }
    }
}

fn cgroup_id(text: &str) -> Result<u64, String> {
    let expected =
        || "expected the inode of a cgroup's directory, which `stat -c %i DIRECTORY` tells".to_owned();
    text.parse().ok().filter(|id| *id > 0).ok_or_else(expected)
}

fn wrong(fault: &str) -> Exit {
    eprintln!("error: {fault}");
    Exit::Usage
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        target: Target,
    }

    fn ask(line: &str) -> Result<serde_json::Value, String> {
        let words = std::iter::once("target").chain(line.split_whitespace());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        Ok(serde_json::to_value(line.target.ask()).unwrap())
    }

    /// Guarantees: each option reaches the request, what is not given is left to the sidecar's configuration.
    #[test]
    fn requests() {
        assert_eq!(ask("--pid 7"), Ok(json!({"pid": 7})));
        let all =
            "--container 4f1e --duration 15m --min-allocation-size 1KiB --mode debug --socket /s -o json";
        let expected =
            json!({"container": "4f1e", "duration": "15m", "min_allocation_size": "1KiB", "mode": "debug"});
        assert_eq!(ask(all), Ok(expected));
        let growth = json!({"pid": 7, "mode": "growth_stacks"});
        assert_eq!(ask("--pid 7 --mode growth_stacks"), Ok(growth));
        let expected = json!({"cgroup_id": 9, "min_allocation_size": 512});
        assert_eq!(ask("--cgroup-id 9 --min-allocation-size 512"), Ok(expected));
        for wrong in ["--pid -5", "--pid 0", "--pid nginx"] {
            assert!(ask(wrong).unwrap_err().contains("`ps -e` lists"), "{wrong}");
        }
        for wrong in ["--cgroup-id -5", "--cgroup-id 0", "--cgroup-id /a"] {
            assert!(ask(wrong).unwrap_err().contains("`stat -c %i DIRECTORY`"), "{wrong}");
        }
        assert!(ask("").unwrap_err().contains("--pid <N>|--cgroup-id <N>|--container <ID>"));
        assert!(ask("--pid 7 --container 4f1e").unwrap_err().contains("cannot be used with"));
    }

    /// Guarantees: an answer decides the exit code: what was wrong with the request is usage, all else is the host's.
    #[test]
    fn exit_codes() {
        let exit = |status, body: &str| tell(Output::Text, &Answer { status, body: body.to_owned() });
        assert_eq!(exit(200, r#"{"version":"1","mode":"growth_detection"}"#), Exit::Success);
        assert_eq!(exit(200, "hello"), Exit::Host);
        assert_eq!(exit(400, r#"{"error":"no"}"#), Exit::Usage);
        for status in [403, 404, 409, 503] {
            assert_eq!(exit(status, r#"{"error":"no"}"#), Exit::Host);
        }
    }
}
