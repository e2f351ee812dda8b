//! `resource`: changes the attributes of resources, in the order in which the actions are listed.

use std::sync::Arc;

use async_trait::async_trait;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use serde_yaml::Value;

use crate::component::{
    BuildContext, BuiltConsumer, Component, ComponentError, Consumer, Description, ProcessorBlueprint,
    ProcessorFactory, Refused, Stability,
};
use crate::config::{Choice, Setting, Settings};
use crate::data::{Data, Signal};

/// Makes resource processors.
pub struct Factory;

impl ProcessorFactory for Factory {
    fn describe(&self) -> Description {
        Description {
            kind: "resource",
            aliases: &[],
            signals: &[
                (Signal::Logs, Stability::Beta),
                (Signal::Metrics, Stability::Beta),
                (Signal::Profiles, Stability::Development),
            ],
        }
    }

    fn configure(&self, settings: &mut Settings<'_>) -> Box<dyn ProcessorBlueprint> {
        let before = settings.faults();
        let edits: Vec<Edit> = settings.sections("attributes", Edit::read).into_iter().flatten().collect();
        if edits.is_empty() && settings.faults() == before {
            settings.reject("attributes", "at least one of {key, value, action}");
        }
        Box::new(Blueprint { edits: edits.into() })
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Action {
    Insert,
    Update,
    Upsert,
    Delete,
}

impl Choice for Action {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("insert", Action::Insert),
        ("update", Action::Update),
        ("upsert", Action::Upsert),
        ("delete", Action::Delete),
    ];
}

/// A text, number or boolean as an attribute's value.
#[derive(Clone, PartialEq)]
struct Scalar(any_value::Value);

impl Setting for Scalar {
    fn read(value: &Value) -> Result<Self, String> {
        let read = match value {
            Value::Bool(value) => Some(any_value::Value::BoolValue(*value)),
            Value::String(value) => Some(any_value::Value::StringValue(value.clone())),
            Value::Number(value) => match (value.as_i64(), value.as_f64()) {
                (Some(whole), _) => Some(any_value::Value::IntValue(whole)),
                (None, Some(number)) if !value.is_u64() => Some(any_value::Value::DoubleValue(number)),
                _ => None,
            },
            _ => None,
        };
        read.map(Scalar).ok_or_else(|| "a text, a boolean, or a number of at most 64 bits".to_owned())
    }

    fn show(&self) -> Value {
        match &self.0 {
            any_value::Value::BoolValue(value) => (*value).into(),
            any_value::Value::IntValue(value) => (*value).into(),
            any_value::Value::DoubleValue(value) => (*value).into(),
            any_value::Value::StringValue(value) => value.as_str().into(),
            _ => Value::Null,
        }
    }
}

/// One checked action.
#[derive(Clone, PartialEq)]
enum Edit {
    /// Sets a value where the key is absent, or present, or in both cases.
    Set {
        key: String,
        value: any_value::Value,
        absent: bool,
        present: bool,
    },
    Delete {
        key: String,
    },
}

impl Edit {
    fn read(settings: &mut Settings<'_>) -> Option<Self> {
        let key: Option<String> = settings.required("key", "the attribute's name");
        let action = settings.required("action", "one of insert, update, upsert, delete");
        if key.as_ref().is_some_and(String::is_empty) {
            settings.reject("key", "the attribute's name");
        }
        let value = if action == Some(Action::Delete) {
            None
        } else {
            Some(settings.required::<Scalar>("value", "the attribute's value")?.0)
        };
        let key = key?;
        let edit = match (action?, value) {
            (Action::Insert, Some(value)) => Self::Set { key, value, absent: true, present: false },
            (Action::Update, Some(value)) => Self::Set { key, value, absent: false, present: true },
            (Action::Upsert, Some(value)) => Self::Set { key, value, absent: true, present: true },
            (Action::Delete, _) | (_, None) => Self::Delete { key },
        };
        Some(edit)
    }

    fn apply(&self, attributes: &mut Vec<KeyValue>) {
        match self {
            Edit::Delete { key } => attributes.retain(|attribute| attribute.key != *key),
            Edit::Set { key, value, absent, present } => {
                let value = Some(AnyValue { value: Some(value.clone()) });
                match attributes.iter_mut().find(|attribute| attribute.key == *key) {
                    Some(attribute) if *present => attribute.value = value,
                    None if *absent => {
                        attributes.push(KeyValue { key: key.clone(), value, ..KeyValue::default() });
                    }
                    _ => {}
                }
            }
        }
    }
}

struct Blueprint {
    edits: Arc<[Edit]>,
}

impl ProcessorBlueprint for Blueprint {
    fn build(
        &self,
        _context: BuildContext,
        next: Arc<dyn Consumer>,
    ) -> Result<BuiltConsumer, ComponentError> {
        let consumer = Arc::new(Editor { edits: Arc::clone(&self.edits), next });
        Ok(BuiltConsumer { consumer, component: Box::new(Stateless) })
    }
}

struct Editor {
    edits: Arc<[Edit]>,
    next: Arc<dyn Consumer>,
}

#[async_trait]
impl Consumer for Editor {
    async fn consume(&self, mut data: Data) -> Result<(), Refused> {
        match &mut data {
            Data::Logs(request) => {
                request.resource_logs.iter_mut().for_each(|logs| self.edit(&mut logs.resource));
            }
            Data::Metrics(request) => {
                request.resource_metrics.iter_mut().for_each(|metrics| self.edit(&mut metrics.resource));
            }
            Data::Profiles(request) => {
                request.resource_profiles.iter_mut().for_each(|profiles| self.edit(&mut profiles.resource));
            }
        }
        self.next.consume(data).await
    }
}

impl Editor {
    fn edit(&self, resource: &mut Option<Resource>) {
        let attributes = &mut resource.get_or_insert_default().attributes;
        for edit in self.edits.iter() {
            edit.apply(attributes);
        }
    }
}

/// Nothing to start and nothing to stop.
struct Stateless;

#[async_trait]
impl Component for Stateless {
    async fn start(&mut self) -> Result<(), ComponentError> {
        Ok(())
    }

    async fn shutdown(&mut self) -> Result<(), ComponentError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
