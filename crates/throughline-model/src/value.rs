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
    /// Bytes with no meaning to us.
    Bytes(Vec<u8>),
    /// Several values in order.
    Array(Vec<Self>),
    /// Named values.
    Map(Vec<KeyValue>),
}

// === impl KeyValue ===

impl KeyValue {
    /// An attribute from anything that is a value.
    pub fn new(key: impl Into<Text>, value: impl Into<Value>) -> Self {
        Self {
            key: key.into(),
            value: value.into(),
        }
    }
}

// === impl Value ===

impl Value {
    /// The text, when it is text.
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
