//! The attributes with which a span records how its parent was found.

use throughline_model::convention::{PARENT_CONFIDENCE, PARENT_EVIDENCE};
use throughline_model::{Span, Value};

/// Evidence of a span without a known parent, although one must exist.
const OPEN: &str = "open";

/// The evidence for a span's parent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EvidenceAttributes<'a> {
    /// Value of `throughline.parent.evidence`; empty when only a confidence is recorded.
    pub name: &'a str,
    /// Confidence in the parent, 0 to 1.
    pub confidence: Option<f64>,
    /// True when the span must have a parent and none is known.
    pub is_open: bool,
    /// True when the parent is inferred rather than carried in a message.
    pub is_inferred: bool,
}

impl<'a> EvidenceAttributes<'a> {
    /// Reads the evidence of a span; `None` when the span records none.
    #[must_use]
    pub fn of(span: &'a Span) -> Option<Self> {
        let name = span.attribute(PARENT_EVIDENCE).and_then(Value::as_str);
        let confidence = span.attribute(PARENT_CONFIDENCE).and_then(number);
        let name = name.or_else(|| confidence.map(|_| ""))?;
        let is_open = name == OPEN;
        // A confidence is recorded for inferred parents alone. Without one, the kinds of evidence
        // that name the parent are exact and every other kind is an inference.
        let is_exact = matches!(name, "header" | "request-id" | "thread" | "offset");
        let is_inferred = !is_open && (confidence.is_some() || !is_exact);
        Some(Self {
            name,
            confidence,
            is_open,
            is_inferred,
        })
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Double(number) => Some(*number),
        Value::String(text) => text.parse().ok(),
        #[expect(clippy::cast_precision_loss, reason = "it is 0 or 1")]
        Value::Int(number) => Some(*number as f64),
        Value::Empty | Value::Bool(_) | Value::Bytes(_) | Value::Array(_) | Value::Map(_) => None,
    }
}
