//! What must hold for any headers at all. Shared by the property tests and the fuzz target.

use throughline_model::context::{self, Baggage, Format, HeaderList, SpanContext};

pub(crate) const FORMATS: [Format; 5] = [
    Format::W3c,
    Format::B3Single,
    Format::B3Multi,
    Format::Jaeger,
    Format::Baggage,
];

const NAMES: [&str; 11] = [
    "traceparent",
    "tracestate",
    "baggage",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-sampled",
    "x-b3-flags",
    "uber-trace-id",
    "uberctx-key",
    "other",
];

/// Headers from bytes: each line is a header; its first byte picks the name, NUL in front of the value makes it null.
pub(crate) fn headers(bytes: &[u8]) -> HeaderList {
    let mut list = HeaderList::default();
    for line in bytes.split(|byte| *byte == b'\n').take(256) {
        match line {
            [] => {}
            [pick, 0, ..] => list.push_null(NAMES[usize::from(*pick) % NAMES.len()]),
            [pick, value @ ..] => list.push(NAMES[usize::from(*pick) % NAMES.len()], value),
        }
    }
    list
}

/// Whatever is read is written back so that it reads the same in each format alone, and as the same span in all
/// together.
pub(crate) fn reading_and_writing_agree(list: &HeaderList) {
    for formats in FORMATS
        .iter()
        .map(std::slice::from_ref)
        .chain([&FORMATS[..]])
    {
        let found = context::extract(formats, list);
        let Some(context) = &found.context else {
            continue;
        };
        let mut out = list.clone();
        context::inject(formats, context, &found.baggage, &mut out);
        let again = context::extract(formats, &out);
        if formats.len() == 1 {
            assert_eq!(again.context.as_ref(), Some(context), "{formats:?}");
        } else {
            // The first format is read first, and not every format can say all that another can.
            let ids = |context: &SpanContext| (context.trace_id, context.span_id);
            assert_eq!(
                again.context.as_ref().map(ids),
                Some(ids(context)),
                "{formats:?}"
            );
        }
        assert_eq!(
            entries(&again.baggage),
            entries(&found.baggage),
            "{formats:?}"
        );

        let mut twice = out.clone();
        context::inject(formats, context, &found.baggage, &mut twice);
        assert_eq!(
            twice.len(),
            out.len(),
            "injection must replace, never append: {formats:?}"
        );
    }
}

/// The order of entries may change where two formats carry the same baggage.
fn entries(baggage: &Baggage) -> Vec<(&str, &str)> {
    let mut entries: Vec<_> = baggage
        .iter()
        .map(|entry| (entry.key(), entry.value()))
        .collect();
    entries.sort_unstable();
    entries
}
