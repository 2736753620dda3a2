//! The brain of a proxy: what it injects into the messages that pass, and the spans that come of it.
//!
//! Pure state machines: no socket, no clock, no task, no randomness of their own. A driver moves bytes and decides nothing:
//!
//! ```text
//!   a client            driver (proxy, Envoy, simulation)             a broker
//!      |  bytes read       |                        ^ bytes to write     |
//!      v                   v                        |                    v
//!      +--> handle_bytes(side, now, bytes)    poll_transmit() -> (side, bytes)
//!                          |                        ^
//!                          v                        |
//!                        KafkaSession, one per connection ----> poll_span, poll_notice, poll_timeout
//!                          |
//!                          v
//!                        Cluster: what the connections of a process know together
//! ```
//!
//! HTTP is parsed by the driver: it tells an [`HttpExchange`] of each request what it sees, and gets headers and a span. A
//! [`correlate::Correlator`] stands beside both, one for each process whose traffic passes: it finds which of the messages that
//! came in caused one that goes out.
//!
//! After each `handle_*` the driver drains all `poll_*` until they give [`None`], then writes, then reads on.
//!
//! The first promise is to the traffic: what is not understood, not intact or over a limit goes on as it came, and a reason is
//! counted. There is no error type here, because there is nothing that the driver could do about one.
#![forbid(unsafe_code)]

pub mod correlate;
pub mod http;
pub mod kafka;
mod trace;

pub use http::HttpExchange;
pub use kafka::KafkaSession;

/// Where bytes come from, or go to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Side {
    /// Who opened the connection.
    Client,
    /// Who answers on it.
    Broker,
}

/// Nanoseconds since the Unix epoch, of a clock that never steps back: the driver reads the time of day once, and counts on
/// from there.
pub type Timestamp = u64;

// === impl Side ===

impl Side {
    /// The other one.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Client => Self::Broker,
            Self::Broker => Self::Client,
        }
    }
}
