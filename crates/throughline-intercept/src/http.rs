//! HTTP: [`Exchange`], one request and its answer as a proxy beside a service sees them.
//!
//! ```text
//!   inbound    who asks --> proxy --> service      a SERVER span; child of the context in the headers, if it is trusted
//!   outbound   service --> proxy --> who is asked  a CLIENT span; child of what the [`Correlator`] finds
//! ```
//!
//! The span's own context takes the place of the one in the request's headers, in every format that is configured to be written and
//! in every other that stood there, so that nothing stale goes on. Nothing else is changed, but that a request without
//! `x-request-id` gets one: that of the request that caused it where that is known, else a new one.
//!
//! Attributes and names follow the stable HTTP conventions of OpenTelemetry; where the content is gRPC, the conventions for
//! gRPC on top. A proxy knows no routes: it names spans by the method alone, or by the [`Route`]s that the user tells.
//!
//! A span lasts from the request's head to the end of the answer's body, or to whatever comes first: reset, deadline, cancel,
//! upgrade. The bytes themselves, HTTP/1 or HTTP/2, connections, pools and limits are the driver's.
//!
//! Specifications: HTTP spans of the semantic conventions v1.44; W3C Trace Context level 2, of which the test suite's cases are
//! in `tests/trace_context.rs`; what is HTTP is RFC 9110.
//!
//! [`Correlator`]: crate::correlate::Correlator

mod call_signature;
mod describe;
mod exchange;
mod received;
mod settings;

pub use exchange::Exchange;
pub use settings::{Cidr, InvalidCidr, Route, Settings, Trust};

use std::net::IpAddr;

/// Which way a request goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// To the service that the proxy stands beside.
    Inbound,
    /// From it.
    Outbound,
}

impl Direction {
    /// As it stands in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// Who is at the other end of the connection: who asks of an inbound request, who is asked of an outbound one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Peer {
    pub address: Option<IpAddr>,
    pub port: Option<u16>,
}

/// The head of a request, without its headers.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// As it was sent: methods have a case.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// `:authority`, or that of an absolute target, or the header `host`.
    pub authority: &'a str,
    /// Path and query; the target of CONNECT, or `*`, as it is.
    pub target: &'a str,
    /// `1.0`, `1.1`, `2`.
    pub version: &'a str,
    /// The whole body, where it is short and at hand: see [`crate::correlate::Correlator::wants_bodies`].
    pub body: Option<&'a [u8]>,
}

/// How an exchange came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Failure {
    /// Who asked went away.
    Cancelled,
    /// Who was asked broke it off.
    Reset,
    /// Who was asked could not be reached.
    Connect,
    /// A deadline passed.
    Timeout,
    /// What came is no HTTP.
    Protocol,
    /// The proxy had to stop.
    Shutdown,
}

// === impl Failure ===

impl Failure {
    /// As `error.type` has it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cancelled => "cancelled",
            Self::Reset => "reset",
            Self::Connect => "connect",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::Shutdown => "shutdown",
        }
    }
}
