//! gRPC over HTTP/2: content types, methods and status codes.

use http::{HeaderMap, HeaderValue, header};
use opentelemetry::KeyValue;
use throughline_model::convention::{RPC_METHOD, RPC_SERVICE, RPC_SYSTEM};
use throughline_model::grpc;

/// The method of a call, from the path `/package.Service/Method`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GrpcMethod<'a> {
    service: &'a str,
    method: &'a str,
}

/// The status of a call, from its trailers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GrpcStatus(pub(super) u32);

// === impl GrpcMethod ===

impl<'a> GrpcMethod<'a> {
    /// Returns the method of a request; `None` for other requests than calls of gRPC.
    pub(super) fn of(headers: &HeaderMap, path: &'a str) -> Option<Self> {
        let content_type = headers.get(header::CONTENT_TYPE)?.as_bytes();
        // A subtype or parameters may follow. gRPC-Web is another protocol, with its status in the
        // body.
        let rest = content_type.strip_prefix(b"application/grpc")?;
        if !matches!(rest.first(), None | Some(b'+' | b';')) {
            return None;
        }
        let (service, method) = path.strip_prefix('/')?.rsplit_once('/')?;
        Some(Self { service, method })
    }

    /// Returns the name of the span (RPC spans, "Name").
    pub(super) fn span_name(self) -> String {
        [self.service, "/", self.method].concat()
    }

    pub(super) fn push_attributes(self, attributes: &mut Vec<KeyValue>) {
        attributes.push(KeyValue::new(RPC_SYSTEM, "grpc"));
        attributes.push(KeyValue::new(RPC_SERVICE, self.service.to_owned()));
        attributes.push(KeyValue::new(RPC_METHOD, self.method.to_owned()));
    }
}

// === impl GrpcStatus ===

impl GrpcStatus {
    /// Reads `grpc-status`, which is in the trailers, or in the headers of a response without body.
    pub(super) fn read(headers: &HeaderMap) -> Option<Self> {
        let status = headers.get("grpc-status").map(HeaderValue::to_str)?;
        status.ok()?.parse().ok().map(Self)
    }

    pub(super) const fn is_ok(self) -> bool {
        self.0 == grpc::STATUS_OK
    }

    pub(super) const fn is_server_error(self) -> bool {
        grpc::is_server_error(self.0)
    }

    pub(super) fn name(self) -> &'static str {
        grpc::status_name(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_recognized_by_their_content_type() {
        let method = |content_type: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
            GrpcMethod::of(&headers, "/shop.Orders/Create").map(GrpcMethod::span_name)
        };
        let name = Some("shop.Orders/Create".to_owned());
        assert_eq!(method("application/grpc"), name);
        assert_eq!(method("application/grpc+proto"), name);
        assert_eq!(method("application/grpc;charset=utf-8"), name);
        assert_eq!(method("application/grpc-web"), None);
        assert_eq!(method("application/json"), None);
    }
}
