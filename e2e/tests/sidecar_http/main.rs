//! HTTP through `throughline sidecar`: conformance suites, request smuggling, and faults.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "prints measured memory")]

mod bodies;
#[path = "../../../crates/throughline-intercept/tests/support/trace_context.rs"]
mod cases;
mod clients;
mod conformance;
mod faults;
mod fixture;
mod frames;
mod jaeger;
mod recorder;
mod service;
mod smuggling;
mod trace_context;
mod transparent;
