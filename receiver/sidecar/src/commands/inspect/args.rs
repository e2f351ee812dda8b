//! What `inspect` is asked for on the command line.

use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::{ArgGroup, ValueEnum};
use mlh_stacks::debuginfod::Debuginfod;
use mlh_stacks::unwind::Unwind;

use super::verdict;
use crate::commands::pid;
use crate::investigate::plan::{Filters, Origin, Plan, Rung, Target};
use crate::records::words::span;

const LONGEST: Duration = Duration::from_secs(3600);

/// More than that of a sidecar's own look: somebody waits for this one, and it is over soon.
const BUDGET: f64 = 0.01;

/// Stacks in a flame graph or a profile. What they leave out is too small to be seen.
const DRAWN: usize = 1000;

const EXAMPLES: &str = "\
Examples:
  memory-leak-hunter inspect --pid 4711
  memory-leak-hunter inspect --container 4f1e --duration 5m --min-allocation-size 1KiB
  memory-leak-hunter inspect --pid 4711 --mode debug -o json > report.json
  memory-leak-hunter inspect --pid 4711 -o html > report.html
  memory-leak-hunter inspect --pid 4711 -o svg > flames.svg
  memory-leak-hunter inspect --pid 4711 -o pprof > heap.pb.gz && go tool pprof -top heap.pb.gz

SIGINT (Ctrl-C) or SIGTERM ends the look early, with the report of what was seen; a second one ends it at once.

Exit codes:
  0  the report was made
  1  the command line is wrong
  2  the target cannot be looked at: there is none, or this host does not allow it
  3  the look broke off, or the report could not be written";

/// The options of `inspect`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES, group(ArgGroup::new("target").required(true).args(["pid", "cgroup", "container"])))]
pub struct Args {
    /// A process, by its pid as this host (or the container that this runs in) shows it
    #[arg(long, value_name = "N", value_parser = pid, allow_negative_numbers = true)]
    pid: Option<u32>,
    /// Every process of a cgroup and of those below it: a path below /sys/fs/cgroup, or as /proc/PID/cgroup names it
    #[arg(long, value_name = "PATH")]
    cgroup: Option<PathBuf>,
    /// Every process of a container, by its id or the unambiguous beginning of it
    #[arg(long, value_name = "ID")]
    container: Option<String>,
    #[arg(long, default_value = "60s", value_parser = duration, help = length())]
    duration: Duration,
    /// How closely. `debug` sees every allocation, and costs the target microseconds for each; `growth_stacks` sees none, and
    /// with no probe in the target whoever touches memory that stays, in any language, as all modes do beside their probes
    #[arg(long, value_enum, default_value_t = Mode::Targeted)]
    mode: Mode,
    #[arg(long, value_name = "SIZE", value_parser = size, help = smallest())]
    min_allocation_size: Option<u64>,
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help = one_in())]
    sampling_rate: Option<u32>,
    /// What the probes may cost of the target's CPU time, or of one CPU where it uses less; a look of which they cost more for a second ends. Not in `growth_stacks` mode, which has none [default: 1% in targeted mode, none in debug mode]
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    overhead_budget: Option<f64>,
    /// How stacks are unwound
    #[arg(long, value_enum, default_value_t = Way::Auto)]
    unwind: Way,
    /// A server that is asked, by build id, for debug information that is not here; more than once for several. Nobody is asked otherwise
    #[arg(long, value_name = "URL", value_parser = server)]
    debuginfod: Vec<String>,
    /// So many stacks in the report, those that hold the most; 0 for all. Flame graphs and profiles hold 1000 at least
    #[arg(long, value_name = "N", default_value_t = 10)]
    top: usize,
    /// A report for people, one JSON object, a flame graph, a profile for `go tool pprof`, or a page for a browser
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// BTF to load the probes by, where the kernel has none of its own
    #[arg(long, value_name = "FILE")]
    btf_path: Option<PathBuf>,
}

/// How closely `inspect` looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// What the filters let through
    Targeted,
    /// Every allocation
    Debug,
    /// No allocation: who touches memory that stays
    #[value(name = "growth_stacks")]
    GrowthStacks,
}

/// How stacks are unwound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Way {
    /// By unwind information, and by frame pointers where code keeps them and nothing else
    Auto,
    /// By frame pointers alone, in the kernel: the least work afterwards, and short or wrong where code keeps none
    #[value(name = "frame_pointers")]
    FramePointers,
    /// By unwind information alone
    Dwarf,
}

impl From<Way> for Unwind {
    fn from(way: Way) -> Self {
        match way {
            Way::Auto => Self::Auto,
            Way::FramePointers => Self::FramePointers,
            Way::Dwarf => Self::Dwarf,
        }
    }
}

