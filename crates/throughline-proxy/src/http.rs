//! HTTP: requests to the service beside the proxy, and requests that it makes, each forwarded and
//! traced.
//!
//! ```text
//!   downstream ──► server ──► connection ──► service ──────► upstream ──► upstream host
//!                             (TLS, h1, h2)  (one request)   (reused connections)
//!                                              │  ▲
//!                                              ▼  │ contexts: `intercept::HttpExchange`
//!                                             span ──► SpanSink
//! ```
//!
//! Bodies are streamed: the proxy holds the bytes between two reads, and stops reading from a side
//! while the other one does not read. A request keeps its protocol: HTTP/2 is forwarded as HTTP/2,
//! so that gRPC stays gRPC ([`UpstreamProtocol`] overrides it).
//!
//! Hop-by-hop fields are removed (RFC 9110, section 7.6.1); all other fields are forwarded as they
//! were spelled, apart from the contexts that the exchange writes. No `Via` and no `Forwarded` are
//! added: the proxy is invisible to both sides. It does not balance. A request is sent again where
//! the upstream has not processed it, or may process it twice; any other one ends as the upstream
//! ended it.

mod authentication;
mod config;
mod connect;
mod connection;
mod downstream;
mod error;
mod header;
mod http1_driver;
mod http1_io;
mod http2_connection;
mod http2_frames;
mod http2_io;
mod http2_liveness;
mod http2_pool;
mod http2_request;
mod idle_tracker;
mod interim_io;
mod keep_alive;
mod metrics;
mod pool;
mod prefixed_io;
mod redirected;
mod replay;
mod request_body;
mod response_body;
mod server;
mod service;
mod span;
mod target;
mod tunnel_server;
mod upstream;

pub use config::{
    Config, ConnectPorts, HttpLimits, HttpListenerConfig, HttpRoute, PoolScope, UpstreamOrigin,
    UpstreamProtocol,
};
pub(crate) use metrics::HttpMetrics;
pub(crate) use redirected::RedirectedHttpServer;
pub(crate) use server::{BoundHttpListener, HttpServer};
