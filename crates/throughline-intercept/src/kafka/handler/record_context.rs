//! Trace contexts in record headers: extracted, injected, and located for patching.

use throughline_kafka::batch::{HeaderWriter, Record};
use throughline_model::context::{
    self, Baggage, Carrier, CarrierMut, Format, FormatSet, Sampling, SpanContext,
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
    /// Number of headers of each name that are passed over, from the last one on. The first one of
    /// a name is never passed over.
    passed_over: usize,
}

/// The last values of the headers of one name.
#[derive(Debug, Default)]
struct LastValues<'a> {
    /// Ring of values.
    values: [&'a [u8]; LAST_VALUES],
    count: usize,
}

/// Headers of a record, and those that are added to it.
struct HeaderEditor<'r, 'a> {
    record: &'r Record<'a>,
    headers: &'r mut HeaderWriter,
}

/// opentracing-kafka-client wrote the consumer span's context under this prefix, up to 0.1.2.
const SECOND_SPAN_PREFIX: &[u8] = b"second_span_";

/// Maximum number of headers of one name among which a well-formed one is looked for.
const MAX_DUPLICATES: usize = LAST_VALUES - 1;

/// Number of values of one name that are looked at.
const LAST_VALUES: usize = 8;

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

/// Returns the formats of which a record has a header.
pub(super) fn formats(record: &Record<'_>) -> FormatSet {
    record
        .headers()
        .filter_map(|header| Format::of_context_header(header.key))
        .collect()
}

fn extract_prefixed(
    record: &Record<'_>,
    settings: &Settings,
    prefix: &'static [u8],
) -> ExtractedContext {
    let mut decision = None;
    // One format at a time: after the first context there is only baggage, which is not needed.
    for format in &settings.read {
        let mut reader = HeaderReader {
            record,
            prefix,
            passed_over: 0,
        };
        let extracted = context::extract(std::slice::from_ref(format), &reader);
        if let Some(context) = extracted.context {
            return ExtractedContext::Context(context);
        }
        decision = decision.or(extracted.sampling);
        // From the last header of a name on: a malformed one does not hide a context.
        for passed_over in 1..=reader.duplicates(*format).min(MAX_DUPLICATES) {
            reader.passed_over = passed_over;
            let extracted = context::extract(std::slice::from_ref(format), &reader);
            if let Some(context) = extracted.context {
                return ExtractedContext::Context(context);
            }
        }
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

impl HeaderReader<'_, '_> {
    /// Returns the number of headers of a format beside the last one of their name.
    fn duplicates(&self, format: Format) -> usize {
        let names = format.headers().iter();
        let counts = names.map(|name| {
            let mut count = 0_usize;
            self.each(&mut |key, value| {
                let is_same = key.eq_ignore_ascii_case(name.as_bytes());
                count += usize::from(is_same && value.is_some());
            });
            count.saturating_sub(1)
        });
        counts.max().unwrap_or_default()
    }
}

impl Carrier for HeaderReader<'_, '_> {
    /// Returns the last header of this name that has a value and is not passed over. Kafka's header
    /// names are case-sensitive, so that an exact match goes before one in another case; B3 is
    /// written in capitals too.
    fn last<'b>(&'b self, name: &str) -> Option<&'b [u8]> {
        let (mut exact, mut similar) = (LastValues::default(), LastValues::default());
        self.each(&mut |key, value| {
            let Some(value) = value else { return };
            if key == name.as_bytes() {
                exact.push(value);
            } else if key.eq_ignore_ascii_case(name.as_bytes()) {
                similar.push(value);
            }
        });
        let exact_count = exact.count;
        let of_exact = exact.get(self.passed_over.min(exact_count.saturating_sub(1)));
        if self.passed_over < exact_count || similar.count == 0 {
            return of_exact;
        }
        let passed_over = self.passed_over - exact_count;
        similar.get(passed_over.min(similar.count - 1))
    }

    fn each<'b>(&'b self, visit: &mut dyn FnMut(&'b [u8], Option<&'b [u8]>)) {
        for header in self.record.headers() {
            if let Some(name) = header.key.strip_prefix(self.prefix) {
                visit(name, header.value);
            }
        }
    }
}

// === impl LastValues ===

impl<'a> LastValues<'a> {
    fn push(&mut self, value: &'a [u8]) {
        if let Some(slot) = self.values.get_mut(self.count % LAST_VALUES) {
            *slot = value;
        }
        self.count += 1;
    }

    /// Returns the value with this number of values behind it.
    fn get(&self, behind: usize) -> Option<&'a [u8]> {
        let at = self.count.checked_sub(behind + 1)?;
        // Only the last ones are kept.
        let is_kept = behind < LAST_VALUES;
        self.values
            .get(at % LAST_VALUES)
            .copied()
            .filter(|_| is_kept)
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
            // Two headers of one name would leave it to the reader which of them counts.
            self.headers.replace(name.as_bytes(), Some(value));
        } else {
            self.headers.append(name.as_bytes(), Some(value));
        }
    }

    /// Removes headers that would belong to another context than the one that is written.
    fn remove(&mut self, name: &str) {
        for header in self.record.headers() {
            if header.key.eq_ignore_ascii_case(name.as_bytes()) {
                self.headers.remove(header.key);
            }
        }
    }
}
