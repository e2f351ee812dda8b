//! What every part of a pipeline promises: how it is configured, created, started and shut down.
//!
//! A part comes into being in two steps. Its factory reads the settings, reporting every fault it finds, and
//! returns a blueprint; only when the whole configuration is sound are blueprints built and started. Starting
//! goes from the exporters up to the receivers and shutdown the other way, so that nothing is sent to a part
//! that does not run. The contract follows the OpenTelemetry Collector's `component` package.

pub mod stage;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;

use crate::config::Settings;
use crate::data::{Data, Signal};

/// `type` or `type/name`, as it stands in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentId {
    /// The factory that makes it.
    pub kind: String,
    /// What tells two instances of one type apart; may be empty.
    pub name: String,
}

impl ComponentId {
    /// Splits `type/name`. An empty type, or a slash with nothing behind it, is refused.
    ///
    /// # Errors
    /// A sentence that says what an id looks like.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (kind, name) = text.split_once('/').map_or((text, None), |(kind, name)| (kind, Some(name)));
        if kind.trim().is_empty() || name.is_some_and(|name| name.trim().is_empty()) {
            return Err("a component id: `type` or `type/name`".to_owned());
        }
        Ok(Self { kind: kind.trim().to_owned(), name: name.unwrap_or_default().trim().to_owned() })
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.name.is_empty() { f.write_str(&self.kind) } else { write!(f, "{}/{}", self.kind, self.name) }
    }
}

/// How far a component may be relied on, in the Collector's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stability {
    /// May change at any time.
    Development,
    /// Tried, not yet widely.
    Alpha,
    /// Its configuration is not expected to break.
    Beta,
    /// Its configuration will not break.
    Stable,
}

impl fmt::Display for Stability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stability::Development => "Development",
            Stability::Alpha => "Alpha",
            Stability::Beta => "Beta",
            Stability::Stable => "Stable",
        })
    }
}

/// A component that could not be created or started; fatal for the service.
#[derive(Debug, thiserror::Error)]
#[error("{component}: {reason}")]
pub struct ComponentError {
    /// Which one.
    pub component: ComponentId,
    /// What went wrong and what to do about it.
    pub reason: String,
}

/// Why a consumer did not take what it was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The same data may be offered again later: the consumer is short of memory or its queue is full.
    #[error("not now: {0}")]
    Retryable(String),
    /// Offering it again cannot help.
    #[error("not accepted: {0}")]
    Permanent(String),
}

/// Telemetry that was lost, and where. Whoever loses it counts it, at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Loss {
    /// Where: a static name, the `stage` label of `dropped_events`. Those of this crate are in [`stage`].
    pub stage: &'static str,
    /// Log records, data points, or samples of profiles.
    pub count: u64,
}

/// Where losses and deliveries are counted. One implementation, the sidecar's metrics, is handed to all.
pub trait Telemetry: Send + Sync {
    /// Items are gone.
    fn lost(&self, signal: Signal, loss: Loss);
    /// Items have left the process, or reached their file.
    fn delivered(&self, signal: Signal, exporter: &ComponentId, items: u64);
    /// How full the fullest queue of a component is, 0..=1.
    fn queue_usage(&self, component: &ComponentId, used: f64);
}

/// The state of a component as told to the health extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Created and about to work.
    Starting,
    /// Works.
    Ok,
    /// Fails at the moment, and tries again by itself.
    RecoverableError,
    /// Will not work again, while the rest goes on.
    PermanentError,
    /// The service cannot go on.
    FatalError,
    /// Draining.
    Stopping,
    /// Done.
    Stopped,
}

/// What a running component may ask of the service around it.
pub trait Host: Send + Sync {
    /// Told on every change of state. A [`Status::FatalError`] ends the service.
    fn report(&self, component: &ComponentId, status: Status, reason: Option<String>);
    /// The newest status of every component, ordered by id.
    fn statuses(&self) -> Vec<(ComponentId, Status, Option<String>)>;
}

/// What a component is built with.
#[derive(Clone)]
pub struct BuildContext {
    /// Its own id.
    pub id: ComponentId,
    /// Where it counts.
    pub telemetry: Arc<dyn Telemetry>,
    /// The service it runs in.
    pub host: Arc<dyn Host>,
}

/// Start and shutdown, the same for all.
#[async_trait]
pub trait Component: Send {
    /// Begins to work. Returns fast: what takes time goes on in a task of its own.
    async fn start(&mut self) -> Result<(), ComponentError>;
    /// Stops and flushes. Safe without a start and a second time. The service sets the deadline.
    async fn shutdown(&mut self) -> Result<(), ComponentError>;
}

/// The next part down the pipeline.
#[async_trait]
pub trait Consumer: Send + Sync {
    /// Takes the data, or says why not. The one who gets a refusal decides to retry, or counts the loss.
    async fn consume(&self, data: Data) -> Result<(), Refused>;
}

