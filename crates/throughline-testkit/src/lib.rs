//! Test fixtures that run the real thing: brokers, supervised processes, collector, eshop.
//!
//! Nothing here is simulated. A test that needs Kafka gets a process that speaks Kafka; a test that
//! needs the eshop gets its six processes. The API is synchronous (std threads and [`ureq`]), so
//! that a test reads from top to bottom.
//!
//! - [`process`]: a supervised child process: captured output, readiness line, guaranteed end.
//! - [`kafka`]: librdkafka's mock cluster and Apache Kafka from Maven Central.
//! - [`collector`]: `throughline up` on free ports, and calls to its query API.
//! - [`relay`]: a TCP relay before a broker that records the bytes.
//! - [`sidecar`]: `throughline sidecar` on free ports.
//! - [`network`]: network namespaces that behave like pods.
//! - [`podman`]: the manifests of `deploy/` as pods.
//! - [`envoy`]: a stock Envoy with our module.
//! - [`jaeger`]: a stock Jaeger over its stores or over the collector.
//! - [`eshop`]: the six services of the example.
//! - [`demo`]: broker, collector and eshop together; sends checkouts and waits for their traces.
//! - [`recording`]: spans of a bare service with their true parents, for the weaver's benchmark.
//! - [`clients`]: Kafka clients and tracing clients in several languages.
//! - [`build`]: builds and finds the binaries.
//!
//! For development only. Errors are [`anyhow::Error`]: a person reads them after a failed run, no
//! code matches on them.

pub mod build;
pub mod clients;
pub mod collector;
pub mod demo;
pub mod envoy;
pub mod eshop;
pub mod http;
pub mod jaeger;
pub mod kafka;
mod legacy_span;
pub mod network;
pub mod podman;
pub mod process;
pub mod recording;
pub mod relay;
#[cfg(feature = "s3")]
pub mod s3;
pub mod sidecar;
pub mod tool;
pub mod wait;
