//! Context headers of a request: reading by the rules of HTTP, and replacing.

use throughline_model::context::{self, Baggage, Carrier, CarrierMut, Format, SpanContext};

const TRACEPARENT: &str = "traceparent";

/// Headers of a request as a carrier of contexts. White space around a value is not part of it
/// (RFC 9110, section 5.5).
pub(super) struct RequestHeaderCarrier<'a> {
    headers: &'a dyn Carrier,
    /// Whether `traceparent` occurs more than once. None of them is valid then (W3C Trace Context
    /// level 2, section 3.2).
    is_ambiguous: bool,
}

/// Replaces the context in the headers: in the formats to `write`, and in those `present`. Baggage
/// stays as it is.
pub(super) fn replace_context(
    headers: &mut dyn CarrierMut,
    context: &SpanContext,
    write: &[Format],
    present: &[Format],
) {
    // A format that is read but not written must not keep the context of the previous hop.
    let stale = present.iter().filter(|format| !write.contains(format));
    let formats: Vec<Format> = write
        .iter()
        .chain(stale)
        .copied()
        // Baggage belongs to the application and is forwarded unmodified.
        .filter(|format| *format != Format::Baggage)
        .collect();
    context::inject(&formats, context, &Baggage::default(), headers);
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
    pub(super) fn context_formats(&self) -> Vec<Format> {
        let mut found = Vec::new();
        self.headers.each(&mut |name, _| {
            // A malformed header counts as well: forwarded, it would be stale or invalid.
            if let Some(format) = Format::of_context_header(name)
                && !found.contains(&format)
            {
                found.push(format);
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
