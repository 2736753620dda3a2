//! The proxy as a whole: binds its listeners, serves them and drains.

mod kafka_listener;
mod redirected;
mod scrape;
mod sockets;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use throughline_intercept::http::Settings as HttpSettings;
use throughline_intercept::kafka::Settings;
use throughline_model::SpanSink;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use self::kafka_listener::{KafkaListener, ListenerBuilder, ListenerSpawner};
use self::scrape::MetricsSources;
use self::sockets::BoundSockets;
use crate::clock::SpanClock;
use crate::config::{Config, ListenerRoute};
use crate::correlator::SharedCorrelator;
use crate::http::HttpServer;
use crate::kafka::abandoned_spans::AbandonedSpanSweeper;
use crate::kafka::cluster::{ClusterConfig, SharedCluster};
use crate::kafka::server::KafkaServer;
use crate::listener::accept::{AcceptLoop, OverloadPolicy};
use crate::listener::detect_server::DetectionMetrics;
use crate::telemetry::admin::AdminServer;
use crate::telemetry::kafka_metrics::{ExporterCounts, KafkaMetrics};
use crate::telemetry::reporter::Reporter;
use crate::transport::dial::{SlowAddresses, UpstreamDialer};
use crate::transport::drain::Drain;
use crate::transport::own_connections::OwnConnections;
use crate::transport::own_listeners::OwnListeners;

pub use self::sockets::{ListenerPurpose, ProxyAddresses, ProxyBindError};

/// Connections of `/metrics` and health checks at the same time.
const MAX_ADMIN_CONNECTIONS: usize = 64;

/// A proxy with its listeners bound, not yet serving.
pub struct Proxy {
    listeners: Vec<KafkaListener>,
    admin: Option<TcpListener>,
    addresses: ProxyAddresses,
    kafka: Arc<KafkaServer>,
    http: HttpServer,
    metrics: MetricsSources,
    permits: Arc<Semaphore>,
    drain_timeout: Duration,
}

/// Changes the settings of a running proxy.
#[derive(Debug, Clone)]
pub struct ProxyControl {
    kafka: watch::Sender<Arc<Settings>>,
    http: watch::Sender<Arc<HttpSettings>>,
}

// === impl Proxy ===

impl Proxy {
    /// Binds all listeners. The system accepts connections from here on, and [`Proxy::run`] serves
    /// them.
    ///
    /// # Errors
    /// Fails with the first address that cannot be bound. The others are closed again.
    pub async fn bind(mut config: Config, sink: Arc<dyn SpanSink>) -> Result<Self, ProxyBindError> {
        // Sockets come first: a port that is taken fails the start before any task runs.
        let sockets = BoundSockets::bind(&mut config).await?;
        // HTTP and Kafka share these connections, because a loop may lead through both.
        let (drain, clock, own_connections) = (
            Drain::default(),
            SpanClock::new(),
            OwnConnections::default(),
        );
        let correlator = SharedCorrelator::new(std::mem::take(&mut config.http.correlate), clock);
        let cluster_config = ClusterConfig {
            capacity: config.capacity,
            correlator: has_one_process(&sockets).then(|| correlator.clone()),
            own_listeners: OwnListeners::default(),
        };
        let own_listeners = cluster_config.own_listeners.clone();
        own_listeners.extend(&sockets.addresses.listeners);
        let http = HttpServer::new(
            config.http,
            sockets.http,
            Arc::clone(&sink),
            correlator.clone(),
            &own_connections,
            sockets.addresses.all().collect(),
            drain.clone(),
        );
        let kafka = Arc::new(KafkaServer {
            dialer: UpstreamDialer {
                tls: config.broker_tls,
                connect_timeout: config.limits.connect_timeout,
                own_connections,
                slow_addresses: SlowAddresses::default(),
                own_listeners,
            },
            client_tls: config.client_tls,
            settings: watch::Sender::new(config.settings),
            sink,
            reporter: Arc::new(Reporter::new(Arc::new(KafkaMetrics::new()))),
            clock,
            drain,
        });
        let builder = ListenerBuilder {
            kafka: Arc::clone(&kafka),
            http: http.redirected(),
            transparent_cluster: SharedCluster::transparent(cluster_config.clone()),
            cluster_config,
            detection: Arc::new(DetectionMetrics::new()),
        };
        let bound = sockets.listeners.into_iter();
        let listeners: Vec<_> = bound
            .zip(&sockets.addresses.listeners)
            .map(|((listener, route), address)| builder.build(listener, route, *address))
            .collect();
        let metrics = MetricsSources {
            kafka: Arc::clone(&kafka.reporter.metrics),
            http: Arc::clone(&http.metrics),
            clusters: builder.clusters(&listeners),
            detection: builder.detection,
            correlator,
            exporter: None,
        };
        Ok(Self {
            listeners,
            admin: sockets.admin,
            addresses: sockets.addresses,
            kafka,
            http,
            metrics,
            permits: Arc::new(Semaphore::new(config.limits.max_connections)),
            drain_timeout: config.limits.drain_timeout,
        })
    }

