//! The headers of a request, read as HTTP has it and not as Kafka has it.

use throughline_model::context::{Carrier, Format};

/// Headers to read a context from. White space around values is no part of them (RFC 9110, section 5.5), and of several
/// `traceparent` none is valid (W3C Trace Context level 2, section 3.2: there is one).
pub(super) struct Received<'a> {
    headers: &'a dyn Carrier,
    is_ambiguous: bool,
}

const TRACEPARENT: &str = "traceparent";

// === impl Received ===

impl<'a> Received<'a> {
    pub(super) fn new(headers: &'a dyn Carrier) -> Self {
        let mut parents = 0_u32;
        headers.each(&mut |name, _| {
            parents += u32::from(name.eq_ignore_ascii_case(TRACEPARENT.as_bytes()))
        });
        Self {
            headers,
            is_ambiguous: parents > 1,
        }
    }

    /// The formats whose headers are there, well-formed or not.
    pub(super) fn formats(&self) -> Vec<Format> {
        let mut found = Vec::new();
        self.headers.each(&mut |name, _| {
            if let Some(format) = Format::of_context_header(name)
                && !found.contains(&format)
            {
                found.push(format);
            }
        });
        found
    }
}

impl Carrier for Received<'_> {
    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
        self.headers.each(&mut |name, value| {
            if !(self.is_ambiguous && name.eq_ignore_ascii_case(TRACEPARENT.as_bytes())) {
                visit(name, value.map(<[u8]>::trim_ascii));
            }
        });
    }
}
