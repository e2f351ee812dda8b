//! The newest value of every series. Time comes in.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, DataPointFlags, HistogramDataPoint, Metric, NumberDataPoint,
    metric::Data as Points, number_data_point::Value as Number,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::time::Instant;

use super::name::{self, Kind};
use crate::exporters::text;

/// A series that nobody refreshes is no longer shown after this time.
const EXPIRY: Duration = Duration::from_secs(300);

/// New series beyond this number are lost, and counted.
const MAX_SERIES: usize = 10_000;

/// Sorted by name.
pub(super) type Labels = Vec<(String, String)>;

#[derive(Debug, Default)]
pub(super) struct Store {
    families: BTreeMap<String, Family>,
    /// The `service.*` attributes of the resources seen: the labels of `target_info`.
    targets: BTreeMap<Labels, Instant>,
    series: usize,
}

#[derive(Debug)]
pub(super) struct Family {
    pub(super) kind: Kind,
    pub(super) help: String,
    pub(super) series: BTreeMap<Labels, Series>,
}

#[derive(Debug)]
pub(super) struct Series {
    pub(super) value: Value,
    refreshed: Instant,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Whole(i64),
    Real(f64),
    /// Buckets hold their upper bound and their own count, the last bound is infinite.
    Histogram {
        sum: f64,
        count: u64,
        buckets: Vec<(f64, u64)>,
    },
}

/// Points that found no place.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Losses {
    pub(super) unsupported: u64,
    pub(super) beyond_limit: u64,
    /// Why, for one of them.
    pub(super) reason: Option<String>,
}

impl Losses {
    fn unsupported(&mut self, metric: &Metric, points: usize, why: &str) {
        if points > 0 {
            self.unsupported += points as u64;
            self.reason = Some(format!("{}: {why}", metric.name));
        }
    }
}

impl Store {
    /// Takes the points of a request; those that Prometheus has no form for are returned as losses.
    pub(super) fn accept(&mut self, request: &ExportMetricsServiceRequest, now: Instant) -> Losses {
        self.expire(now);
        let mut losses = Losses::default();
        for resource in &request.resource_metrics {
            self.note_target(resource.resource.as_ref(), now);
            for metric in resource.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
                self.take(metric, now, &mut losses);
            }
        }
        losses
    }

    /// All that is to be shown at `now`.
    pub(super) fn current(
        &mut self,
        now: Instant,
    ) -> (&BTreeMap<String, Family>, impl Iterator<Item = &Labels>) {
        self.expire(now);
        (&self.families, self.targets.keys())
    }

    fn take(&mut self, metric: &Metric, now: Instant, losses: &mut Losses) {
        let cumulative = AggregationTemporality::Cumulative as i32;
        match &metric.data {
            Some(Points::Gauge(gauge)) => self.numbers(metric, Kind::Gauge, &gauge.data_points, now, losses),
            Some(Points::Sum(sum)) if sum.aggregation_temporality != cumulative => {
                losses.unsupported(metric, sum.data_points.len(), "only cumulative sums can be scraped");
            }
            Some(Points::Sum(sum)) => {
                let kind = if sum.is_monotonic { Kind::Counter } else { Kind::Gauge };
                self.numbers(metric, kind, &sum.data_points, now, losses);
            }
            Some(Points::Histogram(histogram)) if histogram.aggregation_temporality != cumulative => {
                losses.unsupported(
                    metric,
                    histogram.data_points.len(),
                    "only cumulative histograms can be scraped",
                );
            }
            Some(Points::Histogram(histogram)) => {
                for point in &histogram.data_points {
                    match buckets(point) {
                        Some(value) => {
                            let stale = is_stale(point.flags);
                            self.put(
                                metric,
                                Kind::Histogram,
                                &point.attributes,
                                (!stale).then_some(value),
                                now,
                                losses,
                            );
                        }
                        None => losses.unsupported(metric, 1, "bounds and buckets do not fit together"),
                    }
                }
            }
            Some(Points::ExponentialHistogram(histogram)) => {
                losses.unsupported(
                    metric,
                    histogram.data_points.len(),
                    "exponential histograms have no text form",
                );
            }
            Some(Points::Summary(summary)) => {
                losses.unsupported(metric, summary.data_points.len(), "summaries are not supported");
            }
            None => {}
        }
    }

    fn numbers(
        &mut self,
        metric: &Metric,
        kind: Kind,
        points: &[NumberDataPoint],
        now: Instant,
        losses: &mut Losses,
    ) {
        for point in points {
            let value = match point.value {
                _ if is_stale(point.flags) => None,
                Some(Number::AsInt(whole)) => Some(Value::Whole(whole)),
                Some(Number::AsDouble(real)) => Some(Value::Real(real)),
                None => None,
            };
            self.put(metric, kind, &point.attributes, value, now, losses);
        }
    }

    /// Sets one series; without a value it ends.
    fn put(
        &mut self,
        metric: &Metric,
        kind: Kind,
        attributes: &[KeyValue],
        value: Option<Value>,
        now: Instant,
        losses: &mut Losses,
    ) {
        let name = name::family(&metric.name, &metric.unit, kind);
        let labels = labels(attributes);
        if name.is_empty() {
            return losses.unsupported(metric, 1, "the name has no letter that Prometheus allows");
        }
        if let Some(family) = self.families.get(&name)
            && family.kind != kind
        {
            return losses.unsupported(metric, 1, "another metric of this name has another type");
        }
        let known = self.families.get(&name).is_some_and(|family| family.series.contains_key(&labels));
        let Some(value) = value else {
            if known && let Some(family) = self.families.get_mut(&name) {
                family.series.remove(&labels);
                self.series -= 1;
            }
            return;
        };
        if !known && self.series >= MAX_SERIES {
            losses.beyond_limit += 1;
            losses.reason = Some(format!("{}: there are {MAX_SERIES} series already", metric.name));
            return;
        }
        let family = self.families.entry(name).or_insert_with(|| Family {
            kind,
            help: help(&metric.description),
            series: BTreeMap::new(),
        });
        family.series.insert(labels, Series { value, refreshed: now });
        self.series += usize::from(!known);
    }

    fn note_target(&mut self, resource: Option<&Resource>, now: Instant) {
        let Some(resource) = resource else { return };
        let service: Vec<_> = resource
            .attributes
            .iter()
            .filter(|attribute| attribute.key.starts_with("service."))
            .cloned()
            .collect();
        let labels = labels(&service);
        if !labels.is_empty() && (self.targets.contains_key(&labels) || self.targets.len() < MAX_SERIES) {
            self.targets.insert(labels, now);
        }
    }

    fn expire(&mut self, now: Instant) {
        let fresh = |refreshed: Instant| now.duration_since(refreshed) < EXPIRY;
        self.targets.retain(|_, refreshed| fresh(*refreshed));
        for family in self.families.values_mut() {
            family.series.retain(|_, series| fresh(series.refreshed));
        }
        self.families.retain(|_, family| !family.series.is_empty());
        self.series = self.families.values().map(|family| family.series.len()).sum();
    }
}

