//! OTLP attributes, written in order.

use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value::Value};

/// A list of attributes in the making. Each key is given once.
#[derive(Default)]
pub(super) struct Attributes(Vec<KeyValue>);

impl Attributes {
    fn push(&mut self, key: &str, value: Value) {
        self.0.push(KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue { value: Some(value) }),
            ..KeyValue::default()
        });
    }

    pub(super) fn text(&mut self, key: &str, value: impl Into<String>) {
        self.push(key, Value::StringValue(value.into()));
    }

    pub(super) fn text_if(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    /// Several texts as one list, in their order.
    pub(super) fn texts(&mut self, key: &str, values: impl IntoIterator<Item = String>) {
        let value = |text| AnyValue { value: Some(Value::StringValue(text)) };
        let values = values.into_iter().map(value).collect();
        self.push(key, Value::ArrayValue(ArrayValue { values }));
    }

    /// OTLP integers are signed: beyond the largest one the value stays there.
    pub(super) fn integer(&mut self, key: &str, value: u64) {
        self.push(key, Value::IntValue(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    pub(super) fn integer_if(&mut self, key: &str, value: Option<u64>) {
        if let Some(value) = value {
            self.integer(key, value);
        }
    }

    /// A measured number as the nearest integer; one that is not finite says nothing and is left out.
    pub(super) fn rounded(&mut self, key: &str, value: f64) {
        if value.is_finite() {
            self.push(key, Value::IntValue(value.round() as i64));
        }
    }

    /// Only what is true is said.
    pub(super) fn truth_if(&mut self, key: &str, value: bool) {
        if value {
            self.push(key, Value::BoolValue(true));
        }
    }

    /// A share that may be small, to a millionth.
    pub(super) fn precise(&mut self, key: &str, value: f64) {
        if value.is_finite() {
            self.push(key, Value::DoubleValue((value * 1e6).round() / 1e6));
        }
    }

    /// A share, to three digits.
    pub(super) fn share(&mut self, key: &str, value: f64) {
        if value.is_finite() {
            self.push(key, Value::DoubleValue((value * 1000.0).round() / 1000.0));
        }
    }
}

impl From<Attributes> for Vec<KeyValue> {
    fn from(attributes: Attributes) -> Self {
        attributes.0
    }
}
