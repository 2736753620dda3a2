//! Redirected connections: what is spoken on each, and who serves that.
//!
//! ```text
//!   redirected ──► where to? ──► a connection there is begun ──► who speaks first?
//!                                                                 │ the client: HTTP ──► requests, traced one by one
//!                                                                 │             Kafka ─► a session
//!                                                                 │             else ──► bytes
//!                                                                 └ the server: bytes, from the first one on
//! ```
//!
//! Nobody waits long for being understood: where a server speaks first (SMTP, MySQL, SSH) its words go to the client as they come. The
//! connection that was begun is the one that the first request goes out on.

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

use crate::address::plain;
use crate::http::Gate as Http;
use crate::kafka::cluster::Knowledge;
use crate::kafka::connection::{Redirected, Service as Kafka};
use crate::listener::original_destination::original_destination;
use crate::listener::protocol::{Detected, detect, has_spoken, speaks_first};
use crate::telemetry::metrics::Failure;
use crate::transport::dial::Tcp;
use crate::transport::own_connections::Ends;
use crate::transport::tunnel;

/// Serves what comes redirected from one direction.
pub(crate) struct Gate {
    pub(crate) direction: Direction,
    pub(crate) kafka: Arc<Kafka>,
    pub(crate) knowledge: Arc<Knowledge>,
    pub(crate) http: Http,
    pub(crate) metrics: Arc<Metrics>,
}

/// What redirected connections speak.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) registry: Registry,
    connections: Family<Seen, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Seen {
    direction: &'static str,
    protocol: &'static str,
}

/// How a connection has begun.
struct Begun {
    detected: Detected,
    /// To where it wants to go.
    upstream: io::Result<Tcp>,
}

// === impl Gate ===

impl Gate {
    /// Serves a connection to its end.
    pub(crate) async fn serve(self: Arc<Self>, stream: TcpStream, client: SocketAddr) {
        let (client, herald) = (plain(client), &self.kafka.herald);
        crate::transport::stream::tune(&stream);
        let wanted = match original_destination(&stream) {
            Ok(wanted) => wanted,
            Err(error) => return herald.failed(Failure::NotRedirected, &error),
        };
        if self.kafka.dialer.outgoing.has(Ends::new(client, wanted)) {
            return herald.failed(Failure::Loop, &client);
        }
        let begun = tokio::select! {
            begun = self.begin(&stream, wanted) => begun,
            () = self.told_to_stop(&stream) => return,
        };
        match begun {
            Ok(begun) => {
                self.go_on(
                    Redirected {
                        stream,
                        client,
                        wanted,
                    },
                    begun,
                )
                .await
            }
            Err(error) => tracing::debug!(%client, %error, "a connection did not come about"),
        }
    }

    /// Told to stop, while nothing has been said on the connection: nothing is lost with it.
    async fn told_to_stop(&self, stream: &TcpStream) {
        self.kafka.stop.begun().await;
        if has_spoken(stream) {
            self.kafka.stop.over().await;
        }
    }

    /// Connects to where the client wants to go, and waits for whoever speaks first.
    async fn begin(&self, stream: &TcpStream, wanted: SocketAddr) -> io::Result<Begun> {
        let mut detecting = std::pin::pin!(detect(stream));
        let dialling = async {
            let dialler = &self.kafka.dialer;
            let late = |_| Err(io::ErrorKind::TimedOut.into());
            timeout(dialler.deadline, dialler.connect_address(wanted))
                .await
                .unwrap_or_else(late)
        };
        let mut dialling = std::pin::pin!(dialling);
        let upstream = tokio::select! {
            // A connection that is begun is awaited: given up half way it would look like an attack to whoever is asked.
            detected = &mut detecting => return Ok(Begun { detected: detected?, upstream: dialling.await }),
            dialled = &mut dialling => dialled,
        };
        let detected = match &upstream {
            Ok(server) => tokio::select! {
                detected = &mut detecting => detected?,
                _ = speaks_first(&server.stream) => Detected::Other,
            },
            // What it would have said decides how it is told.
            Err(_) => timeout(PATIENCE, detecting)
                .await
                .unwrap_or(Ok(Detected::Other))?,
        };
        Ok(Begun { detected, upstream })
    }

    async fn go_on(&self, redirected: Redirected, begun: Begun) {
        let Begun { detected, upstream } = begun;
        self.metrics.seen(self.direction, detected);
        match detected {
            Detected::Http1 | Detected::Http2 => {
                let is_http2 = detected == Detected::Http2;
                self.http
                    .serve(self.direction, redirected, is_http2, upstream)
                    .await;
            }
            Detected::Kafka if self.direction == Direction::Outbound => {
                Arc::clone(&self.kafka)
                    .serve_redirected(redirected, &self.knowledge, upstream)
                    .await;
            }
            Detected::Kafka | Detected::Tls | Detected::Other => {
                self.pass(redirected, upstream).await
            }
        }
    }

    /// Passes bytes both ways.
    async fn pass(&self, redirected: Redirected, upstream: io::Result<Tcp>) {
        match upstream {
            Ok(Tcp {
                stream,
                listed: _listed,
            }) => tunnel::pass(redirected.stream, stream, &self.kafka.stop).await,
            Err(error) => {
                tracing::debug!(wanted = %redirected.wanted, %error, "cannot connect");
                crate::transport::stream::refuse(&redirected.stream);
            }
        }
    }
}

// === impl Metrics ===

impl Metrics {
    pub(crate) fn new() -> Self {
        let (mut registry, connections) = (
            Registry::with_prefix("throughline_redirected"),
            Family::default(),
        );
        let help = "Connections that the system turned towards us, by what is spoken on them";
        registry.register("connections", help, connections.clone());
        Self {
            registry,
            connections,
        }
    }

    fn seen(&self, direction: Direction, detected: Detected) {
        let seen = Seen {
            direction: direction.label(),
            protocol: detected.label(),
        };
        self.connections.get_or_create(&seen).inc();
    }
}

/// How long a client may take for its first word, where nobody is there to hear it.
const PATIENCE: Duration = Duration::from_secs(1);
