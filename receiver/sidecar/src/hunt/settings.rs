//! The receiver's block of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use mlh_pipeline::config::{Choice, Settings};

use super::scope::Scope;
use crate::investigate::plan::{Filters, Mode, Origin, Plan, Rung};
use crate::leaks::settings::StateSettings;

mod allocations;
mod escalation;
mod stacks;
pub(crate) mod target;

pub use allocations::Budget;
pub(crate) use allocations::sizes;
pub use escalation::Escalation;

impl Choice for Mode {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("growth_detection", Mode::GrowthDetection),
        ("targeted", Mode::Investigating(Rung::Targeted)),
        ("debug", Mode::Investigating(Rung::Debug)),
        ("growth_stacks", Mode::Investigating(Rung::GrowthStacks)),
    ];
}

/// Where growth is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RssSource {
    /// From the counters that the kernel keeps anyway: costs nothing on anyone's hot path.
    Sweep,
    /// The sweep, and the kernel's own tracepoint as well, with the threshold applied there.
    Tracepoint,
}

impl Choice for RssSource {
    const WORDS: &'static [(&'static str, Self)] =
        &[("sweep", RssSource::Sweep), ("tracepoint", RssSource::Tracepoint)];
}

/// Whom the tracepoint speaks of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TracepointScope {
    /// Every process of the host.
    Host,
    /// Those that are looked at more closely.
    Suspects,
}

impl Choice for TracepointScope {
    const WORDS: &'static [(&'static str, Self)] =
        &[("host", TracepointScope::Host), ("suspects", TracepointScope::Suspects)];
}

/// The receiver's settings, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct HuntSettings {
    /// False: configured, and does not run.
    pub enabled: bool,
    /// What to leave out while a target is looked at in targeted mode; see [`filters_for`](Self::filters_for).
    pub filters: Filters,
    /// Of a target's CPU time.
    pub budget: Budget,
    /// For how long a target is looked at, whoever named it.
    pub target_duration: Duration,
    /// The look that the configuration itself asks for: none in growth detection.
    pub investigate: Option<Plan>,
    /// Who is looked at at all.
    pub scope: Scope,
    /// What follows from a suspicion.
    pub escalation: Escalation,
    /// Log records a second; more are dropped and counted, verdicts last.
    pub max_events_per_second: u32,
    /// Between two exports of the metrics.
    pub collection_interval: Duration,
    /// Growth that makes a record, in pages of the kernel's page size.
    pub rss_growth_threshold: u64,
    /// Between two sweeps over all processes.
    pub rss_check_interval: Duration,
    /// Where growth is read from.
    pub rss_source: RssSource,
    /// Whom `rss_source: tracepoint` speaks of.
    pub rss_tracepoint_scope: TracepointScope,
    /// A limit that will be reached sooner than this is an `oom.risk`.
    pub oom_horizon: Duration,
    /// Where what is known of leaks is kept.
    pub state: StateSettings,
    /// BTF to load the probes by, where the kernel has none of its own.
    pub btf_path: Option<PathBuf>,
    /// A trace to judge instead of this host.
    pub replay: Option<PathBuf>,
}

impl Default for HuntSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            filters: Filters::default(),
            budget: Budget::default(),
            target_duration: Duration::from_secs(300),
            investigate: None,
            scope: Scope::default(),
            escalation: Escalation::default(),
            max_events_per_second: 1000,
            collection_interval: Duration::from_secs(10),
            rss_growth_threshold: 256,
            rss_check_interval: Duration::from_secs(30),
            rss_source: RssSource::Sweep,
            rss_tracepoint_scope: TracepointScope::Host,
            oom_horizon: Duration::from_secs(3600),
            state: StateSettings::default(),
            btf_path: None,
            replay: None,
        }
    }
}

impl HuntSettings {
    /// Reads the block; faults are noted in `settings`.
    pub fn read(settings: &mut Settings<'_>) -> Self {
        let default = Self::default();
        let enabled = settings.get("enabled", default.enabled);
        let mode = settings.get("mode", Mode::default());
        let (filters, budget) = allocations::read(settings);
        let read = Self { enabled, filters, budget, ..Self::read_growth(settings, default) };
        let target = target::read(settings, mode);
        let target_duration = settings.get_in("target_duration", read.target_duration, target::durations());
        let scope = Scope::read(settings);
        let escalation = escalation::read(settings);
        if mode != Mode::GrowthDetection && read.replay.is_some() {
            settings.reject_beside("replay", "mode", "no trace beside this mode: its processes are not here");
        }
        let mut read = Self { target_duration, scope, escalation, ..read };
        read.filters.max_events_per_second = read.max_events_per_second;
        read.filters.btf_path.clone_from(&read.btf_path);
        if let (Mode::Investigating(rung), Some(target)) = (mode, target) {
            let (duration, filters) = (Some(target_duration), read.filters_for(rung));
            read.investigate = Some(Plan { target, rung, duration, filters, origin: Origin::Configuration });
        }
        read
    }

    /// What looks at everybody, without a target.
    fn read_growth(settings: &mut Settings<'_>, default: Self) -> Self {
        let span = Duration::from_secs(1)..=Duration::from_secs(3600);
        let path = |text: String| if text.is_empty() { None } else { Some(PathBuf::from(text)) };
        Self {
            max_events_per_second: settings.get_in(
                "max_events_per_second",
                default.max_events_per_second,
                1..=1_000_000,
            ),
            collection_interval: settings.get_in(
                "collection_interval",
                default.collection_interval,
                span.clone(),
            ),
            rss_growth_threshold: settings.get_in(
                "rss_growth_threshold",
                default.rss_growth_threshold,
                1..=1 << 32,
            ),
            rss_check_interval: settings.get_in("rss_check_interval", default.rss_check_interval, span),
            rss_source: settings.get("rss_source", default.rss_source),
            rss_tracepoint_scope: settings.get("rss_tracepoint_scope", default.rss_tracepoint_scope),
            oom_horizon: settings.get_in(
                "oom_horizon",
                default.oom_horizon,
                Duration::from_secs(60)..=Duration::from_secs(7 * 86_400),
            ),
            state: StateSettings::read(settings),
            btf_path: path(settings.get("btf_path", String::new())),
            replay: path(settings.get("replay", String::new())),
            ..default
        }
    }

