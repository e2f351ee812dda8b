//! What the program does: one file a command. Each returns how the process ends.

mod run;
mod reload;
mod signals;
mod log;
mod settings;
mod host;
mod inspect;
mod orders;
mod record;
mod replay;

use std::process::ExitCode;
use std::sync::Arc;

use mlh_pipeline::component::Factories;

use crate::cli::{Cli, Command};
use crate::control::{self, Findings};
use crate::hunt::Estates;
use crate::hunt::receiver::Factory;
use crate::investigate::desk::Desk;
use crate::metrics::Metrics;
use crate::records::HostIdentity;

pub use inspect::Args as Inspect;
pub use orders::{Asking, Target};

/// Standalone: findings on the terminal, metrics for a scrape, a health check.
const BUILT_IN: &str = include_str!("commands/built-in.yaml");

/// The components of this build, for what reads configurations alone.
#[cfg(fuzzing)]
#[must_use]
pub fn factories() -> Factories {
    Parts::new().factories
}

/// How the process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// As asked.
    Success = 0,
    /// The configuration or the command line is wrong.
    Usage = 1,
    /// This host cannot do what was asked.
    Host = 2,
    /// A component failed.
    Fatal = 3,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}

/// Does what the command line asks for.
#[must_use]
pub fn dispatch(cli: Cli) -> Exit {
    let configured = !cli.config.config.is_empty() || !cli.config.set.is_empty();
    if let Some(command) = cli.command.as_ref().and_then(Command::without_configuration)
        && configured
    {
        eprintln!("error: `{command}` reads no configuration: leave out --config and --set");
        return Exit::Usage;
    }
    match cli.command {
        None | Some(Command::Run) => run::run(&cli.config),
        Some(Command::Validate) => settings::validate(&cli.config),
        Some(Command::PrintConfig) => settings::print_config(&cli.config),
        Some(Command::Components) => settings::components(),
        Some(Command::Check { btf_path }) => host::check(btf_path),
        Some(Command::Inspect(args)) => inspect::inspect(&args),
        Some(Command::Target(args)) => orders::target(&args),
        Some(Command::Release(asking)) => orders::release(&asking),
        Some(Command::Status(asking)) => orders::status(&asking),
        Some(Command::Record { file, duration, interval, anonymize }) => {
            record::record(&file, duration, interval, anonymize)
        }
        Some(Command::Replay { file, interval, output }) => replay::replay(&file, interval, output),
    }
}

/// What there is one of, whatever the configuration says.
struct Parts {
    /// The store of metrics.
    metrics: Arc<Metrics>,
    /// What receivers leave to those of the next configuration.
    estates: Arc<Estates>,
    /// Where orders are taken.
    desk: Arc<Desk>,
    /// Every component the program knows.
    factories: Factories,
}

impl Parts {
    fn new() -> Self {
        let host = Arc::new(HostIdentity::discover());
        let metrics = Arc::new(Metrics::new(&host));
        let estates = Arc::<Estates>::default();
        let findings = Arc::<Findings>::default();
        let desk = Arc::<Desk>::default();
        let receiver = Factory {
            metrics: Arc::clone(&metrics),
            host,
            estates: Arc::clone(&estates),
            findings: Arc::clone(&findings),
            desk: Arc::clone(&desk),
        };
        let control = control::Factory { orders: Arc::<Desk>::clone(&desk), findings };
        let mut extensions = mlh_pipeline::extensions::factories();
        extensions.push(Arc::new(control));
        let factories = Factories {
            receivers: vec![Arc::new(receiver)],
            processors: mlh_pipeline::processors::factories(),
            exporters: mlh_pipeline::exporters::factories(vec![Arc::new(crate::event::EventFormat)]),
            extensions,
        };
        Self { metrics, estates, desk, factories }
    }
}

/// A process on the command line.
fn pid(text: &str) -> Result<u32, String> {
    let expected = || "expected the number of a process, 1 or more; `ps -e` lists them".to_owned();
    text.parse().ok().filter(|pid| *pid > 0).ok_or_else(expected)
}

/// Prints a result. Standard output that is closed early, as by `head`, is no fault.
fn print(result: impl AsRef<[u8]>) -> Exit {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    match out.write_all(result.as_ref()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("error: standard output: {error}");
            Exit::Fatal
        }
        _ => Exit::Success,
    }
}
