//! Factories whose parts write down what happens to them.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytesize::ByteSize;
use mlh_pipeline::component::{
    BuildContext, BuiltConsumer, Component, ComponentError, ComponentId, Consumer, Description,
    ExporterBlueprint, ExporterFactory, ExtensionBlueprint, ExtensionFactory, Factories, Host, Loss, Outputs,
    ProcessorBlueprint, ProcessorFactory, ReceiverBlueprint, ReceiverFactory, Refused, Stability, Status,
    Telemetry,
};
use mlh_pipeline::config::{Choice, Endpoint, Settings};
use mlh_pipeline::data::{Data, Signal};

/// What has happened, in order, and the outputs of every receiver that was built.
#[derive(Default)]
pub(crate) struct Journal {
    pub(crate) lines: Mutex<Vec<String>>,
    pub(crate) outputs: Mutex<HashMap<String, Outputs>>,
    pub(crate) hosts: Mutex<HashMap<String, Vec<Arc<dyn Host>>>>,
}

impl Journal {
    pub(crate) fn write(&self, line: String) {
        self.lines.lock().unwrap().push(line);
    }

    /// The lines since the last call.
    pub(crate) fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.lines.lock().unwrap())
    }

    pub(crate) fn outputs(&self, receiver: &str) -> Outputs {
        self.outputs.lock().unwrap()[receiver].clone()
    }

    pub(crate) fn hosts(&self, id: &str) -> Vec<Arc<dyn Host>> {
        self.hosts.lock().unwrap()[id].clone()
    }
}

pub(crate) struct NoTelemetry;

impl Telemetry for NoTelemetry {
    fn lost(&self, _: Signal, _: Loss) {}
    fn delivered(&self, _: Signal, _: &ComponentId, _: u64) {}
    fn queue_usage(&self, _: &ComponentId, _: f64) {}
}

/// The newest usage of every queue.
#[derive(Default)]
pub(crate) struct Usages(pub(crate) Mutex<BTreeMap<String, f64>>);

impl Telemetry for Usages {
    fn lost(&self, _: Signal, _: Loss) {}
    fn delivered(&self, _: Signal, _: &ComponentId, _: u64) {}
    fn queue_usage(&self, component: &ComponentId, used: f64) {
        self.0.lock().unwrap().insert(component.to_string(), used);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) enum Behaviour {
    #[default]
    Well,
    HangsInShutdown,
    HangsInStart,
    FailsToStart,
    FailsToStop,
    Refuses,
    RefusesForEver,
    CannotBeBuilt,
    ReportsTrouble,
}

impl Choice for Behaviour {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("well", Self::Well),
        ("hangs_in_shutdown", Self::HangsInShutdown),
        ("hangs_in_start", Self::HangsInStart),
        ("fails_to_start", Self::FailsToStart),
        ("fails_to_stop", Self::FailsToStop),
        ("refuses", Self::Refuses),
        ("refuses_for_ever", Self::RefusesForEver),
        ("cannot_be_built", Self::CannotBeBuilt),
        ("reports_trouble", Self::ReportsTrouble),
    ];
}

struct Part {
    context: BuildContext,
    journal: Arc<Journal>,
    behaviour: Behaviour,
}

impl Part {
    fn build(
        context: BuildContext,
        journal: &Arc<Journal>,
        behaviour: Behaviour,
    ) -> Result<Box<Self>, ComponentError> {
        if behaviour == Behaviour::CannotBeBuilt {
            return Err(ComponentError { component: context.id, reason: "no such device".to_owned() });
        }
        let host = Arc::clone(&context.host);
        journal.hosts.lock().unwrap().entry(context.id.to_string()).or_default().push(host);
        Ok(Box::new(Self { context, journal: Arc::clone(journal), behaviour }))
    }

    fn error(&self, reason: &str) -> ComponentError {
        ComponentError { component: self.context.id.clone(), reason: reason.to_owned() }
    }
}

