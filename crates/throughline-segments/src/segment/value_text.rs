//! Attribute values as text, with a letter for the type: a Parquet map has one type of values.

use throughline_model::{KeyValue, Value};

/// Letter of a string, the type that is assumed where no letters are given.
const STRING: char = 's';
const EMPTY: char = 'e';
const BOOL: char = 'b';
const INT: char = 'i';
const DOUBLE: char = 'd';
const BYTES: char = 'x';
const JSON: char = 'j';

/// Maximum depth of lists and maps that are written as JSON.
const MAX_DEPTH: usize = 32;

/// Writes the text of a value and returns the letter of its type; `None` for a value that its text
/// would not give back.
pub(super) fn write(value: &Value, text: &mut String) -> Option<char> {
    use std::fmt::Write as _;
    text.clear();
    let letter = match value {
        Value::String(own) => {
            text.push_str(own);
            STRING
        }
        Value::Empty => EMPTY,
        Value::Bool(own) => {
            text.push_str(if *own { "true" } else { "false" });
            BOOL
        }
        Value::Int(own) => {
            write!(text, "{own}").ok()?;
            INT
        }
        // A number that is none has many forms.
        Value::Double(own) if own.is_nan() => return None,
        Value::Double(own) => {
            write!(text, "{own:?}").ok()?;
            DOUBLE
        }
        Value::Bytes(own) => {
            for byte in own {
                write!(text, "{byte:02x}").ok()?;
            }
            BYTES
        }
        Value::Array(_) | Value::Map(_) => {
            let json = to_json(value, MAX_DEPTH)?;
            *text = serde_json::to_string(&json).ok()?;
            // The reader of numbers may differ in the last digit.
            (read(JSON, text).as_ref() == Some(value)).then_some(JSON)?
        }
    };
    Some(letter)
}

/// Reads a value from the letter of its type and its text.
pub(super) fn read(letter: char, text: &str) -> Option<Value> {
    Some(match letter {
        STRING => Value::String(text.to_owned().into()),
        EMPTY => Value::Empty,
        BOOL => Value::Bool(text.parse().ok()?),
        INT => Value::Int(text.parse().ok()?),
        DOUBLE => Value::Double(text.parse().ok()?),
        BYTES => Value::Bytes(read_hex(text.as_bytes())?),
        JSON => from_json(serde_json::from_str(text).ok()?)?,
        _ => return None,
    })
}

fn read_hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pairs = text.chunks(2).map(|pair| {
        let [high, low] = *pair else { return None };
        u8::try_from(digit(high)? * 16 + digit(low)?).ok()
    });
    pairs.collect()
}

fn to_json(value: &Value, depth: usize) -> Option<serde_json::Value> {
    let depth = depth.checked_sub(1)?;
    Some(match value {
        Value::Empty => serde_json::Value::Null,
        Value::String(text) => serde_json::Value::String(text.to_string()),
        Value::Bool(own) => (*own).into(),
        Value::Int(own) => (*own).into(),
        Value::Double(own) => serde_json::Number::from_f64(*own)?.into(),
        Value::Bytes(_) => return None,
        Value::Array(values) => {
            let values = values.iter().map(|value| to_json(value, depth));
            serde_json::Value::Array(values.collect::<Option<_>>()?)
        }
        Value::Map(pairs) => {
            let pair = |pair: &KeyValue| Some((pair.key.to_string(), to_json(&pair.value, depth)?));
            let map: serde_json::Map<_, _> = pairs.iter().map(pair).collect::<Option<_>>()?;
            // A repeated name would be lost.
            (map.len() == pairs.len()).then_some(serde_json::Value::Object(map))?
        }
    })
}

fn from_json(json: serde_json::Value) -> Option<Value> {
    Some(match json {
        serde_json::Value::Null => Value::Empty,
        serde_json::Value::Bool(own) => Value::Bool(own),
        serde_json::Value::Number(own) => match own.as_i64() {
            Some(own) => Value::Int(own),
            None => Value::Double(own.as_f64()?),
        },
        serde_json::Value::String(text) => Value::String(text.into()),
        serde_json::Value::Array(values) => {
            let values = values.into_iter().map(from_json);
            Value::Array(values.collect::<Option<_>>()?)
        }
        serde_json::Value::Object(map) => {
            let pair = |(key, value): (String, _)| Some(KeyValue::new(key, from_json(value)?));
            Value::Map(map.into_iter().map(pair).collect::<Option<_>>()?)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(value: &Value) -> Option<Value> {
        let mut text = String::new();
        let letter = write(value, &mut text)?;
        read(letter, &text)
    }

    #[test]
    fn values_keep_their_types() {
        let list = |values: Vec<Value>| Value::Array(values);
        for value in [
            Value::Empty,
            Value::from("5"),
            Value::from(true),
            Value::from(i64::MIN),
            Value::from(0.1),
            Value::from(-0.0),
            Value::from(5.0),
            Value::from(f64::INFINITY),
            Value::Bytes(vec![0, 255]),
            list(vec![Value::Int(5), Value::from(5.0), Value::from("x")]),
            Value::Map(vec![KeyValue::new("a", list(vec![Value::Empty]))]),
        ] {
            assert_eq!(round_trip(&value), Some(value));
        }
    }

    #[test]
    fn a_value_that_its_text_would_not_give_back_has_none() {
        let twice = vec![KeyValue::new("a", 1i64), KeyValue::new("a", 2i64)];
        for value in [
            Value::from(f64::NAN),
            Value::Array(vec![Value::Bytes(vec![1])]),
            Value::Map(twice),
        ] {
            assert_eq!(round_trip(&value), None);
        }
    }
}
