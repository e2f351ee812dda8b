//! What a configuration can name: the answer of the `components` command.

use std::sync::Arc;

use serde_yaml::{Mapping, Value};

use crate::component::{
    Description, ExporterFactory, ExtensionFactory, Factories, ProcessorFactory, ReceiverFactory,
};

/// Every component by kind of part, with its stability a signal, in the shape of the Collector's listing.
#[must_use]
pub fn components(factories: &Factories) -> Value {
    let mut listing = Mapping::new();
    listing.insert("receivers".into(), list(&factories.receivers, ReceiverFactory::describe));
    listing.insert("processors".into(), list(&factories.processors, ProcessorFactory::describe));
    listing.insert("exporters".into(), list(&factories.exporters, ExporterFactory::describe));
    listing.insert("extensions".into(), list(&factories.extensions, ExtensionFactory::describe));
    Value::Mapping(listing)
}

fn list<F: ?Sized>(factories: &[Arc<F>], describe: impl Fn(&F) -> Description) -> Value {
    factories.iter().map(|factory| entry(&describe(factory))).collect()
}

fn entry(description: &Description) -> Value {
    let mut entry = Mapping::new();
    entry.insert("name".into(), description.kind.into());
    if !description.aliases.is_empty() {
        entry.insert("deprecated_names".into(), description.aliases.iter().copied().collect());
    }
    if !description.signals.is_empty() {
        let signals = description.signals.iter();
        let stability: Mapping =
            signals.map(|(signal, stability)| (signal.name().into(), stability.to_string().into())).collect();
        entry.insert("stability".into(), Value::Mapping(stability));
    }
    Value::Mapping(entry)
}
