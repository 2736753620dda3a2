//! The registry of propagation formats, and reading and writing by it.

use super::codec::FormatCodec;
use super::{
    Baggage, Carrier, CarrierMut, PropagatedContext, SpanContext, b3, baggage_header, jaeger, w3c,
};
use crate::SpanId;

/// Declares [`Format`] from one line for each format: its variant and its codec.
macro_rules! formats {
    ($($(#[$doc:meta])* $format:ident => $codec:path,)*) => {
        /// A propagation format: the headers that carry a context, baggage, or both.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Format {
            $($(#[$doc])* $format,)*
        }

        impl Format {
            /// All formats, in the order in which a proxy reads them.
            pub const ALL: &'static [Self] = &[$(Self::$format,)*];

            const fn codec(self) -> &'static FormatCodec {
                match self {
                    $(Self::$format => &$codec,)*
                }
            }
        }
    };
}

formats! {
    /// `traceparent` and `tracestate`.
    W3c => w3c::CODEC,
    /// `baggage`. Carries no context.
    Baggage => baggage_header::CODEC,
    /// `b3`.
    B3Single => b3::SINGLE_CODEC,
    /// `x-b3-traceid`, `x-b3-spanid`, `x-b3-sampled` and `x-b3-flags`.
    B3Multi => b3::MULTI_CODEC,
    /// `uber-trace-id`, with baggage as `uberctx-<key>`.
    Jaeger => jaeger::CODEC,
}

/// Bit `n` is set when a header that carries a context has a name of `n` bytes.
const CONTEXT_HEADER_LENGTHS: u64 = context_header_lengths();

/// Reads a context. The first of `formats` that yields one wins; later formats are read for their
/// baggage only.
#[must_use]
pub fn extract(formats: &[Format], carrier: &dyn Carrier) -> PropagatedContext {
    let mut found = PropagatedContext::default();
    for format in formats {
        let codec = format.codec();
        if found.context.is_none() || codec.carries_baggage {
            (codec.extract)(carrier, &mut found);
        }
    }
    // A format in front may have left a decision without ids, which the context behind overrides.
    if found.context.is_some() {
        found.sampling = None;
    }
    found
}

/// Writes a context in each of `formats`, in place of whatever the carrier held under those names.
pub fn inject(
    formats: &[Format],
    context: &SpanContext,
    baggage: &Baggage,
    carrier: &mut dyn CarrierMut,
) {
    for format in formats {
        (format.codec().inject)(context, baggage, carrier);
    }
}

/// Returns the offset of the span id in the value of a context header, as 16 lower-case digits.
///
/// `None` when the header carries no span id, or another one than `expected`.
#[must_use]
pub fn span_id_offset(header: &[u8], value: &[u8], expected: SpanId) -> Option<usize> {
    let mut locations = Format::ALL
        .iter()
        .filter_map(|format| format.codec().span_id.as_ref());
    // Exactly one format writes a header of this name.
    let location =
        locations.find(|location| header.eq_ignore_ascii_case(location.header.as_bytes()))?;
    let offset = (location.offset)(value)?;
    value
        .get(offset..)?
        .starts_with(&expected.to_hex())
        .then_some(offset)
}

// === impl Format ===

impl Format {
    /// Returns the formats that carry a context, in the order in which a proxy reads them.
    pub fn contexts() -> impl Iterator<Item = Self> {
        Self::ALL
            .iter()
            .copied()
            .filter(|format| format.carries_context())
    }

    /// Returns the formats that are read where this one is configured: its family.
    pub fn family(self) -> impl Iterator<Item = Self> {
        let family = self.codec().family;
        Self::ALL
            .iter()
            .copied()
            .filter(move |other| other.codec().family == family)
    }

    /// Returns the format with this name in `OTEL_PROPAGATORS`, in any case of letters.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .copied()
            .find(|format| format.name().eq_ignore_ascii_case(name))
    }

    /// Returns the format whose context a header of this name carries.
    #[must_use]
    pub fn of_context_header(name: &[u8]) -> Option<Self> {
        // By length first: most headers of a message differ from all of these already in that.
        let length_bit = u32::try_from(name.len())
            .ok()
            .and_then(|length| 1_u64.checked_shl(length))?;
        if CONTEXT_HEADER_LENGTHS & length_bit == 0 {
            return None;
        }
        // The length matched, so this is rare, and a linear search over a dozen names is fast
        // enough.
        Self::contexts().find(|format| {
            let mut headers = format.headers().iter();
            headers.any(|known| known.as_bytes().eq_ignore_ascii_case(name))
        })
    }

    /// Returns the name in `OTEL_PROPAGATORS` and in options.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.codec().name
    }

    /// Returns the headers with fixed names that the format writes, lower-case.
    #[must_use]
    pub const fn headers(self) -> &'static [&'static str] {
        self.codec().headers
    }

    /// Returns whether the format carries a context, rather than baggage only.
    #[must_use]
    pub const fn carries_context(self) -> bool {
        self.codec().span_id.is_some()
    }
}

const fn context_header_lengths() -> u64 {
    // A `const fn` cannot use iterators; slice patterns take their place.
    let mut lengths = 0;
    let mut formats = Format::ALL;
    while let [format, more_formats @ ..] = formats {
        let mut headers = format.headers();
        while let [header, more_headers @ ..] = headers {
            if format.carries_context() {
                lengths |= 1 << header.len();
            }
            headers = more_headers;
        }
        formats = more_formats;
    }
    lengths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_headers_belong_to_one_format_each() {
        for format in Format::ALL {
            assert_eq!(Format::from_name(format.name()), Some(*format));
            assert!(format.family().any(|member| member == *format));
            for header in format.headers() {
                let expected = format.carries_context().then_some(*format);
                let upper = header.to_uppercase();
                assert_eq!(Format::of_context_header(upper.as_bytes()), expected);
            }
        }
    }

    #[test]
    fn other_headers_carry_no_context() {
        for name in ["", "b2", "traceparen_", &"x".repeat(64), &"x".repeat(300)] {
            assert_eq!(Format::of_context_header(name.as_bytes()), None, "{name}");
        }
    }

    #[test]
    fn span_id_is_located_in_every_format() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let expected = SpanId::from_hex(span).unwrap();
        for (header, value, offset) in [
            ("Traceparent", format!("00-{trace}-{span}-01"), Some(36)),
            ("X-B3-SpanId", span.to_owned(), Some(0)),
            ("b3", format!("{trace}-{span}-1"), Some(33)),
            ("uber-trace-id", format!("{trace}:{span}:0:1"), Some(33)),
            ("x-b3-traceid", trace.to_owned(), None),
            (
                "traceparent",
                format!("00-{trace}-0000000000000001-01"),
                None,
            ),
            ("b3", "0".to_owned(), None),
        ] {
            let found = span_id_offset(header.as_bytes(), value.as_bytes(), expected);
            assert_eq!(found, offset, "{header}");
        }
    }
}
