//! Traced producers and consumers against librdkafka's mock cluster.
#![cfg(feature = "kafka")]

mod batch;
mod bench;
mod consuming;
mod measured;
mod opentracing;
mod producing;
