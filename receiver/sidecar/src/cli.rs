//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Finds memory leaks in production, with no change to the application.
///
/// Without a command it runs: it sweeps every process of this host and sends what it finds down the configured
/// pipelines until SIGTERM or SIGINT; SIGHUP makes it read its configuration anew. Without --config the built-in configuration is used: findings on standard
/// output, metrics on localhost:9464.
#[derive(Debug, Parser)]
#[command(name = "memory-leak-hunter", version, after_help = EXIT_CODES)]
pub struct Cli {
    /// Where the configuration comes from.
    #[command(flatten)]
    pub config: ConfigArgs,
    /// What to do; nothing means to run.
    #[command(subcommand)]
    pub command: Option<Command>,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  success
  1  the configuration or the command line is wrong
  2  this host cannot do what was asked
  3  a component failed";

/// The same for all commands that read a configuration.
#[derive(Debug, Args)]
pub struct ConfigArgs {
    /// Configuration: a path, `file:PATH`, `env:NAME` or `yaml:TEXT`. Repeated ones are merged, the last wins
    #[arg(long, global = true, value_name = "SOURCE")]
    pub config: Vec<String>,
    /// Sets one value over the configuration, such as `service::telemetry::logs::level=debug`
    #[arg(long, global = true, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// What the program can do besides running.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run until SIGTERM or SIGINT: what happens without a command
    Run,
    /// Check a configuration and print every error with its key, line and value
    Validate,
    /// Print the configuration in effect, defaults included, secrets masked
    PrintConfig,
    /// List the components a configuration can name
    Components,
    /// Say what this host allows, and for each thing missing what is off and how to get it
    Check {
        /// BTF to load the probes by, where the kernel has none of its own
        #[arg(long, value_name = "FILE")]
        btf_path: Option<PathBuf>,
    },
    /// Look at one process or container from within for a while, and report which stacks hold its memory
    Inspect(crate::commands::Inspect),
    /// Have the running sidecar look at one process, cgroup or container from within for a while
    Target(crate::commands::Target),
    /// Have the running sidecar go back to growth detection
    Release(crate::commands::Asking),
    /// Say what the running sidecar is doing, and what it has seen of its target
    Status(crate::commands::Asking),
    /// Write the sweeps of this host as a trace, to reproduce a verdict elsewhere
    Record {
        /// The trace; it must not exist yet
        file: PathBuf,
        /// How long; SIGINT or SIGTERM ends it earlier
        #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
        duration: Duration,
        /// Between two sweeps over all processes; those that grow are recorded up to every second
        #[arg(long, default_value = "30s", value_parser = humantime::parse_duration)]
        interval: Duration,
        /// Replace names and paths by digits that are the same within the trace
        #[arg(long)]
        anonymize: bool,
    },
    /// Judge a trace and print the records
    Replay {
        /// The trace
        file: PathBuf,
        /// Thin the trace to what a sweep that often would have seen; all of it is used without
        #[arg(long, value_parser = humantime::parse_duration)]
        interval: Option<Duration>,
        /// A JSON event a line, or a line of text
        #[arg(short, long, value_enum, default_value_t = Output::Event)]
        output: Output,
    },
}

impl Command {
    /// The command's name, when it reads no configuration.
    #[must_use]
    pub fn without_configuration(&self) -> Option<&'static str> {
        match self {
            Self::Run | Self::Validate | Self::PrintConfig => None,
            Self::Components => Some("components"),
            Self::Check { .. } => Some("check"),
            Self::Inspect(_) => Some("inspect"),
            Self::Target(_) => Some("target"),
            Self::Release(_) => Some("release"),
            Self::Status(_) => Some("status"),
            Self::Record { .. } => Some("record"),
            Self::Replay { .. } => Some("replay"),
        }
    }
}

/// How `replay` prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// One JSON event a line.
    Event,
    /// One line for people.
    Text,
}
