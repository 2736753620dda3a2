//! Traced producers and consumers against librdkafka's mock cluster.
#![cfg(feature = "kafka")]
#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot be set up has failed"
)]

mod batch;
mod bench;
mod consuming;
mod measured;
mod opentracing;
mod producing;
