//! Leaks in containers that end by the kernel's hand, and what was foretold of it.

use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::container::{Container, Rootfs};
use crate::otlp::Record;
use crate::scenario::World;

/// A leak with a known end.
#[derive(Debug, Clone, Copy)]
pub struct Doomed {
    /// KiB a second.
    pub rate: u64,
    /// The container's limit, MiB.
    pub limit: u64,
}

impl Doomed {
    /// Starts it in a container of its own.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(self, world: &World, rootfs: &Rootfs) -> anyhow::Result<Container> {
        let (rate, limit) = ((self.rate << 10).to_string(), format!("{}m", self.limit));
        let name = format!("leak-{}-{}", self.rate, self.limit);
        rootfs.start(world, &name, &limit, &["/bin/target-leak", "--rate", &rate])
    }
}

/// When it was seen that a container's first process is no more, if so. The truth is a moment earlier.
#[must_use]
pub fn death(container: &Container) -> Option<SystemTime> {
    (!Path::new("/proc").join(container.pid.to_string()).exists()).then(SystemTime::now)
}

/// A prediction, in seconds from its own time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Foretold {
    /// When it was told.
    pub at: SystemTime,
    /// Not before.
    pub earliest: f64,
    /// The estimate.
    pub expected: f64,
    /// Not after; infinite where it is not said, as the growth may end.
    pub latest: f64,
}

impl Foretold {
    /// What a record of the kind `oom_risk` says.
    ///
    /// # Errors
    /// When it does not say it.
    pub fn of(record: &Record) -> anyhow::Result<Self> {
        Ok(Self {
            at: SystemTime::UNIX_EPOCH + Duration::from_nanos(record.time),
            earliest: record.number("time_to_oom_earliest_s")?,
            expected: record.number("time_to_oom_s")?,
            latest: record.number("time_to_oom_latest_s").unwrap_or(f64::INFINITY),
        })
    }

    /// The seconds that were left in truth; 0 where it came too late.
    #[must_use]
    pub fn left(&self, death: SystemTime) -> f64 {
        death.duration_since(self.at).unwrap_or_default().as_secs_f64()
    }

    /// Whether the death fell into the interval. A record gives whole seconds.
    #[must_use]
    pub fn holds(&self, death: SystemTime) -> bool {
        let left = self.left(death).round();
        left >= self.earliest && left <= self.latest && death > self.at
    }

    /// Half the interval's width as a share of the time left.
    #[must_use]
    pub fn half_width(&self, death: SystemTime) -> f64 {
        (self.latest - self.earliest) / 2.0 / self.left(death)
    }
}

/// The first warning of a container's end: of the container as a whole or of its process, whichever was told first.
#[must_use]
pub fn first_risk<'a>(records: &'a [Record], container: &Container) -> Option<&'a Record> {
    let of_it = |record: &&Record| {
        record.event == "memory_leak_hunter.oom.risk" && record.container() == Some(&container.id)
    };
    records.iter().filter(of_it).min_by_key(|record| record.time)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: the interval holds its ends and nothing beyond them, and its width is measured against the truth.
    #[test]
    fn intervals() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let foretold = Foretold { at, earliest: 80.0, expected: 100.0, latest: 120.0 };
        let after = |seconds| at + Duration::from_secs_f64(seconds);
        assert!(foretold.holds(after(80.0)) && foretold.holds(after(120.3)));
        assert!(!foretold.holds(after(79.0)) && !foretold.holds(after(121.0)));
        assert!((foretold.half_width(after(80.0)) - 0.25).abs() < 1e-9);
        assert!(!Foretold { earliest: 0.0, ..foretold }.holds(at - Duration::from_secs(1)), "told too late");
    }
}
