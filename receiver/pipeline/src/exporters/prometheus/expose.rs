//! The page: OpenMetrics where the scraper asks for it, the classic text otherwise.

use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::exemplar::Exemplar;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use super::name::Kind;
use super::store::{Family, Labels, Store, Value};

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Renders the store.
pub(super) struct Page {
    registry: Registry,
}

impl Page {
    pub(super) fn new(store: Arc<Mutex<Store>>) -> Self {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Stored(store)));
        Self { registry }
    }

    pub(super) fn open_metrics(&self) -> Result<String, std::fmt::Error> {
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

/// `GET /metrics`.
pub(super) async fn metrics(State(page): State<Arc<Page>>, headers: HeaderMap) -> Response {
    let Ok(text) = page.open_metrics() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    if wants_open_metrics(&headers) {
        ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response()
    } else {
        ([(header::CONTENT_TYPE, CLASSIC)], classic(&text)).into_response()
    }
}

/// True when OpenMetrics 1.0.0 is named and text/plain is not preferred to it.
pub(super) fn wants_open_metrics(headers: &HeaderMap) -> bool {
    let (mut open, mut plain) = (0.0, 0.0);
    for accept in headers.get_all(header::ACCEPT) {
        for range in accept.to_str().unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let kind = parts.next().unwrap_or_default();
            let (mut quality, mut version) = (1.0_f64, None);
            for part in parts {
                match part.split_once('=') {
                    Some(("q", value)) => quality = value.parse().unwrap_or(0.0),
                    Some(("version", value)) => version = Some(value.trim_matches('"')),
                    _ => {}
                }
            }
            match kind {
                "application/openmetrics-text" if version.is_none_or(|version| version == "1.0.0") => {
                    open = quality.max(open);
                }
                "text/plain" => plain = quality.max(plain),
                _ => {}
            }
        }
    }
    open > 0.0 && open >= plain
}

/// The classic form of an OpenMetrics page: TYPE and HELP carry the names that the samples have, an info is a
/// gauge, and there is no end mark.
pub(super) fn classic(open_metrics: &str) -> String {
    let mut page = String::with_capacity(open_metrics.len() + 1024);
    let mut help: Option<&str> = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // Written with the TYPE that follows it, which decides the name.
            help = rest.split_once(' ').map(|(_, help)| help);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                other => ("", other),
            };
            // Writing into a String cannot fail.
            let _ = writeln!(page, "# HELP {name}{suffix} {}", help.take().unwrap_or_default());
            let _ = writeln!(page, "# TYPE {name}{suffix} {kind}");
        } else if line != "# EOF" {
            page.push_str(line);
            page.push('\n');
        }
    }
    page
}

/// The store as something that prometheus-client can ask.
#[derive(Debug)]
struct Stored(Arc<Mutex<Store>>);

impl Collector for Stored {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut store = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (families, targets) = store.current(Instant::now());
        for (name, family) in families {
            encode_family(&mut encoder, name, family)?;
        }
        let mut targets = targets.peekable();
        if targets.peek().is_some() {
            let help = "What the metrics come from.";
            let mut encoder = encoder.encode_descriptor("target", help, None, MetricType::Info)?;
            for labels in targets {
                encoder.encode_info(labels)?;
            }
        }
        Ok(())
    }
}

fn encode_family(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    family: &Family,
) -> Result<(), std::fmt::Error> {
    let kind = match family.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
    };
    let mut encoder = encoder.encode_descriptor(name, &family.help, None, kind)?;
    for (labels, series) in &family.series {
        encode_series(&mut encoder, labels, |encoder| encode_value(encoder, family.kind, &series.value))?;
    }
    Ok(())
}

/// An empty set of labels has no braces.
fn encode_series(
    encoder: &mut MetricEncoder<'_>,
    labels: &Labels,
    encode: impl FnOnce(&mut MetricEncoder<'_>) -> Result<(), std::fmt::Error>,
) -> Result<(), std::fmt::Error> {
    if labels.is_empty() { encode(encoder) } else { encode(&mut encoder.encode_family(labels)?) }
}

fn encode_value(encoder: &mut MetricEncoder<'_>, kind: Kind, value: &Value) -> Result<(), std::fmt::Error> {
    let no_exemplar = None::<&Exemplar<NoLabelSet, f64>>;
    match (kind, value) {
        (Kind::Counter, Value::Whole(whole)) => match u64::try_from(*whole) {
            Ok(whole) => encoder.encode_counter(&whole, no_exemplar),
            Err(_) => encoder.encode_counter(&(*whole as f64), no_exemplar),
        },
        (Kind::Counter, Value::Real(real)) => encoder.encode_counter(real, no_exemplar),
        (_, Value::Whole(whole)) => encoder.encode_gauge(whole),
        (_, Value::Real(real)) => encoder.encode_gauge(real),
        (_, Value::Histogram { sum, count, buckets }) => {
            encoder.encode_histogram::<NoLabelSet>(*sum, *count, buckets, None)
        }
    }
}
