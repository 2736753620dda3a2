//! HTTP through the proxy on loopback sockets, with real and with malicious clients and services.
#![expect(
    clippy::unwrap_used,
    clippy::excessive_nesting,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

#[path = "../support/mod.rs"]
mod support;

mod fixture;
mod grpc;
mod http2_upstream;
mod limits;
mod messages;
mod protocols;
mod raw;
mod reuse;
mod tls;
mod traces;
mod tunnels;
