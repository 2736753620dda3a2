//! Listeners for Kafka clients and redirected connections, and the broker ports that open later.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use throughline_intercept::http::Direction;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::redirected::RedirectedServer;
use crate::config::ListenerRoute;
use crate::http;
use crate::kafka::cluster::{ClusterConfig, SharedCluster};
use crate::kafka::config::AddressedCluster;
use crate::kafka::endpoint::OpenedBrokerPort;
use crate::kafka::server::{KafkaServer, UpstreamRoute};
use crate::kafka::target::BrokerTarget;
use crate::listener::accept::AcceptLoop;
use crate::listener::detect_server::{DetectServer, DetectionMetrics};
use crate::transport::drain::Drain;

/// A listener with the server of its connections.
pub(super) enum KafkaListener {
    Addressed(AddressedListener),
    Redirected(TcpListener, Arc<RedirectedServer>),
}

/// Builds listeners from bound sockets.
pub(super) struct ListenerBuilder {
    pub(super) kafka: Arc<KafkaServer>,
    pub(super) http: http::RedirectedHttpServer,
    pub(super) cluster_config: ClusterConfig,
    /// The cluster of all redirected connections.
    pub(super) transparent_cluster: Arc<SharedCluster>,
    pub(super) detection: Arc<DetectionMetrics>,
}

/// The bootstrap listener of a cluster in addressed mode.
pub(super) struct AddressedListener {
    pub(super) listener: TcpListener,
    pub(super) route: UpstreamRoute,
    pub(super) opened_ports: mpsc::Receiver<OpenedBrokerPort>,
}

/// Spawns accept loops for listeners.
#[derive(Clone)]
pub(super) struct ListenerSpawner {
    pub(super) server: Arc<KafkaServer>,
    pub(super) accept_loop: AcceptLoop,
    pub(super) listeners: TaskTracker,
}

// === impl ListenerBuilder ===

impl ListenerBuilder {
    /// Returns the listener of a socket that is bound to `address`.
    pub(super) fn build(
        &self,
        listener: TcpListener,
        route: ListenerRoute,
        address: SocketAddr,
    ) -> KafkaListener {
        match route {
            ListenerRoute::Addressed(addressed) => {
                let config = self.cluster_config.clone();
                let (host, drain) = (address.ip(), &self.kafka.drain);
                KafkaListener::Addressed(AddressedListener::new(
                    listener, host, addressed, config, drain,
                ))
            }
            ListenerRoute::Redirected(direction) => {
                KafkaListener::Redirected(listener, Arc::new(self.redirected_server(direction)))
            }
        }
    }

    /// Returns the clusters of all listeners, each once.
    pub(super) fn clusters(&self, listeners: &[KafkaListener]) -> Vec<Arc<SharedCluster>> {
        // Redirected connections may go to any broker, so their listeners share one cluster.
        let addressed = listeners.iter().filter_map(|listener| match listener {
            KafkaListener::Addressed(addressed) => Some(Arc::clone(&addressed.route.cluster)),
            KafkaListener::Redirected(..) => None,
        });
        std::iter::once(Arc::clone(&self.transparent_cluster))
            .chain(addressed)
            .collect()
    }

    fn redirected_server(&self, direction: Direction) -> RedirectedServer {
        RedirectedServer {
            detect: DetectServer {
                direction,
                dialer: self.kafka.dialer.clone(),
                reporter: Arc::clone(&self.kafka.reporter),
                metrics: Arc::clone(&self.detection),
                drain: self.kafka.drain.clone(),
            },
            kafka: Arc::clone(&self.kafka),
            cluster: Arc::clone(&self.transparent_cluster),
            http: self.http.clone(),
        }
    }
}

// === impl AddressedListener ===

impl AddressedListener {
    /// Opens the broker ports of a cluster on `host`.
    pub(super) fn new(
        listener: TcpListener,
        host: IpAddr,
        addressed: AddressedCluster,
        config: ClusterConfig,
        drain: &Drain,
    ) -> Self {
        let (cluster, opened_ports) = SharedCluster::addressed(config, host, &addressed, drain);
        let target = Arc::new(BrokerTarget::new(addressed.bootstrap, drain.clone()));
        let route = UpstreamRoute {
            target,
            cluster,
            advertise: addressed.advertise,
        };
        Self {
            listener,
            route,
            opened_ports,
        }
    }
}

// === impl ListenerSpawner ===

impl ListenerSpawner {
    /// Serves a listener until the proxy drains.
    pub(super) fn spawn(&self, listener: KafkaListener) {
        match listener {
            KafkaListener::Addressed(AddressedListener {
                listener,
                route,
                opened_ports,
            }) => {
                // Ports open while sessions run, long after the start.
                let ports = self.clone().serve_opened_ports(opened_ports, route.clone());
                self.listeners.spawn(ports);
                self.spawn_route(listener, route);
            }
            KafkaListener::Redirected(listener, server) => {
                let serve = move |stream, client| Arc::clone(&server).serve(stream, client);
                self.listeners
                    .spawn(self.accept_loop.clone().run(listener, serve));
            }
        }
    }

    fn spawn_route(&self, listener: TcpListener, route: UpstreamRoute) {
        let server = Arc::clone(&self.server);
        let serve = move |stream, client| Arc::clone(&server).serve(stream, client, route.clone());
        self.listeners
            .spawn(self.accept_loop.clone().run(listener, serve));
    }

    /// Serves the ports of brokers as they open.
    async fn serve_opened_ports(
        self,
        mut opened_ports: mpsc::Receiver<OpenedBrokerPort>,
        bootstrap: UpstreamRoute,
    ) {
        loop {
            let OpenedBrokerPort { listener, target } = tokio::select! {
                // The sender lives as long as any connection to the cluster, so the channel alone
                // would not end this loop in a drain.
                () = self.accept_loop.drain.draining() => return,
                opened = opened_ports.recv() => match opened {
                    Some(opened) => opened,
                    None => return,
                },
            };
            // All ports of a cluster share its state; only the broker differs.
            let route = UpstreamRoute {
                target,
                ..bootstrap.clone()
            };
            match TcpListener::from_std(listener) {
                Ok(listener) => self.spawn_route(listener, route),
                Err(error) => tracing::warn!(
                    %error,
                    "listening on a broker port failed; its clients cannot connect, \
                     so restart the proxy"
                ),
            }
        }
    }
}
