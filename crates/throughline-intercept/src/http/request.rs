//! The head of a request, and the connection that it is on.

use std::net::IpAddr;

use throughline_model::context::Carrier;

use super::grpc;

/// Direction of a request, seen from the service beside the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the service.
    Inbound,
    /// From the service.
    Outbound,
}

/// Remote end of the connection: the downstream of an inbound request, the upstream of an outbound
/// one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct HttpPeer {
    pub address: Option<IpAddr>,
    pub port: Option<u16>,
}

/// Head of a request, without its headers.
#[derive(Debug, Clone, Copy)]
pub struct HttpRequestHead<'a> {
    /// Method as it was sent: methods are case-sensitive.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// `:authority`, the authority of an absolute target, or the header `host`.
    pub authority: &'a str,
    /// Path and query, or unchanged the target of CONNECT or `*`.
    pub target: &'a str,
    /// `1.0`, `1.1` or `2`.
    pub version: &'a str,
    /// Complete body, if it is short and was read ahead: see
    /// [`TokenExtractor::max_body_bytes`](crate::correlate::TokenExtractor::max_body_bytes).
    pub body: Option<&'a [u8]>,
}

/// Headers of a request that describe its content and its sender.
#[derive(Debug, Clone, Copy)]
pub(super) struct RequestContent<'a> {
    pub(super) user_agent: Option<&'a str>,
    pub(super) content_type: Option<&'a str>,
}

// === impl Direction ===

impl Direction {
    /// Returns the value of the metric label `direction`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

// === impl RequestContent ===

impl<'a> RequestContent<'a> {
    pub(super) fn of(headers: &'a (impl Carrier + ?Sized)) -> Self {
        Self {
            user_agent: header_text(headers, "user-agent"),
            content_type: header_text(headers, "content-type"),
        }
    }

    pub(super) fn is_grpc(self) -> bool {
        self.content_type.is_some_and(grpc::is_content_type)
    }
}

/// Returns the value of a header, if it is present and valid UTF-8.
pub(super) fn header_text<'a>(headers: &'a (impl Carrier + ?Sized), name: &str) -> Option<&'a str> {
    headers
        .last(name)
        .and_then(|value| str::from_utf8(value).ok())
}
