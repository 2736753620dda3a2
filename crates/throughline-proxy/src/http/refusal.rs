//! What is answered where there is no answer to pass on: a status, a sentence, and the field `proxy-status` (RFC 9209), which
//! says that it was us and why.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use throughline_intercept::http::ExchangeFailure as Failure;

/// Why a request came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub(super) enum Refusal {
    /// Which host is meant can be read in two ways.
    #[error("the request has two hosts or two lengths")]
    Ambiguous,
    #[error("the request says no host")]
    NoHost,
    #[error("the host of the request is none")]
    BadHost,
    #[error(
        "this is an HTTP proxy; ask it for a whole http:// address, as clients do with http_proxy"
    )]
    NotForProxy,
    #[error("CONNECT is refused here")]
    Connect,
    #[error("the request came back to the proxy that had sent it")]
    Loop,
    #[error("no TLS is set up for https:// here")]
    NoTls,
    #[error("who is asked cannot be connected to")]
    Unreachable,
    #[error("who is asked cannot be connected to in time")]
    ConnectTimeout,
    #[error("who is asked did not answer in time")]
    AnswerTimeout,
    #[error("who is asked ended the connection before its answer")]
    Reset,
    #[error("who is asked answered with what is no HTTP")]
    Protocol,
    #[error("the request ended before its body")]
    Incomplete,
    #[error("the body of the request makes no progress")]
    BodyTimeout,
}

// === impl Refusal ===

impl Refusal {
    pub(super) const ALL: [Self; 14] = [
        Self::Ambiguous,
        Self::NoHost,
        Self::BadHost,
        Self::NotForProxy,
        Self::Connect,
        Self::Loop,
        Self::NoTls,
        Self::Unreachable,
        Self::ConnectTimeout,
        Self::AnswerTimeout,
        Self::Reset,
        Self::Protocol,
        Self::Incomplete,
        Self::BodyTimeout,
    ];

    pub(super) const fn status(self) -> StatusCode {
        match self {
            Self::Ambiguous
            | Self::NoHost
            | Self::BadHost
            | Self::NotForProxy
            | Self::Incomplete => StatusCode::BAD_REQUEST,
            Self::Connect => StatusCode::METHOD_NOT_ALLOWED,
            Self::Loop => StatusCode::LOOP_DETECTED,
            Self::BodyTimeout => StatusCode::REQUEST_TIMEOUT,
            Self::NoTls | Self::Reset | Self::Protocol => StatusCode::BAD_GATEWAY,
            Self::Unreachable => StatusCode::SERVICE_UNAVAILABLE,
            Self::ConnectTimeout | Self::AnswerTimeout => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// As its label says.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::Ambiguous => "ambiguous",
            Self::NoHost => "no_host",
            Self::BadHost => "bad_host",
            Self::NotForProxy => "not_for_proxy",
            Self::Connect => "connect_method",
            Self::Loop => "loop",
            Self::NoTls => "no_tls",
            Self::Unreachable => "unreachable",
            Self::ConnectTimeout => "connect_timeout",
            Self::AnswerTimeout => "answer_timeout",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::Incomplete => "incomplete",
            Self::BodyTimeout => "body_timeout",
        }
    }

    /// What the exchange says of it.
    pub(super) const fn failure(self) -> Failure {
        match self {
            Self::Loop | Self::NoTls | Self::Unreachable => Failure::Connect,
            Self::ConnectTimeout | Self::AnswerTimeout | Self::BodyTimeout => Failure::Timeout,
            Self::Reset => Failure::Reset,
            Self::Incomplete => Failure::Cancelled,
            Self::Ambiguous
            | Self::NoHost
            | Self::BadHost
            | Self::NotForProxy
            | Self::Connect
            | Self::Protocol => Failure::Protocol,
        }
    }

    /// The error types that are registered for `proxy-status`.
    const fn proxy_status(self) -> &'static str {
        match self {
            Self::Ambiguous
            | Self::NoHost
            | Self::BadHost
            | Self::NotForProxy
            | Self::Incomplete
            | Self::BodyTimeout => "throughline; error=http_request_error",
            Self::Connect => "throughline; error=http_request_denied",
            Self::Loop => "throughline; error=proxy_loop_detected",
            Self::NoTls => "throughline; error=proxy_configuration_error",
            Self::Unreachable => "throughline; error=destination_unavailable",
            Self::ConnectTimeout => "throughline; error=connection_timeout",
            Self::AnswerTimeout => "throughline; error=http_response_timeout",
            Self::Reset => "throughline; error=connection_terminated",
            Self::Protocol => "throughline; error=http_protocol_error",
        }
    }

    /// The answer. Who speaks gRPC is answered in gRPC, whose status is not that of HTTP.
    pub(super) fn answer<B: From<Bytes>>(self, is_grpc: bool) -> Response<B> {
        if is_grpc {
            return self.grpc_answer();
        }
        let mut answer = Response::new(B::from(Bytes::from(format!("{self}\n"))));
        *answer.status_mut() = self.status();
        let fields = answer.headers_mut();
        fields.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        fields.insert(PROXY_STATUS, HeaderValue::from_static(self.proxy_status()));
        answer
    }

    fn grpc_answer<B: From<Bytes>>(self) -> Response<B> {
        let mut answer = Response::new(B::from(Bytes::new()));
        let status = match self.status() {
            StatusCode::GATEWAY_TIMEOUT | StatusCode::REQUEST_TIMEOUT => DEADLINE_EXCEEDED,
            StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => UNAVAILABLE,
            _ => INTERNAL,
        };
        let fields = answer.headers_mut();
        fields.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        fields.insert(PROXY_STATUS, HeaderValue::from_static(self.proxy_status()));
        fields.insert(GRPC_STATUS, HeaderValue::from_static(status));
        if let Ok(message) = HeaderValue::from_str(&self.to_string()) {
            fields.insert(GRPC_MESSAGE, message);
        }
        answer
    }
}

/// Whether who asks speaks gRPC.
pub(super) fn is_grpc(fields: &HeaderMap) -> bool {
    let content_type = fields
        .get(CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    content_type
        .strip_prefix(b"application/grpc")
        .is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';')))
}

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const DEADLINE_EXCEEDED: &str = "4";
const INTERNAL: &str = "13";
const UNAVAILABLE: &str = "14";
