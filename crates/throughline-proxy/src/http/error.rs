//! Errors that the proxy responds to a request with: a status, a sentence, and the `proxy-status`
//! field (RFC 9209), which names the proxy and the cause.

use std::io;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use throughline_intercept::http::ExchangeFailure;

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const TEXT: &str = "text/plain; charset=utf-8";
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

// Status codes of gRPC.
const DEADLINE_EXCEEDED: &str = "4";
const INTERNAL: &str = "13";
const UNAVAILABLE: &str = "14";

/// An error that ends a request without an upstream response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub(super) enum ProxyError {
    #[error("ambiguous request: more than one Host or Content-Length header")]
    AmbiguousRequest,
    #[error("malformed request head")]
    MalformedRequest,
    #[error("request head too large")]
    HeadTooLarge,
    #[error("request target too long")]
    TargetTooLong,
    #[error("transfer coding cannot be forwarded")]
    UnsupportedCoding,
    #[error("missing Host header")]
    MissingHost,
    #[error("invalid Host header")]
    InvalidHost,
    #[error("not a proxy request; send an absolute http:// URL, as clients do with http_proxy")]
    NotProxyForm,
    #[error("CONNECT is not allowed on this listener; --connect-ports allows it")]
    ConnectNotAllowed,
    #[error("CONNECT is not allowed to this port; add it to --connect-ports")]
    ConnectPortDenied,
    #[error("proxy loop: the tunnel would lead to this proxy itself")]
    TunnelLoop,
    #[error("proxy loop: the request was sent by this proxy")]
    ProxyLoop,
    #[error("no certificate authority is configured for https:// requests")]
    TlsNotConfigured,
    #[error("upstream connect failed")]
    ConnectFailed,
    #[error("upstream connect timed out")]
    ConnectTimeout,
    #[error("upstream response timed out")]
    ResponseTimeout,
    #[error("upstream closed the connection before its response")]
    ConnectionTerminated(Termination),
    #[error("invalid HTTP response from upstream")]
    InvalidResponse,
    #[error("request body is incomplete")]
    IncompleteRequest,
    #[error("request body timed out")]
    RequestBodyTimeout,
}

/// The way in which an upstream ended a request without a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Termination {
    /// It closed the connection.
    Closed,
    /// It reset the connection.
    Reset,
    /// It reset the stream, with this error code of HTTP/2.
    Stream(u32),
}

/// The end of a downstream request without a response, as the upstream ended it: clients know
/// which of their requests they may repeat then, and would not repeat a 502.
#[derive(Debug, thiserror::Error)]
#[error("upstream ended the request without a response")]
pub(super) struct DownstreamAbort(#[source] h2::Error);

// === impl Termination ===

impl Termination {
    /// The refusal of a stream that was not processed: the client may send the request again.
    pub(super) const REFUSED: Self = Self::Stream(7);

    /// Returns the way in which a request ended with this error.
    pub(super) fn of(error: &hyper::Error) -> Self {
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            if let Some(error) = cause.downcast_ref::<h2::Error>()
                && let Some(reason) = error.reason()
                && error.is_reset()
            {
                return Self::Stream(reason.into());
            }
            if let Some(error) = cause.downcast_ref::<io::Error>() {
                let resets = [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe];
                return if resets.contains(&error.kind()) {
                    Self::Reset
                } else {
                    Self::Closed
                };
            }
            source = cause.source();
        }
        Self::Closed
    }

    /// Returns the error that makes hyper end a request without a response: it closes the
    /// connection of HTTP/1, and resets the stream of HTTP/2.
    pub(super) fn abort(self) -> DownstreamAbort {
        DownstreamAbort(h2::Error::from(match self {
            Self::Stream(code) => h2::Reason::from(code),
            Self::Closed | Self::Reset => h2::Reason::INTERNAL_ERROR,
        }))
    }
}

// === impl ProxyError ===

