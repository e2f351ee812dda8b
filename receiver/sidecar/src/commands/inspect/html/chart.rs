//! The target's memory over the time of the look. The curve is stretched to the width there is; texts are not.

use std::time::Duration;

use maud::{Markup, html};

use super::super::finding::Finding;
use crate::records::words::{moment, size, span};

/// Points of the curve; of an hour one in nine readings.
const POINTS: usize = 400;
/// The curve's own square.
const SIDE: f64 = 1000.0;
/// Lines across, at most.
const LINES: u64 = 5;

/// The chart, where there are readings enough for one.
pub(super) fn section(finding: &Finding<'_>) -> Markup {
    let readings = &finding.grown.readings;
    let (Some((began, first)), Some((ended, last))) = (readings.first(), readings.last()) else {
        return html! {};
    };
    let length = ended.saturating_sub(*began);
    if length.is_zero() {
        return html! {};
    }
    let scale = Scale::over(readings.iter().map(|(_, bytes)| *bytes));
    let step = readings.len().div_ceil(POINTS);
    let thinned = readings.iter().step_by(step).chain(readings.last());
    let points: Vec<(f64, u64, Duration)> =
        thinned.map(|(at, bytes)| (part(at.saturating_sub(*began), length), *bytes, *at)).collect();
    let curve: Vec<String> =
        points.iter().map(|(x, bytes, _)| format!("{:.1},{:.1}", x * SIDE, scale.y(*bytes) * SIDE)).collect();
    let curve = curve.join(" ");
    let onset =
        finding.verdict.onset.filter(|at| at > began && at < ended).map(|at| part(at - *began, length));
    let label = format!("Memory from {} to {} within {}", size(*first), size(*last), span(length));
    let sum = if finding.grown.upper_bound { ", a sum over its processes" } else { "" };
    html! {
        section aria-labelledby="memory" {
            h2 id="memory" { "Memory" }
            p.note { "Anonymous, swapped and shared memory" (sum) ": what can leak." }
            svg.chart role="img" aria-label=(label) width="100%" height="240" {
                @for tick in scale.ticks() {
                    @let y = format!("{:.1}", 10.0 + 200.0 * scale.y(tick));
                    line.grid x1="0" x2="100%" y1=(y) y2=(y) {}
                }
                svg x="0" y="10" width="100%" height="200" viewBox={ "0 0 " (SIDE) " " (SIDE) } preserveAspectRatio="none" {
                    polygon.area points={ "0," (SIDE) " " (curve) " " (SIDE) "," (SIDE) } {}
                    polyline.curve points=(curve) {}
                }
                @for tick in scale.ticks() {
                    text.tick x="0" y=(format!("{:.1}", 6.0 + 200.0 * scale.y(tick))) { (size(tick)) }
                }
                @if let Some(x) = onset {
                    line.onset x1=(percent(x)) x2=(percent(x)) y1="10" y2="210" {}
                    text.tick x=(percent(x)) y="206" dx="4" { "growth begins" }
                }
                @for quarter in 0..=4_u32 {
                    @let anchor = match quarter { 0 => "start", 4 => "end", _ => "middle" };
                    text.tick x={ (quarter * 25) "%" } y="230" text-anchor=(anchor) { (clock(length * quarter / 4)) }
                }
                @for (index, (x, bytes, at)) in points.iter().enumerate() {
                    @let before = index.checked_sub(1).and_then(|index| points.get(index)).map_or(*x, |point| point.0);
                    @let after = points.get(index + 1).map_or(*x, |point| point.0);
                    @let (left, right) = (f64::midpoint(before, *x), f64::midpoint(*x, after));
                    g.reading {
                        title { (moment(finding.time(*at), finding.ended())) ": " (size(*bytes)) }
                        rect x=(percent(left)) y="0" width=(percent(right - left)) height="215" {}
                        circle cx=(percent(*x)) cy=(format!("{:.1}", 10.0 + 200.0 * scale.y(*bytes))) r="4" {}
                    }
                }
            }
        }
    }
}

/// Of the whole: 0..=1.
fn part(of: Duration, whole: Duration) -> f64 {
    of.as_secs_f64() / whole.as_secs_f64().max(f64::MIN_POSITIVE)
}

fn percent(part: f64) -> String {
    format!("{:.3}%", part * 100.0)
}

/// Since the beginning: `0:45`.
fn clock(since: Duration) -> String {
    let seconds = since.as_secs();
    format!("{}:{:02}", seconds / 60, seconds % 60)
}

/// From bytes to a height.
struct Scale {
    /// The values at the lower and the upper edge.
    low: u64,
    high: u64,
    /// Between two lines.
    step: u64,
}

impl Scale {
    fn over(values: impl Iterator<Item = u64> + Clone) -> Self {
        let (least, most) = (values.clone().min().unwrap_or(0), values.max().unwrap_or(0));
        // what stands still is no storm: the axis spans a hundredth of it at least
        let range = (most - least).max(most / 100).max(4096);
        let step = step(range);
        let low = least / step * step;
        let high = most.max(low + 1).checked_next_multiple_of(step).unwrap_or(u64::MAX);
        Self { low, high, step }
    }

    /// From the top: 0..=1.
    fn y(&self, bytes: u64) -> f64 {
        1.0 - bytes.saturating_sub(self.low) as f64 / (self.high - self.low).max(1) as f64
    }

    fn ticks(&self) -> impl Iterator<Item = u64> {
        (self.low..=self.high).step_by(usize::try_from(self.step).unwrap_or(usize::MAX))
    }
}

/// 1, 2 or 5 and noughts: as much as makes no more than so many lines.
fn step(range: u64) -> u64 {
    let mut power = 1_u64;
    loop {
        for digit in [1, 2, 5] {
            let step = power.saturating_mul(digit);
            if step.saturating_mul(LINES - 1) >= range || step == u64::MAX {
                return step;
            }
        }
        power = power.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: the axis holds every value, on lines that people can add up, few of them, whatever the values.
    #[test]
    fn scales() {
        for (values, low, high, step) in [
            (vec![12_300_000, 14_400_000], 12_000_000, 15_000_000, 1_000_000),
            (vec![5_000_000_000, 5_000_000_000], 5_000_000_000, 5_020_000_000, 20_000_000),
            (vec![0], 0, 2000, 2000),
            (vec![0, 100_000], 0, 100_000, 50_000),
        ] {
            let scale = Scale::over(values.iter().copied());
            assert_eq!((scale.low, scale.high, scale.step), (low, high, step), "{values:?}");
        }
        for values in [vec![u64::MAX], vec![0, u64::MAX], vec![u64::MAX - 1, u64::MAX]] {
            let scale = Scale::over(values.iter().copied());
            assert!(scale.ticks().count() <= 7, "{values:?}");
            assert!(values.iter().all(|value| (0.0..=1.0).contains(&scale.y(*value))), "{values:?}");
        }
    }
}
