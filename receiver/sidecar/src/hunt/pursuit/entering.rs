//! How a look stands, into the metrics.

use super::Pursuer;
use crate::metrics::{Look, Unfreed};

impl Pursuer {
    /// Enters what has come since this was called last; without a look, that there is none.
    pub(super) fn enter(&mut self) {
        let (mode, now) = (self.pursuit.mode(), self.now());
        let Some((current, now)) = self.pursuit.current.as_mut().zip(now) else {
            self.metrics.set_look(Look::default());
            self.metrics.target_buffer_usage(0.0);
            return;
        };
        let meters = current.investigation.meters(now);
        let before = std::mem::take(&mut current.entered);
        current.entered = meters.clone();
        self.metrics.allocations_tracked(meters.tracked.saturating_sub(before.tracked));
        self.metrics.deallocations_tracked(meters.untracked.saturating_sub(before.untracked));
        self.metrics.target_time(meters.lasted.saturating_sub(before.lasted));
        self.metrics.target_buffer_usage(meters.buffer_usage);
        let lost_before =
            |stage: &str| before.lost.iter().find(|(of, _)| *of == stage).map_or(0, |(_, count)| *count);
        for (stage, count) in &meters.lost {
            self.lost(stage, count.saturating_sub(lost_before(stage)));
        }
        let unfreed = meters.unfreed.into_iter().map(|(subject, bytes)| Unfreed {
            container: subject.container_id.clone(),
            executable: subject.name().to_owned(),
            bytes,
        });
        self.metrics.set_look(Look {
            mode,
            overhead: meters.overhead,
            kernel_bytes: meters.kernel_bytes,
            largest: meters.largest,
            unfreed: unfreed.collect(),
        });
    }
}