/// How the report is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people.
    Text,
    /// One JSON object.
    Json,
    /// A flame graph, for a browser.
    Svg,
    /// A gzipped profile, for `go tool pprof` and whatever else opens its files.
    Pprof,
    /// A page with everything, for a browser.
    Html,
}

impl Output {
    /// Nothing for a terminal.
    pub(super) fn is_binary(self) -> bool {
        self == Self::Pprof
    }
}

impl Args {
    /// The order. Errors are sentences on what does not go together.
    pub(super) fn plan(&self) -> Result<Plan, &'static str> {
        let target = match (self.pid, &self.cgroup, &self.container) {
            (Some(pid), _, _) => Target::Pid(pid),
            (_, Some(path), _) => Target::Cgroup(path.clone()),
            (_, _, Some(id)) => Target::Container(id.clone()),
            (None, None, None) => return Err("no target: give --pid, --cgroup or --container"),
        };
        if self.mode == Mode::GrowthStacks {
            if self.overhead_budget.is_some() {
                return Err(
                    "--overhead-budget ends probes, and --mode growth_stacks places none: leave one of them out",
                );
            }
            if self.min_allocation_size.is_some() || self.sampling_rate.is_some() {
                return Err(
                    "--min-allocation-size and --sampling-rate choose among allocations, and --mode growth_stacks sees none: \
                     leave them out, or the mode",
                );
            }
        }
        let (rung, budget) = match self.mode {
            Mode::Targeted => (Rung::Targeted, Some(BUDGET)),
            Mode::Debug => (Rung::Debug, None),
            Mode::GrowthStacks => (Rung::GrowthStacks, None),
        };
        let default = Filters::default();
        let min_allocation_size = self.min_allocation_size.unwrap_or(default.min_allocation_size);
        let filters = Filters {
            min_allocation_size,
            large_allocation_size: default.large_allocation_size.max(min_allocation_size),
            sampling_rate: self.sampling_rate.unwrap_or(default.sampling_rate),
            overhead_budget: self.overhead_budget.or(budget),
            unwind: self.unwind.into(),
            debuginfod: self.debuginfod(),
            btf_path: self.btf_path.clone(),
            ..default
        };
        Ok(Plan { target, rung, duration: Some(self.duration), filters, origin: Origin::Command })
    }

    fn debuginfod(&self) -> Option<Debuginfod> {
        let servers = self.debuginfod.clone();
        (!servers.is_empty()).then(|| Debuginfod { servers, ..Filters::debuginfod() })
    }

    pub(super) fn duration(&self) -> Duration {
        self.duration
    }

    /// Stacks in the report.
    pub(super) fn top(&self) -> usize {
        if self.top == 0 { usize::MAX } else { self.top }
    }

    /// Stacks that must have names: a flame graph and a profile have room for many more than a table.
    pub(super) fn named(&self) -> usize {
        match self.output {
            Output::Text | Output::Json => self.top(),
            Output::Svg | Output::Pprof | Output::Html => self.top().max(DRAWN),
        }
    }

    pub(super) fn output(&self) -> Output {
        self.output
    }
}

/// What is said of `--duration`.
fn length() -> String {
    format!(
        "How long to look, 1s to 1h. What grows steadily shows from {} on; from 3 min on the verdict has a confidence",
        span(verdict::enough())
    )
}

/// And of `--min-allocation-size`.
fn smallest() -> String {
    format!(
        "In targeted mode smaller allocations are passed over, such as 512, 10KiB or 1MiB [default: {}KiB]",
        Filters::default().min_allocation_size >> 10
    )
}

/// And of `--sampling-rate`.
fn one_in() -> String {
    format!(
        "In targeted mode one in N is tracked of the allocations below 1 MiB [default: {}]",
        Filters::default().sampling_rate
    )
}

fn duration(text: &str) -> Result<Duration, String> {
    let length = humantime::parse_duration(text).map_err(|error| format!("{error}; expected such as 60s"))?;
    let bounds = Duration::from_secs(1)..=LONGEST;
    if bounds.contains(&length) { Ok(length) } else { Err("expected 1s to 1h".to_owned()) }
}

fn size(text: &str) -> Result<u64, String> {
    let expected = || "expected bytes, or a size such as 10KiB".to_owned();
    let size: ByteSize = text.parse().map_err(|_| expected())?;
    // the parser saturates; a size that large was never meant
    if size.0 > i64::MAX as u64 { Err(expected()) } else { Ok(size.0) }
}

fn percent(text: &str) -> Result<f64, String> {
    let share = text.strip_suffix('%').and_then(|number| number.trim().parse::<f64>().ok());
    share
        .filter(|share| *share > 0.0 && *share <= 100.0)
        .map(|share| share / 100.0)
        .ok_or_else(|| "expected a percentage above 0% and up to 100%, such as 0.1%".to_owned())
}

