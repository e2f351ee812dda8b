//! A configuration that has passed every check.

use indexmap::IndexMap;

use super::setting::Choice;
use super::settings::Settings;
use crate::component::{
    ComponentId, ExporterBlueprint, ExtensionBlueprint, ProcessorBlueprint, ReceiverBlueprint,
};
use crate::data::Signal;

/// What the service is built from. Every id in a pipeline has its blueprint.
pub(crate) struct Plan {
    pub(crate) logs: LogSettings,
    pub(crate) receivers: IndexMap<ComponentId, Box<dyn ReceiverBlueprint>>,
    pub(crate) processors: IndexMap<ComponentId, Box<dyn ProcessorBlueprint>>,
    pub(crate) exporters: IndexMap<ComponentId, Box<dyn ExporterBlueprint>>,
    pub(crate) extensions: IndexMap<ComponentId, Box<dyn ExtensionBlueprint>>,
    /// Those with at least one receiver that is enabled.
    pub(crate) pipelines: Vec<Pipeline>,
}

/// One entry of `service::pipelines`.
pub(crate) struct Pipeline {
    pub(crate) name: String,
    pub(crate) signal: Signal,
    pub(crate) receivers: Vec<ComponentId>,
    pub(crate) processors: Vec<ComponentId>,
    pub(crate) exporters: Vec<ComponentId>,
}

/// `service::telemetry::logs`: the program's own log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LogSettings {
    /// The least severe line that is written.
    pub level: LogLevel,
    /// How a line is written.
    pub encoding: LogEncoding,
}

/// `service::telemetry::logs::level`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// What helps to find a fault.
    Debug,
    /// What an operator wants to see.
    #[default]
    Info,
    /// What may need attention.
    Warn,
    /// What needs attention.
    Error,
}

impl Choice for LogLevel {
    const WORDS: &'static [(&'static str, Self)] =
        &[("debug", Self::Debug), ("info", Self::Info), ("warn", Self::Warn), ("error", Self::Error)];
}

/// `service::telemetry::logs::encoding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogEncoding {
    /// For people.
    #[default]
    Console,
    /// One object a line.
    Json,
}

impl Choice for LogEncoding {
    const WORDS: &'static [(&'static str, Self)] = &[("console", Self::Console), ("json", Self::Json)];
}

impl LogSettings {
    pub(crate) fn read(settings: &mut Settings<'_>) -> Self {
        Self {
            level: settings.get("level", LogLevel::default()),
            encoding: settings.get("encoding", LogEncoding::default()),
        }
    }
}
