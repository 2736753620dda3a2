//! Reads the fields of Zipkin's JSON, as leniently as senders require. A value that is not of its
//! type is left out and counted.

use serde_json::{Map, Value};
use throughline_otlp::{RepairCounts, RepairKind};

/// The fields of a JSON object.
pub(super) type SpanFields = Map<String, Value>;

/// Reads fields, and counts those it had to leave out.
#[derive(Debug, Default)]
pub(super) struct FieldReader {
    pub(super) repairs: RepairCounts,
}

// === impl FieldReader ===

impl FieldReader {
    /// Reads an id; `None` when it is absent. A value of another type becomes a
    /// text that is not an id.
    pub(super) fn id(fields: &mut SpanFields, name: &str) -> Option<String> {
        match fields.swap_remove(name)? {
            Value::Null => None,
            Value::String(id) => Some(id),
            other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => {
                Some(format!("malformed: {other}"))
            }
        }
    }

    pub(super) fn text(&mut self, fields: &mut SpanFields, name: &str) -> Option<String> {
        match fields.swap_remove(name)? {
            Value::Null => None,
            Value::String(text) => Some(text),
            Value::Number(number) => Some(number.to_string()),
            Value::Bool(truth) => Some(truth.to_string()),
            Value::Array(_) | Value::Object(_) => {
                self.repairs.add(RepairKind::Field, 1);
                None
            }
        }
    }

    /// Reads microseconds as nanoseconds: a whole number, one with a fraction or an exponent, or
    /// any of them as text. Zero counts as absent, as in Zipkin.
    pub(super) fn microseconds(&mut self, fields: &mut SpanFields, name: &str) -> Option<u64> {
        let value = fields.swap_remove(name)?;
        let nanoseconds = match &value {
            Value::Null => return None,
            Value::Number(number) => match number.as_u64() {
                Some(whole) => Some(whole.saturating_mul(1000)),
                None => number.as_f64().and_then(to_nanoseconds),
            },
            Value::String(text) => match text.trim().parse::<u64>() {
                Ok(whole) => Some(whole.saturating_mul(1000)),
                Err(_) => text.trim().parse().ok().and_then(to_nanoseconds),
            },
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        if nanoseconds.is_none() {
            self.repairs.add(RepairKind::Field, 1);
        }
        nanoseconds.filter(|nanoseconds| *nanoseconds > 0)
    }

    /// Reads a port; zero counts as absent, as in Zipkin.
    pub(super) fn port(&mut self, fields: &mut SpanFields) -> Option<u16> {
        let value = fields.swap_remove("port")?;
        let port = match &value {
            Value::Null => return None,
            Value::Number(number) => number.as_u64().and_then(|port| u16::try_from(port).ok()),
            Value::String(text) => text.trim().parse().ok(),
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
        };
        if port.is_none() {
            self.repairs.add(RepairKind::Field, 1);
        }
        port.filter(|port| *port > 0)
    }

    pub(super) fn object(&mut self, fields: &mut SpanFields, name: &str) -> Option<SpanFields> {
        match fields.swap_remove(name)? {
            Value::Null => None,
            Value::Object(fields) => Some(fields),
            Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
                self.repairs.add(RepairKind::Field, 1);
                None
            }
        }
    }

    /// Reads a list of objects.
    pub(super) fn objects(&mut self, fields: &mut SpanFields, name: &str) -> Vec<SpanFields> {
        let items = match fields.swap_remove(name) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Array(items)) => items,
            Some(
                other @ (Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)),
            ) => vec![other],
        };
        let sent = items.len();
        let objects: Vec<SpanFields> = items
            .into_iter()
            .filter_map(|mut item| item.as_object_mut().map(std::mem::take))
            .collect();
        let bad = u64::try_from(sent - objects.len()).unwrap_or_default();
        self.repairs.add(RepairKind::Field, bad);
        objects
    }
}

/// Converts microseconds with a fraction; `None` when they are negative or beyond 64 bits.
fn to_nanoseconds(microseconds: f64) -> Option<u64> {
    // Doubles near the present have a resolution of a quarter of a microsecond, so whole
    // microseconds are converted as such.
    let whole = microseconds.trunc();
    let is_time = whole >= 0.0 && microseconds < 1.8e16;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "not negative, and within 64 bits"
    )]
    is_time.then(|| whole as u64 * 1000 + ((microseconds - whole) * 1000.0) as u64)
}