fn server(text: &str) -> Result<String, String> {
    let asked = Debuginfod { servers: vec![text.to_owned()], ..Filters::debuginfod() };
    asked.check().map(|()| text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }

    fn parse(line: &str) -> Result<Args, String> {
        let words = std::iter::once("inspect").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.args).map_err(|error| error.to_string())
    }

    /// Guarantees: with nothing but a target the look is that which the documentation promises.
    #[test]
    fn defaults() {
        let args = parse("--pid 7").unwrap();
        let plan = args.plan().unwrap();
        assert_eq!((plan.target, plan.rung), (Target::Pid(7), Rung::Targeted));
        assert_eq!(plan.duration, Some(Duration::from_secs(60)));
        assert_eq!(plan.filters, Filters { overhead_budget: Some(0.01), ..Filters::default() });
        assert_eq!((args.top(), args.output()), (10, Output::Text));
    }

    /// Guarantees: the help says from when on growth shows as the verdict does, and the defaults that hold.
    #[test]
    fn help() {
        let help = <Line as clap::CommandFactory>::command().render_help().to_string();
        let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for said in ["shows from 54 s on", "[default: 10KiB]", "below 1 MiB [default: 10]"] {
            assert!(words.contains(said), "{said} in {help}");
        }
    }

    /// Guarantees: each option reaches the plan.
    #[test]
    fn every_option() {
        let args = parse(
            "--container 4f1e --duration 2m --mode debug --min-allocation-size 2MiB --sampling-rate 3 \
             --overhead-budget 5% --unwind frame_pointers --debuginfod http://a --top 0 -o json --btf-path /b",
        );
        let args = args.unwrap();
        let plan = args.plan().unwrap();
        assert_eq!((plan.target, plan.rung), (Target::Container("4f1e".to_owned()), Rung::Debug));
        assert_eq!(plan.duration, Some(Duration::from_secs(120)));
        let expected = Filters {
            min_allocation_size: 2 << 20,
            large_allocation_size: 2 << 20,
            sampling_rate: 3,
            overhead_budget: Some(0.05),
            unwind: Unwind::FramePointers,
            debuginfod: Some(Debuginfod { servers: vec!["http://a".to_owned()], ..Filters::debuginfod() }),
            btf_path: Some("/b".into()),
            ..Filters::default()
        };
        assert_eq!(plan.filters, expected);
        assert_eq!((args.top(), args.output()), (usize::MAX, Output::Json));
        let unprobed = parse("--pid 7 --mode growth_stacks").unwrap().plan().unwrap();
        assert_eq!((unprobed.rung, unprobed.filters.overhead_budget), (Rung::GrowthStacks, None));
        let path = parse("--cgroup /a/b --mode debug").unwrap().plan().unwrap();
        assert_eq!((path.target, path.filters.overhead_budget), (Target::Cgroup("/a/b".into()), None));
    }

    /// Guarantees: what makes no sense is refused, and the message says what is expected.
    #[test]
    fn refusals() {
        for (line, said) in [
            ("", "--pid <N>|--cgroup <PATH>|--container <ID>"),
            ("--pid 7 --container 4f1e", "cannot be used with"),
            ("--pid 0", "`ps -e` lists"),
            ("--pid -5", "`ps -e` lists"),
            ("--pid nginx", "`ps -e` lists"),
            ("--pid 7 --duration 0s", "1s to 1h"),
            ("--pid 7 --duration 2h", "1s to 1h"),
            ("--pid 7 --duration soon", "such as 60s"),
            ("--pid 7 --sampling-rate 0", "--sampling-rate"),
            ("--pid 7 --min-allocation-size lots", "10KiB"),
            ("--pid 7 --min-allocation-size 99999EiB", "10KiB"),
            ("--pid 7 --overhead-budget 1", "percentage"),
            ("--pid 7 --overhead-budget 0%", "percentage"),
            ("--pid 7 --overhead-budget NaN%", "percentage"),
            ("--pid 7 --unwind guess", "[possible values: auto, frame_pointers, dwarf]"),
            ("--pid 7 --debuginfod ftp://a", "http://"),
            ("--pid 7 -o pdf", "[possible values: text, json, svg, pprof, html]"),
        ] {
            let error = parse(line).expect_err(line);
            assert!(error.contains(said), "{line}: {error}");
        }
        let unlimited = parse("--pid 7 --mode growth_stacks --overhead-budget 1%").unwrap();
        assert!(unlimited.plan().is_err_and(|reason| reason.contains("places none")));
        for option in ["--min-allocation-size 1KiB", "--sampling-rate 1"] {
            let chosen = parse(&format!("--pid 7 --mode growth_stacks {option}")).unwrap();
            assert!(chosen.plan().is_err_and(|reason| reason.contains(&option[..15])), "{option}");
        }
    }
}
