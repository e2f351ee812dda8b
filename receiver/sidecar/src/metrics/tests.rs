use opentelemetry_proto::tonic::common::v1::{KeyValue as OtlpKeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data, number_data_point};

use super::*;

mod look;

fn metrics() -> Metrics {
    Metrics::new(&HostIdentity::default())
}

fn collected(metrics: &Metrics) -> Vec<Metric> {
    let mut request = metrics.collect().unwrap();
    assert_eq!(request.resource_metrics.len(), 1);
    let mut scopes = request.resource_metrics.remove(0).scope_metrics;
    assert_eq!(scopes.len(), 1);
    scopes.remove(0).metrics
}

fn labels(attributes: &[OtlpKeyValue]) -> String {
    let mut labels: Vec<String> = attributes
        .iter()
        .map(|attribute| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
            Some(Value::StringValue(text)) => format!("{}={text}", attribute.key),
            other => panic!("{other:?}"),
        })
        .collect();
    labels.sort();
    labels.join(",")
}

/// Every series as `name{labels}` and its value; a histogram's is its count.
fn series(metrics: &Metrics) -> BTreeMap<String, f64> {
    let mut series = BTreeMap::new();
    for metric in collected(metrics) {
        let mut add = |attributes: &[OtlpKeyValue], value: f64| {
            let name = metric.name.strip_prefix("memory_leak_hunter_").unwrap();
            assert_eq!(
                series.insert(format!("{name}{{{}}}", labels(attributes)), value),
                None,
                "a series twice"
            );
        };
        let number = |value: &Option<number_data_point::Value>| match value {
            Some(number_data_point::Value::AsInt(integer)) => *integer as f64,
            Some(number_data_point::Value::AsDouble(number)) => *number,
            None => panic!("no value"),
        };
        match metric.data.as_ref().unwrap() {
            Data::Gauge(gauge) => {
                // a point that tells of the end of a series is no series
                let points = gauge.data_points.iter().filter(|point| point.flags == 0);
                points.for_each(|p| add(&p.attributes, number(&p.value)));
            }
            Data::Sum(sum) => {
                assert!(sum.is_monotonic);
                sum.data_points.iter().for_each(|p| add(&p.attributes, number(&p.value)));
            }
            Data::Histogram(histogram) => {
                histogram.data_points.iter().for_each(|p| add(&p.attributes, p.count as f64));
            }
            other => panic!("{other:?}"),
        }
    }
    series
}

/// Guarantees: the first collection holds every promised metric at zero, the losses of every known stage too,
/// save the mode that is on.
#[test]
fn everything_stands_at_zero_from_the_first_collection() {
    let mut series = series(&metrics());
    assert_eq!(series.remove("mode{mode=growth_detection}"), Some(1.0));
    for name in [
        "events_processed{}",
        "errors{stage=sweep}",
        "errors{stage=decode}",
        "processing_duration_ms{}",
        "dropped_events{signal=logs,stage=rate_limit}",
        "dropped_events{signal=logs,stage=channel}",
        "dropped_events{signal=logs,stage=queue_full}",
        "dropped_events{signal=metrics,stage=queue_full}",
        "buffer_usage{}",
        "allocations_tracked{}",
        "deallocations_tracked{}",
        "rss_growth_detected{}",
        "unfreed_memory_bytes{}",
        "largest_allocation_bytes{}",
        "overhead_ratio{}",
        "kernel_memory_bytes{}",
        "target_seconds{}",
        "mode{mode=targeted}",
        "mode{mode=debug}",
        "suspects{}",
        "leaks{}",
        "leaks_recurred{}",
        "errors{stage=state}",
        "sweep_duration_seconds{}",
    ] {
        assert_eq!(series.get(name), Some(&0.0), "{name} in {series:#?}");
    }
    assert!(series.values().all(|value| *value == 0.0), "{series:#?}");
}

