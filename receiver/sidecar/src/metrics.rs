//! The sidecar's metrics: one store, read by every road out.
//!
//! What is exported is defined in `metrics/instruments.rs`; here it is moved and collected. Everything stands at
//! zero from the first collection, so that a rate over the first event is not lost.

mod ended;
mod instruments;
mod look;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use mlh_pipeline::component::{ComponentId, Loss, Telemetry};
use mlh_pipeline::data::Signal;
use opentelemetry::KeyValue;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::{OTelSdkError, OTelSdkResult};
use opentelemetry_sdk::metrics::data::ResourceMetrics;
use opentelemetry_sdk::metrics::reader::MetricReader;
use opentelemetry_sdk::metrics::{InstrumentKind, ManualReader, Pipeline, SdkMeterProvider, Temporality};
use uuid::Uuid;

pub use instruments::{ERROR_STAGES, stage};
pub use look::{Climbed, Look, Unfreed};
pub use watch::{TOP_VELOCITIES, TimeToOom, Velocity};

use crate::records::{HostIdentity, OwnPod};
use crate::semconv;
use ended::Ended;
use instruments::Instruments;

/// The one store.
pub struct Metrics {
    // The reader sees the instruments only as long as the provider lives.
    _provider: SdkMeterProvider,
    reader: SharedReader,
    instruments: Instruments,
    observed: Arc<Observed>,
    ended: Ended,
    lost: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
    started: u64,
}

/// What is read at the time of collection.
#[derive(Default)]
struct Observed {
    velocities: Mutex<Vec<watch::Labelled>>,
    times_to_oom: Mutex<Vec<watch::Labelled>>,
    usage: Mutex<BTreeMap<String, f64>>,
    look: Mutex<Look>,
    climbed: Mutex<Climbed>,
}

impl Observed {
    /// The fullest of all the queues and channels, 0..=1.
    fn fullest(&self) -> f64 {
        let usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        usage.values().copied().fold(0.0, f64::max)
    }

    fn each_velocity(&self, observe: impl FnMut(f64, &[KeyValue])) {
        each(&self.velocities, observe);
    }

    fn each_time_to_oom(&self, observe: impl FnMut(f64, &[KeyValue])) {
        each(&self.times_to_oom, observe);
    }

    fn look(&self) -> MutexGuard<'_, Look> {
        self.look.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn climbed(&self) -> Climbed {
        *self.climbed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_usage(&self, of: String, used: f64) {
        let used = if used.is_finite() { used.clamp(0.0, 1.0) } else { 0.0 };
        self.usage.lock().unwrap_or_else(PoisonError::into_inner).insert(of, used);
    }
}

fn each(series: &Mutex<Vec<watch::Labelled>>, mut observe: impl FnMut(f64, &[KeyValue])) {
    for (value, labels) in &*series.lock().unwrap_or_else(PoisonError::into_inner) {
        observe(*value, labels);
    }
}

fn replace(series: &Mutex<Vec<watch::Labelled>>, new: Vec<watch::Labelled>) {
    *series.lock().unwrap_or_else(PoisonError::into_inner) = new;
}

impl Metrics {
    /// An empty store, whose Resource is the sidecar itself.
    #[must_use]
    pub fn new(host: &HostIdentity) -> Self {
        let reader = SharedReader(Arc::new(ManualReader::builder().build()));
        let provider =
            SdkMeterProvider::builder().with_resource(resource(host)).with_reader(reader.clone()).build();
        let observed = Arc::new(Observed::default());
        let instruments = Instruments::new(&provider, &observed);
        let started = crate::records::epoch_nanos(SystemTime::now());
        Self {
            _provider: provider,
            reader,
            instruments,
            observed,
            ended: Ended::default(),
            lost: Mutex::default(),
            started,
        }
    }

    /// Findings and samples that went through the hunt.
    pub fn events_processed(&self, count: u64) {
        self.instruments.events_processed.add(count, &[]);
    }

    /// Things failed. The stages of [`ERROR_STAGES`] stand at zero from the start.
    pub fn errors(&self, stage: &'static str, count: u64) {
        self.instruments.errors.add(count, &[KeyValue::new("stage", stage)]);
    }

    /// How long the findings of one pass took from the sample to the pipeline.
    pub fn processing_duration(&self, took: Duration) {
        self.instruments.processing_duration.record(took.as_secs_f64() * 1e3, &[]);
    }

    /// `rss.growth` findings.
    pub fn rss_growth_detected(&self, count: u64) {
        self.instruments.rss_growth_detected.add(count, &[]);
    }

    /// Verdicts on leaks that are known from others.
    pub fn leaks_recurred(&self, count: u64) {
        self.instruments.leaks_recurred.add(count, &[]);
    }

    /// How long one pass over the processes took.
    pub fn sweep_duration(&self, took: Duration) {
        self.instruments.sweep_duration.record(took.as_secs_f64(), &[]);
    }

