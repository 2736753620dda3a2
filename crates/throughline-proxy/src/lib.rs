//! The sidecar's sockets. For Kafka: moves the bytes of each connection through a `KafkaSession`, which decides everything. For
//! HTTP: [`http`].
//!
//! ```text
//!   clients ──► listener ──► connection ─────────► dial ──► broker
//!                            (TLS, pump)          (TLS)
//!                             │       ▲ local addresses of brokers
//!                   spans ◄───┤       │
//!                   counts ◄──┘   knowledge ──► a port for each broker, opened as it is heard of
//! ```
//!
//! [`Proxy::bind`] opens the listeners, [`Proxy::run`] serves them until told to stop, and then drains. Two ways in ([`ListenerRoute`]):
//! clients are given our address, and answers are rewritten to ours; or the system redirects their connections, and nothing is
//! rewritten.
//!
//! What is not here: what is said in Kafka, spans and contexts (`throughline-intercept`), and where spans go
//! (a [`throughline_model::SpanSink`]; never waited for). One slow client or broker holds up nobody but its own connection, and
//! holds no more than a few hundred KiB of ours.

mod address;
mod clock;
mod config;
mod correlator;
pub mod http;
mod kafka;
mod listener;
mod proxy;
mod telemetry;
mod transport;

pub use address::{HostPort, ParseHostPortError};
pub use config::{Config, ConnectionLimits, ListenerConfig, ListenerRoute};
pub use kafka::config::AddressedCluster;
pub use kafka::port::PortRange;
pub use proxy::{ListenerPurpose, Proxy, ProxyAddresses, ProxyBindError, ProxyControl};
pub use telemetry::metrics::ExporterCounts;
pub use transport::tls::{DownstreamTls, TlsError, TlsIdentity, TlsRoots, UpstreamTls};
