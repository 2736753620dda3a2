//! Redirected connections until their protocol is known.
//!
//! ```text
//!   redirected ──► original destination ──► dial it ──► first to speak?
//!                                                        │ client: HTTP, Kafka or unknown
//!                                                        └ server: unknown, bytes pass at once
//! ```
//!
//! Detection does not delay server-first protocols (SMTP, MySQL, SSH): the greeting passes as it
//! arrives. The connection dialed here carries the first request.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use throughline_intercept::http::Direction;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::address::unmap_ipv4;
use crate::listener::detect::{detect_client, has_unread_bytes, wait_for_server_first};
use crate::listener::original_destination::{RedirectedConnection, original_destination};
use crate::listener::protocol::DetectedProtocol;
use crate::telemetry::kafka_metrics::ConnectionFailure;
use crate::telemetry::reporter::Reporter;
use crate::transport::dial::{DialedSocket, UpstreamDialer};
use crate::transport::drain::Drain;
use crate::transport::own_connections::SocketPair;
use crate::transport::stream;

/// Time for a client's first bytes when its destination cannot be reached.
const UNREACHABLE_DETECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Detects the protocol of connections that were redirected in one direction.
pub(crate) struct DetectServer {
    pub(crate) direction: Direction,
    pub(crate) dialer: UpstreamDialer,
    pub(crate) reporter: Arc<Reporter>,
    pub(crate) metrics: Arc<DetectionMetrics>,
    pub(crate) drain: Drain,
}

/// A redirected connection with its protocol.
pub(crate) struct DetectedConnection {
    pub(crate) redirected: RedirectedConnection,
    pub(crate) protocol: DetectedProtocol,
    /// The connection to the original destination, or why it failed.
    pub(crate) upstream: io::Result<DialedSocket>,
}

/// Counts redirected connections by protocol.
#[derive(Debug)]
pub(crate) struct DetectionMetrics {
    pub(crate) registry: Registry,
    connections: Family<DetectionLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DetectionLabels {
    direction: &'static str,
    protocol: &'static str,
}

// === impl DetectServer ===

impl DetectServer {
    /// Dials the original destination and detects the protocol. Returns `None` when the connection
    /// failed or the proxy drains.
    pub(crate) async fn detect(
        &self,
        stream: TcpStream,
        client: SocketAddr,
    ) -> Option<DetectedConnection> {
        let client = unmap_ipv4(client);
        stream::configure(&stream);
        let destination = match original_destination(&stream) {
            Ok(destination) => destination,
            Err(error) => {
                self.reporter
                    .connection_failed(ConnectionFailure::NotRedirected, &error);
                return None;
            }
        };
        let pair = SocketPair::new(client, destination);
        // Dialing the destination of such a connection would redirect it here again.
        if self.dialer.own_connections.contains(pair) {
            self.reporter
                .connection_failed(ConnectionFailure::Loop, &client);
            return None;
        }
        let detected = tokio::select! {
            detected = self.dial_and_detect(&stream, destination) => detected,
            () = self.drained_while_silent(&stream) => return None,
        };
        let (protocol, upstream) = detected
            .inspect_err(|error| tracing::debug!(%client, %error, "connection setup failed"))
            .ok()?;
        // Connections that close before they are detected do not count.
        self.metrics.connection_detected(self.direction, protocol);
        Some(DetectedConnection {
            redirected: RedirectedConnection {
                stream,
                client,
                destination,
            },
            protocol,
            upstream,
        })
    }

    /// Waits until the proxy drains and closing the connection loses no bytes.
    async fn drained_while_silent(&self, stream: &TcpStream) {
        // A client that has sent a request expects a response, even in a drain.
        self.drain.draining().await;
        if has_unread_bytes(stream) {
            self.drain.aborted().await;
        }
    }

    /// Dials the destination and waits for whichever side speaks first.
    async fn dial_and_detect(
        &self,
        stream: &TcpStream,
        destination: SocketAddr,
    ) -> io::Result<(DetectedProtocol, io::Result<DialedSocket>)> {
        let mut detecting = std::pin::pin!(detect_client(stream));
        let dialing = async {
            // The whole time is for one address, unlike in a dial by name.
            let timed_out = |_| Err(io::ErrorKind::TimedOut.into());
            timeout(
                self.dialer.connect_timeout,
                self.dialer.connect_address(destination),
            )
            .await
            .unwrap_or_else(timed_out)
        };
        let mut dialing = std::pin::pin!(dialing);
        let upstream = tokio::select! {
            // The dial is awaited: a half-open connection would look like a SYN flood upstream.
            protocol = &mut detecting => return Ok((protocol?, dialing.await)),
            dialed = &mut dialing => dialed,
        };
        let protocol = match &upstream {
            Ok(server) => tokio::select! {
                protocol = &mut detecting => protocol?,
                _ = wait_for_server_first(&server.stream) => DetectedProtocol::Unknown,
            },
            // The protocol decides how the failure is reported: 503 in HTTP, a reset elsewhere.
            Err(_) => timeout(UNREACHABLE_DETECT_TIMEOUT, detecting)
                .await
                .unwrap_or(Ok(DetectedProtocol::Unknown))?,
        };
        Ok((protocol, upstream))
    }
}

// === impl DetectionMetrics ===

impl DetectionMetrics {
    pub(crate) fn new() -> Self {
        let mut registry = Registry::with_prefix("throughline_redirected");
        let connections = Family::default();
        registry.register(
            "connections",
            "Redirected connections, by direction and detected protocol",
            connections.clone(),
        );
        Self {
            registry,
            connections,
        }
    }

    pub(crate) fn connection_detected(&self, direction: Direction, protocol: DetectedProtocol) {
        let labels = DetectionLabels {
            direction: direction.label(),
            protocol: protocol.label(),
        };
        self.connections.get_or_create(&labels).inc();
    }
}
