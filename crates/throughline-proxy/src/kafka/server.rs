//! Kafka connections from their acceptance to their end: setup, TLS, the broker, then the driver.

use std::fmt::Display;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use throughline_intercept::kafka::{ConnectionEndpoints, Settings};
use throughline_intercept::{KafkaSession, Side};
use throughline_model::SpanSink;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::address::{HostPort, unmap_ipv4};
use crate::clock::SpanClock;
use crate::kafka::cluster::{ClusterView, SharedCluster};
use crate::kafka::driver::{CloseReason, ConnectionDriver, DriverContext};
use crate::kafka::target::{BrokerAssignment, BrokerTarget};
use crate::listener::original_destination::RedirectedConnection;
use crate::telemetry::kafka_metrics::ConnectionFailure;
use crate::telemetry::reporter::Reporter;
use crate::transport::dial::{DialError, DialedBroker, DialedSocket, UpstreamDialer};
use crate::transport::drain::Drain;
use crate::transport::own_connections::SocketPair;
use crate::transport::stream::{self, MaybeTlsStream};
use crate::transport::tls::DownstreamTls;

/// Time for the TLS handshake of a client.
const CLIENT_TLS_TIMEOUT: Duration = Duration::from_secs(10);

/// The server of all Kafka connections.
pub(crate) struct KafkaServer {
    pub(crate) dialer: UpstreamDialer,
    pub(crate) client_tls: Option<DownstreamTls>,
    pub(crate) settings: watch::Sender<Arc<Settings>>,
    pub(crate) sink: Arc<dyn SpanSink>,
    pub(crate) reporter: Arc<Reporter>,
    pub(crate) clock: SpanClock,
    pub(crate) drain: Drain,
}

/// Route of a local port's connections: the broker, and the cluster as clients see it.
#[derive(Clone)]
pub(crate) struct UpstreamRoute {
    pub(crate) target: Arc<BrokerTarget>,
    pub(crate) cluster: Arc<SharedCluster>,
    /// The host in the addresses that clients get.
    pub(crate) advertise: Option<Arc<str>>,
}

/// A failure before the first byte was passed on.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
struct ConnectionSetupError {
    failure: ConnectionFailure,
    error: String,
}

/// Counts a connection as open until it is dropped, by a panic as well.
struct OpenConnectionGuard(Arc<Reporter>);

type KafkaDriver = ConnectionDriver<MaybeTlsStream>;

// === impl KafkaServer ===

