//! Amounts, rates and times as people say them.

use std::time::{Duration, SystemTime};

use bytesize::ByteSize;
use mlh_detect::Trend;

/// Any process may give itself a name with line breaks or terminal escapes in it, and any cgroup.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|char| if char.is_control() { '?' } else { char }).collect()
}

/// The end of a long path: its beginning is the same for all pods.
pub(crate) fn tail(path: &str) -> String {
    last(path, 80)
}

/// At most so many characters, from the end.
pub(crate) fn last(text: &str, most: usize) -> String {
    let length = text.chars().count();
    if length <= most {
        return text.to_owned();
    }
    std::iter::once('…').chain(text.chars().skip(length - most + 1)).collect()
}

/// A share with two digits that count.
pub(crate) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    let digits = if percent >= 10.0 {
        0
    } else if percent >= 1.0 {
        1
    } else if percent >= 0.1 {
        2
    } else {
        3
    };
    format!("{percent:.digits$} %")
}

pub(crate) fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().si().to_string()
}

/// `2.0 MB/min (1.9 to 2.1)`: over the shortest of second, minute, hour and day in which it makes a megabyte.
pub(crate) fn rate(trend: &Trend) -> String {
    const DAY: (f64, &str) = (86_400.0, "day");
    let (seconds, per) = [(1.0, "s"), (60.0, "min"), (3600.0, "h")]
        .into_iter()
        .find(|(seconds, _)| trend.velocity * seconds >= 1e6)
        .unwrap_or(DAY);
    let amount = trend.velocity * seconds;
    let (divisor, unit) = [(1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB")]
        .into_iter()
        .find(|(divisor, _)| amount >= *divisor)
        .unwrap_or((1.0, "B"));
    // Adding nought takes the sign from what rounds to it.
    let scaled = |velocity: f64| (velocity * seconds / divisor * 10.0).round() / 10.0 + 0.0;
    let (low, high) = trend.interval;
    format!("{:.1} {unit}/{per} ({:.1} to {:.1})", scaled(trend.velocity), scaled(low), scaled(high))
}

/// A prediction, no finer than it deserves; none beyond a year, which tells nobody anything.
pub(crate) fn about(seconds: f64) -> Option<String> {
    const YEAR: f64 = 365.0 * 86_400.0;
    (seconds < YEAR)
        .then(|| format!("about {}", span(Duration::try_from_secs_f64(seconds).unwrap_or_default())))
}

/// A length of time in its largest fitting unit, rounded to a whole number of two or more where it can be.
pub(crate) fn span(length: Duration) -> String {
    let seconds = length.as_secs_f64();
    let (divisor, unit) = [(86_400.0, "days"), (3600.0, "h"), (60.0, "min")]
        .into_iter()
        .find(|(divisor, _)| seconds >= 2.0 * divisor)
        .unwrap_or((1.0, "s"));
    format!("{:.0} {unit}", seconds / divisor)
}

/// A time of day in UTC, with its date when that is not the day of the record.
pub(crate) fn moment(at: SystemTime, now: SystemTime) -> String {
    let (date, time) = day_and_time(at);
    if date == day_and_time(now).0 { format!("{time} UTC") } else { format!("{date} {time} UTC") }
}

/// `12:00 to 12:05 UTC`: two times of day, to the minute where they are far enough apart.
pub(crate) fn between(from: SystemTime, to: SystemTime, now: SystemTime) -> String {
    const COARSE: Duration = Duration::from_secs(180);
    let coarse = to.duration_since(from).is_ok_and(|wide| wide >= COARSE);
    // what is cut to the minute must not end before it does
    let to = if coarse { to.checked_add(Duration::from_secs(59)).unwrap_or(to) } else { to };
    let [(from_day, from), (to_day, to)] = [from, to].map(day_and_time);
    let cut = |time: String| if coarse { time.chars().take(5).collect() } else { time };
    let dated = |day: String, before: &str, time: String| {
        if day == before { cut(time) } else { format!("{day} {}", cut(time)) }
    };
    let from_text = dated(from_day.clone(), &day_and_time(now).0, from);
    format!("{from_text} to {} UTC", dated(to_day, &from_day, to))
}

fn day_and_time(at: SystemTime) -> (String, String) {
    let text = humantime::format_rfc3339_seconds(at).to_string();
    let (day, time) = text.split_once('T').unwrap_or(("", &text));
    (day.to_owned(), time.trim_end_matches('Z').to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::clock::from_nanos;
    use super::*;

    fn trend(velocity: f64, low: f64, high: f64) -> Trend {
        Trend { velocity, interval: (low, high), window: Duration::from_secs(60), grown: 0, samples: 9 }
    }

    /// Guarantees: a rate is told in the unit of time in which it makes a megabyte, its interval in the same
    /// units, down to leaks of bytes a day and up to a terabyte a second; a negative lower end stays readable.
    #[test]
    fn rates() {
        assert_eq!(rate(&trend(34_952.5, 32_000.0, 36_000.0)), "2.1 MB/min (1.9 to 2.2)");
        assert_eq!(rate(&trend(5e6, -4.0, 6e6)), "5.0 MB/s (0.0 to 6.0)");
        assert_eq!(rate(&trend(2_778.0, -300.0, 5_000.0)), "10.0 MB/h (-1.1 to 18.0)");
        assert_eq!(rate(&trend(1.0, 0.5, 1.5)), "86.4 kB/day (43.2 to 129.6)");
        assert_eq!(rate(&trend(0.001, 0.0, 0.002)), "86.4 B/day (0.0 to 172.8)");
        assert_eq!(rate(&trend(3e12, 1e12, 4e12)), "3.0 TB/s (1.0 to 4.0)");
    }

    /// Guarantees: predictions are rounded to what a person can use, and absurd ones are left out.
    #[test]
    fn predictions() {
        assert_eq!(about(40.0).as_deref(), Some("about 40 s"));
        assert_eq!(about(119.0).as_deref(), Some("about 119 s"));
        assert_eq!(about(600.0).as_deref(), Some("about 10 min"));
        assert_eq!(about(32_400.0).as_deref(), Some("about 9 h"));
        assert_eq!(about(10.0 * 86_400.0).as_deref(), Some("about 10 days"));
        assert_eq!(about(-5.0).as_deref(), Some("about 0 s"));
        assert_eq!(about(400.0 * 86_400.0), None);
        assert_eq!(about(f64::INFINITY), None);
        assert_eq!(about(f64::NAN), None);
    }

    /// Guarantees: a moment of the same day is a time of day, an older one carries its date.
    #[test]
    fn moments() {
        let now = from_nanos(1_764_032_400_000_000_000);
        assert_eq!(moment(now - Duration::from_secs(46), now), "00:59:14 UTC");
        assert_eq!(moment(now - Duration::from_secs(7200), now), "2025-11-24 23:00:00 UTC");
    }

    /// Guarantees: a wide stretch is told to the minute and never as shorter than it is, a narrow one to the second,
    /// and dates stand where the day changes.
    #[test]
    fn stretches() {
        let now = from_nanos(1_764_032_400_000_000_000);
        let told =
            |from: u64, to: u64| between(now + Duration::from_secs(from), now + Duration::from_secs(to), now);
        assert_eq!(told(0, 300), "01:00 to 01:05 UTC");
        assert_eq!(told(59, 301), "01:00 to 01:06 UTC");
        assert_eq!(told(5, 65), "01:00:05 to 01:01:05 UTC");
        assert_eq!(told(3600, 90_000), "02:00 to 2025-11-26 02:00 UTC");
        assert_eq!(told(90_000, 93_600), "2025-11-26 02:00 to 03:00 UTC");
    }
}
