//! Real parts for tests and for the demo: brokers, supervised processes, our collector, the eshop.
//!
//! Nothing here is simulated: a test that wants a Kafka gets a process that speaks Kafka, a test that wants the
//! eshop gets its six processes. Everything is synchronous (std threads and [`ureq`]), so that a test reads from top to bottom.
//!
//! - [`process`]: a child process with its output kept, a readiness line to wait for, and an end that is certain.
//! - [`kafka`]: the embedded broker (librdkafka's mock cluster) and a real Apache Kafka from Maven Central.
//! - [`collector`]: `throughline up` on free ports, and questions to its query API.
//! - [`relay`]: a wire to a broker that writes down what passes.
//! - [`sidecar`]: `throughline sidecar` on free ports.
//! - [`network`]: hosts of our own, as pods are.
//! - [`eshop`]: the six services of the example.
//! - [`demo`]: all of these together, and "send a checkout, give me all its traces once they are complete".
//! - [`clients`]: Kafka clients of every language.
//! - [`build`]: where the binaries come from.
//!
//! For development only. Errors are [`anyhow::Error`]: they are read by a person in front of a failed run, never matched on.

pub mod build;
pub mod clients;
pub mod collector;
pub mod demo;
pub mod eshop;
pub mod http;
pub mod kafka;
pub mod network;
pub mod process;
pub mod relay;
pub mod sidecar;
pub mod wait;
