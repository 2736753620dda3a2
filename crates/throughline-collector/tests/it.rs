//! The collector over real sockets.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test reports its failure by panicking"
)]

#[path = "it/access.rs"]
mod access;
#[path = "it/cors.rs"]
mod cors;
#[path = "it/forwarding.rs"]
mod forwarding;
#[path = "it/freshness.rs"]
mod freshness;
#[path = "it/grafana.rs"]
mod grafana;
#[path = "it/grpc.rs"]
mod grpc;
#[path = "it/jaeger.rs"]
mod jaeger;
#[path = "it/otlp_http.rs"]
mod otlp_http;
#[path = "it/query.rs"]
mod query;
#[path = "it/query_grpc.rs"]
mod query_grpc;
#[path = "it/running.rs"]
mod running;
#[path = "it/tempo.rs"]
mod tempo;
#[path = "it/throughline.rs"]
mod throughline;
#[path = "it/timeouts.rs"]
mod timeouts;
#[path = "it/weaving.rs"]
mod weaving;
#[path = "it/zipkin.rs"]
mod zipkin;
