//! HTTP through the proxy, on loopback sockets: services and clients that are real, and some that are bad.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may"
)]

#[path = "../support/mod.rs"]
mod support;

mod grpc;
mod limits;
mod protocols;
mod raw;
mod side;
mod tls;
mod traces;
