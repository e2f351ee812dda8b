//! `otlp_grpc`: sends OTLP over gRPC, to a Collector or anything that speaks its protocol.
//!
//! The connection is made when the first request is sent, and again whenever it is lost. The keys and defaults
//! are those of the Collector's exporter of that name; encrypted unless the configuration says otherwise.
//! A request that is larger than the 4 MiB which servers usually take, or than what this one takes, goes in parts.

mod channel;
mod client;
mod config;
mod verdict;

use std::sync::Arc;

use self::client::Client;
use self::config::Config;
use super::helper::Exporting;
use crate::component::{
    BuildContext, BuiltConsumer, ComponentError, Description, ExporterBlueprint, ExporterFactory, Stability,
};
use crate::config::Settings;
use crate::data::Signal;

/// Makes OTLP/gRPC exporters.
pub struct Factory;

impl ExporterFactory for Factory {
    fn describe(&self) -> Description {
        Description {
            kind: "otlp_grpc",
            aliases: &["otlp"],
            signals: &[
                (Signal::Logs, Stability::Beta),
                (Signal::Metrics, Stability::Beta),
                (Signal::Profiles, Stability::Development),
            ],
        }
    }

    fn configure(&self, settings: &mut Settings<'_>) -> Box<dyn ExporterBlueprint> {
        Box::new(Blueprint { config: Config::read(settings) })
    }
}

struct Blueprint {
    /// `None` only where the settings were faulty, and then nothing is built.
    config: Option<Config>,
}

impl ExporterBlueprint for Blueprint {
    fn build(self: Box<Self>, context: BuildContext) -> Result<BuiltConsumer, ComponentError> {
        let refuse = |reason: String| ComponentError { component: context.id.clone(), reason };
        let config = self.config.ok_or_else(|| refuse("endpoint is missing".to_owned()))?;
        let endpoint = channel::endpoint(&config).map_err(refuse)?;
        let client = Client::new(endpoint, &config);
        Ok(Exporting { queue: config.queue, retry: config.retry }.build(&context, Arc::new(client)))
    }
}

#[cfg(test)]
mod tests;
