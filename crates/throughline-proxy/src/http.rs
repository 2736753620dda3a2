//! HTTP: requests to the service that we stand beside, and requests that it makes, each passed on and traced.
//!
//! ```text
//!   who asks ──► listener ──► connection ──► service ──► upstream ──► who is asked
//!                             (TLS, h1, h2)  (one request) (reused connections)
//!                                              │  ▲
//!                                              ▼  │ contexts, spans: `throughline_intercept::http::Exchange`
//!                                             traced ──► SpanSink
//! ```
//!
//! Bodies are streamed: of each only what is between two reads is held, and who does not read is not read for. A request keeps
//! its protocol: what came as HTTP/2 goes on as HTTP/2, so that gRPC stays gRPC ([`Protocol`] says otherwise where it must).
//!
//! What is hop by hop ends here (RFC 9110, section 7.6.1); everything else goes on as it came, but for what `Exchange`
//! writes. No `Via` and no `Forwarded` are added: to the service and to whom it asks we are not there. Retries and load balancing are
//! not ours; only a request that was not begun on a connection that had just ended goes out on another.

mod body;
mod config;
mod connection;
mod fields;
mod gate;
mod intake;
mod listener;
mod metrics;
mod place;
mod refusal;
mod service;
mod traced;
mod upstream;

pub use config::{Config, Limits, Listener, Origin, Protocol, Route};
pub(crate) use gate::Gate;
pub(crate) use listener::{Door, Http};
pub(crate) use metrics::Metrics;
