use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Histogram, HistogramDataPoint, Metric, Sum, Summary,
    SummaryDataPoint, metric,
};
use tokio::time::Instant;

use super::super::store::{Losses, Store, Value};
use super::resource;
use crate::data::Data;
use crate::testing::{attribute, gauge, metrics_of, point};

fn request(metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    match metrics_of(metrics) {
        Data::Metrics(request) => request,
        _ => unreachable!(),
    }
}

fn sum(name: &str, temporality: i32) -> Metric {
    let sum =
        Sum { data_points: vec![point(0, 1)], aggregation_temporality: temporality, is_monotonic: true };
    Metric { name: name.to_owned(), data: Some(metric::Data::Sum(sum)), ..Metric::default() }
}

fn histogram(counts: &[u64], bounds: &[f64], count: u64) -> Metric {
    let point = HistogramDataPoint {
        count,
        bucket_counts: counts.to_vec(),
        explicit_bounds: bounds.to_vec(),
        ..HistogramDataPoint::default()
    };
    let histogram = Histogram { data_points: vec![point], aggregation_temporality: 2 };
    Metric { name: "h".to_owned(), data: Some(metric::Data::Histogram(histogram)), ..Metric::default() }
}

/// The number of series shown.
fn shown(store: &mut Store) -> usize {
    store.current(Instant::now()).0.values().map(|family| family.series.len()).sum()
}

/// Guarantees: a series that is not refreshed for five minutes is gone, and its target with it; one that is
/// refreshed stays.
#[tokio::test(start_paused = true)]
async fn expiry() {
    let mut store = Store::default();
    store.accept(&request(vec![gauge("old", 2), gauge("fresh", 1)]), Instant::now());
    tokio::time::advance(Duration::from_secs(299)).await;
    assert_eq!(shown(&mut store), 3);
    let mut other = request(vec![gauge("fresh", 1)]);
    other.resource_metrics[0].resource = Some(resource(&[("service.name", "other"), ("host.name", "h")]));
    store.accept(&other, Instant::now());
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(shown(&mut store), 1);
    let targets: Vec<_> = store.current(Instant::now()).1.cloned().collect();
    assert_eq!(targets, [[("service_name".to_owned(), "other".to_owned())]]);
}

/// Guarantees: there are never more than 10,000 series; what is beyond is counted, what is known goes on.
#[tokio::test(start_paused = true)]
async fn bound() {
    let mut store = Store::default();
    let losses = store.accept(&request(vec![gauge("a", 9_990), gauge("b", 15)]), Instant::now());
    assert_eq!((losses.beyond_limit, losses.unsupported), (5, 0));
    assert!(losses.reason.unwrap().contains("10000 series"));
    assert_eq!(shown(&mut store), 10_000);
    assert_eq!(store.accept(&request(vec![gauge("a", 9_990)]), Instant::now()), Losses::default());
    // Expiry makes room.
    tokio::time::advance(Duration::from_secs(300)).await;
    assert_eq!(store.accept(&request(vec![gauge("c", 10_000)]), Instant::now()), Losses::default());
}

/// Guarantees: what cannot be scraped is counted point by point, and told by name.
#[test]
fn unsupported() {
    let exponential = ExponentialHistogram {
        data_points: vec![ExponentialHistogramDataPoint::default(); 2],
        aggregation_temporality: 2,
    };
    let summary = Summary { data_points: vec![SummaryDataPoint::default(); 3] };
    let named = |name: &str, data| Metric { name: name.to_owned(), data: Some(data), ..Metric::default() };
    for (metric, lost) in [
        (sum("delta", 1), 1),
        (sum("unspecified", 0), 1),
        (sum("cumulative", 2), 0),
        (named("exponential", metric::Data::ExponentialHistogram(exponential)), 2),
        (named("summary", metric::Data::Summary(summary)), 3),
        (named("???", gauge("x", 1).data.unwrap()), 1),
        (Metric { name: "nothing".to_owned(), ..Metric::default() }, 0),
    ] {
        let name = metric.name.clone();
        let losses = Store::default().accept(&request(vec![metric]), Instant::now());
        assert_eq!((losses.unsupported, losses.beyond_limit), (lost, 0), "{name}");
        assert_eq!(losses.reason.is_some(), lost > 0);
        assert!(losses.reason.is_none_or(|reason| reason.starts_with(&name)));
    }
}

/// Guarantees: histograms that contradict themselves are losses; one without buckets has the infinite one.
#[test]
fn histograms() {
    for (metric, lost) in [
        (histogram(&[1, 2], &[0.5], 3), 0),
        (histogram(&[], &[], 3), 0),
        (histogram(&[1, 2, 3], &[0.5], 6), 1),
        (histogram(&[1, 2], &[0.5], 4), 1),
        (histogram(&[1, 1, 1], &[2.0, 1.0], 3), 1),
        (histogram(&[1, 2], &[f64::NAN], 3), 1),
        (histogram(&[u64::MAX, 2], &[0.5], 1), 1),
    ] {
        let mut store = Store::default();
        let losses = store.accept(&request(vec![metric.clone()]), Instant::now());
        assert_eq!(losses.unsupported, lost, "{metric:?}");
    }
    let mut store = Store::default();
    store.accept(&request(vec![histogram(&[], &[], 3)]), Instant::now());
    let family = &store.current(Instant::now()).0["h"];
    let expected = Value::Histogram { sum: 0.0, count: 3, buckets: vec![(f64::INFINITY, 3)] };
    assert_eq!(family.series.values().next().unwrap().value, expected);
}

/// Guarantees: one name has one type; the first one stays.
#[test]
fn conflicting_types() {
    let mut store = Store::default();
    let losses = store.accept(&request(vec![gauge("x", 1), sum("x", 2)]), Instant::now());
    assert_eq!((losses.unsupported, shown(&mut store)), (1, 1));
}

/// Guarantees: a point that says "no recorded value" ends its series.
#[test]
fn stale_points() {
    let mut store = Store::default();
    store.accept(&request(vec![gauge("x", 2)]), Instant::now());
    let mut ended = gauge("x", 1);
    if let Some(metric::Data::Gauge(gauge)) = &mut ended.data {
        gauge.data_points[0].flags = 1;
    }
    assert_eq!(store.accept(&request(vec![ended]), Instant::now()), Losses::default());
    assert_eq!(shown(&mut store), 1);
}

/// Guarantees: attributes whose names fall together are joined, so that no label stands twice on a line.
#[test]
fn colliding_labels() {
    let mut metric = gauge("x", 1);
    if let Some(metric::Data::Gauge(gauge)) = &mut metric.data {
        gauge.data_points[0].attributes =
            vec![attribute("a_b", "2"), attribute("a.b", "1"), attribute("a.b", "twice")];
    }
    let mut store = Store::default();
    store.accept(&request(vec![metric]), Instant::now());
    let labels: Vec<_> = store.current(Instant::now()).0["x"].series.keys().cloned().collect();
    assert_eq!(labels, [[("a_b".to_owned(), "1;2".to_owned())]]);
}
