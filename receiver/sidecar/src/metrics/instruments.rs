//! Every metric's name, unit and help, created at zero.
//!
//! Units follow from the name that must come out in Prometheus: `s` and `By` are only given where the name ends
//! with the word already, braces vanish, and where the translation would append a word there is no unit.

use std::sync::Arc;

use mlh_pipeline::data::Signal;
use opentelemetry::metrics::{Counter, Gauge, Histogram, Meter, MeterProvider};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Histogram as OtlpHistogram, HistogramDataPoint, Metric, metric::Data,
};
use opentelemetry_sdk::metrics::SdkMeterProvider;

use super::Observed;
use super::look;
use crate::records::epoch_nanos;
use crate::semconv;

/// Where the receiver itself fails or loses something; the pipeline's parts have stages of their own.
pub mod stage {
    /// A pass over the processes failed.
    pub const SWEEP: &str = "sweep";
    /// A record of the kernel could not be read.
    pub const DECODE: &str = "decode";
    /// The metrics could not be collected.
    pub const COLLECT: &str = "collect";
    /// A process or container was passed over because as many as there may be are followed already.
    pub const TABLE: &str = "table";
    /// A record of growth was over `max_events_per_second`.
    pub const RATE_LIMIT: &str = "rate_limit";
    /// One of the scout's channels was full: the one to the pipeline, or the one by which it hears the kernel.
    pub const CHANNEL: &str = "channel";
    /// The kernel's buffer was full.
    pub const RING: &str = "ring";
    /// The ring of the probes in a target was full.
    pub const KERNEL_RING: &str = "kernel_ring";
    /// A record of an operation in a target was not fetched in time.
    pub const TARGET_CHANNEL: &str = "target_channel";
    /// An allocation of a target did not fit the table of live ones.
    pub const LIVE_TABLE: &str = "live_table";
    /// A call site of a target did not fit its table.
    pub const CALL_SITES: &str = "call_sites";
    /// The table of a target's live allocations forgot one to make room.
    pub const EVICTED: &str = "evicted";
    /// A suspicion was not followed up because too many wait for it.
    pub const DOCKET: &str = "docket";
    /// What is known of leaks could not be kept, or read.
    pub const STATE: &str = "state";
    /// The pipeline refused what it was given.
    pub const PIPELINE: &str = "pipeline";
}

/// Where errors are counted from the start.
///
/// Those of `/proc` and of the cgroup files stand at zero as well where the kernel is asked instead.
pub const ERROR_STAGES: [&str; 12] = [
    stage::SWEEP,
    stage::DECODE,
    stage::COLLECT,
    stage::STATE,
    "proc_denied",
    "proc_malformed",
    "proc_io",
    "proc_over_limit",
    "cgroup_denied",
    "cgroup_malformed",
    "cgroup_io",
    "cgroup_over_limit",
];

const RECEIVER_STAGES: [&str; 10] = [
    stage::TABLE,
    stage::RATE_LIMIT,
    stage::CHANNEL,
    stage::RING,
    stage::KERNEL_RING,
    stage::TARGET_CHANNEL,
    stage::LIVE_TABLE,
    stage::CALL_SITES,
    stage::EVICTED,
    stage::DOCKET,
];

/// Where the pipeline, or one of its parts, loses something.
fn pipeline_stages() -> impl Iterator<Item = &'static str> {
    std::iter::once(stage::PIPELINE).chain(mlh_pipeline::component::stage::ALL)
}

const LEAK_VELOCITY: &str = "memory_leak_hunter_leak_velocity_bytes_per_second";
const TIME_TO_OOM: &str = "memory_leak_hunter_time_to_oom_seconds";
const UNFREED: &str = "memory_leak_hunter_unfreed_memory_bytes";
/// Gauges whose series end when what they tell of does, each with its unit.
pub(super) const PASSING: [(&str, &str); 3] = [(LEAK_VELOCITY, ""), (TIME_TO_OOM, "s"), (UNFREED, "By")];

struct HistogramShape {
    name: &'static str,
    unit: &'static str,
    help: &'static str,
    bounds: &'static [f64],
}

const PROCESSING_DURATION: HistogramShape = HistogramShape {
    name: "memory_leak_hunter_processing_duration_ms",
    unit: "",
    help: "Time from a pass over the processes to its findings in the pipeline, in milliseconds",
    bounds: &[0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 5000.0],
};
const SWEEP_DURATION: HistogramShape = HistogramShape {
    name: "memory_leak_hunter_sweep_duration_seconds",
    unit: "s",
    help: "Time that one pass over the processes took",
    bounds: &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0],
};

