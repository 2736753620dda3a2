//! HTTP headers as carriers of a context.

use http::HeaderMap;
use throughline_model::context::Carrier;

#[cfg(feature = "reqwest")]
pub(super) use outgoing::RequestHeadersMut;

/// The headers of a received request.
#[cfg(feature = "tower")]
pub(super) struct RequestHeaders<'a>(pub(super) &'a HeaderMap);

#[cfg(feature = "tower")]
impl Carrier for RequestHeaders<'_> {
    fn last<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        self.0
            .get_all(name)
            .iter()
            .next_back()
            .map(http::HeaderValue::as_bytes)
    }

    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
        self.0
            .iter()
            .for_each(|(name, value)| visit(name.as_str().as_bytes(), Some(value.as_bytes())));
    }
}

#[cfg(feature = "reqwest")]
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
