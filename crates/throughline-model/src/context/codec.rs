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
