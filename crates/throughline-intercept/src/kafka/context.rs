//! Contexts in the headers of records: found, written, and patched where they lie.

use throughline_kafka::batch::{self, Record};
use throughline_model::context::{
    self, Baggage, Carrier, CarrierMut, Format, Sampling, SpanContext,
};

use super::{Naming, Settings};

/// What a record says of its trace.
#[derive(Debug)]
pub(super) enum Found {
    Nothing,
    Context(SpanContext),
    /// A decision without ids (`b3: 0`).
    Decided(Sampling),
}

/// The headers of a record, those of one prefix without it.
struct Received<'r, 'a> {
    record: &'r Record<'a>,
    prefix: &'static [u8],
}

/// The headers of a record, and those that it is to get.
struct Outgoing<'r, 'a> {
    record: &'r Record<'a>,
    headers: &'r mut batch::HeaderWriter,
}

/// opentracing-kafka-client put the consumer span's context under this prefix, up to 0.1.2.
const SECOND_SPAN: &[u8] = b"second_span_";

/// What the record says. Most have no such header, and cost one look at each name.
pub(super) fn read(record: &Record<'_>, settings: &Settings) -> Found {
    if record.header_count() == 0 || !record.headers().any(|header| is_of_context(header.key)) {
        return Found::Nothing;
    }
    let found = read_prefixed(record, settings, b"");
    if matches!(found, Found::Nothing) && settings.naming == Naming::OpenTracing {
        return read_prefixed(record, settings, SECOND_SPAN);
    }
    found
}

fn read_prefixed(record: &Record<'_>, settings: &Settings, prefix: &'static [u8]) -> Found {
    let mut decided = None;
    // One by one: behind the first that holds a context there is nothing but baggage, which is nobody's business here.
    for format in &settings.read {
        let found = context::extract(std::slice::from_ref(format), &Received { record, prefix });
        if let Some(context) = found.context {
            return Found::Context(context);
        }
        decided = decided.or(found.sampling);
    }
    decided.map_or(Found::Nothing, Found::Decided)
}

fn is_of_context(name: &[u8]) -> bool {
    Format::of_context_header(name).is_some()
        || (name.len() > SECOND_SPAN.len() && name.starts_with(SECOND_SPAN))
}

/// Gives the record the context, in place of a malformed one under the same name.
pub(super) fn write(
    formats: &[Format],
    context: &SpanContext,
    record: &Record<'_>,
    headers: &mut batch::HeaderWriter,
) {
    context::inject(
        formats,
        context,
        &Baggage::default(),
        &mut Outgoing { record, headers },
    );
}

// === impl Received ===

impl Carrier for Received<'_, '_> {
    /// Names of Kafka's headers have a case: one that is written as it should be goes before one that only resembles it. Others
    /// have the say when there is none, for B3 is written in capitals too.
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
        if self.prefix.is_empty() {
            return self
                .record
                .headers()
                .for_each(|header| visit(header.key, header.value));
        }
        for header in self.record.headers() {
            if let Some(name) = header.key.strip_prefix(self.prefix) {
                visit(name, header.value);
            }
        }
    }
}

// === impl Outgoing ===

impl Carrier for Outgoing<'_, '_> {
    fn each<'b>(&'b self, visit: &mut dyn FnMut(&'b [u8], Option<&'b [u8]>)) {
        self.record
            .headers()
            .for_each(|header| visit(header.key, header.value));
    }
}

impl CarrierMut for Outgoing<'_, '_> {
    fn replace(&mut self, name: &str, value: &[u8]) {
        if self.record.last_header(name.as_bytes()).is_some() {
            self.headers.replace(name.as_bytes(), Some(value));
        } else {
            self.headers.append(name.as_bytes(), Some(value));
        }
    }

    /// Nothing is taken from a record.
    fn remove(&mut self, _: &str) {}
}
