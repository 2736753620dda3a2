//! HTTP through the real `throughline sidecar`: the suites of others, requests made to deceive, and what goes wrong beside it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]
#![expect(clippy::indexing_slicing, reason = "a test fails by panicking")]
#![expect(clippy::print_stderr, reason = "figures are told")]

mod bodies;
#[path = "../../../crates/throughline-intercept/tests/support/trace_context.rs"]
mod cases;
mod conformance;
mod faults;
mod fixture;
mod frames;
mod recorder;
mod service;
mod smuggling;
mod trace_context;
