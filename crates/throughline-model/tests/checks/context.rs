//! Properties that hold for any headers. Shared by the property tests and the fuzz target.

use throughline_model::context::{self, Baggage, Format, HeaderList, SpanContext};

/// Headers that belong to no format by their fixed name.
const OTHER_HEADERS: [&str; 2] = ["uberctx-key", "other"];

/// Decodes headers from bytes: each line is a header, whose first byte selects the name; NUL in
/// front of the value makes it null.
pub(crate) fn headers(bytes: &[u8]) -> HeaderList {
    let known = Format::ALL.iter().flat_map(|format| format.headers());
    let names: Vec<&str> = known.copied().chain(OTHER_HEADERS).collect();
    let mut list = HeaderList::default();
    for line in bytes.split(|byte| *byte == b'\n').take(256) {
        match line {
            [] => {}
            [name, 0, ..] => list.push_null(names[usize::from(*name) % names.len()]),
            [name, value @ ..] => list.push(names[usize::from(*name) % names.len()], value),
        }
    }
    list
}

/// Checks that a context is read again as it was written: entirely in each format alone, and with
/// the same ids in all formats together.
pub(crate) fn reading_and_writing_agree(list: &HeaderList) {
    for formats in Format::ALL.chunks(1).chain([Format::ALL]) {
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
            // The first format wins, and it may express less than the one the context came from.
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

/// Returns the sorted entries: two formats with the same baggage may change their order.
fn entries(baggage: &Baggage) -> Vec<(&str, &str)> {
    let mut entries: Vec<_> = baggage
        .iter()
        .map(|entry| (entry.key(), entry.value()))
        .collect();
    entries.sort_unstable();
    entries
}
