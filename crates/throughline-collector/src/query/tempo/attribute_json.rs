//! Values as OTLP's `AnyValue` in JSON.

use serde_json::{Value, json};
use throughline_query::QueryValue;

/// Returns an attribute.
pub(super) fn attribute(key: &str, value: &QueryValue) -> Value {
    json!({ "key": key, "value": any_value(value) })
}

fn any_value(value: &QueryValue) -> Value {
    match value {
        // OTLP's JSON has 64-bit numbers as text.
        QueryValue::Integer(number) => json!({ "intValue": number.to_string() }),
        QueryValue::Number(number) => json!({ "doubleValue": number }),
        QueryValue::Boolean(boolean) => json!({ "boolValue": boolean }),
        QueryValue::Nil | QueryValue::Text(_) | QueryValue::Duration(_) => {
            json!({ "stringValue": value.to_text() })
        }
    }
}
