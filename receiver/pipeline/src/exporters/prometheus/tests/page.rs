use std::sync::{Arc, Mutex};

use axum::http::{HeaderMap, header};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum, metric, number_data_point::Value,
};
use tokio::time::Instant;

use super::super::expose::{Page, classic, wants_open_metrics};
use super::super::store::Store;
use crate::data::Data;
use crate::testing::{attribute, metrics_of};

fn number(labels: &[(&str, &str)], value: Value) -> NumberDataPoint {
    NumberDataPoint {
        attributes: labels.iter().map(|(key, value)| attribute(key, value)).collect(),
        value: Some(value),
        ..NumberDataPoint::default()
    }
}

fn metric(name: &str, unit: &str, description: &str, data: metric::Data) -> Metric {
    Metric {
        name: name.to_owned(),
        unit: unit.to_owned(),
        description: description.to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

/// One of each kind, with the peculiarities that break pages.
fn some_of_each() -> Data {
    let sum = |points: Vec<NumberDataPoint>, is_monotonic| {
        metric::Data::Sum(Sum { data_points: points, aggregation_temporality: 2, is_monotonic })
    };
    let histogram = HistogramDataPoint {
        count: 6,
        sum: Some(7.5),
        bucket_counts: vec![1, 2, 3],
        explicit_bounds: vec![0.5, 1.0],
        ..HistogramDataPoint::default()
    };
    let histogram = Histogram { data_points: vec![histogram], aggregation_temporality: 2 };
    let level = vec![
        number(&[("target.container", "a\"b\\c\nd")], Value::AsDouble(-0.25)),
        number(&[("target.container", "z")], Value::AsInt(i64::MIN)),
    ];
    metrics_of(vec![
        metric(
            "hunter.events",
            "{event}",
            "Events \"seen\".\nAll of them.",
            sum(vec![number(&[], Value::AsInt(3))], true),
        ),
        metric(
            "hunter.sent",
            "By",
            "Bytes sent.",
            sum(vec![number(&[("stage", "queue")], Value::AsDouble(1.5))], true),
        ),
        metric("hunter.open", "", "Open things.", sum(vec![number(&[], Value::AsInt(2))], false)),
        metric("hunter.level", "", "The level.", metric::Data::Gauge(Gauge { data_points: level })),
        metric("hunter.took_ms", "", "How long it took.", metric::Data::Histogram(histogram)),
    ])
}

fn rendered() -> String {
    let mut store = Store::default();
    if let Data::Metrics(request) = some_of_each() {
        assert_eq!(store.accept(&request, Instant::now()), Default::default());
    }
    Page::new(Arc::new(Mutex::new(store))).open_metrics().unwrap()
}

/// Guarantees: the OpenMetrics page, byte for byte.
#[test]
fn open_metrics() {
    let expected = r#"# HELP hunter_events Events 'seen'. All of them.
# TYPE hunter_events counter
hunter_events_total 3
# HELP hunter_level The level.
# TYPE hunter_level gauge
hunter_level{target_container="a\"b\\c\nd"} -0.25
hunter_level{target_container="z"} -9223372036854775808
# HELP hunter_open Open things.
# TYPE hunter_open gauge
hunter_open 2
# HELP hunter_sent_bytes Bytes sent.
# TYPE hunter_sent_bytes counter
hunter_sent_bytes_total{stage="queue"} 1.5
# HELP hunter_took_ms How long it took.
# TYPE hunter_took_ms histogram
hunter_took_ms_sum 7.5
hunter_took_ms_count 6
hunter_took_ms_bucket{le="0.5"} 1
hunter_took_ms_bucket{le="1.0"} 3
hunter_took_ms_bucket{le="+Inf"} 6
# HELP target What the metrics come from.
# TYPE target info
target_info{service_name="hunter",service_version="1.2.3"} 1
# EOF
"#;
    assert_eq!(rendered(), expected);
}

/// Guarantees: the classic page: names in TYPE and HELP are those of the samples, and there is no end mark.
#[test]
fn classic_text() {
    let expected = rendered()
        .replace("# HELP hunter_events ", "# HELP hunter_events_total ")
        .replace("# TYPE hunter_events ", "# TYPE hunter_events_total ")
        .replace("# HELP hunter_sent_bytes ", "# HELP hunter_sent_bytes_total ")
        .replace("# TYPE hunter_sent_bytes ", "# TYPE hunter_sent_bytes_total ")
        .replace("# HELP target ", "# HELP target_info ")
        .replace("# TYPE target info", "# TYPE target_info gauge")
        .replace("# EOF\n", "");
    assert_eq!(classic(&rendered()), expected);
}

/// Guarantees: an empty store is a valid page.
#[test]
fn empty() {
    let page = Page::new(Arc::new(Mutex::new(Store::default()))).open_metrics().unwrap();
    assert_eq!((page.as_str(), classic(&page).as_str()), ("# EOF\n", ""));
}

/// Guarantees: OpenMetrics goes to those who ask for it and do not prefer the classic text.
#[test]
fn negotiation() {
    let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.7,\
        application/openmetrics-text;version=0.0.1;q=0.6,text/plain;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4,*/*;q=0.3";
    for (accept, open) in [
        (None, false),
        (Some("*/*"), false),
        (Some("text/plain"), false),
        (Some("application/openmetrics-text"), true),
        (Some("application/openmetrics-text; version=\"1.0.0\""), true),
        (Some("application/openmetrics-text;version=0.0.1"), false),
        (Some("application/openmetrics-text;q=0"), false),
        (Some("application/openmetrics-text;q=0.1, text/plain;q=0.9"), false),
        (Some("application/openmetrics-text;q=junk"), false),
        (Some(prometheus_3), true),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(header::ACCEPT, accept.parse().unwrap());
        }
        assert_eq!(wants_open_metrics(&headers), open, "{accept:?}");
    }
}
