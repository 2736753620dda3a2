//! Where finished spans go.

use std::fmt;

use crate::Span;

/// Takes finished spans: a bounded queue before an exporter, a store, a test's list.
pub trait SpanSink: Send + Sync {
    /// Takes the span at once or not at all: it never waits, and the caller has nothing to do about a refusal.
    ///
    /// # Errors
    /// When the sink is full; it has counted the span as dropped.
    fn try_send(&self, span: Span) -> Result<(), Full>;
}

/// The sink had no room; the span is gone, and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

// === impl Full ===

impl fmt::Display for Full {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no room for another span")
    }
}

impl std::error::Error for Full {}