impl ProxyError {
    pub(super) const ALL: [Self; 20] = [
        Self::AmbiguousRequest,
        Self::MalformedRequest,
        Self::HeadTooLarge,
        Self::TargetTooLong,
        Self::UnsupportedCoding,
        Self::MissingHost,
        Self::InvalidHost,
        Self::NotProxyForm,
        Self::ConnectNotAllowed,
        Self::ConnectPortDenied,
        Self::TunnelLoop,
        Self::ProxyLoop,
        Self::TlsNotConfigured,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::ResponseTimeout,
        Self::ConnectionTerminated(Termination::Closed),
        Self::InvalidResponse,
        Self::IncompleteRequest,
        Self::RequestBodyTimeout,
    ];

    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::AmbiguousRequest
            | Self::MalformedRequest
            | Self::MissingHost
            | Self::InvalidHost
            | Self::NotProxyForm
            | Self::IncompleteRequest => StatusCode::BAD_REQUEST,
            Self::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::TargetTooLong => StatusCode::URI_TOO_LONG,
            Self::UnsupportedCoding => StatusCode::NOT_IMPLEMENTED,
            Self::ConnectNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::ConnectPortDenied => StatusCode::FORBIDDEN,
            Self::ProxyLoop | Self::TunnelLoop => StatusCode::LOOP_DETECTED,
            Self::RequestBodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::TlsNotConfigured | Self::ConnectionTerminated(_) | Self::InvalidResponse => {
                StatusCode::BAD_GATEWAY
            }
            Self::ConnectFailed => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConnectTimeout | Self::ResponseTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Returns how the upstream ended the request, if the downstream request ends in the same way
    /// and without a response.
    pub(super) const fn termination(self, is_http2: bool, is_grpc: bool) -> Option<Termination> {
        let Self::ConnectionTerminated(termination) = self else {
            return None;
        };
        match termination {
            // A lost connection is UNAVAILABLE for gRPC, and would be UNKNOWN after a reset.
            Termination::Closed | Termination::Reset if is_http2 && is_grpc => None,
            Termination::Closed | Termination::Reset | Termination::Stream(_) => Some(termination),
        }
    }

