//! What the unit tests of components have in common: a telemetry and a host that remember, a sink that obeys.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    profiles::v1development::ExportProfilesServiceRequest,
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::profiles::v1development::{
    Function, Line, Location, Mapping, Profile, ResourceProfiles, Sample, ScopeProfiles, ValueType,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::component::{
    BuildContext, ComponentId, Consumer, ExporterFactory, ExtensionFactory, Host, Loss, ProcessorFactory,
    Refused, Status, Telemetry,
};
use crate::config::{Problems, Settings};
use crate::data::{Data, Dictionary, Signal};

/// Remembers all that it is told.
#[derive(Default)]
pub(crate) struct Ledger {
    lost: Mutex<BTreeMap<&'static str, u64>>,
    delivered: AtomicU64,
    pub(crate) usage: Mutex<Vec<f64>>,
}

impl Ledger {
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered.load(Ordering::SeqCst)
    }

    pub(crate) fn lost(&self, stage: &str) -> u64 {
        self.lost.lock().unwrap().get(stage).copied().unwrap_or(0)
    }

    pub(crate) fn all_lost(&self) -> u64 {
        self.lost.lock().unwrap().values().sum()
    }
}

impl Telemetry for Ledger {
    fn lost(&self, _signal: Signal, loss: Loss) {
        *self.lost.lock().unwrap().entry(loss.stage).or_default() += loss.count;
    }

    fn delivered(&self, _signal: Signal, _exporter: &ComponentId, items: u64) {
        self.delivered.fetch_add(items, Ordering::SeqCst);
    }

    fn queue_usage(&self, _component: &ComponentId, used: f64) {
        self.usage.lock().unwrap().push(used);
    }
}

/// Remembers the reports, and shows the statuses it is given.
#[derive(Default)]
pub(crate) struct Board {
    pub(crate) reports: Mutex<Vec<(Status, Option<String>)>>,
    pub(crate) shown: Mutex<Vec<(ComponentId, Status, Option<String>)>>,
}

impl Board {
    pub(crate) fn statuses_reported(&self) -> Vec<Status> {
        self.reports.lock().unwrap().iter().map(|(status, _)| *status).collect()
    }
}

impl Host for Board {
    fn report(&self, _component: &ComponentId, status: Status, reason: Option<String>) {
        self.reports.lock().unwrap().push((status, reason));
    }

    fn statuses(&self) -> Vec<(ComponentId, Status, Option<String>)> {
        self.shown.lock().unwrap().clone()
    }
}

/// A context for a component of type `kind`, with what it counts and reports.
pub(crate) fn context(kind: &str) -> (BuildContext, Arc<Ledger>, Arc<Board>) {
    let (ledger, board) = (Arc::new(Ledger::default()), Arc::new(Board::default()));
    let id = ComponentId::parse(kind).unwrap();
    (BuildContext { id, telemetry: ledger.clone(), host: board.clone() }, ledger, board)
}

/// Keeps what it consumes, unless it is told to refuse.
#[derive(Default)]
pub(crate) struct Sink {
    pub(crate) taken: Mutex<Vec<Data>>,
    pub(crate) refuse: Mutex<Option<Refused>>,
}

impl Sink {
    /// The items of each request taken.
    pub(crate) fn sizes(&self) -> Vec<usize> {
        self.taken.lock().unwrap().iter().map(Data::items).collect()
    }
}

#[async_trait]
impl Consumer for Sink {
    async fn consume(&self, data: Data) -> Result<(), Refused> {
        if let Some(refused) = self.refuse.lock().unwrap().clone() {
            return Err(refused);
        }
        self.taken.lock().unwrap().push(data);
        Ok(())
    }
}

pub(crate) fn text_value(text: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) })
}

pub(crate) fn attribute(key: &str, value: &str) -> KeyValue {
    KeyValue { key: key.to_owned(), value: text_value(value), ..KeyValue::default() }
}

pub(crate) fn resource(attributes: &[(&str, &str)]) -> Resource {
    Resource {
        attributes: attributes.iter().map(|(key, value)| attribute(key, value)).collect(),
        ..Resource::default()
    }
}

pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "hunter".to_owned(), version: "1.2.3".to_owned(), ..Default::default() }
}

/// One resource with log records whose bodies are `bodies`.
pub(crate) fn logs_of(bodies: &[&str]) -> Data {
    let record = |body: &&str| LogRecord {
        time_unix_nano: 1_764_032_523_456_789_012,
        severity_number: 17,
        event_name: "hunter.leak.detected".to_owned(),
        body: text_value(body),
        ..LogRecord::default()
    };
    Data::Logs(ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(resource(&[("service.name", "api")])),
            scope_logs: vec![ScopeLogs {
                scope: Some(scope()),
                log_records: bodies.iter().map(record).collect(),
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    })
}

/// `count` log records in one resource.
pub(crate) fn logs(count: usize) -> Data {
    logs_of(&vec!["a sentence"; count])
}

/// One resource with `metrics`.
pub(crate) fn metrics_of(metrics: Vec<Metric>) -> Data {
    Data::Metrics(ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource(&[("service.name", "hunter"), ("service.version", "1.2.3")])),
            scope_metrics: vec![ScopeMetrics { scope: Some(scope()), metrics, ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        }],
    })
}

