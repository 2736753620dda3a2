//! Throughline inside Envoy: a dynamic module, `libthroughline_envoy.so`, for a stock Envoy.
//!
//! ```text
//!   Envoy's worker                                      Envoy's main thread
//!      |  hooks                                              |  hooks
//!   shim  (C ABI, the only unsafe code; a panic ends here)  shim
//!      |                                                     |
//!   kafka_filter::KafkaFilter, one per connection        config::Config, one per filter
//!   http_filter::HttpFilter, one per request                  |
//!      +------------------------> tracing_process::TracingProcess, one per Envoy process
//!                                   correlator, cluster state, exporter on a thread of its own
//! ```
//!
//! | module | duty |
//! |---|---|
//! | `shim` | Envoy's ABI: hooks that it calls, and calls of ours as a host trait |
//! | [`host`] | the traits; tests implement them with a fake |
//! | [`kafka_filter`] | moves the bytes of one connection through a `KafkaSession` |
//! | [`http_filter`] | parents and contexts of HTTP requests, beside Envoy's own tracer |
//! | [`config`] | JSON of a filter, with the keys of the sidecar's file |
//! | [`tracing_process`] | what all filters of a process share |
//! | [`abi`] | whether this Envoy is one that the module was tested with |
//! | [`counter`], [`gauge`], [`log`] | Envoy's stats and log |
//!
//! Every hook runs on one of Envoy's threads and must neither block nor panic. No state is borrowed
//! while a call into Envoy runs, because some of those calls enter a hook again.

pub mod abi;
pub mod config;
pub mod counter;
pub mod gauge;
pub mod host;
pub mod http_filter;
pub mod kafka_filter;
pub mod log;
pub mod tracing_process;

// The tests are programs of their own, in which Envoy's symbols are missing.
#[cfg(not(test))]
mod shim;