/// Guarantees: each way of counting moves its own series and no other, and histograms keep their buckets when
/// the first value arrives.
#[test]
fn what_is_counted_moves() {
    let metrics = metrics();
    let before = series(&metrics);
    metrics.events_processed(3);
    metrics.errors("sweep", 2);
    metrics.rss_growth_detected(4);
    metrics.processing_duration(Duration::from_micros(1500));
    metrics.sweep_duration(Duration::from_micros(700));
    metrics.lost(Signal::Logs, Loss { stage: stage::RATE_LIMIT, count: 5 });
    metrics.lost(Signal::Metrics, Loss { stage: "queue_full", count: 6 });
    metrics.delivered(Signal::Logs, &ComponentId::parse("otlp_grpc/far").unwrap(), 7);
    metrics.set_watch(2, 1, vec![], vec![]);

    let lost = [(("queue_full", "metrics"), 6), (("rate_limit", "logs"), 5)];
    assert_eq!(metrics.losses(), lost.into());
    let after = series(&metrics);
    let moved: Vec<(&str, f64)> = after
        .iter()
        .filter(|(name, value)| before.get(*name) != Some(value))
        .map(|(name, value)| (name.as_str(), *value))
        .collect();
    assert_eq!(
        moved,
        [
            ("dropped_events{signal=logs,stage=rate_limit}", 5.0),
            ("dropped_events{signal=metrics,stage=queue_full}", 6.0),
            ("errors{stage=sweep}", 2.0),
            ("events_processed{}", 3.0),
            ("exported_items{exporter=otlp_grpc/far,signal=logs}", 7.0),
            ("leaks{}", 1.0),
            ("processing_duration_ms{}", 1.0),
            ("rss_growth_detected{}", 4.0),
            ("suspects{}", 2.0),
            ("sweep_duration_seconds{}", 1.0),
        ]
    );

    let shape = |collected: &[Metric], name: &str| {
        let metric = collected.iter().find(|metric| metric.name == name).unwrap();
        let Some(Data::Histogram(histogram)) = &metric.data else { panic!("{metric:?}") };
        let point = &histogram.data_points[0];
        assert_eq!(point.bucket_counts.len(), point.explicit_bounds.len() + 1);
        assert_eq!(histogram.aggregation_temporality, 2, "cumulative");
        (metric.unit.clone(), metric.description.clone(), point.explicit_bounds.clone(), point.sum)
    };
    let (empty, filled) = (collected(&super::tests::metrics()), collected(&metrics));
    for (name, sum) in [
        ("memory_leak_hunter_processing_duration_ms", 1.5),
        ("memory_leak_hunter_sweep_duration_seconds", 0.0007),
    ] {
        let (empty, filled) = (shape(&empty, name), shape(&filled, name));
        assert_eq!((&empty.0, &empty.1, &empty.2), (&filled.0, &filled.1, &filled.2));
        assert_eq!((empty.3, filled.3), (Some(0.0), Some(sum)));
    }
}

/// Guarantees: buffer usage is the fullest of the channel and all queues, within 0..=1 whatever is reported.
#[test]
fn buffer_usage_is_the_fullest() {
    let metrics = metrics();
    let usage = || series(&metrics)["buffer_usage{}"];
    let [near, far] = ["otlp_grpc", "otlp_grpc/far"].map(|id| ComponentId::parse(id).unwrap());
    metrics.buffer_usage(0.25);
    assert_eq!(usage(), 0.25);
    metrics.queue_usage(&near, 0.5);
    metrics.queue_usage(&far, 0.125);
    assert_eq!(usage(), 0.5);
    metrics.queue_usage(&near, 0.0);
    assert_eq!(usage(), 0.25);
    metrics.queue_usage(&near, 17.0);
    assert_eq!(usage(), 1.0);
    metrics.queue_usage(&near, f64::NAN);
    assert_eq!(usage(), 0.25);
}

fn velocity(container: Option<&str>, executable: &str, bytes_per_second: f64) -> Velocity {
    Velocity { container: container.map(str::to_owned), executable: executable.to_owned(), bytes_per_second }
}

