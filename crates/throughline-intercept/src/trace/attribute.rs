//! Attributes: appended where a value is known, durations in seconds.

use throughline_model::{KeyValue, Value};

/// Appends an attribute.
pub(crate) fn push(attributes: &mut Vec<KeyValue>, key: &'static str, value: impl Into<Value>) {
    attributes.push(KeyValue::new(key, value));
}

/// Appends an attribute if its value is known.
pub(crate) fn push_some(
    attributes: &mut Vec<KeyValue>,
    key: &'static str,
    value: Option<impl Into<Value>>,
) {
    attributes.extend(value.map(|value| KeyValue::new(key, value)));
}

/// Converts nanoseconds to seconds, the unit of durations in the semantic conventions.
pub(crate) fn seconds(nanoseconds: u64) -> f64 {
    std::time::Duration::from_nanos(nanoseconds).as_secs_f64()
}