#[async_trait]
impl Component for Part {
    async fn start(&mut self) -> Result<(), ComponentError> {
        self.journal.write(format!("start {}", self.context.id));
        match self.behaviour {
            Behaviour::HangsInStart => std::future::pending().await,
            Behaviour::FailsToStart => Err(self.error("port taken")),
            Behaviour::ReportsTrouble => {
                let reason = Some("no answer".to_owned());
                self.context.host.report(&self.context.id, Status::RecoverableError, reason);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    async fn shutdown(&mut self) -> Result<(), ComponentError> {
        self.journal.write(format!("stop {}", self.context.id));
        match self.behaviour {
            Behaviour::HangsInShutdown => std::future::pending().await,
            Behaviour::FailsToStop => Err(self.error("disk full")),
            _ => Ok(()),
        }
    }
}

/// Takes data and passes it on, or refuses it.
struct Taker {
    id: ComponentId,
    journal: Arc<Journal>,
    behaviour: Behaviour,
    next: Option<Arc<dyn Consumer>>,
}

#[async_trait]
impl Consumer for Taker {
    async fn consume(&self, data: Data) -> Result<(), Refused> {
        self.journal.write(format!("{} got {}", self.id, data.signal()));
        match self.behaviour {
            Behaviour::Refuses => Err(Refused::Retryable(format!("{} is full", self.id))),
            Behaviour::RefusesForEver => Err(Refused::Permanent(format!("{} cannot", self.id))),
            _ => match &self.next {
                Some(next) => next.consume(data).await,
                None => Ok(()),
            },
        }
    }
}

const BOTH: &[(Signal, Stability)] = &[(Signal::Logs, Stability::Beta), (Signal::Metrics, Stability::Alpha)];

/// A setting of every type there is.
pub(crate) struct Source(pub(crate) Arc<Journal>);

struct SourceBlueprint {
    journal: Arc<Journal>,
    enabled: bool,
    behaviour: Behaviour,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mode {
    Growth,
    Targeted,
}

impl Choice for Mode {
    const WORDS: &'static [(&'static str, Self)] = &[("growth", Self::Growth), ("targeted", Self::Targeted)];
}

impl ReceiverFactory for Source {
    fn describe(&self) -> Description {
        Description { kind: "source", aliases: &["old_source"], signals: BOTH }
    }

    fn configure(&self, settings: &mut Settings<'_>) -> Box<dyn ReceiverBlueprint> {
        let enabled = settings.get("enabled", true);
        let mode = settings.get("mode", Mode::Growth);
        settings.get_in(
            "interval",
            Duration::from_secs(30),
            Duration::from_secs(1)..=Duration::from_secs(3600),
        );
        settings.get("size", ByteSize::kib(10));
        settings.get_in("rate", 10_u32, 1..);
        settings.get_in("factor", 0.5_f64, 0.0..1.0);
        settings.get("queue", 1000_usize);
        settings.get("endpoint", Endpoint { host: "localhost".to_owned(), port: 9464 });
        settings.optional_in("pid", 1_u64..);
        if mode == Mode::Targeted && !settings.has("pid") {
            settings.reject("mode", "growth, or `pid` beside it");
        }
        settings.section("include", |include| {
            include.list("names", vec!["any".to_owned()]);
        });
        settings.sections("rules", |rule| {
            rule.required::<String>("name", "the rule's name");
            rule.get("weight", 1_u64);
        });
        let behaviour = settings.get("behaviour", Behaviour::Well);
        Box::new(SourceBlueprint { journal: Arc::clone(&self.0), enabled, behaviour })
    }
}

impl ReceiverBlueprint for SourceBlueprint {
    fn enabled(&self) -> bool {
        self.enabled
    }

    fn build(
        self: Box<Self>,
        context: BuildContext,
        next: Outputs,
    ) -> Result<Box<dyn Component>, ComponentError> {
        self.journal.outputs.lock().unwrap().insert(context.id.to_string(), next);
        Ok(Part::build(context, &self.journal, self.behaviour)?)
    }
}

/// A processor, by the name it is given.
pub(crate) struct Pass(pub(crate) Arc<Journal>, pub(crate) &'static str);

struct PassBlueprint(Arc<Journal>, Behaviour);

impl ProcessorFactory for Pass {
    fn describe(&self) -> Description {
        Description { kind: self.1, aliases: &[], signals: BOTH }
    }

    fn configure(&self, settings: &mut Settings<'_>) -> Box<dyn ProcessorBlueprint> {
        Box::new(PassBlueprint(Arc::clone(&self.0), settings.get("behaviour", Behaviour::Well)))
    }
}

impl ProcessorBlueprint for PassBlueprint {
    fn build(&self, context: BuildContext, next: Arc<dyn Consumer>) -> Result<BuiltConsumer, ComponentError> {
        consumer(context, &self.0, self.1, Some(next))
    }
}

fn consumer(
    context: BuildContext,
    journal: &Arc<Journal>,
    behaviour: Behaviour,
    next: Option<Arc<dyn Consumer>>,
) -> Result<BuiltConsumer, ComponentError> {
    let taker = Taker { id: context.id.clone(), journal: Arc::clone(journal), behaviour, next };
    let component = Part::build(context, journal, behaviour)?;
    Ok(BuiltConsumer { consumer: Arc::new(taker), component })
}

/// An exporter for both signals with secrets.
pub(crate) struct Sink(pub(crate) Arc<Journal>);

struct SinkBlueprint(Arc<Journal>, Behaviour);

impl ExporterFactory for Sink {
    fn describe(&self) -> Description {
        Description { kind: "sink", aliases: &["drain"], signals: BOTH }
    }

    fn configure(&self, settings: &mut Settings<'_>) -> Box<dyn ExporterBlueprint> {
        settings.secret::<String>("token");
        let _headers: BTreeMap<String, String> = settings.secret_map("headers");
        let _labels: BTreeMap<String, String> = settings.map("labels");
        settings.section("tls", |tls| {
            tls.get("insecure", false);
            tls.secret::<String>("key");
            tls.optional::<String>("key_file");
        });
        Box::new(SinkBlueprint(Arc::clone(&self.0), settings.get("behaviour", Behaviour::Well)))
    }
}

impl ExporterBlueprint for SinkBlueprint {
    fn build(self: Box<Self>, context: BuildContext) -> Result<BuiltConsumer, ComponentError> {
        consumer(context, &self.0, self.1, None)
    }
}

/// An exporter that takes metrics alone.
pub(crate) struct Gauge(pub(crate) Arc<Journal>);

impl ExporterFactory for Gauge {
    fn describe(&self) -> Description {
        Description { kind: "gauge", aliases: &[], signals: &[(Signal::Metrics, Stability::Stable)] }
    }

    fn configure(&self, _: &mut Settings<'_>) -> Box<dyn ExporterBlueprint> {
        Box::new(SinkBlueprint(Arc::clone(&self.0), Behaviour::Well))
    }
}

/// An extension.
pub(crate) struct Probe(pub(crate) Arc<Journal>);

struct ProbeBlueprint(Arc<Journal>, Behaviour);

impl ExtensionFactory for Probe {
    fn describe(&self) -> Description {
        Description { kind: "probe", aliases: &[], signals: &[] }
    }

    fn configure(&self, settings: &mut Settings<'_>) -> Box<dyn ExtensionBlueprint> {
        Box::new(ProbeBlueprint(Arc::clone(&self.0), settings.get("behaviour", Behaviour::Well)))
    }
}

impl ExtensionBlueprint for ProbeBlueprint {
    fn build(self: Box<Self>, context: BuildContext) -> Result<Box<dyn Component>, ComponentError> {
        Ok(Part::build(context, &self.0, self.1)?)
    }
}

pub(crate) fn factories(journal: &Arc<Journal>) -> Factories {
    Factories {
        receivers: vec![Arc::new(Source(Arc::clone(journal)))],
        processors: vec![
            Arc::new(Pass(Arc::clone(journal), "memory_limiter")),
            Arc::new(Pass(Arc::clone(journal), "pass")),
        ],
        exporters: vec![Arc::new(Sink(Arc::clone(journal))), Arc::new(Gauge(Arc::clone(journal)))],
        extensions: vec![Arc::new(Probe(Arc::clone(journal)))],
    }
}

/// A small configuration without a fault.
pub(crate) const SOUND: &str = "\
receivers:
  source:
processors:
  memory_limiter:
  pass: {behaviour: well}
exporters:
  sink:
extensions:
  probe:
service:
  extensions: [probe]
  pipelines:
    logs:
      receivers: [source]
      processors: [memory_limiter, pass]
      exporters: [sink]
";