    /// Returns the bound addresses, with the ports that the system chose.
    #[must_use]
    pub const fn addresses(&self) -> &ProxyAddresses {
        &self.addresses
    }

    /// Adds the counters of the span exporter to `/metrics`. They are read at each scrape.
    #[must_use]
    pub fn with_exporter_counts(
        mut self,
        read_counts: impl Fn() -> ExporterCounts + Send + Sync + 'static,
    ) -> Self {
        self.metrics.exporter = Some(Arc::new(read_counts));
        self
    }

    /// Returns a handle that changes settings while the proxy runs.
    #[must_use]
    pub fn control(&self) -> ProxyControl {
        ProxyControl {
            kafka: self.kafka.settings.clone(),
            http: self.http.settings.clone(),
        }
    }

    /// Serves until `stop` completes, then drains: accepts no more connections, lets requests in
    /// flight complete, and aborts the connections that are still open after the drain timeout.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) {
        let drain = self.kafka.drain.clone();
        let clusters = self.metrics.clusters.clone();
        let (listeners, connections) = (TaskTracker::new(), TaskTracker::new());
        let accept_loop = AcceptLoop {
            permits: self.permits,
            overload: OverloadPolicy::Wait,
            connections: connections.clone(),
            reporter: Arc::clone(&self.kafka.reporter),
            drain: drain.clone(),
        };
        self.http.spawn(&listeners, &accept_loop);
        let admin_drain = Drain::default();
        let admin_tasks = TaskTracker::new();
        if let Some(listener) = self.admin {
            let metrics = self.metrics;
            let server = AdminServer::new(Arc::new(move || metrics.render()), drain.clone());
            // Health and metrics are served during the drain, too, and do not wait for permits of
            // other clients.
            let admin_loop = AcceptLoop {
                permits: Arc::new(Semaphore::new(MAX_ADMIN_CONNECTIONS)),
                overload: OverloadPolicy::Reject,
                connections: admin_tasks.clone(),
                drain: admin_drain.clone(),
                ..accept_loop.clone()
            };
            let shutdown = admin_drain.clone();
            let serve = move |stream, _: SocketAddr| server.clone().serve(stream, shutdown.clone());
            admin_tasks.spawn(admin_loop.run(listener, serve));
        }
        let sweeper = Arc::new(AbandonedSpanSweeper {
            server: Arc::clone(&self.kafka),
            clusters,
        });
        listeners.spawn(Arc::clone(&sweeper).run());
        let spawner = ListenerSpawner {
            server: self.kafka,
            accept_loop,
            listeners: listeners.clone(),
        };
        for listener in self.listeners {
            spawner.spawn(listener);
        }

        stop.await;
        drain.start();
        // Accept loops end first: afterwards no connection is added to the tracker.
        listeners.close();
        listeners.wait().await;
        connections.close();
        if timeout(self.drain_timeout, connections.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                connections = connections.len(),
                "drain timed out, closing the open connections"
            );
        }
        drain.abort();
        // Aborted connections still emit spans, so the caller may stop the exporter only after
        // this.
        connections.wait().await;
        sweeper.send_all();
        admin_drain.abort();
        admin_tasks.close();
        admin_tasks.wait().await;
    }
}

impl std::fmt::Debug for Proxy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Proxy")
            .field("addresses", &self.addresses)
            .finish_non_exhaustive()
    }
}

// === impl ProxyControl ===

impl ProxyControl {
    /// Applies Kafka settings to all connections, from their next read on.
    pub fn apply(&self, settings: Arc<Settings>) {
        // `send` would fail while no connection is open, and lose the settings.
        drop(self.kafka.send_replace(settings));
    }

    /// Applies HTTP settings to all requests from here on.
    pub fn apply_http(&self, settings: Arc<HttpSettings>) {
        drop(self.http.send_replace(settings));
    }
}

/// Returns whether all connections belong to one process, so that what it received can be
/// correlated with what it sends. A proxy for Kafka alone may have clients of many processes.
fn has_one_process(sockets: &BoundSockets) -> bool {
    let is_redirected =
        |(_, route): &(_, ListenerRoute)| matches!(route, ListenerRoute::Redirected(_));
    !sockets.http.is_empty() || sockets.listeners.iter().any(is_redirected)
}
