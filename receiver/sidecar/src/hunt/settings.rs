//! The receiver's block of the configuration.

use std::path::PathBuf;
use std::time::Duration;

use mlh_pipeline::config::{Choice, Settings};

/// What the hunt looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Every process, from the kernel's own counters.
    GrowthDetection,
}

impl Choice for Mode {
    const WORDS: &'static [(&'static str, Self)] = &[("growth_detection", Mode::GrowthDetection)];
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HuntSettings {
    /// False: configured, and does not run.
    pub enabled: bool,
    /// What it looks at.
    pub mode: Mode,
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
    /// BTF to load the probes by, where the kernel has none of its own.
    pub btf_path: Option<PathBuf>,
    /// A trace to judge instead of this host.
    pub replay: Option<PathBuf>,
}

impl Default for HuntSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            mode: Mode::GrowthDetection,
            max_events_per_second: 1000,
            collection_interval: Duration::from_secs(10),
            rss_growth_threshold: 256,
            rss_check_interval: Duration::from_secs(30),
            rss_source: RssSource::Sweep,
            rss_tracepoint_scope: TracepointScope::Host,
            oom_horizon: Duration::from_secs(3600),
            btf_path: None,
            replay: None,
        }
    }
}

impl HuntSettings {
    /// Reads the block; faults are noted in `settings`.
    pub fn read(settings: &mut Settings<'_>) -> Self {
        let span = Duration::from_secs(1)..=Duration::from_secs(3600);
        let default = Self::default();
        let path = |text: String| if text.is_empty() { None } else { Some(PathBuf::from(text)) };
        Self {
            enabled: settings.get("enabled", default.enabled),
            mode: settings.get("mode", default.mode),
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
            btf_path: path(settings.get("btf_path", String::new())),
            replay: path(settings.get("replay", String::new())),
        }
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
        let text = "enabled: false\nmode: growth_detection\nmax_events_per_second: 7\ncollection_interval: 2s\n\
                    rss_growth_threshold: 12\nrss_check_interval: 1m30s\nrss_source: tracepoint\n\
                    rss_tracepoint_scope: suspects\noom_horizon: 2h\nbtf_path: /b\nreplay: /t\n";
        let expected = HuntSettings {
            enabled: false,
            mode: Mode::GrowthDetection,
            max_events_per_second: 7,
            collection_interval: Duration::from_secs(2),
            rss_growth_threshold: 12,
            rss_check_interval: Duration::from_secs(90),
            rss_source: RssSource::Tracepoint,
            rss_tracepoint_scope: TracepointScope::Suspects,
            oom_horizon: Duration::from_secs(7200),
            btf_path: Some("/b".into()),
            replay: Some("/t".into()),
        };
        assert_eq!(read(text), Ok(expected));
    }

    /// Guarantees: what this version cannot do is refused, each fault with its key.
    #[test]
    fn refusals() {
        let text = "mode: targeted\nmin_allocation_size: 10240\nrss_check_interval: 10ms\nmax_events_per_second: 0\n";
        let problems = read(text).expect_err("four faults");
        for key in ["mode", "min_allocation_size", "rss_check_interval", "max_events_per_second"] {
            assert!(problems.contains(key), "{key} in {problems}");
        }
    }
}
