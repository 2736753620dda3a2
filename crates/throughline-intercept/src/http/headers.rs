//! Context headers of a request: reading by the rules of HTTP, and replacing.

use throughline_model::context::{
    self, Baggage, Carrier, CarrierMut, Format, FormatSet, SpanContext,
};

const TRACEPARENT: &str = "traceparent";

/// Half of the smallest limit that servers have for a head (8 KiB in Tomcat, nginx and Apache).
const MAX_HEAD_BYTES: usize = 4 << 10;

/// Headers of a request as a carrier of contexts. White space around a value is not part of it
/// (RFC 9110, section 5.5).
pub(super) struct RequestHeaderCarrier<'a> {
    headers: &'a dyn Carrier,
    /// Whether `traceparent` occurs more than once. None of them is valid then (W3C Trace Context
    /// level 2, section 3.2).
    is_ambiguous: bool,
}

/// Replaces the context in the headers, in these formats. Baggage stays as it is: it belongs to the
/// application.
pub(super) fn replace_context(
    headers: &mut dyn CarrierMut,
    context: &SpanContext,
    formats: FormatSet,
) {
    for format in formats.iter().filter(|format| *format != Format::Baggage) {
        context::inject(&[format], context, &Baggage::default(), headers);
    }
}

/// Returns whether a context in all formats fits into the limit of a server's request head.
pub(super) fn has_room(headers: &dyn CarrierMut) -> bool {
    let mut bytes = 0;
    headers.each(&mut |name, value| bytes += name.len() + value.map_or(0, <[u8]>::len));
    bytes <= MAX_HEAD_BYTES
}

// === impl RequestHeaderCarrier ===

impl<'a> RequestHeaderCarrier<'a> {
    pub(super) fn new(headers: &'a dyn Carrier) -> Self {
        let mut count = 0_u32;
        headers.each(&mut |name, _| count += u32::from(is_traceparent(name)));
        Self {
            headers,
            is_ambiguous: count > 1,
        }
    }

    /// Returns the formats that have a header in the request, valid or not.
    pub(super) fn context_formats(&self) -> FormatSet {
        let mut found = FormatSet::default();
        self.headers.each(&mut |name, _| {
            // A malformed header counts as well: forwarded, it would be stale or invalid.
            if let Some(format) = Format::of_context_header(name) {
                found.insert(format);
            }
        });
        found
    }
}

impl Carrier for RequestHeaderCarrier<'_> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
        self.headers.each(&mut |name, value| {
            if !(self.is_ambiguous && is_traceparent(name)) {
                visit(name, value.map(<[u8]>::trim_ascii));
            }
        });
    }
}

fn is_traceparent(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(TRACEPARENT.as_bytes())
}