fn velocities(metrics: &Metrics) -> Vec<(String, f64)> {
    let mut series = series(metrics);
    series.retain(|name, _| name.starts_with("leak_velocity"));
    series
        .into_iter()
        .map(|(name, value)| (name.replace("leak_velocity_bytes_per_second", ""), value))
        .collect()
}

/// Guarantees: processes with equal labels are summed, one without a container has no such label, and a velocity
/// that is no longer reported is gone from the next collection instead of standing for ever.
#[test]
fn velocities_come_and_go() {
    let metrics = metrics();
    assert_eq!(velocities(&metrics), []);
    metrics.set_watch(
        4,
        0,
        vec![
            velocity(Some("4f1e"), "api", 100.0),
            velocity(None, "api", 7.0),
            velocity(Some("4f1e"), "api", 50.0),
            velocity(None, "broken", f64::NAN),
        ],
        vec![],
    );
    assert_eq!(
        velocities(&metrics),
        [
            ("{target_container=4f1e,target_executable=api}".to_owned(), 150.0),
            ("{target_executable=api}".to_owned(), 7.0)
        ]
    );
    metrics.set_watch(1, 0, vec![velocity(None, "api", 8.0)], vec![]);
    assert_eq!(velocities(&metrics), [("{target_executable=api}".to_owned(), 8.0)]);
    metrics.set_watch(0, 0, vec![], vec![]);
    assert_eq!(velocities(&metrics), []);
}

/// Guarantees: however many processes grow, only the fastest twenty become series.
#[test]
fn velocities_are_capped_to_the_fastest() {
    let metrics = metrics();
    let all = (0..500).map(|n| velocity(None, &format!("worker-{n}"), f64::from(n))).collect();
    metrics.set_watch(500, 0, all, vec![]);
    let kept = velocities(&metrics);
    assert_eq!(kept.len(), TOP_VELOCITIES);
    assert!(kept.iter().all(|(_, value)| *value >= 480.0), "{kept:?}");
}

/// Guarantees: of the times to OOM only the twenty shortest become series, one a container, and what is not finite none.
#[test]
fn times_to_oom_are_capped_to_the_soonest() {
    let metrics = metrics();
    let time = |container: String, seconds| TimeToOom { container, seconds };
    let mut all: Vec<_> = (0..500).map(|n| time(format!("c{n:03}"), f64::from(n))).collect();
    all.extend([time("c005".to_owned(), 600.0), time("never".to_owned(), f64::INFINITY)]);
    metrics.set_watch(0, 0, vec![], all);
    let kept: Vec<_> =
        series(&metrics).into_iter().filter(|(name, _)| name.starts_with("time_to_oom_seconds")).collect();
    assert_eq!(kept.len(), TOP_VELOCITIES, "{kept:?}");
    assert!(kept.iter().all(|(_, seconds)| *seconds < 20.0), "{kept:?}");
    let five = kept.iter().find(|(name, _)| name.contains("c005"));
    assert_eq!(five.map(|(_, seconds)| *seconds), Some(5.0));
}

/// Guarantees: the metrics belong to the sidecar: product, version, an instance of its own, its host and pod.
#[test]
fn the_resource_is_the_sidecar() {
    let host = HostIdentity {
        name: Some("node-1".to_owned()),
        pod: Some(OwnPod { uid: "u".to_owned(), name: Some("mlh-x".to_owned()), namespace: None }),
        ..HostIdentity::default()
    };
    let request = Metrics::new(&host).collect().unwrap();
    let resource = &request.resource_metrics[0];
    assert_eq!(resource.schema_url, "https://opentelemetry.io/schemas/1.42.0");
    let attributes = labels(&resource.resource.as_ref().unwrap().attributes);
    let (before, rest) = attributes.split_once("service.instance.id=").unwrap();
    let (instance, after) = rest.split_once(',').unwrap();
    assert_eq!(before, "host.name=node-1,k8s.pod.name=mlh-x,k8s.pod.uid=u,");
    assert_eq!(instance.parse::<Uuid>().unwrap().get_version_num(), 4);
    assert_eq!(
        after,
        format!("service.name=memory-leak-hunter,service.version={}", env!("CARGO_PKG_VERSION"))
    );
    let scope = resource.scope_metrics[0].scope.as_ref().unwrap();
    assert_eq!(
        (scope.name.as_str(), scope.version.as_str()),
        ("memory_leak_hunter", env!("CARGO_PKG_VERSION"))
    );
}

