//! HTTP tracing: [`HttpExchange`], one request and its response as a proxy beside a service sees
//! them.
//!
//! ```text
//!   inbound    downstream --> proxy --> service    SERVER span, child of the context in headers
//!   outbound   service --> proxy --> upstream      CLIENT span, child of the parent found
//! ```
//!
//! The context of the new span replaces the one in the request headers, in all formats that are
//! configured to be written and all that the request has, so that no stale context is forwarded.
//! The only other change is that a request without `x-request-id` gets one: the id of the request
//! that caused it, if that is known, or a new one.
//!
//! | module | duty |
//! |---|---|
//! | `exchange` | the state machine |
//! | `headers`, `span_parent` | reading the context, choosing the parent, replacing the context |
//! | `description`, `url`, `grpc`, `route` | names and attributes of spans |
//! | `outcome` | status, errors and failures |
//! | `call_signature` | which requests are alike, for the correlator |
//! | `telemetry` | which requests carry the telemetry of a service and are not traced |
//! | `settings`, `trust` | configuration |
//!
//! Attributes and names follow the stable HTTP conventions of OpenTelemetry, and for gRPC content
//! the gRPC conventions in addition. A proxy knows no routes: a span is named by its method alone,
//! or by a configured [`RouteTemplate`].
//!
//! A span lasts from the head of the request to the end of the response body, or to an earlier
//! reset, deadline, cancellation or upgrade. Bytes, HTTP/1 and HTTP/2, connections, pools and
//! limits are the duty of the driver.
//!
//! Specifications: HTTP spans of the semantic conventions v1.44; W3C Trace Context level 2, with
//! the cases of its test suite in `tests/trace_context.rs`; RFC 9110.

mod call_signature;
mod description;
mod exchange;
mod grpc;
mod headers;
mod ignored;
mod outcome;
mod request;
mod route;
mod settings;
mod span_parent;
mod telemetry;
mod trust;
mod url;

pub use call_signature::request_signature;
pub use exchange::HttpExchange;
pub use ignored::IgnoredRequests;
pub use outcome::ExchangeFailure;
pub use request::{Direction, HttpPeer, HttpRequestHead};
pub use route::{InvalidRoute, RouteTemplate};
pub use settings::Settings;
pub use telemetry::{CollectorAddress, TelemetrySystem};
pub use trust::{Cidr, InvalidCidr, TrustPolicy};
