//! The parts of a span that weaving looks at.

use std::sync::Arc;

use throughline_model::convention::MESSAGING_KAFKA_CLUSTER_ID;
use throughline_model::{Span, SpanKind, Value};
use throughline_store::{MessageAttributes, SpanKey, is_settlement};

/// A span of a record, from the sidecar of its producer or consumer.
#[derive(Debug, Clone)]
pub(super) struct RecordEndpoint {
    pub(super) key: SpanKey,
    pub(super) side: RecordSide,
    pub(super) position: OffsetPosition,
    pub(super) start: u64,
    pub(super) end: u64,
    /// When the record was made, as its consumer knows it.
    pub(super) made_at: Option<u64>,
}

/// The side of a record's span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordSide {
    Producer,
    /// A consumer whose record carried no context.
    Consumer,
}

/// The position of a record, which is unique.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct OffsetPosition {
    pub(super) partition: RecordPartition,
    pub(super) offset: i64,
}

/// A partition of a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct RecordPartition {
    pub(super) cluster: Arc<str>,
    pub(super) topic: Arc<str>,
    pub(super) index: i64,
}

// === impl RecordEndpoint ===

impl RecordEndpoint {
    /// Reads the record of a span; `None` when it cannot take part in a join: without the four
    /// values of its position, or as a consumer whose sender is known.
    pub(super) fn of(span: &Span) -> Option<Self> {
        let side = match span.kind {
            SpanKind::Producer => RecordSide::Producer,
            // With links, the sender is known, and is not to be the parent.
            SpanKind::Consumer if span.parent_span_id.is_none() && span.links.is_empty() => {
                RecordSide::Consumer
            }
            SpanKind::Consumer
            | SpanKind::Unspecified
            | SpanKind::Internal
            | SpanKind::Server
            | SpanKind::Client => return None,
        };
        let cluster = span.attribute(MESSAGING_KAFKA_CLUSTER_ID);
        let cluster = cluster
            .and_then(Value::as_str)
            .filter(|id| !id.is_empty())?;
        let message = MessageAttributes::of(span)?;
        // The broker gives -1 for a record that it did not append.
        let offset = message.offset.filter(|offset| *offset >= 0)?;
        if span.failed() || is_settlement(span) {
            return None;
        }
        Some(Self {
            key: SpanKey::of(span),
            side,
            position: OffsetPosition {
                partition: RecordPartition {
                    cluster: cluster.into(),
                    topic: message.topic?.into(),
                    index: message.partition?,
                },
                offset,
            },
            start: span.start,
            end: span.end,
            made_at: message.queue_time.map(|time| span.end.saturating_sub(time)),
        })
    }
}
