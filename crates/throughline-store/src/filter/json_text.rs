//! Lists and maps as the text in which the query APIs show them.

use std::fmt::Write as _;

use throughline_model::Value;

/// Returns the value as JSON without whitespace; `None` when it holds bytes or a number that JSON
/// cannot express.
pub(super) fn json_text(value: &Value) -> Option<String> {
    let mut out = String::new();
    write_value(value, &mut out)?;
    Some(out)
}

fn write_value(value: &Value, out: &mut String) -> Option<()> {
    match value {
        Value::Empty => out.push_str("null"),
        Value::String(text) => write_text(text, out),
        Value::Bool(boolean) => write!(out, "{boolean}").ok()?,
        Value::Int(number) => write!(out, "{number}").ok()?,
        // The debug form keeps the fraction of whole numbers, as JSON writers do.
        Value::Double(number) if number.is_finite() => write!(out, "{number:?}").ok()?,
        Value::Double(_) | Value::Bytes(_) => return None,
        Value::Array(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                write_separator(index, out);
                write_value(value, out)?;
            }
            out.push(']');
        }
        Value::Map(pairs) => {
            out.push('{');
            for (index, pair) in pairs.iter().enumerate() {
                write_separator(index, out);
                write_text(&pair.key, out);
                out.push(':');
                write_value(&pair.value, out)?;
            }
            out.push('}');
        }
    }
    Some(())
}

fn write_separator(index: usize, out: &mut String) {
    if index > 0 {
        out.push(',');
    }
}

/// Writes a text with the escapes of RFC 8259, section 7, in their short forms.
fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            // Writing to a string cannot fail.
            control if control < ' ' => {
                write!(out, "\\u{:04x}", u32::from(control)).unwrap_or_default();
            }
            other => out.push(other),
        }
    }
    out.push('"');
}
