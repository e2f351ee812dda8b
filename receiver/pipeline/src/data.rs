//! What flows through a pipeline: OTLP export requests, one enum variant a signal.

mod dictionary;
mod rewrite;
mod split;

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    profiles::v1development::ExportProfilesServiceRequest,
};

pub use dictionary::Dictionary;
pub(crate) use split::{merge, split};

/// The kinds of telemetry a pipeline can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Log records.
    Logs,
    /// Metrics.
    Metrics,
    /// Profiles: values by call stack.
    Profiles,
}

impl Signal {
    /// Every signal, in the order in which they are listed for people.
    pub const ALL: [Self; 3] = [Self::Logs, Self::Metrics, Self::Profiles];

    /// The word that names the signal in `service::pipelines`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Signal::Logs => "logs",
            Signal::Metrics => "metrics",
            Signal::Profiles => "profiles",
        }
    }
}

impl std::fmt::Display for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// One unit of telemetry on its way down a pipeline.
#[derive(Debug, Clone, PartialEq)]
pub enum Data {
    /// Log records with their resources.
    Logs(ExportLogsServiceRequest),
    /// Metrics with their resources.
    Metrics(ExportMetricsServiceRequest),
    /// Profiles with their resources, and the dictionary they share.
    Profiles(ExportProfilesServiceRequest),
}

impl Data {
    /// Which signal this is.
    #[must_use]
    pub fn signal(&self) -> Signal {
        match self {
            Data::Logs(_) => Signal::Logs,
            Data::Metrics(_) => Signal::Metrics,
            Data::Profiles(_) => Signal::Profiles,
        }
    }

    /// How many items it holds: log records, metric data points, or samples of profiles. What batches and losses are counted in.
    #[must_use]
    pub fn items(&self) -> usize {
        use opentelemetry_proto::tonic::metrics::v1::metric::Data as M;
        match self {
            Data::Logs(request) => request
                .resource_logs
                .iter()
                .flat_map(|resource| &resource.scope_logs)
                .map(|scope| scope.log_records.len())
                .sum(),
            Data::Metrics(request) => request
                .resource_metrics
                .iter()
                .flat_map(|resource| &resource.scope_metrics)
                .flat_map(|scope| &scope.metrics)
                .map(|metric| match &metric.data {
                    Some(M::Gauge(gauge)) => gauge.data_points.len(),
                    Some(M::Sum(sum)) => sum.data_points.len(),
                    Some(M::Histogram(histogram)) => histogram.data_points.len(),
                    Some(M::ExponentialHistogram(histogram)) => histogram.data_points.len(),
                    Some(M::Summary(summary)) => summary.data_points.len(),
                    None => 0,
                })
                .sum(),
            Data::Profiles(request) => request
                .resource_profiles
                .iter()
                .flat_map(|resource| &resource.scope_profiles)
                .flat_map(|scope| &scope.profiles)
                .map(|profile| profile.samples.len())
                .sum(),
        }
    }
}

#[cfg(test)]
mod tests;
