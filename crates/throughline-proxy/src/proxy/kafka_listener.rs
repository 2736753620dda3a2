//! Listeners for Kafka clients and redirected connections, and the broker ports that open later.

use std::net::IpAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use super::redirected::RedirectedServer;
use crate::kafka::cluster::{ClusterConfig, SharedCluster};
use crate::kafka::config::AddressedCluster;
use crate::kafka::endpoint::OpenedBrokerPort;
use crate::kafka::server::{KafkaServer, UpstreamRoute};
use crate::kafka::target::BrokerTarget;
use crate::listener::accept::AcceptLoop;
use crate::transport::drain::Drain;

/// A listener with the server of its connections.
pub(super) enum KafkaListener {
    Addressed(AddressedListener),
    Redirected(TcpListener, Arc<RedirectedServer>),
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
                () = self.accept_loop.drain.draining() => return,
                opened = opened_ports.recv() => match opened {
                    Some(opened) => opened,
                    None => return,
                },
            };
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
