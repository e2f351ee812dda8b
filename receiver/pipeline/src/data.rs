//! What flows through a pipeline: OTLP export requests, one enum variant a signal.

mod split;

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
};

pub(crate) use split::{merge, split};

/// The kinds of telemetry a pipeline can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Log records.
    Logs,
    /// Metrics.
    Metrics,
}

impl Signal {
    /// The word that names the signal in `service::pipelines`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Signal::Logs => "logs",
            Signal::Metrics => "metrics",
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
}

impl Data {
    /// Which signal this is.
    #[must_use]
    pub fn signal(&self) -> Signal {
        match self {
            Data::Logs(_) => Signal::Logs,
            Data::Metrics(_) => Signal::Metrics,
        }
    }

    /// How many items it holds: log records, or metric data points. What batches and losses are counted in.
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
        }
    }
}