impl KafkaServer {
    /// Serves a connection on a local port until it ends.
    pub(crate) async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        client: SocketAddr,
        route: UpstreamRoute,
    ) {
        let _guard = OpenConnectionGuard::new(&self.reporter);
        let client = unmap_ipv4(client);
        let driver = tokio::select! {
            driver = self.connect(stream, client, route) => driver,
            // No byte has been passed on yet, so none is lost.
            () = self.drain.draining() => return,
        };
        self.run(client, driver).await;
    }

    /// Serves a redirected connection, whose broker has been dialed, until it ends.
    pub(crate) async fn serve_redirected(
        self: Arc<Self>,
        redirected: RedirectedConnection,
        cluster: &Arc<SharedCluster>,
        broker: io::Result<DialedSocket>,
    ) {
        let _guard = OpenConnectionGuard::new(&self.reporter);
        let client = redirected.client;
        // Bytes of the client have been seen, so the setup goes on during a drain.
        let driver = self.connect_redirected(redirected, cluster, broker).await;
        self.run(client, driver.map(|driver| (driver, self.drain.clone())))
            .await;
    }

    async fn run(
        &self,
        client: SocketAddr,
        driver: Result<(KafkaDriver, Drain), ConnectionSetupError>,
    ) {
        match driver {
            Ok((driver, drain)) => self.report_close(client, &driver.run(&drain).await),
            Err(ConnectionSetupError { failure, error }) => {
                tracing::debug!(%client, %error, "connection setup failed");
                self.reporter.connection_failed(failure, &error);
            }
        }
    }

    /// Connects a client to its broker. Returns the driver and the drain that ends it.
    async fn connect(
        &self,
        stream: TcpStream,
        client: SocketAddr,
        route: UpstreamRoute,
    ) -> Result<(KafkaDriver, Drain), ConnectionSetupError> {
        stream::configure(&stream);
        let local = stream
            .local_addr()
            .map_err(|error| ConnectionSetupError::new(ConnectionFailure::Client, &error))?;
        let UpstreamRoute {
            target,
            cluster,
            advertise,
        } = route;
        let BrokerAssignment { candidates, drain } = target.current();
        // A broker that advertises an address of ours would make us dial ourselves for ever.
        let pair = SocketPair::new(client, local);
        if self.dialer.own_connections.contains(pair) {
            return Err(ConnectionSetupError::new(ConnectionFailure::Loop, &client));
        }
        // TLS comes before the dial: a client that fails the handshake costs no broker connection.
        let downstream = self.accept_tls(stream).await?;
        let dialed = self.dialer.dial(&candidates).await;
        // The address that the client has reached is one that it can reach again.
        let host = advertise.unwrap_or_else(|| unmap_ipv4(local).ip().to_string().into());
        let driver = self.driver(downstream, dialed, client, cluster.view(host))?;
        Ok((driver, drain))
    }

    async fn connect_redirected(
        &self,
        redirected: RedirectedConnection,
        cluster: &Arc<SharedCluster>,
        broker: io::Result<DialedSocket>,
    ) -> Result<KafkaDriver, ConnectionSetupError> {
        let RedirectedConnection {
            stream,
            client,
            destination,
        } = redirected;
        let address = HostPort::from(destination);
        let view = cluster.view(Arc::clone(&address.host));
        let dialed = match broker {
            // The name of the broker is unknown here: with TLS, its certificate must hold the
            // address.
            Ok(socket) => self.dialer.finish(&address, socket).await,
            Err(error) => Err(error),
        };
        let dialed = dialed.map_err(|error| DialError::single(address, error));
        self.driver(MaybeTlsStream::Plain(stream), dialed, client, view)
    }

    fn driver(
        &self,
        downstream: MaybeTlsStream,
        dialed: Result<DialedBroker, DialError>,
        client: SocketAddr,
        view: ClusterView,
    ) -> Result<KafkaDriver, ConnectionSetupError> {
        let dialed = dialed.map_err(|error| {
            // The client sees what it would see without the proxy: a broker that is down.
            stream::reset_on_close(downstream.tcp());
            let failure = if error.is_loop() {
                ConnectionFailure::Loop
            } else {
                ConnectionFailure::Connect
            };
            ConnectionSetupError::new(failure, &error)
        })?;
        let endpoints = ConnectionEndpoints {
            client: Some(client.ip()),
            broker: Some((dialed.broker.host, dialed.broker.port)),
        };
        // Subscribes first: a change before the next line is then applied twice, and never missed.
        let settings = self.settings.subscribe();
        let current = Arc::clone(&settings.borrow());
        let context = DriverContext {
            // Randomness is an argument of the session, which has none of its own.
            session: KafkaSession::new(current, view, endpoints, fastrand::u64(..)),
            settings,
            sink: Arc::clone(&self.sink),
            reporter: Arc::clone(&self.reporter),
            clock: self.clock,
            own_guard: Some(dialed.own_guard),
        };
        Ok(ConnectionDriver::new(context, downstream, dialed.stream))
    }

    async fn accept_tls(&self, stream: TcpStream) -> Result<MaybeTlsStream, ConnectionSetupError> {
        let Some(tls) = &self.client_tls else {
            return Ok(MaybeTlsStream::Plain(stream));
        };
        let timed_out = |_| Err(io::ErrorKind::TimedOut.into());
        timeout(CLIENT_TLS_TIMEOUT, tls.accept(stream))
            .await
            .unwrap_or_else(timed_out)
            .map_err(|error| ConnectionSetupError::new(ConnectionFailure::ClientTls, &error))
    }

    fn report_close(&self, client: SocketAddr, reason: &CloseReason) {
        let failure = match reason {
            CloseReason::EndOfStream(side) => {
                return tracing::debug!(%client, ?side, "connection closed");
            }
            CloseReason::Drained => return tracing::debug!(%client, "connection drained"),
            CloseReason::Aborted => ConnectionFailure::Aborted,
            CloseReason::Failed(side, error) => {
                tracing::debug!(%client, ?side, %error, "connection failed");
                match side {
                    Side::Client => ConnectionFailure::Client,
                    Side::Broker => ConnectionFailure::Broker,
                }
            }
        };
        self.reporter.metrics.connection_failed(failure);
    }
}

// === impl ConnectionSetupError ===

impl ConnectionSetupError {
    fn new(failure: ConnectionFailure, error: &dyn Display) -> Self {
        Self {
            failure,
            error: error.to_string(),
        }
    }
}

// === impl OpenConnectionGuard ===

impl OpenConnectionGuard {
    fn new(reporter: &Arc<Reporter>) -> Self {
        // Connections count from their acceptance, so that failed setups are among them.
        reporter.metrics.connections.inc();
        reporter.metrics.connections_open.inc();
        Self(Arc::clone(reporter))
    }
}

impl Drop for OpenConnectionGuard {
    fn drop(&mut self) {
        self.0.metrics.connections_open.dec();
        if std::thread::panicking() {
            self.0.connection_panicked();
        }
    }
}