fn is_stale(flags: u32) -> bool {
    flags & DataPointFlags::NoRecordedValueMask as u32 != 0
}

/// The buckets of a point, or `None` where it contradicts itself.
fn buckets(point: &HistogramDataPoint) -> Option<Value> {
    let sum = point.sum.unwrap_or_default();
    if point.bucket_counts.is_empty() && point.explicit_bounds.is_empty() {
        return Some(Value::Histogram {
            sum,
            count: point.count,
            buckets: vec![(f64::INFINITY, point.count)],
        });
    }
    let total = point.bucket_counts.iter().try_fold(0_u64, |total, count| total.checked_add(*count))?;
    let rising = point.explicit_bounds.windows(2).all(|pair| pair[0] < pair[1]);
    let finite = point.explicit_bounds.iter().all(|bound| bound.is_finite());
    if point.bucket_counts.len() != point.explicit_bounds.len() + 1
        || total != point.count
        || !rising
        || !finite
    {
        return None;
    }
    let bounds = point.explicit_bounds.iter().copied().chain([f64::INFINITY]);
    Some(Value::Histogram {
        sum,
        count: point.count,
        buckets: bounds.zip(point.bucket_counts.iter().copied()).collect(),
    })
}

/// Sorted labels; attributes whose names fall together are joined, as the specification has it.
fn labels(attributes: &[KeyValue]) -> Labels {
    let mut by_key: Vec<_> = attributes.iter().collect();
    by_key.sort_by(|a, b| a.key.cmp(&b.key));
    let mut labels: BTreeMap<String, String> = BTreeMap::new();
    let mut seen = BTreeSet::new();
    for attribute in by_key {
        if !seen.insert(&attribute.key) {
            continue;
        }
        let value = text::value(attribute.value.as_ref());
        labels
            .entry(name::label(&attribute.key))
            .and_modify(|joined| {
                joined.push(';');
                joined.push_str(&value);
            })
            .or_insert(value);
    }
    labels.into_iter().collect()
}

/// A description as a HELP text that is valid in both formats: one line, without quotes or backslashes.
fn help(description: &str) -> String {
    description
        .chars()
        .map(|c| match c {
            '\\' => '/',
            '"' => '\'',
            _ if c.is_control() => ' ',
            _ => c,
        })
        .collect()
}
