//! When a failed request is sent again.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

use crate::config::Settings;

/// A server may ask for patience, but not for more than this: with `max_elapsed_time: 0` one wrong answer would
/// otherwise hold a consumer of the queue for ever.
const MAX_SERVER_DELAY: Duration = Duration::from_secs(3600);

/// `retry_on_failure`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RetryConfig {
    pub(crate) enabled: bool,
    pub(crate) initial_interval: Duration,
    pub(crate) max_interval: Duration,
    /// Zero: for ever.
    pub(crate) max_elapsed_time: Duration,
    pub(crate) multiplier: f64,
    /// Each delay is drawn from `delay * (1 - factor ..= 1 + factor)`.
    pub(crate) randomization_factor: f64,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            enabled: true,
            initial_interval: Duration::from_secs(5),
            max_interval: Duration::from_secs(30),
            max_elapsed_time: Duration::from_secs(300),
            multiplier: 1.5,
            randomization_factor: 0.5,
        }
    }
}

impl RetryConfig {
    pub(crate) fn read(settings: &mut Settings<'_>) -> Self {
        let default = Self::default();
        let tick = Duration::from_millis(1);
        let config = Self {
            enabled: settings.get("enabled", default.enabled),
            initial_interval: settings.get_in("initial_interval", default.initial_interval, tick..),
            max_interval: settings.get_in("max_interval", default.max_interval, tick..),
            max_elapsed_time: settings.get("max_elapsed_time", default.max_elapsed_time),
            multiplier: settings.get_in("multiplier", default.multiplier, 1.0..=1000.0),
            randomization_factor: settings.get_in(
                "randomization_factor",
                default.randomization_factor,
                0.0..=1.0,
            ),
        };
        if config.initial_interval > config.max_interval {
            let allowed = format!("at most max_interval ({:?})", config.max_interval);
            settings.reject_beside("initial_interval", "max_interval", allowed);
        }
        if !config.max_elapsed_time.is_zero() && config.max_elapsed_time < config.max_interval {
            let allowed = format!("0s for no limit, or at least max_interval ({:?})", config.max_interval);
            settings.reject_beside("max_elapsed_time", "max_interval", allowed);
        }
        config
    }

    /// The delays before the second attempt, the third, and so on, without an end.
    pub(super) fn delays(&self) -> impl Iterator<Item = Duration> + use<> {
        let spread = self.randomization_factor;
        ExponentialBuilder::new()
            .with_min_delay(self.initial_interval)
            .with_max_delay(self.max_interval)
            .with_factor(self.multiplier as f32)
            .without_max_times()
            .build()
            .map(move |delay| delay.mul_f64(1.0 + spread * (2.0 * fastrand::f64() - 1.0)))
    }

    /// The delay after a failure, or `None` when the time for this request is up.
    pub(super) fn delay(
        &self,
        proposed: Duration,
        asked: Option<Duration>,
        elapsed: Duration,
    ) -> Option<Duration> {
        let delay = proposed.max(asked.unwrap_or_default().min(MAX_SERVER_DELAY));
        let within =
            self.max_elapsed_time.is_zero() || elapsed.saturating_add(delay) <= self.max_elapsed_time;
        within.then_some(delay)
    }
}
