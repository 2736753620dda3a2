//! Attribute values, with the types of OTLP's `AnyValue`.

/// An attribute: a name of the semantic conventions (or of the user) and its value.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyValue {
    /// The attribute's name, such as `messaging.system`.
    pub key: String,
    /// Its value.
    pub value: Value,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Absent: OTLP allows a value with no type set.
    Empty,
    /// Text.
    String(String),
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
    pub fn new(key: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { key: key.into(), value: value.into() }
    }
}

// === impl Value ===

impl Value {
    /// The text, when it is text.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        if let Self::String(text) = self { Some(text) } else { None }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
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
