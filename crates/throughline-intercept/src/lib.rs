//! State machines of a proxy: contexts to inject into messages, and spans that messages make.
//!
//! Pure: no socket, no clock, no task and no randomness of their own. A driver moves bytes and
//! decides nothing:
//!
//! ```text
//!   client                 driver (proxy, simulation)                  broker
//!      |  bytes read       |                        ^ bytes to write     |
//!      v                   v                        |                    v
//!      +--> handle_bytes(side, now, bytes)    poll_transmit() -> (side, bytes)
//!                          |                        ^
//!                          v                        |
//!                        KafkaSession, one per connection --> poll_spans, poll_event, poll_timeout
//!                          |
//!                          v
//!                        ClusterHandle: state that the connections of a process share
//! ```
//!
//! HTTP is parsed by the driver: it reports each request to an [`HttpExchange`] and gets headers
//! and a span. A [`correlate::Correlator`] serves both, one for each process whose traffic passes:
//! it infers which inbound message caused an outbound one.
//!
//! | module | content |
//! |---|---|
//! | [`kafka`] | connections between clients and brokers |
//! | [`http`] | requests and responses |
//! | [`correlate`] | parents of outbound messages; knows neither Kafka nor HTTP |
//! | [`options`] | settings of both from texts, whichever syntax they are written in |
//! | `trace` | sampling, ids, parents and attributes that Kafka and HTTP share |
//!
//! After each `handle_*` the driver drains all `poll_*` until they return [`None`], then writes,
//! then reads on.
//!
//! The traffic comes first: bytes that are not understood, not intact or over a limit pass
//! unmodified, and a reason is counted. There are no error types: a driver could not act on one.
#![forbid(unsafe_code)]

pub mod correlate;
pub mod http;
pub mod kafka;
pub mod options;
mod trace;

pub use http::HttpExchange;
pub use kafka::KafkaSession;
pub use trace::TokenBucket;

/// Side of a Kafka connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// The end that opened the connection.
    Client,
    /// The end that responds.
    Broker,
}

/// Nanoseconds since the Unix epoch, of a clock that never steps back: the driver reads the time of
/// day once and counts on from there.
pub type Timestamp = u64;

// === impl Side ===

impl Side {
    /// Returns the other side.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Client => Self::Broker,
            Self::Broker => Self::Client,
        }
    }
}
