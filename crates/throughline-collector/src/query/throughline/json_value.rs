//! Attribute values in JSON.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Number, Value as Json};
use throughline_model::Value;

/// Largest whole number that JavaScript's numbers hold exactly.
const MAX_SAFE_INTEGER: u64 = (1 << 53) - 1;

/// Returns a value in JSON. Numbers that JavaScript cannot hold become strings.
pub(super) fn to_json_value(value: &Value) -> Json {
    match value {
        Value::Empty => Json::Null,
        Value::String(text) => Json::String(text.to_string()),
        Value::Bool(boolean) => Json::Bool(*boolean),
        Value::Int(number) if number.unsigned_abs() <= MAX_SAFE_INTEGER => Json::from(*number),
        Value::Int(number) => Json::String(number.to_string()),
        // JSON has no NaN and no infinity.
        Value::Double(number) => {
            Number::from_f64(*number).map_or_else(|| Json::String(number.to_string()), Json::Number)
        }
        Value::Bytes(bytes) => Json::String(STANDARD.encode(bytes)),
        Value::Array(values) => Json::Array(values.iter().map(to_json_value).collect()),
        Value::Map(pairs) => Json::Object(
            pairs
                .iter()
                .map(|pair| (pair.key.to_string(), to_json_value(&pair.value)))
                .collect(),
        ),
    }
}