    /// Returns the value of the metric's `reason` label.
    pub(super) const fn label(self) -> &'static str {
        match self {
            // Label values are read by dashboards and keep their spelling.
            Self::AmbiguousRequest => "ambiguous",
            Self::MalformedRequest => "malformed",
            Self::HeadTooLarge => "head_too_large",
            Self::TargetTooLong => "target_too_long",
            Self::UnsupportedCoding => "transfer_coding",
            Self::MissingHost => "no_host",
            Self::InvalidHost => "bad_host",
            Self::NotProxyForm => "not_for_proxy",
            Self::ConnectNotAllowed => "connect_method",
            Self::ConnectPortDenied => "connect_port",
            Self::TunnelLoop => "connect_loop",
            Self::ProxyLoop => "loop",
            Self::TlsNotConfigured => "no_tls",
            Self::ConnectFailed => "unreachable",
            Self::ConnectTimeout => "connect_timeout",
            Self::ResponseTimeout => "answer_timeout",
            Self::ConnectionTerminated(_) => "reset",
            Self::InvalidResponse => "protocol",
            Self::IncompleteRequest => "incomplete",
            Self::RequestBodyTimeout => "body_timeout",
        }
    }

    /// Returns whether a tunnel was refused, which users change by an option.
    pub(super) const fn is_refused_tunnel(self) -> bool {
        matches!(
            self,
            Self::ConnectNotAllowed | Self::ConnectPortDenied | Self::TunnelLoop
        )
    }

    /// Returns the failure that the span of the exchange shows.
    pub(super) const fn failure(self) -> ExchangeFailure {
        match self {
            Self::ProxyLoop | Self::TunnelLoop | Self::TlsNotConfigured | Self::ConnectFailed => {
                ExchangeFailure::Connect
            }
            Self::ConnectTimeout | Self::ResponseTimeout | Self::RequestBodyTimeout => {
                ExchangeFailure::Timeout
            }
            Self::ConnectionTerminated(_) => ExchangeFailure::Reset,
            Self::IncompleteRequest => ExchangeFailure::Cancelled,
            Self::AmbiguousRequest
            | Self::MalformedRequest
            | Self::HeadTooLarge
            | Self::TargetTooLong
            | Self::UnsupportedCoding
            | Self::MissingHost
            | Self::InvalidHost
            | Self::NotProxyForm
            | Self::ConnectNotAllowed
            | Self::ConnectPortDenied
            | Self::InvalidResponse => ExchangeFailure::Protocol,
        }
    }

    /// Returns the value of `proxy-status`, with an error type of RFC 9209, section 2.3.
    const fn proxy_status(self) -> &'static str {
        match self {
            Self::AmbiguousRequest
            | Self::MalformedRequest
            | Self::HeadTooLarge
            | Self::TargetTooLong
            | Self::UnsupportedCoding
            | Self::MissingHost
            | Self::InvalidHost
            | Self::NotProxyForm
            | Self::IncompleteRequest
            | Self::RequestBodyTimeout => "throughline; error=http_request_error",
            Self::ConnectNotAllowed | Self::ConnectPortDenied => {
                "throughline; error=http_request_denied"
            }
            Self::ProxyLoop | Self::TunnelLoop => "throughline; error=proxy_loop_detected",
            Self::TlsNotConfigured => "throughline; error=proxy_configuration_error",
            Self::ConnectFailed => "throughline; error=destination_unavailable",
            Self::ConnectTimeout => "throughline; error=connection_timeout",
            Self::ResponseTimeout => "throughline; error=http_response_timeout",
            Self::ConnectionTerminated(_) => "throughline; error=connection_terminated",
            Self::InvalidResponse => "throughline; error=http_protocol_error",
        }
    }

    /// Returns the response for the client.
    pub(super) fn response<B: From<Bytes>>(self, is_grpc: bool) -> Response<B> {
        if is_grpc {
            return self.grpc_response();
        }
        let mut response = Response::new(B::from(Bytes::from(format!("{self}\n"))));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(TEXT));
        headers.insert(PROXY_STATUS, HeaderValue::from_static(self.proxy_status()));
        response
    }

    /// Returns the bytes of the response to a request that could not be parsed.
    pub(super) fn http1_response(self) -> Vec<u8> {
        let (status, body) = (self.status(), format!("{self}\n"));
        let head = format!(
            "HTTP/1.1 {} {}\r\n{CONTENT_TYPE}: {TEXT}\r\n{PROXY_STATUS}: {}\r\n\
             {CONNECTION}: close\r\n{CONTENT_LENGTH}: {}\r\n\r\n",
            status.as_str(),
            status.canonical_reason().unwrap_or_default(),
            self.proxy_status(),
            body.len(),
        );
        (head + &body).into_bytes()
    }

    /// Returns a response that ends in its headers ("trailers-only"). gRPC clients read the
    /// `grpc-status` and expect HTTP status 200 with it.
    fn grpc_response<B: From<Bytes>>(self) -> Response<B> {
        let mut response = Response::new(B::from(Bytes::new()));
        // gRPC's own mapping of HTTP statuses, except that a timeout gets its own code.
        let status = match self.status() {
            StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => DEADLINE_EXCEEDED,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => UNAVAILABLE,
            _ => INTERNAL,
        };
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(PROXY_STATUS, HeaderValue::from_static(self.proxy_status()));
        headers.insert(GRPC_STATUS, HeaderValue::from_static(status));
        // The texts are ASCII, so the percent-encoding of grpc-message changes nothing.
        if let Ok(message) = HeaderValue::from_str(&self.to_string()) {
            headers.insert(GRPC_MESSAGE, message);
        }
        response
    }
}

/// Whether a request is a gRPC one, by its content type: `application/grpc`, with a suffix for its
/// message format or a parameter.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}
