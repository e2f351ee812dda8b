//! How what the rungs testify bears on a case.

use std::time::Duration;

use crate::evidence::{Rung, Says, Spare, Testimonies};
use crate::rules::EXPLAINS;

/// What the testimonies come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bearing {
    /// Memory is kept, and that explains the growth.
    Kept,
    /// Nothing is kept.
    Spare,
    /// Nobody can tell.
    Open,
}

/// Who sees most comes first: probes see each block, a runtime or a heap says what is in use of it, and pages that stay, or are never
/// referenced, may be full of what is dead.
const BY_WEIGHT: [Rung; 5] =
    [Rung::FullProbes, Rung::GateProbes, Rung::Outside, Rung::Coldness, Rung::GrowthStacks];

/// What those that still speak of the present come to: the weightiest that can tell decides. A cache keeps all that it is given, as
/// everybody sees; that it is in use only one does.
pub(crate) fn bearing(testimonies: &Testimonies, at: Duration) -> Bearing {
    let references = testimonies.of(Rung::Coldness).filter(|held| held.is_fresh(at));
    if references.is_some_and(|held| held.says == Says::Spare(Spare::InUse)) {
        return Bearing::Spare;
    }
    let fresh = BY_WEIGHT.iter().filter_map(|rung| testimonies.of(*rung)).filter(|held| held.is_fresh(at));
    let mut told = fresh.filter_map(|held| match held.says {
        Says::Kept { interval, share, .. } if share >= EXPLAINS && interval.0 > 0.0 => Some(Bearing::Kept),
        Says::Spare(_) => Some(Bearing::Spare),
        Says::Kept { .. } | Says::Unclear(_) => None,
    });
    told.next().unwrap_or(Bearing::Open)
}

/// Whether what it grows by is never referenced again, which tells a leak from a cache that fills; and how many bytes of it come in the time
/// that was watched, at the speed that was seen. `None`: nobody knows, or it is not so.
pub(crate) fn cold(testimonies: &Testimonies, at: Duration) -> Option<f64> {
    let held = testimonies.of(Rung::Coldness).filter(|held| held.is_fresh(at))?;
    match held.says {
        Says::Kept { velocity, interval, share } if share >= EXPLAINS && interval.0 > 0.0 => {
            Some(velocity * held.watched.as_secs_f64())
        }
        _ => None,
    }
}

/// How much of the doubt that a trend leaves is left beside those testimonies, 0..=1: each that explains the growth takes
/// its part of it, by how much it sees and explains. Most of it stays: a cache that fills keeps memory as well.
pub(crate) fn doubt_left(testimonies: &Testimonies, at: Duration) -> f64 {
    let weight = |rung| match rung {
        Rung::Trend => 0.0,
        Rung::GrowthStacks => 0.1,
        // no cache that is read is cold
        Rung::Outside | Rung::Coldness => 0.3,
        Rung::GateProbes => 0.4,
        Rung::FullProbes => 0.5,
    };
    let fresh = testimonies.iter().filter(|held| held.is_fresh(at));
    fresh
        .filter_map(|held| match held.says {
            Says::Kept { share, .. } if share >= EXPLAINS => Some(1.0 - weight(held.rung) * share.min(1.0)),
            _ => None,
        })
        .product()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::Testimony;
    use crate::rules::{FRESH, FRESH_IN_USE};

    fn says(rung: Rung, says: Says) -> Testimony {
        Testimony {
            rung,
            source: "test",
            at: Duration::from_secs(100),
            watched: Duration::from_secs(60),
            says,
        }
    }

    fn kept(share: f64) -> Says {
        Says::Kept { velocity: 1e5, interval: (8e4, 1.2e5), share }
    }

    /// Guarantees: who sees more decides; who explains less than half, cannot tell, or spoke long ago does not.
    #[test]
    fn weightiest_decides() {
        let now = Duration::from_secs(130);
        let both = [says(Rung::GrowthStacks, kept(0.9)), says(Rung::Outside, Says::Spare(Spare::Garbage))];
        let mut all: Testimonies = both.into_iter().collect();
        assert_eq!(bearing(&all, now), Bearing::Spare);
        all.take(says(Rung::FullProbes, kept(0.3)));
        assert_eq!(bearing(&all, now), Bearing::Spare, "explains too little");
        all.take(says(Rung::FullProbes, kept(0.6)));
        assert_eq!(bearing(&all, now), Bearing::Kept);
        all.take(says(Rung::FullProbes, Says::Unclear("no allocator known")));
        assert_eq!(bearing(&all, now), Bearing::Spare);
        assert_eq!(bearing(&all, now + FRESH), Bearing::Open);
        assert_eq!(bearing(&Testimonies::default(), now), Bearing::Open);
    }

    /// Guarantees: what is referenced again is no leak, whoever sees it being kept; what is not is garbage or free where somebody else
    /// knows it to be.
    #[test]
    fn in_use() {
        let now = Duration::from_secs(130);
        let cache = [
            says(Rung::Coldness, Says::Spare(Spare::InUse)),
            says(Rung::FullProbes, kept(0.9)),
            says(Rung::GrowthStacks, kept(0.9)),
        ];
        let mut brief = cache;
        brief[0].watched = Duration::from_secs(41);
        let brief = brief.into_iter().collect();
        assert_eq!(bearing(&brief, now), Bearing::Spare);
        assert_eq!(
            bearing(&brief, now + FRESH_IN_USE / 2),
            Bearing::Open,
            "two windows may have seen an ebb"
        );
        let cache = cache.into_iter().collect();
        assert_eq!(bearing(&cache, now), Bearing::Spare);
        assert_eq!(bearing(&cache, now + FRESH_IN_USE / 2), Bearing::Spare, "it goes on filling unseen");
        assert_eq!(bearing(&cache, now + FRESH_IN_USE), Bearing::Open);
        let retained = [says(Rung::Coldness, kept(1.0)), says(Rung::Outside, Says::Spare(Spare::Retained))];
        assert_eq!(bearing(&retained.into_iter().collect(), now), Bearing::Spare);
        assert_eq!(bearing(&[says(Rung::Coldness, kept(1.0))].into_iter().collect(), now), Bearing::Kept);
    }

    /// Guarantees: what is kept takes doubt away, the more the more it explains and the more its rung sees; nothing adds
    /// doubt.
    #[test]
    fn doubt_is_taken_away() {
        let left =
            |given: &[Testimony]| doubt_left(&given.iter().copied().collect(), Duration::from_secs(130));
        let pages = left(&[says(Rung::GrowthStacks, kept(0.9))]);
        let census = left(&[says(Rung::Outside, kept(0.9))]);
        let both = left(&[says(Rung::GrowthStacks, kept(0.9)), says(Rung::Outside, kept(0.9))]);
        assert!(both < census && census < pages && pages < 1.0, "{both} {census} {pages}");
        assert!(left(&[says(Rung::Outside, kept(0.5))]) > census);
        assert_eq!(left(&[says(Rung::Outside, Says::Spare(Spare::Retained))]), 1.0);
    }
}
