//! Where the spans of the pipeline go: into a store of this collector, or on to others.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use throughline_model::Span;
use throughline_otlp::{DecodedSpans, RejectionReason};
use throughline_store::{InsertError, Store};

use crate::metrics::IngestSource;

/// Where received spans go.
#[derive(Clone)]
pub enum SpanDestination {
    /// Into this store, which is queried as well.
    Store(Arc<dyn Store>),
    /// On to others; nothing is kept here.
    Forwarder(Arc<dyn SpanForwarder>),
}

/// Passes spans on, to a topic of Kafka for instance.
pub trait SpanForwarder: Send + Sync {
    /// Begins to send spans and does not wait for it. `otlp` is the `ExportTraceServiceRequest` in
    /// protobuf that has exactly these spans, where there is one; `are_fragments` means that they
    /// may be parts of spans, as Zipkin's clients send them.
    ///
    /// # Errors
    /// [`InsertError`]: the sender should send all of them again, later.
    fn forward(
        &self,
        spans: &[Span],
        otlp: Option<&[u8]>,
        are_fragments: bool,
    ) -> Result<ForwardedSpans, InsertError>;
}

/// Completes when spans have arrived where they were sent. An error asks the sender to send all of
/// them again.
pub type SpanDelivery = Pin<Box<dyn Future<Output = Result<(), InsertError>> + Send>>;

/// Spans on their way.
pub struct ForwardedSpans {
    /// Number of spans that are being sent.
    pub sent: u64,
    /// Number of spans that are too large to be sent, ever.
    pub too_large: u64,
    /// Their arrival.
    pub delivery: SpanDelivery,
}

/// The spans of a request that are in the store, or on their way.
pub(super) struct Insertion {
    pub(super) source: IngestSource,
    pub(super) count: u64,
    /// Rejections and repairs; the spans themselves were taken out.
    pub(super) decoded: DecodedSpans,
    pub(super) delivery: Option<SpanDelivery>,
}

// === impl Insertion ===

impl Insertion {
    /// Describes spans that are in the store.
    pub(super) const fn kept(source: IngestSource, count: u64, decoded: DecodedSpans) -> Self {
        Self {
            source,
            count,
            decoded,
            delivery: None,
        }
    }

    /// Describes spans that are on their way.
    pub(super) fn forwarded(
        source: IngestSource,
        mut decoded: DecodedSpans,
        forwarded: ForwardedSpans,
    ) -> Self {
        for _ in 0..forwarded.too_large {
            decoded.rejected.add(RejectionReason::Size);
        }
        Self {
            source,
            count: forwarded.sent,
            decoded,
            delivery: Some(forwarded.delivery),
        }
    }
}

impl fmt::Debug for SpanDestination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Store(_) => "Store",
            Self::Forwarder(_) => "Forwarder",
        })
    }
}

impl fmt::Debug for ForwardedSpans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ForwardedSpans")
            .field("sent", &self.sent)
            .field("too_large", &self.too_large)
            .finish_non_exhaustive()
    }
}
