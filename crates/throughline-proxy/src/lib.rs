//! The sockets of the sidecar: Kafka connections pass through a session of `throughline-intercept`,
//! HTTP requests through [`http`].
//!
//! ```text
//!              listener                    transport
//!   clients ──► accept ──► TLS ──► kafka ──► dial, TLS ──► brokers
//!               detect             http ───► dial, TLS ──► services
//!                                   │  │
//!                           spans ◄─┘  └─► telemetry: metrics, health, log lines
//! ```
//!
//! - `listener`: accept loop, protocol detection, original destination of redirected connections.
//! - `transport`: dialing, TLS, buffers, tunnels, drain.
//! - `kafka`: the driver of a connection, brokers and their local ports, shared cluster state.
//! - [`http`]: requests, their bodies and upstream connections.
//! - `telemetry`: metrics, health and log lines.
//! - `proxy`: puts these together.
//!
//! [`Proxy::bind`] binds the listeners, and [`Proxy::run`] serves them until it is stopped and has
//! drained. A [`ListenerRoute`] is addressed, when clients connect to the proxy and responses carry
//! its addresses, or redirected, when the system redirects connections and nothing changes.
//!
//! This crate parses neither Kafka messages nor contexts: `throughline-intercept` does. Spans go
//! to a [`throughline_model::SpanSink`], which never blocks. A slow client or broker delays only
//! its own connection, and its buffers hold a few hundred KiB at most.

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
pub use telemetry::kafka_metrics::ExporterCounts;
pub use transport::tls::{DownstreamTls, TlsError, TlsIdentity, TlsRoots, UpstreamTls};
