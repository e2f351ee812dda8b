//! Extensions: what serves the service rather than a pipeline.

pub mod health_check;

use std::sync::Arc;

use crate::component::ExtensionFactory;

/// Every extension of this crate.
#[must_use]
pub fn factories() -> Vec<Arc<dyn ExtensionFactory>> {
    vec![Arc::new(health_check::Factory)]
}