/// A point with one label, `n`.
pub(crate) fn point(n: usize, value: i64) -> NumberDataPoint {
    NumberDataPoint {
        attributes: vec![attribute("n", &n.to_string())],
        value: Some(number_data_point::Value::AsInt(value)),
        ..NumberDataPoint::default()
    }
}

/// A gauge called `name` with `count` points.
pub(crate) fn gauge(name: &str, count: usize) -> Metric {
    let data_points = (0..count).map(|n| point(n, 1)).collect();
    Metric {
        name: name.to_owned(),
        description: "A gauge.".to_owned(),
        data: Some(metric::Data::Gauge(Gauge { data_points })),
        ..Metric::default()
    }
}

/// One profile of one resource: for each name a sample with a stack of that function and `main`, and its bytes.
pub(crate) fn profiles(samples: &[(&str, i64)]) -> Data {
    let mut dictionary = Dictionary::default();
    let filename_strindex = dictionary.string("/usr/bin/api");
    let mapping_index = dictionary.mapping(Mapping { filename_strindex, ..Mapping::default() });
    let at = |dictionary: &mut Dictionary, name: &str, address: u64| {
        let (name_strindex, filename_strindex) = (dictionary.string(name), dictionary.string("session.cc"));
        let function = Function { name_strindex, filename_strindex, ..Function::default() };
        let line = Line { function_index: dictionary.function(function), line: 7, column: 0 };
        dictionary.location(Location { mapping_index, address, lines: vec![line], ..Location::default() })
    };
    let samples = samples.iter().zip(1_u64..).map(|((name, bytes), index)| {
        let inner = at(&mut dictionary, name, 4096 * index);
        let stack = vec![inner, at(&mut dictionary, "main", 64)];
        let operation = text_value("malloc").unwrap_or_default();
        Sample {
            stack_index: dictionary.stack(stack),
            attribute_indices: vec![dictionary.attribute("operation", operation)],
            values: vec![*bytes],
            ..Sample::default()
        }
    });
    let samples = samples.collect();
    let value_type = ValueType {
        type_strindex: dictionary.string("inuse_space"),
        unit_strindex: dictionary.string("bytes"),
    };
    let profile = Profile {
        sample_type: Some(value_type),
        samples,
        time_unix_nano: 1_764_032_523_456_789_012,
        profile_id: vec![7; 16],
        ..Profile::default()
    };
    Data::Profiles(ExportProfilesServiceRequest {
        resource_profiles: vec![ResourceProfiles {
            resource: Some(resource(&[("service.name", "api")])),
            scope_profiles: vec![ScopeProfiles {
                scope: Some(scope()),
                profiles: vec![profile],
                ..ScopeProfiles::default()
            }],
            ..ResourceProfiles::default()
        }],
        dictionary: Some(dictionary.into()),
    })
}

/// What the settings of a processor yield.
pub(crate) fn configure_processor(
    factory: &impl ProcessorFactory,
    yaml: &str,
) -> Result<Box<dyn crate::component::ProcessorBlueprint>, Problems> {
    Settings::of_text(yaml, |settings| factory.configure(settings)).map(|(blueprint, _)| blueprint)
}

/// What the settings of an exporter yield.
pub(crate) fn configure_exporter(
    factory: &impl ExporterFactory,
    yaml: &str,
) -> Result<Box<dyn crate::component::ExporterBlueprint>, Problems> {
    Settings::of_text(yaml, |settings| factory.configure(settings)).map(|(blueprint, _)| blueprint)
}

/// What the settings of an extension yield.
pub(crate) fn configure_extension(
    factory: &impl ExtensionFactory,
    yaml: &str,
) -> Result<Box<dyn crate::component::ExtensionBlueprint>, Problems> {
    Settings::of_text(yaml, |settings| factory.configure(settings)).map(|(blueprint, _)| blueprint)
}

/// The complaints about a text, one a line.
pub(crate) fn complaints<T>(result: Result<T, Problems>) -> String {
    match result {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string(),
    }
}

/// The log lines of this thread, from its making until it is dropped.
pub(crate) struct Logbook {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Logbook {
    pub(crate) fn open() -> Self {
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let writer = Arc::clone(&text);
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || Page(Arc::clone(&writer)))
            .finish();
        Self { text, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// The lines that hold `words`.
    pub(crate) fn lines(&self, words: &str) -> Vec<String> {
        let text = String::from_utf8(self.text.lock().unwrap().clone()).unwrap();
        text.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    }
}

struct Page(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Page {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Lets every task run that can, without letting time pass.
pub(crate) async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

/// `GET path`: the status line, the headers and the body.
pub(crate) async fn http_get(
    address: std::net::SocketAddr,
    path: &str,
    headers: &str,
) -> (String, String, String) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let (status, headers) = head.split_once("\r\n").unwrap();
    (status.to_owned(), headers.to_lowercase(), body.to_owned())
}
