//! Requests as text, by verbosity. Pure.

use std::fmt::Write;

use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, metric::Data as Points, number_data_point::Value as Number,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::profiles;
use crate::data::Data;
use crate::exporters::text::{printable, push_attributes, severity, time, value};

/// One line that counts.
pub(super) fn summary(data: &Data) -> String {
    let items = data.items();
    match data {
        Data::Logs(logs) => format!("logs: {items} records of {} resources\n", logs.resource_logs.len()),
        Data::Metrics(metrics) => {
            let scopes = metrics.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
            let count: usize = scopes.map(|scope| scope.metrics.len()).sum();
            format!("metrics: {count} metrics with {items} data points\n")
        }
        Data::Profiles(request) => {
            let count = profiles::each(request).count();
            format!("profiles: {count} profiles with {items} samples\n")
        }
    }
}

/// What `normal` prints: one line a log record or profile; nothing for metrics.
#[must_use]
pub fn lines(data: &Data) -> String {
    let mut out = String::new();
    match data {
        Data::Logs(logs) => {
            for scope in logs.resource_logs.iter().flat_map(|resource| &resource.scope_logs) {
                for record in &scope.log_records {
                    line(&mut out, scope.scope.as_ref(), record);
                }
            }
        }
        Data::Metrics(_) => {}
        Data::Profiles(request) => {
            for (_, _, profile) in profiles::each(request) {
                profiles::line(&mut out, profile, &profiles::Names::of(request));
            }
        }
    }
    out
}

/// All there is.
pub(super) fn everything(data: &Data) -> String {
    let mut out = String::new();
    match data {
        Data::Logs(logs) => {
            for resource in &logs.resource_logs {
                for scope in &resource.scope_logs {
                    for record in &scope.log_records {
                        line(&mut out, scope.scope.as_ref(), record);
                        origin(&mut out, resource.resource.as_ref(), scope.scope.as_ref());
                        indented(&mut out, "attributes", &record.attributes);
                    }
                }
            }
        }
        Data::Metrics(metrics) => {
            for resource in &metrics.resource_metrics {
                for scope in &resource.scope_metrics {
                    out.push_str("metrics\n");
                    origin(&mut out, resource.resource.as_ref(), scope.scope.as_ref());
                    for each in &scope.metrics {
                        metric(&mut out, each);
                    }
                }
            }
        }
        Data::Profiles(request) => {
            let names = profiles::Names::of(request);
            for (resource, scope, profile) in profiles::each(request) {
                profiles::line(&mut out, profile, &names);
                origin(&mut out, resource, scope);
                profiles::samples(&mut out, profile, &names);
            }
        }
    }
    out
}

fn line(out: &mut String, scope: Option<&InstrumentationScope>, record: &LogRecord) {
    let nanos =
        if record.time_unix_nano > 0 { record.time_unix_nano } else { record.observed_time_unix_nano };
    // Within one scope its name says nothing: `leak.detected` instead of `memory_leak_hunter.leak.detected`.
    let event = scope
        .and_then(|scope| record.event_name.strip_prefix(&scope.name)?.strip_prefix('.'))
        .unwrap_or(&record.event_name);
    let body = printable(&value(record.body.as_ref()));
    let _ =
        writeln!(out, "{} {:<5} {:<14}  {body}", time(nanos), printable(&severity(record)), printable(event));
}

fn origin(out: &mut String, resource: Option<&Resource>, scope: Option<&InstrumentationScope>) {
    if let Some(resource) = resource {
        indented(out, "resource", &resource.attributes);
    }
    if let Some(scope) = scope {
        let _ = writeln!(out, "    scope: {} {}", printable(&scope.name), printable(&scope.version));
    }
}

fn indented(out: &mut String, what: &str, attributes: &[KeyValue]) {
    for attribute in attributes {
        let value = printable(&value(attribute.value.as_ref()));
        let _ = writeln!(out, "    {what}: {} = {value}", printable(&attribute.key));
    }
}

fn metric(out: &mut String, metric: &Metric) {
    let unit = if metric.unit.is_empty() { String::new() } else { format!(" [{}]", printable(&metric.unit)) };
    let kind = match &metric.data {
        Some(Points::Gauge(_)) => "gauge",
        Some(Points::Sum(sum)) if sum.is_monotonic => "counter",
        Some(Points::Sum(_)) => "sum",
        Some(Points::Histogram(_)) => "histogram",
        Some(Points::ExponentialHistogram(_)) => "exponential histogram",
        Some(Points::Summary(_)) => "summary",
        None => "empty",
    };
    let _ = writeln!(out, "    {}{unit} ({kind})", printable(&metric.name));
    match &metric.data {
        Some(Points::Gauge(gauge)) => {
            gauge.data_points.iter().for_each(|point| number(out, &point.attributes, point.value));
        }
        Some(Points::Sum(sum)) => {
            sum.data_points.iter().for_each(|point| number(out, &point.attributes, point.value));
        }
        Some(Points::Histogram(histogram)) => {
            for point in &histogram.data_points {
                let mut text = format!("count {} sum {}", point.count, point.sum.unwrap_or_default());
                for (index, count) in point.bucket_counts.iter().enumerate() {
                    let bound = point.explicit_bounds.get(index).copied().unwrap_or(f64::INFINITY);
                    let _ = write!(text, " <={bound}: {count}");
                }
                self::point(out, &point.attributes, &text);
            }
        }
        Some(Points::ExponentialHistogram(histogram)) => {
            for point in &histogram.data_points {
                let text = format!("count {} sum {}", point.count, point.sum.unwrap_or_default());
                self::point(out, &point.attributes, &text);
            }
        }
        Some(Points::Summary(summary)) => {
            for point in &summary.data_points {
                self::point(out, &point.attributes, &format!("count {} sum {}", point.count, point.sum));
            }
        }
        None => {}
    }
}

fn number(out: &mut String, attributes: &[KeyValue], number: Option<Number>) {
    let text = match number {
        Some(Number::AsInt(whole)) => whole.to_string(),
        Some(Number::AsDouble(number)) => number.to_string(),
        None => "no value".to_owned(),
    };
    point(out, attributes, &text);
}

fn point(out: &mut String, attributes: &[KeyValue], text: &str) {
    let mut labels = String::new();
    push_attributes(&mut labels, attributes);
    let _ = writeln!(out, "        {{{}}} {text}", printable(&labels));
}