/// Where a receiver sends; a signal that no pipeline takes from it is `None`.
#[derive(Clone, Default)]
pub struct Outputs {
    /// To the logs pipelines.
    pub logs: Option<Arc<dyn Consumer>>,
    /// To the metrics pipelines.
    pub metrics: Option<Arc<dyn Consumer>>,
    /// To the profiles pipelines.
    pub profiles: Option<Arc<dyn Consumer>>,
}

/// What a factory says about itself.
#[derive(Debug, Clone, Copy)]
pub struct Description {
    /// The component's type in a configuration.
    pub kind: &'static str,
    /// Other names for it, each answered with a deprecation notice.
    pub aliases: &'static [&'static str],
    /// The signals it supports, each with its stability. Extensions list none.
    pub signals: &'static [(Signal, Stability)],
}

impl Description {
    /// How stable the component is for a signal, or `None` where it does not support it.
    #[must_use]
    pub fn stability(&self, signal: Signal) -> Option<Stability> {
        self.signals.iter().find(|(supported, _)| *supported == signal).map(|(_, stability)| *stability)
    }
}

/// Makes receivers.
pub trait ReceiverFactory: Send + Sync {
    /// Who it is.
    fn describe(&self) -> Description;
    /// Reads the settings. Faults go into `settings`; the blueprint is only built when there is none.
    fn configure(&self, settings: &mut Settings<'_>) -> Box<dyn ReceiverBlueprint>;
}

/// A receiver whose settings have been read.
pub trait ReceiverBlueprint: Send {
    /// False for `enabled: false`: it is configured and does not run.
    fn enabled(&self) -> bool {
        true
    }
    /// One instance serves every pipeline that names it.
    ///
    /// # Errors
    /// Why it cannot exist on this host.
    fn build(
        self: Box<Self>,
        context: BuildContext,
        next: Outputs,
    ) -> Result<Box<dyn Component>, ComponentError>;
}

/// Makes processors.
pub trait ProcessorFactory: Send + Sync {
    /// Who it is.
    fn describe(&self) -> Description;
    /// See [`ReceiverFactory::configure`].
    fn configure(&self, settings: &mut Settings<'_>) -> Box<dyn ProcessorBlueprint>;
}

/// A processor whose settings have been read.
pub trait ProcessorBlueprint: Send + Sync {
    /// One instance a pipeline: called once for each that names it.
    ///
    /// # Errors
    /// Why it cannot exist.
    fn build(&self, context: BuildContext, next: Arc<dyn Consumer>) -> Result<BuiltConsumer, ComponentError>;
}

/// Makes exporters.
pub trait ExporterFactory: Send + Sync {
    /// Who it is.
    fn describe(&self) -> Description;
    /// See [`ReceiverFactory::configure`].
    fn configure(&self, settings: &mut Settings<'_>) -> Box<dyn ExporterBlueprint>;
}

/// An exporter whose settings have been read.
pub trait ExporterBlueprint: Send {
    /// Why it does not take a signal that its type supports, as it is configured.
    fn refuses(&self, _signal: Signal) -> Option<String> {
        None
    }
    /// One instance serves every pipeline that names it.
    ///
    /// # Errors
    /// Why it cannot exist.
    fn build(self: Box<Self>, context: BuildContext) -> Result<BuiltConsumer, ComponentError>;
}

/// A processor or exporter: the side that takes data and the side that is started and shut down.
pub struct BuiltConsumer {
    /// Takes data.
    pub consumer: Arc<dyn Consumer>,
    /// Is started and shut down.
    pub component: Box<dyn Component>,
}

/// Makes extensions.
pub trait ExtensionFactory: Send + Sync {
    /// Who it is.
    fn describe(&self) -> Description;
    /// See [`ReceiverFactory::configure`].
    fn configure(&self, settings: &mut Settings<'_>) -> Box<dyn ExtensionBlueprint>;
}

/// An extension whose settings have been read.
pub trait ExtensionBlueprint: Send {
    /// One instance a service.
    ///
    /// # Errors
    /// Why it cannot exist.
    fn build(self: Box<Self>, context: BuildContext) -> Result<Box<dyn Component>, ComponentError>;
}

/// Every factory the program knows.
#[derive(Default, Clone)]
pub struct Factories {
    /// By kind of part.
    pub receivers: Vec<Arc<dyn ReceiverFactory>>,
    /// By kind of part.
    pub processors: Vec<Arc<dyn ProcessorFactory>>,
    /// By kind of part.
    pub exporters: Vec<Arc<dyn ExporterFactory>>,
    /// By kind of part.
    pub extensions: Vec<Arc<dyn ExtensionFactory>>,
}
