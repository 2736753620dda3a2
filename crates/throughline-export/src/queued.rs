//! An entry of the queue: a single span, or a group of spans with common content.

use throughline_model::{Span, SpanGroup};
use throughline_otlp::SpanRef;

use crate::span_size;

/// Spans that are queued together.
#[derive(Debug)]
pub(crate) struct QueuedSpans {
    content: QueuedContent,
    /// The memory that counts against the limits.
    pub(crate) bytes: usize,
}

#[derive(Debug)]
enum QueuedContent {
    Single(Box<Span>),
    Group(SpanGroup),
}

// === impl QueuedSpans ===

impl QueuedSpans {
    pub(crate) fn single(span: Span) -> Self {
        Self {
            bytes: span_size::bytes_of(&span),
            content: QueuedContent::Single(Box::new(span)),
        }
    }

    pub(crate) fn group(group: SpanGroup) -> Self {
        Self {
            bytes: span_size::bytes_of_group(&group),
            content: QueuedContent::Group(group),
        }
    }

    /// Returns the number of spans.
    pub(crate) fn len(&self) -> usize {
        match &self.content {
            QueuedContent::Single(_) => 1,
            QueuedContent::Group(group) => group.len(),
        }
    }

    /// Returns how many of the spans, the first ones, take at most this many bytes. The spans of a
    /// group are taken for equal.
    pub(crate) fn fitting(&self, bytes: usize) -> usize {
        let spans = self.len();
        let each = self.bytes.div_ceil(spans.max(1));
        bytes.checked_div(each).unwrap_or(spans).min(spans)
    }

    /// Splits into the first `count` spans and the others; [`None`] for a part without spans.
    pub(crate) fn split(self, count: usize) -> (Option<Self>, Option<Self>) {
        if count == 0 {
            return (None, Some(self));
        }
        match self.content {
            QueuedContent::Group(mut first) if count < first.len() => {
                let others = first.split_off(count);
                (Some(Self::group(first)), Some(Self::group(others)))
            }
            content @ (QueuedContent::Single(_) | QueuedContent::Group(_)) => {
                let bytes = self.bytes;
                (Some(Self { content, bytes }), None)
            }
        }
    }

    /// Returns the spans as they are encoded.
    pub(crate) const fn as_span_ref(&self) -> SpanRef<'_> {
        match &self.content {
            QueuedContent::Single(span) => SpanRef::Single(span),
            QueuedContent::Group(group) => SpanRef::Group(group),
        }
    }
}
