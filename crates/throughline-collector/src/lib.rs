//! Receives spans (OTLP over gRPC and HTTP, Zipkin, Jaeger's Thrift), answers queries (Jaeger's two
//! JSON APIs, its gRPC APIs and our own), and serves the web UI.
//!
//! ```text
//!  gRPC 4317 ─┐
//!  HTTP 4318 ─┼─► accept_loop ─► ingest: admit ─ read ─ inflate ─ decode ─► Store
//!  Zipkin 9411┤                          (each step has a limit)             │
//!  Jaeger ────┘                                                              │
//!  HTTP 16686 ──► accept_loop ─► query ◄─────────────────────────────────────┤
//!  gRPC 16685 ──► accept_loop ─► query::grpc ◄───────────────────────────────┘
//! ```
//!
//! [`CollectorServer::bind`] opens all listeners, [`CollectorServer::run`] serves them until it is
//! stopped. No client can hold a resource for ever: a connection has timeouts for its headers, its
//! bodies and its reading of responses ([`CollectorLimits`]). TLS, tokens and a limit for each
//! client are for addresses that others reach ([`CollectorTls`], [`AccessControl`]).

mod accept_loop;
mod access;
mod client_connections;
mod clock;
mod collector;
mod config;
mod connection_table;
mod cors;
mod grpc_message;
mod ingest;
mod jaeger_receiver;
mod metrics;
mod otlp_grpc;
mod otlp_http;
#[cfg(any(test, fuzzing))]
pub mod parser_checks;
mod query;
mod recorded_spans;
mod stream_weaver;
mod timeout_io;
mod tls;
mod token_layer;
mod ui;
mod weaving;
mod zipkin;

pub use access::{AccessControl, AccessRules, AccessToken, IngestToken};
pub use collector::{CollectorAddresses, CollectorBindError, CollectorServer, RecordSourceEnd};
pub use config::{
    CollectorEndpoint, CollectorLimits, Config, JaegerPorts, ListenerPort, WeavingMode,
    WeavingSettings,
};
pub use ingest::{
    ForwardedSpans, RecordError, RecordIngest, RecordOutcome, RecordSource, SpanDelivery,
    SpanDestination, SpanForwarder,
};
pub use recorded_spans::{RecordedSpansError, decode_recorded_spans};
pub use stream_weaver::{StreamWeavingProgress, StreamWeavingSettings, weave_records};
pub use tls::CollectorTls;
pub use weaving::{
    DecisionLog, JoinedSpans, ProcessIdentity, TraceSinkCounts, WeavingProgress, WeavingReport,
    WovenSpans, WovenTraceSink, weave_spans,
};
