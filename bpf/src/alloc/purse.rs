//! What the probes may still cost, as the programs themselves heed it (`c/purse.bpf.h`).

use std::sync::Arc;
use std::time::Duration;

use libbpf_rs::{MapCore as _, MapFlags, MapHandle, Object};
use zerocopy::IntoBytes as _;

use super::heard::HitCosts;
use super::wire::HitCostsEntry;
use crate::error::SweepError;
use crate::object::{Failure, handle, io_error};

const KEY: [u8; 4] = 0_u32.to_ne_bytes();

/// See the module. Several may hold it.
#[derive(Debug, Clone)]
pub(crate) struct Purse {
    paid: Arc<MapHandle>,
    allowed: Arc<MapHandle>,
    closed: Arc<MapHandle>,
}

impl Purse {
    /// Of programs whose traps cost so much.
    pub(crate) fn of(object: &Object, costs: HitCosts) -> Result<Self, Failure> {
        let entry = HitCostsEntry {
            emulated_ns: costs.emulated,
            stepped_ns: costs.stepped,
            returned_ns: costs.returned,
        };
        handle(object, ".data.costs")?
            .update(&KEY, entry.as_bytes(), MapFlags::ANY)
            .map_err(|error| ("setting what hits cost", error))?;
        let shared = |name| handle(object, name).map(Arc::new);
        Ok(Self {
            paid: shared(".data.paid")?,
            allowed: shared(".data.allowed")?,
            closed: shared(".data.closed")?,
        })
    }

    /// From now on so much more may be paid; `None`: without limit.
    pub(crate) fn allow(&self, cost: Option<Duration>) -> Result<(), SweepError> {
        let most = match cost {
            Some(cost) => {
                let more = u64::try_from(cost.as_nanos()).unwrap_or(u64::MAX);
                read(&self.paid)?.saturating_add(more)
            }
            None => u64::MAX,
        };
        write(&self.allowed, most)
    }

    /// Since when nothing is seen; `None`: it is.
    pub(crate) fn closed_since(&self) -> Result<Option<Duration>, SweepError> {
        let since = read(&self.closed)?;
        Ok((since != 0).then(|| Duration::from_nanos(since)))
    }

    /// Nothing is seen from `now` (since boot) on, if it still is.
    pub(crate) fn close(&self, now: Duration) -> Result<(), SweepError> {
        match self.closed_since()? {
            Some(_) => Ok(()),
            None => write(&self.closed, u64::try_from(now.as_nanos()).unwrap_or(u64::MAX).max(1)),
        }
    }

    /// It is seen again.
    pub(crate) fn open(&self) -> Result<(), SweepError> {
        write(&self.closed, 0)
    }
}

fn read(map: &MapHandle) -> Result<u64, SweepError> {
    let failed = |reason: &dyn std::fmt::Display| io_error("reading what the probes have cost", reason);
    let value = map.lookup(&KEY, MapFlags::ANY).map_err(|error| failed(&error))?.unwrap_or_default();
    let bytes = value.first_chunk().ok_or_else(|| failed(&"it is cut"))?;
    Ok(u64::from_ne_bytes(*bytes))
}

fn write(map: &MapHandle, value: u64) -> Result<(), SweepError> {
    map.update(&KEY, &value.to_ne_bytes(), MapFlags::ANY)
        .map_err(|error| io_error("setting what the probes may cost", &error))
}
