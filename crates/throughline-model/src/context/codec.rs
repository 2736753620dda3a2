//! The entry of a propagation format in the registry.

use super::{Baggage, Carrier, CarrierMut, PropagatedContext, SpanContext};

/// Everything that the workspace knows about one propagation format.
pub(super) struct FormatCodec {
    /// The name in `OTEL_PROPAGATORS` and in options.
    pub(super) name: &'static str,
    /// Formats of one family are read together, whichever of them is configured (OpenTelemetry,
    /// "Propagators API", B3 requirements).
    pub(super) family: &'static str,
    /// The headers with fixed names that it writes, lower-case.
    pub(super) headers: &'static [&'static str],
    /// The place of the span id in the headers; `None` for a format that carries baggage only.
    pub(super) span_id: Option<SpanIdLocation>,
    /// Whether it carries baggage, which is read even where another format held the context.
    pub(super) carries_baggage: bool,
    pub(super) extract: fn(&dyn Carrier, &mut PropagatedContext),
    pub(super) inject: fn(&SpanContext, &Baggage, &mut dyn CarrierMut),
}

/// The place of the span id, for whoever overwrites it in encoded headers.
pub(super) struct SpanIdLocation {
    /// The header that holds it, lower-case.
    pub(super) header: &'static str,
    /// Returns the offset of its first digit in the value of that header.
    pub(super) offset: fn(&[u8]) -> Option<usize>,
}

/// Longest text behind the ids of an [`IdPair`].
const MAX_END_BYTES: usize = 4;
const MAX_PAIR_BYTES: usize = 32 + 1 + 16 + MAX_END_BYTES;

/// The ids of a context with a separator between them and a text behind them. Written into an
/// array: this runs for every message, and formatting would cost several times more.
pub(super) struct IdPair {
    bytes: [u8; MAX_PAIR_BYTES],
    length: usize,
}

// === impl IdPair ===

impl IdPair {
    /// Writes the ids of a context. Of `end`, four bytes are written at most.
    pub(super) fn new(context: &SpanContext, separator: u8, end: &[u8]) -> Self {
        let (trace, span) = (context.trace_id.to_hex(), context.span_id.to_hex());
        let fields: [&[u8]; 4] = [&trace, &[separator], &span, end];
        let mut bytes = [0; MAX_PAIR_BYTES];
        let mut length = 0;
        for (slot, byte) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *slot = *byte;
            length += 1;
        }
        Self { bytes, length }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}
