//! Series that come and go. A collection holds those that there are; whoever keeps the last value of a series must be told
//! that it has ended, or a container that was killed goes on leaking in every dashboard.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{DataPointFlags, Gauge, Metric, NumberDataPoint, metric::Data};

use super::instruments::PASSING;
use crate::semconv;

/// A request may be lost on its way: the end of a series is told in so many collections.
const TIMES: u8 = 3;

type Labels = Vec<(String, String)>;

/// The series there were, each with how often its end has yet to be told.
#[derive(Debug, Default)]
pub(super) struct Ended(Mutex<BTreeMap<(&'static str, Labels), u8>>);

impl Ended {
    /// Adds a point without a value for every series that was there before and is no more, as OTLP has it.
    pub(super) fn mark(&self, request: &mut ExportMetricsServiceRequest, now: u64) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let scopes = request.resource_metrics.iter_mut().flat_map(|resource| &mut resource.scope_metrics);
        for scope in
            scopes.filter(|scope| scope.scope.as_ref().is_some_and(|s| s.name == semconv::SCOPE_NAME))
        {
            for (name, unit) in PASSING {
                let current = current(&scope.metrics, name);
                let mut ended = Vec::new();
                for ((_, labels), left) in known.iter_mut().filter(|((metric, _), _)| *metric == name) {
                    if !current.contains(labels) {
                        *left -= 1;
                        ended.push(end(labels, now));
                    }
                }
                known.extend(current.into_iter().map(|labels| ((name, labels), TIMES)));
                append(&mut scope.metrics, name, unit, ended);
            }
        }
        known.retain(|_, left| *left > 0);
    }
}

fn current(metrics: &[Metric], name: &str) -> BTreeSet<Labels> {
    let gauges =
        metrics.iter().filter(|metric| metric.name == name).filter_map(|metric| match &metric.data {
            Some(Data::Gauge(gauge)) => Some(&gauge.data_points),
            _ => None,
        });
    gauges.flatten().map(|point| labels(&point.attributes)).collect()
}

fn append(metrics: &mut Vec<Metric>, name: &str, unit: &str, ended: Vec<NumberDataPoint>) {
    if ended.is_empty() {
        return;
    }
    let gauge =
        metrics.iter_mut().filter(|metric| metric.name == name).find_map(|metric| match &mut metric.data {
            Some(Data::Gauge(gauge)) => Some(gauge),
            _ => None,
        });
    match gauge {
        Some(gauge) => gauge.data_points.extend(ended),
        None => metrics.push(Metric {
            name: name.to_owned(),
            unit: unit.to_owned(),
            data: Some(Data::Gauge(Gauge { data_points: ended })),
            ..Metric::default()
        }),
    }
}

fn end(labels: &Labels, now: u64) -> NumberDataPoint {
    let attribute = |(key, value): &(String, String)| KeyValue {
        key: key.clone(),
        value: Some(AnyValue { value: Some(Value::StringValue(value.clone())) }),
        ..KeyValue::default()
    };
    NumberDataPoint {
        attributes: labels.iter().map(attribute).collect(),
        time_unix_nano: now,
        flags: DataPointFlags::NoRecordedValueMask as u32,
        ..NumberDataPoint::default()
    }
}

/// Ours are all texts.
fn labels(attributes: &[KeyValue]) -> Labels {
    let text = |attribute: &KeyValue| match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some((attribute.key.clone(), text.clone())),
        _ => None,
    };
    let mut labels: Labels = attributes.iter().filter_map(text).collect();
    labels.sort();
    labels
}