    /// How full the receiver's own channel is, 0..=1.
    pub fn buffer_usage(&self, used: f64) {
        self.observed.set_usage(semconv::SCOPE_NAME.to_owned(), used);
    }

    /// Who is under suspicion and who leaks, after a pass. What is not among the velocities and times any more is not
    /// exported any more. See [`Velocity`] for what becomes of equal labels.
    pub fn set_watch(&self, suspects: u64, leaks: u64, velocities: Vec<Velocity>, times: Vec<TimeToOom>) {
        self.instruments.suspects.record(suspects, &[]);
        self.instruments.leaks.record(leaks, &[]);
        replace(&self.observed.velocities, watch::top(velocities));
        replace(&self.observed.times_to_oom, watch::soonest(times));
    }

    /// Allocations of a target that were tracked.
    pub fn allocations_tracked(&self, count: u64) {
        self.instruments.allocations_tracked.add(count, &[]);
    }

    /// Tracked allocations of a target that were freed.
    pub fn deallocations_tracked(&self, count: u64) {
        self.instruments.deallocations_tracked.add(count, &[]);
    }

    /// A target was looked at for so long since this was called last.
    pub fn target_time(&self, took: Duration) {
        self.instruments.target_seconds.add(took.as_secs_f64(), &[]);
    }

    /// How the look at a target stands; [`Look::default`] where there is none any more.
    pub fn set_look(&self, look: Look) {
        *self.observed.look() = look;
    }

    /// What follows from suspicions now.
    pub fn set_climbed(&self, climbed: Climbed) {
        *self.observed.climbed.lock().unwrap_or_else(PoisonError::into_inner) = climbed;
    }

    /// How full the channel is by which a target is heard, 0..=1.
    pub fn target_buffer_usage(&self, used: f64) {
        self.observed.set_usage(format!("{}/target", semconv::SCOPE_NAME), used);
    }

    /// A pipeline takes profiles: what may be lost of them stands at zero from now on.
    pub fn carries_profiles(&self) {
        self.instruments.start_profiles_at_zero();
    }

    /// What was lost since the start, by stage and signal: log records, data points and samples of profiles.
    #[must_use]
    pub fn losses(&self) -> BTreeMap<(&'static str, &'static str), u64> {
        self.lost.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Everything, as it stands now, cumulative since the start.
    ///
    /// # Errors
    /// The metrics library refused; nothing is known to make it do so.
    pub fn collect(&self) -> Result<ExportMetricsServiceRequest, OTelSdkError> {
        let mut collected = ResourceMetrics::default();
        self.reader.collect(&mut collected)?;
        let mut request = ExportMetricsServiceRequest::from(&collected);
        instruments::add_empty_histograms(&mut request, self.started);
        self.ended.mark(&mut request, crate::records::epoch_nanos(SystemTime::now()));
        Ok(request)
    }
}

fn resource(host: &HostIdentity) -> Resource {
    let own =
        [(semconv::SERVICE_NAME, semconv::PRODUCT), (semconv::SERVICE_VERSION, env!("CARGO_PKG_VERSION"))];
    let pod = host.pod.iter().flat_map(OwnPod::attributes);
    let attributes = own.into_iter().chain(host.attributes()).chain(pod);
    Resource::builder_empty()
        .with_schema_url(
            attributes
                .map(|(key, value)| KeyValue::new(key, value.to_owned()))
                .chain([KeyValue::new(semconv::SERVICE_INSTANCE_ID, Uuid::new_v4().to_string())]),
            semconv::SCHEMA_URL,
        )
        .build()
}

/// The library wants a reader of its own, and so do we.
#[derive(Debug, Clone)]
struct SharedReader(Arc<ManualReader>);

impl MetricReader for SharedReader {
    fn register_pipeline(&self, pipeline: Weak<Pipeline>) {
        self.0.register_pipeline(pipeline);
    }

    fn collect(&self, metrics: &mut ResourceMetrics) -> OTelSdkResult {
        self.0.collect(metrics)
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.0.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.0.shutdown_with_timeout(timeout)
    }

    fn temporality(&self, kind: InstrumentKind) -> Temporality {
        self.0.temporality(kind)
    }
}

impl Telemetry for Metrics {
    fn lost(&self, signal: Signal, loss: Loss) {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        *lost.entry((loss.stage, signal.name())).or_default() += loss.count;
        drop(lost);
        let labels = [KeyValue::new("stage", loss.stage), KeyValue::new("signal", signal.name())];
        self.instruments.dropped_events.add(loss.count, &labels);
    }

    fn delivered(&self, signal: Signal, exporter: &ComponentId, items: u64) {
        let labels =
            [KeyValue::new("exporter", exporter.to_string()), KeyValue::new("signal", signal.name())];
        self.instruments.exported_items.add(items, &labels);
    }

    fn queue_usage(&self, component: &ComponentId, used: f64) {
        self.observed.set_usage(component.to_string(), used);
    }
}
