//! The collector over real sockets, as its clients meet it.
#![expect(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test says what failed by panicking"
)]

#[path = "it/grafana.rs"]
mod grafana;
#[path = "it/grpc.rs"]
mod grpc;
#[path = "it/otlp_http.rs"]
mod otlp_http;
#[path = "it/patience.rs"]
mod patience;
#[path = "it/query.rs"]
mod query;
#[path = "it/running.rs"]
mod running;
#[path = "it/throughline.rs"]
mod throughline;
#[path = "it/zipkin.rs"]
mod zipkin;
