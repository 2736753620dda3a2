//! HTTP headers as carriers of a context.

use http::HeaderMap;
use throughline_model::context::Carrier;

pub(super) use outgoing::RequestHeadersMut;

/// The headers of a received request. Of several `traceparent` fields none is valid (W3C Trace
/// Context level 2, section 3.2): which of them a caller meant cannot be known.
#[cfg(feature = "tower")]
pub(super) struct RequestHeaders<'a>(pub(super) &'a HeaderMap);

#[cfg(feature = "tower")]
impl RequestHeaders<'_> {
    const TRACEPARENT: &'static str = "traceparent";

    fn is_ambiguous(&self) -> bool {
        self.0.get_all(Self::TRACEPARENT).iter().nth(1).is_some()
    }
}

#[cfg(feature = "tower")]
impl Carrier for RequestHeaders<'_> {
    fn last<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        if name.eq_ignore_ascii_case(Self::TRACEPARENT) && self.is_ambiguous() {
            return None;
        }
        self.0
            .get_all(name)
            .iter()
            .next_back()
            .map(http::HeaderValue::as_bytes)
    }

    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
        let is_ambiguous = self.is_ambiguous();
        self.0
            .iter()
            .filter(|(name, _)| !(is_ambiguous && *name == Self::TRACEPARENT))
            .for_each(|(name, value)| visit(name.as_str().as_bytes(), Some(value.as_bytes())));
    }
}

mod outgoing {
    use http::{HeaderName, HeaderValue};
    use throughline_model::context::CarrierMut;

    use super::{Carrier, HeaderMap};

    /// The headers of a request to send.
    pub(in crate::http) struct RequestHeadersMut<'a>(pub(in crate::http) &'a mut HeaderMap);

    impl Carrier for RequestHeadersMut<'_> {
        fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
            self.0
                .iter()
                .for_each(|(name, value)| visit(name.as_str().as_bytes(), Some(value.as_bytes())));
        }
    }

    impl CarrierMut for RequestHeadersMut<'_> {
        fn replace(&mut self, name: &str, value: &[u8]) {
            // A baggage key may hold characters that a header name must not: it is left out.
            if let (Ok(name), Ok(value)) =
                (HeaderName::try_from(name), HeaderValue::from_bytes(value))
            {
                self.0.insert(name, value);
            }
        }

        fn remove(&mut self, name: &str) {
            self.0.remove(name);
        }
    }
}

#[cfg(all(test, feature = "tower"))]
mod tests {
    use throughline_model::context::{self, Format};

    use super::*;

    const FIRST: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const SECOND: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn one_traceparent_is_continued_and_of_several_none() {
        let is_continued = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append("TraceParent", value.parse().unwrap());
            }
            let formats: Vec<Format> = Format::contexts().collect();
            context::extract(&formats, &RequestHeaders(&headers))
                .context
                .is_some()
        };
        assert!(is_continued(&[FIRST]));
        assert!(!is_continued(&[FIRST, SECOND]) && !is_continued(&[FIRST, FIRST]));
    }
}
