//! Loading `c/alloc.bpf.c`: with the constants and the tables of one investigation, and for the best way that this kernel has to
//! place probes.

use std::sync::OnceLock;

use libbpf_rs::{MapType, Object};
use zerocopy::IntoBytes as _;

use super::calibrate;
use super::heard::HitCosts;
use super::probes::AllocOptions;
use super::tables::Tables;
use super::wire::AllocConfig;
use crate::error::SweepError;
use crate::kernel;
use crate::object::{self, Failure};

static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/alloc.bpf.o"));

/// How probes are placed, the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// One link for many, an entry and its return in one, the return trapped only where the entry asks for it (kernel 6.13).
    Session,
    /// One link for many (kernel 6.6; usable from 6.10 on, as before hits of all threads but the main one are lost).
    Multi,
    /// A perf event each (kernel 5.15).
    Single,
}

impl Way {
    /// The programs that it takes.
    fn programs(self) -> &'static [&'static str] {
        match self {
            Self::Session => &["session", "hit_multi"],
            Self::Multi => &["hit_multi", "return_multi"],
            Self::Single => &["hit_single", "return_single"],
        }
    }
}

/// The first kernel whose perf events carry a cookie.
const OLDEST: (u32, u32) = (5, 15);

/// What all need.
const ALWAYS: [&str; 6] = ["admit_process", "forked", "executed", "exited", "otel_alloc", "otel_free"];

/// What was found out about this kernel, which does not change while it runs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) way: Way,
    pub(crate) costs: HitCosts,
}

static FOUND: OnceLock<Found> = OnceLock::new();

/// Loads the programs, the first time also trying what this kernel can do.
pub(crate) fn load(options: &AllocOptions) -> Result<(Object, Found), SweepError> {
    if let Some(found) = FOUND.get() {
        return Ok((load_for(found.way, options)?, *found));
    }
    let release = kernel::release();
    if kernel::is_older_than(&release, OLDEST) {
        let what = "probes that tell where they are".to_owned();
        return Err(SweepError::Unsupported { release, what, since: "5.15" });
    }
    let mut refused = None;
    for way in [Way::Session, Way::Multi, Way::Single] {
        let tried = load_for(way, options).and_then(|object| {
            let costs = object::explained(options.btf_path.as_deref(), || try_out(&object, way))?;
            Ok((object, costs))
        });
        match tried {
            Ok((object, costs)) => {
                let found = *FOUND.get_or_init(|| Found { way, costs });
                return Ok((object, found));
            }
            // more is not going to be allowed to another program
            Err(error @ (SweepError::MissingCapability { .. } | SweepError::NoBtf { .. })) => {
                return Err(error);
            }
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or_else(|| object::io_error("loading the allocation probes", &"there is no way to")))
}

fn load_for(way: Way, options: &AllocOptions) -> Result<Object, SweepError> {
    let config = config(options);
    let tracked = (!options.debug).then_some(options.max_tracked_allocations.max(1));
    let programs = [way.programs(), &ALWAYS].concat();
    object::explained(options.btf_path.as_deref(), || {
        object::load_with(
            "mlh_alloc",
            PROGRAM,
            options.btf_path.as_deref(),
            &[(".rodata.config", config.as_bytes())],
            &programs,
            |map| {
                if let Some(tracked) = tracked
                    && map.name() == "live"
                {
                    map.set_type(MapType::LruHash)?;
                    map.set_max_entries(tracked)?;
                }
                Ok(())
            },
        )
    })
}

fn config(options: &AllocOptions) -> AllocConfig {
    AllocConfig {
        min_size: options.min_allocation_size,
        large_size: options.large_allocation_size,
        interval_ns: 1_000_000_000_u64
            .checked_div(options.max_events_per_second.into())
            .map_or(0, |ns| ns.max(1)),
        sampling_rate: options.sampling_rate.max(1),
        debug: options.debug.into(),
        emit: options.emit.into(),
        reserved: 0,
    }
}

/// Probes this process itself: do hits of all threads arrive, and what does one cost?
fn try_out(object: &Object, way: Way) -> Result<HitCosts, Failure> {
    let tables = Tables::of(object)?;
    let costs = calibrate::costs(object, way, &tables)?;
    tables.reset_counters().map_err(|error| ("resetting the counters", error))?;
    Ok(costs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> AllocOptions {
        AllocOptions {
            btf_path: None,
            debug: false,
            min_allocation_size: 10_240,
            large_allocation_size: 1 << 20,
            sampling_rate: 0,
            max_tracked_allocations: 0,
            emit: true,
            max_events_per_second: 1000,
        }
    }

    /// Guarantees: every way of placing probes that this kernel has works: hits of a second thread arrive, returns do, and the
    /// costs that are measured are what they can be.
    /// Needs: eBPF.
    #[test]
    fn each_way_works() {
        let release = kernel::release();
        for (way, since) in [(Way::Session, (6, 13)), (Way::Multi, (6, 10)), (Way::Single, OLDEST)] {
            let tried = load_for(way, &options())
                .and_then(|object| object::explained(None, || try_out(&object, way)));
            match tried {
                Ok(costs) => {
                    assert!((10..50_000).contains(&costs.emulated), "{way:?}: {costs:?}");
                    assert!(costs.emulated < costs.stepped, "{way:?}: {costs:?}");
                    assert!(costs.returned < 50_000, "{way:?}: {costs:?}");
                }
                Err(error) => {
                    let reason = format!("{way:?}: {error}");
                    let required = std::env::var_os("MLH_REQUIRE_EBPF").is_some_and(|value| value == "1");
                    assert!(!required || kernel::is_older_than(&release, since), "{reason}");
                    eprintln!("SKIPPED: {reason}");
                }
            }
        }
    }

    /// Guarantees: options become what the programs read: a rate an interval, and no numbers that they would stumble over.
    #[test]
    fn options_are_made_ready() {
        let ready = config(&options());
        assert_eq!((ready.interval_ns, ready.sampling_rate, ready.emit, ready.debug), (1_000_000, 1, 1, 0));
        let fast = AllocOptions { max_events_per_second: u32::MAX, ..options() };
        assert_eq!(config(&fast).interval_ns, 1);
        assert_eq!(config(&AllocOptions { max_events_per_second: 0, ..options() }).interval_ns, 0);
    }
}
