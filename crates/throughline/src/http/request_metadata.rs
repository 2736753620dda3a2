//! The head of a request, whatever its body.

use http::{Extensions, HeaderMap, Method, Request, Uri, Version};

/// The head of a request, for functions that name spans, choose requests or add attributes.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct RequestMetadata<'a> {
    /// The method.
    pub method: &'a Method,
    /// The target: of HTTP/1.1 usually the path alone.
    pub uri: &'a Uri,
    /// The version of HTTP.
    pub version: Version,
    /// The headers.
    pub headers: &'a HeaderMap,
    /// Values that the server and outer layers attached.
    pub extensions: &'a Extensions,
}

// === impl RequestMetadata ===

impl<'a> RequestMetadata<'a> {
    pub(super) fn of<B>(request: &'a Request<B>) -> Self {
        Self {
            method: request.method(),
            uri: request.uri(),
            version: request.version(),
            headers: request.headers(),
            extensions: request.extensions(),
        }
    }

    /// Returns the value of a header that occurs, and is text.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name)?.to_str().ok()
    }
}