/// What is moved by hand; the rest is read from [`Observed`] at collection.
pub(super) struct Instruments {
    pub(super) events_processed: Counter<u64>,
    pub(super) errors: Counter<u64>,
    pub(super) processing_duration: Histogram<f64>,
    pub(super) dropped_events: Counter<u64>,
    pub(super) rss_growth_detected: Counter<u64>,
    pub(super) suspects: Gauge<u64>,
    pub(super) leaks: Gauge<u64>,
    pub(super) leaks_recurred: Counter<u64>,
    pub(super) sweep_duration: Histogram<f64>,
    pub(super) exported_items: Counter<u64>,
    pub(super) allocations_tracked: Counter<u64>,
    pub(super) deallocations_tracked: Counter<u64>,
    pub(super) target_seconds: Counter<f64>,
}

impl Instruments {
    pub(super) fn new(provider: &SdkMeterProvider, observed: &Arc<Observed>) -> Self {
        let scope = InstrumentationScope::builder(semconv::SCOPE_NAME)
            .with_version(env!("CARGO_PKG_VERSION"))
            .with_schema_url(semconv::SCHEMA_URL)
            .build();
        let meter = provider.meter_with_scope(scope);
        observe(&meter, observed);
        observe_look(&meter, observed);
        let new = Self {
            events_processed: counter(
                &meter,
                "memory_leak_hunter_events_processed",
                "{event}",
                "Events that went through the receiver",
            ),
            errors: counter(&meter, "memory_leak_hunter_errors", "{error}", "Things that failed, by stage"),
            processing_duration: histogram(&meter, &PROCESSING_DURATION),
            dropped_events: counter(
                &meter,
                "memory_leak_hunter_dropped_events",
                "{event}",
                "Log records, metric points and samples of profiles that were lost, by stage and signal",
            ),
            rss_growth_detected: counter(
                &meter,
                "memory_leak_hunter_rss_growth_detected",
                "{event}",
                "Times that a process or container grew by the threshold or more",
            ),
            suspects: gauge(
                &meter,
                "memory_leak_hunter_suspects",
                "{suspect}",
                "Processes and containers suspected of a leak now",
            ),
            leaks: gauge(
                &meter,
                "memory_leak_hunter_leaks",
                "{leak}",
                "Processes and containers found leaking now",
            ),
            leaks_recurred: counter(
                &meter,
                "memory_leak_hunter_leaks_recurred",
                "{leak}",
                "Verdicts on leaks that other processes or containers of this host had before, or have as well",
            ),
            sweep_duration: histogram(&meter, &SWEEP_DURATION),
            exported_items: counter(
                &meter,
                "memory_leak_hunter_exported_items",
                "{item}",
                "Log records, metric points and samples of profiles that an exporter delivered",
            ),
            allocations_tracked: counter(
                &meter,
                "memory_leak_hunter_allocations_tracked",
                "{allocation}",
                "Allocations of targets that were tracked",
            ),
            deallocations_tracked: counter(
                &meter,
                "memory_leak_hunter_deallocations_tracked",
                "{allocation}",
                "Tracked allocations of targets that were freed",
            ),
            target_seconds: meter
                .f64_counter("memory_leak_hunter_target_seconds")
                .with_unit("s")
                .with_description("Time in which a target was looked at")
                .build(),
        };
        new.start_at_zero();
        new
    }

    fn start_at_zero(&self) {
        self.events_processed.add(0, &[]);
        self.rss_growth_detected.add(0, &[]);
        self.leaks_recurred.add(0, &[]);
        self.allocations_tracked.add(0, &[]);
        self.deallocations_tracked.add(0, &[]);
        self.target_seconds.add(0.0, &[]);
        self.suspects.record(0, &[]);
        self.leaks.record(0, &[]);
        for stage in ERROR_STAGES {
            self.errors.add(0, &[KeyValue::new("stage", stage)]);
        }
        let receiver = RECEIVER_STAGES.map(|stage| (stage, Signal::Logs));
        let pipeline = pipeline_stages().flat_map(|stage| [(stage, Signal::Logs), (stage, Signal::Metrics)]);
        receiver.into_iter().chain(pipeline).for_each(|(stage, signal)| self.none_dropped(stage, signal));
    }

    /// Few have a pipeline for profiles: its series are there where it is.
    pub(super) fn start_profiles_at_zero(&self) {
        let stages = std::iter::once(stage::CHANNEL).chain(pipeline_stages());
        stages.for_each(|stage| self.none_dropped(stage, Signal::Profiles));
    }

    fn none_dropped(&self, stage: &'static str, signal: Signal) {
        let labels = [KeyValue::new("stage", stage), KeyValue::new("signal", signal.name())];
        self.dropped_events.add(0, &labels);
    }
}

