//! Times in a trace: JSON numbers of seconds outside, `Duration` inside.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// 126 years: nanoseconds of it still fit 64 bits.
const MAX_SECONDS: f64 = 4e9;
/// Up to here (48 days) a double tells nanoseconds apart; beyond it tells microseconds apart.
const NANOSECOND_EXACT: f64 = 4_194_304.0;

/// Seconds that a double holds, as a duration. Rounded so that what was written from a multiple of the rounding
/// comes back as the same nanoseconds: 1 ns below 48 days, 1 us above. `/proc` counts in 10 ms.
fn to_duration(seconds: f64) -> Option<Duration> {
    if !(0.0..=MAX_SECONDS).contains(&seconds) {
        return None;
    }
    let whole = seconds.trunc();
    let step = if seconds < NANOSECOND_EXACT { 1.0 } else { 1000.0 };
    let nanos = ((seconds - whole) * 1e9 / step).round() * step;
    // both are small, whole and positive here, so nothing is cut off
    Some(Duration::from_secs(whole as u64) + Duration::from_nanos(nanos as u64))
}

pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    value.as_secs_f64().serialize(serializer)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let seconds = f64::deserialize(deserializer)?;
    to_duration(seconds)
        .ok_or_else(|| D::Error::custom(format!("{seconds} is no time in seconds (0 to 4e9)")))
}

/// The same for a time that may be absent.
pub(super) mod optional {
    use super::{Deserialize, Deserializer, Duration, Error, Serialize, Serializer, to_duration};

    pub(in crate::trace) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(|v| v.as_secs_f64()).serialize(serializer)
    }

    pub(in crate::trace) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        let Some(seconds) = Option::<f64>::deserialize(deserializer)? else { return Ok(None) };
        to_duration(seconds)
            .map(Some)
            .ok_or_else(|| D::Error::custom(format!("{seconds} is no time in seconds (0 to 4e9)")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a start time of `/proc`'s granularity comes back as the same nanoseconds after any uptime up to
    /// a century, and one of the kernel's granularity up to 48 days.
    #[test]
    fn nothing_is_lost() {
        for seconds in [0_u64, 12, 3600, 4_194_303, 4_194_305, 31_536_000, 3_153_600_000] {
            for tick in 0..100_u64 {
                let exact = Duration::from_nanos(seconds * 1_000_000_000 + tick * 10_000_000);
                assert_eq!(to_duration(exact.as_secs_f64()), Some(exact));
            }
        }
        for nanos in [1_u64, 999_999_999, 123_456_789_012_345, 4_194_303_999_999_999] {
            let exact = Duration::from_nanos(nanos);
            assert_eq!(to_duration(exact.as_secs_f64()), Some(exact));
        }
    }

    /// Guarantees: what is no time is refused instead of wrapped or saturated.
    #[test]
    fn what_is_no_time() {
        for seconds in [-0.001, 4.1e9, 1e300, f64::INFINITY, f64::NAN] {
            assert_eq!(to_duration(seconds), None, "{seconds}");
        }
    }
}
