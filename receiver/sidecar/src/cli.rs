//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Arg, ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};

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

/// The options of [`ConfigArgs`].
const CONFIGURATION: [&str; 2] = ["config", "set"];
/// The commands that take them.
const CONFIGURED: [&str; 3] = ["run", "validate", "print-config"];

impl Cli {
    /// Reads the command line of this process.
    ///
    /// # Errors
    /// It is wrong, or asks for help or the version: what is to be printed.
    pub fn read() -> Result<Self, clap::Error> {
        Self::from_arg_matches_mut(&mut Self::line().try_get_matches()?)
    }

    /// All options of all commands. Those that read no configuration do not list its options, and say why where they are given
    /// all the same.
    #[must_use]
    pub fn line() -> clap::Command {
        let mut line = Self::command();
        let commands = line.get_subcommands().map(|command| command.get_name().to_owned());
        let others: Vec<String> = commands.filter(|name| !CONFIGURED.contains(&name.as_str())).collect();
        for name in others {
            line = line.mut_subcommand(name, |command| {
                command
                    .args(CONFIGURATION.map(|it| Arg::new(it).long(it).action(ArgAction::Append).hide(true)))
            });
        }
        line
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: the options of the configuration are listed where they are taken and nowhere else; given elsewhere they are still
    /// known, before the command and behind it, so that it can be said that they are not.
    #[test]
    fn configuration_where_it_is_read() {
        for command in Cli::line().get_subcommands() {
            let name = command.get_name();
            let mut line = Cli::line();
            line.build();
            let help = line.find_subcommand_mut(name).unwrap().render_help().to_string();
            assert_eq!(help.contains("--config <SOURCE>"), CONFIGURED.contains(&name), "{help}");
        }
        for line in ["mlh status --config a --config b", "mlh --config a --config b status"] {
            let mut found = Cli::line().try_get_matches_from(line.split(' ')).unwrap();
            let cli = Cli::from_arg_matches_mut(&mut found).unwrap();
            assert_eq!(cli.config.config, ["a", "b"], "{line}");
        }
    }
}
