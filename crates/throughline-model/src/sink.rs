//! The receiver of finished spans.

use std::fmt;

use crate::{Span, SpanGroup};

/// A receiver of finished spans: an exporter's queue, a store, a test's list.
pub trait SpanSink: Send + Sync {
    /// Takes the span at once or drops it: the call never waits, and needs no reaction to a drop.
    ///
    /// # Errors
    /// When the sink is full; it has counted the span as dropped.
    fn try_send(&self, span: Span) -> Result<(), SinkFull>;

    /// Takes spans one by one, as [`SpanSink::try_send`] does. Returns the number of dropped ones.
    /// A sink may hold a lock meanwhile: the iterator only hands out spans that exist already.
    fn try_send_all(&self, spans: &mut dyn Iterator<Item = Span>) -> usize {
        spans.filter_map(|span| self.try_send(span).err()).count()
    }

    /// Takes the spans of a group, as [`SpanSink::try_send_all`] does. Returns the number of
    /// dropped ones.
    fn try_send_group(&self, group: SpanGroup) -> usize {
        self.try_send_all(&mut group.spans())
    }
}

/// The error of a sink that had no room: the span is dropped and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SinkFull;

// === impl SinkFull ===

impl fmt::Display for SinkFull {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("span queue is full, the span was dropped")
    }
}

impl std::error::Error for SinkFull {}
