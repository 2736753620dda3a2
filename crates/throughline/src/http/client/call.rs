//! The span of a request below the tower layer for clients. It lasts to the head of the response;
//! of a call of gRPC, to its trailers.

use std::borrow::Cow;

use http::{HeaderMap, Response};
use http_body::Body;
use opentelemetry::{Context, KeyValue};
use throughline_model::convention::{RPC_GRPC_STATUS_CODE, URL_FULL};
use throughline_model::redact;

use super::{ClientSpan, OutgoingRequest};
use crate::Telemetry;
use crate::http::RequestMetadata;
use crate::http::grpc::{GrpcMethod, GrpcStatus};
use crate::http::headers::RequestHeadersMut;

/// A call in progress: its span, and whether it is one of gRPC.
pub(in crate::http) struct ClientCall {
    span: ClientSpan,
    is_grpc: bool,
}

// === impl ClientCall ===

impl ClientCall {
    /// Starts the span of a request. `server` is its server, where the request has a path alone.
    pub(in crate::http) fn start(
        telemetry: &Telemetry,
        server: Option<&(String, u16)>,
        head: &RequestMetadata<'_>,
    ) -> Self {
        let grpc = GrpcMethod::of(head.headers, head.uri.path());
        let host = server.map(|(host, _)| host.as_str());
        let port = server.map(|(_, port)| *port);
        let outgoing = OutgoingRequest {
            method: head.method,
            host: host.or_else(|| head.uri.host()),
            port: port.or_else(|| port_of(head)),
            template: head.extensions.get(),
            resend_count: 0,
            name: grpc.map(GrpcMethod::span_name),
        };
        let span = ClientSpan::start(telemetry, outgoing, |attributes| {
            if let Some(url) = full_url(head) {
                attributes.push(KeyValue::new(URL_FULL, url));
            }
            if let Some(grpc) = grpc {
                grpc.push_attributes(attributes);
            }
        });
        Self {
            span,
            is_grpc: grpc.is_some(),
        }
    }

    /// Writes the context of the span into the headers of the request.
    pub(in crate::http) fn inject(&self, headers: &mut HeaderMap) {
        let propagation = self.span.telemetry.propagation();
        propagation.inject(&self.span.context, &mut RequestHeadersMut(headers));
    }

    /// Returns the context that holds the span.
    pub(in crate::http) const fn context(&self) -> &Context {
        &self.span.context
    }

    /// Records the head of a response. Returns the call when only its trailers end it.
    pub(in crate::http) fn answer<B: Body>(mut self, response: &Response<B>) -> Option<Self> {
        let status = response.status();
        self.span.record_response(status, response.version());
        if !self.is_grpc || !status.is_success() || self.read_status(response.headers()) {
            return None;
        }
        // Not before the trailers: a stream of messages may be dropped, or fail, until then.
        self.span.has_outcome = false;
        (!response.body().is_end_stream()).then_some(self)
    }

    /// Reads the status of a call from trailers, or from the headers of a response without body.
    /// Returns whether they have one.
    pub(in crate::http) fn read_status(&mut self, headers: &HeaderMap) -> bool {
        let Some(status) = GrpcStatus::read(headers) else {
            return false;
        };
        self.span.has_outcome = true;
        let code = KeyValue::new(RPC_GRPC_STATUS_CODE, i64::from(status.0));
        self.span.add_attribute(code);
        // For a client every status but OK is an error (gRPC conventions, "Span status").
        if !status.is_ok() {
            self.span.record_error(Cow::Borrowed(status.name()), "");
        }
        true
    }

    pub(in crate::http) fn fail(mut self, kind: &'static str) {
        self.span.record_error(Cow::Borrowed(kind), "");
    }
}

/// Returns the port of a target, which the conventions require also where the URL leaves it out.
fn port_of(head: &RequestMetadata<'_>) -> Option<u16> {
    head.uri
        .port_u16()
        .or_else(|| match head.uri.scheme_str()? {
            "http" => Some(80),
            "https" => Some(443),
            _ => None,
        })
}

/// Returns the URL without credentials and signatures; `None` when the request has a path alone.
fn full_url(head: &RequestMetadata<'_>) -> Option<String> {
    let (scheme, authority) = (head.uri.scheme_str()?, head.uri.authority()?);
    let host = authority
        .as_str()
        .rsplit_once('@')
        .map_or(authority.as_str(), |(_, host)| host);
    let credentials = if host.len() == authority.as_str().len() {
        String::new()
    } else {
        [redact::REDACTED, "@"].concat()
    };
    let mut url = [scheme, "://", &credentials, host, head.uri.path()].concat();
    if let Some(query) = head.uri.query() {
        url.push('?');
        url.push_str(&redact::query(query));
    }
    Some(url)
}
