//! Trace contexts in record headers: extracted, injected, and located for patching.

use throughline_kafka::batch::{HeaderWriter, Record};
use throughline_model::context::{
    self, Baggage, Carrier, CarrierMut, Format, Sampling, SpanContext,
};

use crate::kafka::{Settings, SpanNaming};

/// Trace information that a record carries.
#[derive(Debug)]
pub(super) enum ExtractedContext {
    /// None, or none that is well-formed.
    Absent,
    /// The context of the span that sent the record.
    Context(SpanContext),
    /// A sampling decision without ids (`b3: 0`).
    Decision(Sampling),
}

/// Headers of a record, as far as they have a prefix; without it.
struct HeaderReader<'r, 'a> {
    record: &'r Record<'a>,
    prefix: &'static [u8],
}

/// Headers of a record, and those that are added to it.
struct HeaderEditor<'r, 'a> {
    record: &'r Record<'a>,
    headers: &'r mut HeaderWriter,
}

/// opentracing-kafka-client wrote the consumer span's context under this prefix, up to 0.1.2.
const SECOND_SPAN_PREFIX: &[u8] = b"second_span_";

/// Reads the context of a record.
#[inline]
pub(super) fn extract(record: &Record<'_>, settings: &Settings) -> ExtractedContext {
    // Most records have no such header: they cost one comparison of lengths for each header.
    if record.header_count() == 0 || !record.headers().any(|it| is_context_header(it.key)) {
        return ExtractedContext::Absent;
    }
    let extracted = extract_prefixed(record, settings, b"");
    let is_absent = matches!(extracted, ExtractedContext::Absent);
    if is_absent && settings.naming == SpanNaming::OpenTracing {
        return extract_prefixed(record, settings, SECOND_SPAN_PREFIX);
    }
    extracted
}

fn extract_prefixed(
    record: &Record<'_>,
    settings: &Settings,
    prefix: &'static [u8],
) -> ExtractedContext {
    let reader = HeaderReader { record, prefix };
    let mut decision = None;
    // One format at a time: after the first context there is only baggage, which is not needed.
    for format in &settings.read {
        let extracted = context::extract(std::slice::from_ref(format), &reader);
        if let Some(context) = extracted.context {
            return ExtractedContext::Context(context);
        }
        decision = decision.or(extracted.sampling);
    }
    decision.map_or(ExtractedContext::Absent, ExtractedContext::Decision)
}

fn is_context_header(name: &[u8]) -> bool {
    Format::of_context_header(name).is_some()
        || (name.len() > SECOND_SPAN_PREFIX.len() && name.starts_with(SECOND_SPAN_PREFIX))
}

/// Adds a context to a record, or replaces a malformed one under the same name.
pub(super) fn inject(
    formats: &[Format],
    context: &SpanContext,
    record: &Record<'_>,
    headers: &mut HeaderWriter,
) {
    let mut editor = HeaderEditor { record, headers };
    context::inject(formats, context, &Baggage::default(), &mut editor);
}

// === impl HeaderReader ===

impl Carrier for HeaderReader<'_, '_> {
    /// Returns the last header of this name. Kafka's header names are case-sensitive, so that an
    /// exact match goes before one in another case; B3 is written in capitals too.
    fn last<'b>(&'b self, name: &str) -> Option<&'b [u8]> {
        let (mut exact, mut similar) = (None, None);
        self.each(&mut |key, value| {
            if key == name.as_bytes() {
                exact = Some(value);
            } else if key.eq_ignore_ascii_case(name.as_bytes()) {
                similar = value;
            }
        });
        exact.unwrap_or(similar)
    }

    fn each<'b>(&'b self, visit: &mut dyn FnMut(&'b [u8], Option<&'b [u8]>)) {
        for header in self.record.headers() {
            if let Some(name) = header.key.strip_prefix(self.prefix) {
                visit(name, header.value);
            }
        }
    }
}

// === impl HeaderEditor ===

impl Carrier for HeaderEditor<'_, '_> {
    fn each<'b>(&'b self, visit: &mut dyn FnMut(&'b [u8], Option<&'b [u8]>)) {
        for header in self.record.headers() {
            visit(header.key, header.value);
        }
    }
}

impl CarrierMut for HeaderEditor<'_, '_> {
    fn replace(&mut self, name: &str, value: &[u8]) {
        if self.record.last_header(name.as_bytes()).is_some() {
            self.headers.replace(name.as_bytes(), Some(value));
        } else {
            self.headers.append(name.as_bytes(), Some(value));
        }
    }

    /// Does nothing: headers of the application are never removed.
    fn remove(&mut self, _: &str) {}
}
