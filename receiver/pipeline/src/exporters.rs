//! Exporters: where telemetry leaves the process.

pub mod debug;
pub mod file;
pub mod otlp_grpc;
pub mod prometheus;

mod helper;
mod text;

use std::sync::Arc;

use crate::component::ExporterFactory;

/// Every exporter of this crate. `encoders` are the line formats of `file` beside OTLP/JSON.
#[must_use]
pub fn factories(encoders: Vec<Arc<dyn file::LogEncoder>>) -> Vec<Arc<dyn ExporterFactory>> {
    vec![
        Arc::new(otlp_grpc::Factory),
        Arc::new(prometheus::Factory),
        Arc::new(debug::Factory),
        Arc::new(file::Factory::new(encoders)),
    ]
}