    /// What to leave out of a look of this closeness.
    #[must_use]
    pub fn filters_for(&self, rung: Rung) -> Filters {
        Filters { overhead_budget: self.budget.of(rung), ..self.filters.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<HuntSettings, String> {
        Settings::of_text(text, HuntSettings::read)
            .map(|(settings, _)| settings)
            .map_err(|problems| problems.to_string())
    }

    /// Guarantees: an empty block gives the defaults that the documentation promises.
    #[test]
    fn defaults() {
        assert_eq!(read(""), Ok(HuntSettings::default()));
        let settings = HuntSettings::default();
        assert_eq!(settings.max_events_per_second, 1000);
        assert_eq!(settings.collection_interval, Duration::from_secs(10));
        assert_eq!(settings.rss_growth_threshold, 256);
        assert_eq!(settings.rss_check_interval, Duration::from_secs(30));
        assert_eq!(settings.rss_source, RssSource::Sweep);
        assert_eq!(settings.oom_horizon, Duration::from_secs(3600));
        assert!(settings.enabled && settings.btf_path.is_none() && settings.replay.is_none());
    }

    /// Guarantees: each key is read into its own field.
    #[test]
    fn every_key() {
        let text = "enabled: false\nmax_events_per_second: 7\ncollection_interval: 2s\n\
                    rss_growth_threshold: 12\nrss_check_interval: 1m30s\nrss_source: tracepoint\n\
                    rss_tracepoint_scope: suspects\noom_horizon: 2h\nstate: {path: /s, max_size: 2MiB}\nbtf_path: /b\nreplay: /t\n\
                    sampling_rate: 3\noverhead_budget: 1%\ntarget_duration: 30s\ninclude: {executables: [a]}\n\
                    escalation: {max_concurrent_targets: 2}\n";
        let scope = Settings::of_text("include: {executables: [a]}", Scope::read).unwrap().0;
        let expected = HuntSettings {
            enabled: false,
            filters: Filters {
                sampling_rate: 3,
                overhead_budget: Some(0.01),
                max_events_per_second: 7,
                btf_path: Some("/b".into()),
                ..Filters::default()
            },
            budget: Budget::Share(0.01),
            target_duration: Duration::from_secs(30),
            investigate: None,
            scope,
            escalation: Escalation { max_concurrent_targets: 2, ..Escalation::default() },
            max_events_per_second: 7,
            collection_interval: Duration::from_secs(2),
            rss_growth_threshold: 12,
            rss_check_interval: Duration::from_secs(90),
            rss_source: RssSource::Tracepoint,
            rss_tracepoint_scope: TracepointScope::Suspects,
            oom_horizon: Duration::from_secs(7200),
            state: StateSettings { path: Some("/s".into()), max_size: 2 << 20 },
            btf_path: Some("/b".into()),
            replay: Some("/t".into()),
        };
        assert_eq!(read(text), Ok(expected));
    }

    /// Guarantees: a mode and a target make a plan, for `target_duration`, with the filters of that mode: debug mode has
    /// a budget only where one is written.
    #[test]
    fn plans() {
        let plan = |text| read(text).unwrap().investigate.unwrap();
        let targeted = plan("mode: targeted\ntarget_pid: 7\nmin_allocation_size: 1KiB");
        assert_eq!(targeted.target, crate::investigate::plan::Target::Pid(7));
        assert_eq!((targeted.rung, targeted.origin), (Rung::Targeted, Origin::Configuration));
        assert_eq!(targeted.duration, Some(Duration::from_secs(300)));
        assert_eq!(targeted.filters.min_allocation_size, 1024);
        assert_eq!(targeted.filters.overhead_budget, Some(0.001));
        let debug = plan("mode: debug\ntarget_cgroup_id: 7\ntarget_duration: 1m");
        assert_eq!((debug.rung, debug.duration), (Rung::Debug, Some(Duration::from_secs(60))));
        assert_eq!(debug.filters.overhead_budget, None);
        let braked = plan("mode: debug\ntarget_pid: 7\noverhead_budget: 5%");
        assert_eq!(braked.filters.overhead_budget, Some(0.05));
    }

    /// Guarantees: what makes no sense is refused, each fault with its key; a look ends by itself, so 0 is no duration.
    #[test]
    fn refusals() {
        let text = "mode: targeted\nsampling_rate: 0\nrss_check_interval: 10ms\nmax_events_per_second: 0\n\
                    target_duration: 0s\nescalation: {max_rung: all}\nstacks: {unwind: guess}\n";
        let problems = read(text).expect_err("seven faults");
        let keys = [
            "mode",
            "sampling_rate",
            "rss_check_interval",
            "max_events_per_second",
            "target_duration",
            "escalation::max_rung",
            "stacks::unwind",
        ];
        for key in keys {
            assert!(problems.contains(&format!("{key}: ")), "{key} in {problems}");
        }
        assert_eq!(problems.lines().count(), keys.len(), "{problems}");
        let trace = read("mode: debug\ntarget_pid: 1\nreplay: trace.jsonl").unwrap_err();
        assert!(trace.contains("replay: "), "{trace}");
    }
}
