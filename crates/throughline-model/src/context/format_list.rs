//! Lists of formats, as `OTEL_PROPAGATORS` and options hold them.

use super::Format;

/// The parsed form of a list of formats: `tracecontext,b3`, or `none`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FormatList {
    /// The formats, in the order of the list, each once.
    pub formats: Vec<Format>,
    /// Whether the list holds the word `none`.
    pub has_none: bool,
    /// Words that name no format.
    pub unknown: Vec<String>,
}

// === impl FormatList ===

impl FormatList {
    /// The word for an empty list (OpenTelemetry, `OTEL_PROPAGATORS`).
    pub const NONE: &str = "none";

    /// Parses names that are separated by commas, in any case of letters. Empty names are skipped.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut list = Self::default();
        for word in text.split(',').map(str::trim) {
            match Format::from_name(word) {
                _ if word.is_empty() => {}
                // The specification wants each propagator registered once.
                Some(format) if list.formats.contains(&format) => {}
                Some(format) => list.formats.push(format),
                None if word.eq_ignore_ascii_case(Self::NONE) => list.has_none = true,
                None => list.unknown.push(word.to_owned()),
            }
        }
        list
    }

    /// Returns the names of these formats for a message: `tracecontext, b3, jaeger`.
    #[must_use]
    pub fn names(formats: impl Iterator<Item = Format>) -> String {
        formats.map(Format::name).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_in_order_and_once() {
        let list = FormatList::parse(" B3 ,tracecontext,,b3, xray,None");
        assert_eq!(list.formats, [Format::B3Single, Format::W3c]);
        assert_eq!(
            (list.has_none, list.unknown),
            (true, vec!["xray".to_owned()])
        );
    }

    #[test]
    fn names_of_context_formats_are_listed_in_reading_order() {
        let names = FormatList::names(Format::contexts());
        assert_eq!(names, "tracecontext, b3, b3multi, jaeger");
    }
}