/// What is told of a target; without one it stands at zero.
fn observe_look(meter: &Meter, observed: &Arc<Observed>) {
    let look = Arc::clone(observed);
    meter
        .u64_observable_gauge("memory_leak_hunter_mode")
        .with_description("1 for the mode of operation that is on, 0 for the others")
        .with_callback(move |observer| {
            for (mode, on) in look::modes(look.look().mode, look.climbed()) {
                observer.observe(on, &[KeyValue::new("mode", mode.name())]);
            }
        })
        .build();
    let look = Arc::clone(observed);
    meter
        .u64_observable_gauge(UNFREED)
        .with_unit("By")
        .with_description("Tracked memory of targets that has not been freed, the largest only")
        .with_callback(move |observer| {
            for (bytes, labels) in look::unfreed(&look.look().unfreed) {
                observer.observe(bytes, &labels);
            }
        })
        .build();
    let look = Arc::clone(observed);
    meter
        .f64_observable_gauge("memory_leak_hunter_overhead_ratio")
        .with_description("What the look costs in the newest second, of the target's CPU time or of one CPU if that is more")
        .with_callback(move |observer| {
            let overhead = look.look().overhead.max(look.climbed().overhead);
            observer.observe(if overhead.is_finite() { overhead } else { 0.0 }, &[]);
        })
        .build();
    bytes_of_look(
        meter,
        observed,
        "memory_leak_hunter_largest_allocation_bytes",
        "The largest allocation of the target",
        |observed| observed.look().largest,
    );
    bytes_of_look(
        meter,
        observed,
        "memory_leak_hunter_kernel_memory_bytes",
        "Kernel memory of the maps by which targets are looked at",
        |observed| observed.look().kernel_bytes.saturating_add(observed.climbed().kernel_bytes),
    );
}

fn bytes_of_look(
    meter: &Meter,
    observed: &Arc<Observed>,
    name: &'static str,
    help: &'static str,
    of: fn(&Observed) -> u64,
) {
    let observed = Arc::clone(observed);
    meter
        .u64_observable_gauge(name)
        .with_unit("By")
        .with_description(help)
        .with_callback(move |observer| observer.observe(of(&observed), &[]))
        .build();
}

fn observe(meter: &Meter, observed: &Arc<Observed>) {
    let usage = Arc::clone(observed);
    meter
        .f64_observable_gauge("memory_leak_hunter_buffer_usage")
        .with_description("How full the fullest of the channels and queues is, 0 to 1")
        .with_callback(move |observer| observer.observe(usage.fullest(), &[]))
        .build();
    let velocities = Arc::clone(observed);
    meter
        .f64_observable_gauge(LEAK_VELOCITY)
        .with_description("How fast leaks grow, the fastest ones only")
        .with_callback(move |observer| {
            velocities.each_velocity(|value, labels| observer.observe(value, labels));
        })
        .build();
    let times = Arc::clone(observed);
    meter
        .f64_observable_gauge(TIME_TO_OOM)
        .with_unit("s")
        .with_description(
            "Time until a container that leaks or is told to be at risk reaches its nearest memory limit, \
             the shortest ones only",
        )
        .with_callback(move |observer| {
            times.each_time_to_oom(|value, labels| observer.observe(value, labels));
        })
        .build();
}

fn counter(meter: &Meter, name: &'static str, unit: &'static str, help: &'static str) -> Counter<u64> {
    meter.u64_counter(name).with_unit(unit).with_description(help).build()
}

fn gauge(meter: &Meter, name: &'static str, unit: &'static str, help: &'static str) -> Gauge<u64> {
    meter.u64_gauge(name).with_unit(unit).with_description(help).build()
}

fn histogram(meter: &Meter, shape: &HistogramShape) -> Histogram<f64> {
    meter
        .f64_histogram(shape.name)
        .with_unit(shape.unit)
        .with_description(shape.help)
        .with_boundaries(shape.bounds.to_vec())
        .build()
}

/// The metrics library leaves out a histogram that has recorded nothing; it is added here with its zeros.
pub(super) fn add_empty_histograms(request: &mut ExportMetricsServiceRequest, started: u64) {
    let scopes = request.resource_metrics.iter_mut().flat_map(|resource| &mut resource.scope_metrics);
    let now = epoch_nanos(std::time::SystemTime::now());
    for scope in scopes.filter(|scope| scope.scope.as_ref().is_some_and(|s| s.name == semconv::SCOPE_NAME)) {
        for shape in [&PROCESSING_DURATION, &SWEEP_DURATION] {
            if !scope.metrics.iter().any(|metric| metric.name == shape.name) {
                scope.metrics.push(empty(shape, started, now));
            }
        }
    }
}

fn empty(shape: &HistogramShape, started: u64, now: u64) -> Metric {
    let point = HistogramDataPoint {
        start_time_unix_nano: started,
        time_unix_nano: now,
        sum: Some(0.0),
        bucket_counts: vec![0; shape.bounds.len() + 1],
        explicit_bounds: shape.bounds.to_vec(),
        ..HistogramDataPoint::default()
    };
    Metric {
        name: shape.name.to_owned(),
        description: shape.help.to_owned(),
        unit: shape.unit.to_owned(),
        data: Some(Data::Histogram(OtlpHistogram {
            data_points: vec![point],
            aggregation_temporality: AggregationTemporality::Cumulative.into(),
        })),
        ..Metric::default()
    }
}