/// The name that a Collector or Prometheus gives to an OTLP metric: the unit's word and `total` are appended
/// where the name does not have them yet.
fn prometheus_name(metric: &Metric) -> String {
    let (counter, gauge) = match metric.data.as_ref().unwrap() {
        Data::Sum(_) => (true, false),
        Data::Gauge(_) => (false, true),
        _ => (false, false),
    };
    let unit = match metric.unit.as_str() {
        "" => "",
        "s" => "seconds",
        "By" => "bytes",
        "1" if gauge => "ratio",
        braces if braces.starts_with('{') && braces.ends_with('}') => "",
        unit => panic!("{}: {unit} would be appended", metric.name),
    };
    let mut name = metric.name.clone();
    for word in [unit, if counter { "total" } else { "" }] {
        if !word.is_empty() && !name.split('_').any(|token| token == word) {
            name.push('_');
            name.push_str(word);
        }
    }
    name
}

/// Guarantees: on both roads, OTLP translated by Prometheus or the Collector and our own scrape endpoint, the
/// series have exactly the names that dashboards and alerts are written against.
#[test]
fn the_names_in_prometheus() {
    let metrics = metrics();
    let time = TimeToOom { container: "4f1e".to_owned(), seconds: 90.0 };
    metrics.set_watch(1, 0, vec![velocity(None, "api", 1.0)], vec![time]);
    metrics.delivered(Signal::Logs, &ComponentId::parse("debug").unwrap(), 1);
    let mut names: Vec<String> = collected(&metrics).iter().map(prometheus_name).collect();
    names.sort();
    let expected = [
        "allocations_tracked_total",
        "buffer_usage",
        "deallocations_tracked_total",
        "dropped_events_total",
        "errors_total",
        "events_processed_total",
        "exported_items_total",
        "kernel_memory_bytes",
        "largest_allocation_bytes",
        "leak_velocity_bytes_per_second",
        "leaks",
        "leaks_recurred_total",
        "mode",
        "overhead_ratio",
        "processing_duration_ms",
        "rss_growth_detected_total",
        "suspects",
        "sweep_duration_seconds",
        "target_seconds_total",
        "time_to_oom_seconds",
        "unfreed_memory_bytes",
    ];
    assert_eq!(names, expected.map(|name| format!("memory_leak_hunter_{name}")));
}

/// Guarantees: when a container's series ends, that is told to those who keep the last value, three times in case a request
/// is lost, and no longer; one that comes back is a series again.
#[test]
fn the_end_of_a_series_is_told() {
    let metrics = metrics();
    let standing = |there: bool| {
        let time = TimeToOom { container: "4f1e".to_owned(), seconds: 90.0 };
        let (velocities, times) = (vec![velocity(Some("4f1e"), "api", 8.0)], vec![time]);
        if there {
            metrics.set_watch(0, 1, velocities, times);
        } else {
            metrics.set_watch(0, 0, vec![], vec![]);
        }
    };
    let flags = |name: &str| -> Vec<u32> {
        let all = collected(&metrics);
        let gauges = all.iter().filter(|metric| metric.name.ends_with(name)).filter_map(|m| match &m.data {
            Some(Data::Gauge(gauge)) => Some(gauge.data_points.clone()),
            _ => None,
        });
        gauges.flatten().map(|point| point.flags).collect()
    };
    for name in ["leak_velocity_bytes_per_second", "time_to_oom_seconds"] {
        standing(true);
        assert_eq!(flags(name), [0]);
        standing(false);
        for _ in 0..3 {
            assert_eq!(flags(name), [1], "{name}");
        }
        assert_eq!(flags(name), [] as [u32; 0]);
        standing(true);
        assert_eq!(flags(name), [0]);
    }
}
