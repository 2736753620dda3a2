//! References between spans.

use crate::context::SpanContext;
use crate::convention::{FOLLOWS_FROM, OPENTRACING_REF_TYPE};
use crate::value::find;
use crate::{KeyValue, SpanId, TraceId, Value, flag};

/// A reference to another span, in the same trace or another.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// The trace of the other span.
    pub trace_id: TraceId,
    /// The id of the other span.
    pub span_id: SpanId,
    /// The `tracestate` of the other span; empty when there was none.
    pub trace_state: String,
    /// OTLP `Link.flags`, with the bits of [`flag`](crate::flag).
    pub flags: u32,
    /// The meaning of the link: `opentracing.ref_type` is `child_of` or `follows_from`.
    pub attributes: Vec<KeyValue>,
}

// === impl Link ===

impl Link {
    /// Returns a link to the remote span that sent a message, marked `follows_from`.
    ///
    /// Jaeger shows it as FOLLOWS_FROM (OpenTracing compatibility, "Create a link").
    #[must_use]
    pub fn follows_from(sender: &SpanContext) -> Self {
        Self {
            trace_id: sender.trace_id,
            span_id: sender.span_id,
            trace_state: sender.trace_state.as_str().to_owned(),
            flags: Self::sender_flags(sender),
            attributes: vec![Self::follows_from_attribute()],
        }
    }

    /// Returns [`Link::flags`] of a link to the sender of a message.
    #[must_use]
    pub fn sender_flags(sender: &SpanContext) -> u32 {
        // The context arrived in a message, so its span is in another process.
        u32::from(sender.trace_flags()) | flag::HAS_IS_REMOTE | flag::IS_REMOTE
    }

    /// Returns the attribute of a link that is marked `follows_from`.
    #[must_use]
    pub fn follows_from_attribute() -> KeyValue {
        KeyValue::new(OPENTRACING_REF_TYPE, FOLLOWS_FROM)
    }

    /// Returns the attribute of this name.
    #[must_use]
    pub fn attribute(&self, key: &str) -> Option<&Value> {
        find(&self.attributes, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Sampling;

    #[test]
    fn link_to_a_sender_is_remote_and_follows_from() {
        let ids = TraceId::from_hex("1").zip(SpanId::from_hex("2"));
        let (trace_id, span_id) = ids.unwrap();
        let mut sender = SpanContext::new(trace_id, span_id, Sampling::Sample);
        sender.random = true;
        let link = Link::follows_from(&sender);
        assert_eq!(link.flags, 0x303);
        let kind = link.attribute("opentracing.ref_type");
        assert_eq!(kind.and_then(Value::as_str), Some("follows_from"));
    }
}
