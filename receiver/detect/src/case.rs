//! An open case: where the growth began, what has been heard of it, and what a verdict says.

use std::time::Duration;

use crate::bearing::{Bearing, bearing, cold, doubt_left};
use crate::evidence::{Rung, Says, Testimonies, Testimony};
use crate::finding::{Exhaustion, Stage, Trend, Verdict};
use crate::history::Point;
use crate::pattern::Pattern;
use crate::rules::{FILLS, SPARED_FOR};
use crate::trend::Shape;

/// An open suspicion or verdict.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub(crate) stage: Stage,
    /// When this stage began.
    pub(crate) since: Duration,
    /// Where the growth began.
    pub(crate) onset: Point,
    pub(crate) peak: u64,
    pub(crate) trend: Trend,
    /// The newest growth that a verdict could rest on.
    pub(crate) ripe: Option<Evidence>,
    /// The newest risk that was told, and when.
    pub(crate) told: Option<(Duration, Exhaustion)>,
    /// What the rungs have said.
    pub(crate) heard: Testimonies,
}

/// A stretch that showed sustained growth.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Evidence {
    pub(crate) trend: Trend,
    pub(crate) shape: Shape,
    pub(crate) onset: Point,
}

impl Case {
    /// Opens one.
    pub(crate) fn suspected(at: Duration, evidence: &Evidence, charged: u64, heard: Testimonies) -> Self {
        Self {
            stage: Stage::Suspected,
            since: at,
            onset: evidence.onset,
            peak: charged,
            trend: evidence.trend,
            ripe: None,
            told: None,
            heard,
        }
    }

    /// What the testimonies come to. That nothing is kept is believed only for so long while growth goes on.
    pub(crate) fn bearing(&self, at: Duration) -> Bearing {
        match bearing(&self.heard, at) {
            Bearing::Spare if at.saturating_sub(self.since) >= SPARED_FOR => Bearing::Open,
            bearing => bearing,
        }
    }

    /// Takes in growth that a verdict can rest on. None can where nothing is kept, whatever was seen before.
    pub(crate) fn ripen(&mut self, bearing: Bearing, ripe: Option<Evidence>) {
        if let Some(ripe) = ripe {
            self.trend = ripe.trend;
            if ripe.onset.at_s < self.onset.at_s {
                self.onset = ripe.onset;
            }
        }
        self.ripe = ripe.or(self.ripe).filter(|_| bearing != Bearing::Spare);
    }

    /// How many bytes of what it grows by are never referenced again, see [`cold`].
    pub(crate) fn cold(&self, at: Duration) -> Option<f64> {
        cold(&self.heard, at)
    }

    /// The verdict that this evidence and what was heard come to.
    pub(crate) fn verdict(
        &mut self,
        at: Duration,
        evidence: &Evidence,
        pattern: Pattern,
        charged: u64,
        exhaustion: Option<Exhaustion>,
    ) -> Verdict {
        let trend = evidence.trend;
        self.heard.take(Testimony {
            rung: Rung::Trend,
            source: "trend",
            at,
            watched: trend.window,
            says: Says::Kept { velocity: trend.velocity, interval: trend.interval, share: 1.0 },
        });
        let doubt = 1.0 - confidence(&evidence.shape, trend.window);
        Verdict {
            trend,
            confidence: (1.0 - doubt * doubt_left(&self.heard, at)).clamp(0.05, 0.99),
            leaked: charged.saturating_sub(evidence.onset.bytes as u64),
            onset: Duration::from_secs_f64(evidence.onset.at_s.max(0.0)),
            exhaustion,
            pattern,
            evidence: self.heard,
        }
    }
}

/// How sure a trend alone can make one. Time speaks: a cache that fills and a leak look the same until one of them stops, and
/// of what has grown evenly for so long, so many never did. Then whether growth has slowed down.
fn confidence(shape: &Shape, window: Duration) -> f64 {
    let still_filling = FILLS.as_secs_f64() / window.as_secs_f64().max(1.0);
    let slowing = 1.0 + (1.0 - shape.hold).clamp(0.0, 1.0);
    (1.0 - still_filling * slowing).clamp(0.05, 0.99)
}
