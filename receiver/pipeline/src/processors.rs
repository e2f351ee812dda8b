//! Processors: what stands between receivers and exporters.

pub mod batch;
pub mod memory_limiter;
pub mod resource;

use std::sync::Arc;

use crate::component::ProcessorFactory;

/// Every processor of this crate.
#[must_use]
pub fn factories() -> Vec<Arc<dyn ProcessorFactory>> {
    vec![Arc::new(memory_limiter::Factory), Arc::new(batch::Factory), Arc::new(resource::Factory)]
}
