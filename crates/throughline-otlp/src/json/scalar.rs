//! Scalar fields of proto3's JSON mapping, as leniently as senders require.

use serde_json::{Number, Value};

/// The hex digits of a trace id, the longest id.
const MAX_ID_DIGITS: usize = 32;

/// The bytes of a malformed id. Their number is wrong for every id, so the decoder rejects the
/// span with the reason of that field.
const MALFORMED_ID: &[u8] = &[0];

/// Reads an id in hex of either case; no bytes when it is absent.
pub(super) fn id(value: Value) -> Vec<u8> {
    match value {
        Value::Null => Vec::new(),
        Value::String(digits) => {
            parse_hex(digits.as_bytes()).unwrap_or_else(|| MALFORMED_ID.to_vec())
        }
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            MALFORMED_ID.to_vec()
        }
    }
}

/// Parses an even number of hex digits, no more than the longest id has.
fn parse_hex(digits: &[u8]) -> Option<Vec<u8>> {
    // Longer text cannot be an id, and must not cost an allocation of its size.
    if digits.len() > MAX_ID_DIGITS {
        return None;
    }
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    let digit = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
}

/// Reads a text. A number or a truth in its place is a text for a reader, too.
pub(super) fn text(value: Value) -> Option<String> {
    match value {
        Value::Null => Some(String::new()),
        Value::String(text) => Some(text),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Array(_) | Value::Object(_) => None,
    }
}

/// Reads a whole number, as a number or as text: `7`, `"7"`, `7.0`, `"7e3"`.
pub(super) fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Number(number) => whole_number(number),
        Value::String(text) => {
            let text = text.trim();
            text.parse()
                .ok()
                .or_else(|| whole_float(text.parse().ok()?))
        }
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn whole_number(number: &Number) -> Option<i128> {
    let unsigned = number.as_u64().map(i128::from);
    unsigned
        .or_else(|| number.as_i64().map(i128::from))
        .or_else(|| whole_float(number.as_f64()?))
}

/// Converts a double without a fraction.
fn whole_float(number: f64) -> Option<i128> {
    // Beyond, a double stands for many whole numbers, and the cast would saturate.
    const LIMIT: f64 = 1e30;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "whole and within the limit"
    )]
    (number.fract() == 0.0 && number.abs() < LIMIT).then_some(number as i128)
}

/// Reads a time; `None` when it is not one. Fractions of a nanosecond are cut off.
pub(super) fn nanoseconds(value: &Value) -> Option<u64> {
    let cut = match value {
        Value::Null => return Some(0),
        Value::String(text) => match text.split_once('.') {
            Some((whole, fraction)) if fraction.bytes().all(|byte| byte.is_ascii_digit()) => {
                whole.parse().ok()
            }
            Some(_) | None => whole(value),
        },
        Value::Number(number) => {
            whole_number(number).or_else(|| whole_float(number.as_f64()?.trunc()))
        }
        Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    u64::try_from(cut?).ok()
}

/// Reads a number with a fraction, or `"NaN"`, `"Infinity"`, `"-Infinity"`, or a number as text.
pub(super) fn float(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        // Rust parses the names in the spelling of proto3.
        Value::String(text) => text.parse().ok().filter(|number: &f64| {
            // A number beyond the range of doubles is not infinite.
            number.is_finite() || matches!(text.as_str(), "NaN" | "Infinity" | "-Infinity")
        }),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Reads a truth, as such or as text.
pub(super) fn truth(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(truth) => Some(*truth),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// Reads an enum's number, or the name of a value. Unknown ones count as 0 (proto3, open enums).
pub(super) fn enum_number(value: &Value, by_name: impl Fn(&str) -> Option<i32>) -> i32 {
    let name = value.as_str().and_then(by_name);
    name.or_else(|| i32::try_from(whole(value)?).ok())
        .unwrap_or_default()
}
