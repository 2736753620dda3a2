//! Attribute values, with the types of OTLP's `AnyValue`.

use std::sync::Arc;

use crate::Text;

/// An attribute: a name of the semantic conventions (or of the user) and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyValue {
    /// The attribute's name, such as `messaging.system`.
    pub key: Text,
    /// Its value.
    pub value: Value,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Absent: OTLP allows a value with no type set.
    Empty,
    /// Text.
    String(Text),
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction.
    Double(f64),
    /// Opaque bytes.
    Bytes(Vec<u8>),
    /// Several values in order.
    Array(Vec<Self>),
    /// Named values.
    Map(Vec<KeyValue>),
}

// === impl KeyValue ===

impl KeyValue {
    /// Returns an attribute with this name and value.
    pub fn new(key: impl Into<Text>, value: impl Into<Value>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
        }
    }
}

// === impl Value ===

impl Value {
    /// Returns the text of a string value.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self {
            Some(text)
        } else {
            None
        }
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::String(text.into())
    }
}

impl From<Text> for Value {
    fn from(text: Text) -> Self {
        Self::String(text)
    }
}

impl From<&Arc<str>> for Value {
    fn from(text: &Arc<str>) -> Self {
        Self::String(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text.into())
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Double(number)
    }
}

/// Returns the attribute of this name.
pub(crate) fn find<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a Value> {
    attributes
        .iter()
        // OTLP forbids duplicates, senders produce them: the last one wins, as in a map.
        .rev()
        .find(|pair| pair.key == key)
        .map(|pair| &pair.value)
}
