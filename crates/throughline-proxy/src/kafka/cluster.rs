//! State that the connections to one cluster share.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use throughline_intercept::correlate::{Correlator, CorrelatorAccess as _, TokenExtractor};
use throughline_intercept::kafka::{ClusterCapacity, ClusterHandle, ClusterState, NodeId};
use tokio::sync::mpsc;

use crate::correlator::SharedCorrelator;
use crate::kafka::config::AddressedCluster;
use crate::kafka::endpoint::{EndpointRegistry, OpenedBrokerPort};
use crate::transport::drain::Drain;

/// The state that the connections to one cluster share.
#[derive(Debug)]
pub(crate) struct SharedCluster {
    state: Mutex<ClusterState>,
    correlator: Option<SharedCorrelator>,
    /// The local ports of brokers, in addressed mode.
    endpoints: Option<EndpointRegistry>,
}

/// The settings of a cluster that hold for all its clients.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClusterConfig {
    pub(crate) capacity: ClusterCapacity,
    /// The correlator of the process that all clients belong to, if they belong to one.
    pub(crate) correlator: Option<SharedCorrelator>,
}

/// The cluster as the session of one connection sees it.
#[derive(Debug, Clone)]
pub(crate) struct ClusterView {
    cluster: Arc<SharedCluster>,
    /// The host by which this client can reach the proxy.
    host: Arc<str>,
}

// === impl SharedCluster ===

impl SharedCluster {
    /// Returns a cluster whose clients use the brokers' own addresses.
    pub(crate) fn transparent(config: ClusterConfig) -> Arc<Self> {
        Arc::new(Self::new(config, None))
    }

    /// Returns a cluster whose clients get local addresses. Ports that open on `host` arrive at the
    /// receiver.
    pub(crate) fn addressed(
        config: ClusterConfig,
        host: IpAddr,
        addressed: &AddressedCluster,
        drain: &Drain,
    ) -> (Arc<Self>, mpsc::Receiver<OpenedBrokerPort>) {
        let (endpoints, opened) = EndpointRegistry::new(host, addressed, drain);
        (Arc::new(Self::new(config, Some(endpoints))), opened)
    }

    fn new(config: ClusterConfig, endpoints: Option<EndpointRegistry>) -> Self {
        Self {
            state: Mutex::new(ClusterState::new(config.capacity)),
            correlator: config.correlator,
            endpoints,
        }
    }

    /// Returns the view of a client that reaches the proxy by `host`.
    pub(crate) fn view(self: &Arc<Self>, host: Arc<str>) -> ClusterView {
        ClusterView {
            cluster: Arc::clone(self),
            host,
        }
    }

    /// Runs `apply` on the state, under its lock.
    pub(crate) fn with_state<T>(&self, apply: impl FnOnce(&mut ClusterState) -> T) -> T {
        apply(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl ClusterView ===

impl ClusterHandle for ClusterView {
    fn with_state<T>(&self, operation: impl FnOnce(&mut ClusterState) -> T) -> T {
        self.cluster.with_state(operation)
    }

    fn token_extractor(&self) -> Option<&TokenExtractor> {
        let correlator = self.cluster.correlator.as_ref()?;
        Some(correlator.token_extractor())
    }

    fn correlate<T>(&self, look: impl FnOnce(&mut Correlator) -> T) -> Option<T> {
        // Sessions compute the lookup before they take this lock of the whole process.
        let correlator = self.cluster.correlator.as_ref()?;
        Some(correlator.with_correlator(look))
    }

    fn is_addressed(&self) -> bool {
        self.cluster.endpoints.is_some()
    }

    fn local_address(&self, node_id: NodeId, host: &str, port: i32) -> Option<(Arc<str>, i32)> {
        let endpoints = self.cluster.endpoints.as_ref()?;
        // Responses may hold a null broker: node id -1, an empty host, port -1 or 0.
        // Ports are i32 on the wire.
        let port = u16::try_from(port)
            .ok()
            .filter(|port| *port != 0 && node_id.0 >= 0 && !host.is_empty())?;
        let local = endpoints.local_port(node_id, host, port)?;
        Some((Arc::clone(&self.host), local.into()))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::kafka::port::PortRange;

    fn addressed(broker_ports: PortRange) -> (ClusterView, mpsc::Receiver<OpenedBrokerPort>) {
        let bootstrap = vec!["first:9092".parse().unwrap()];
        let addressed = AddressedCluster {
            bootstrap,
            broker_ports,
            advertise: None,
            state: None,
        };
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (cluster, opened) = SharedCluster::addressed(
            ClusterConfig::default(),
            host,
            &addressed,
            &Drain::default(),
        );
        (cluster.view("sidecar".into()), opened)
    }

    #[tokio::test]
    async fn broker_keeps_its_port_when_it_moves() {
        let (view, mut opened) = addressed(PortRange::Any);
        let (name, port) = view.local_address(NodeId(1), "a", 9092).unwrap();
        let first = opened.recv().await.unwrap();
        let opened_port = first.listener.local_addr().unwrap().port();
        assert_eq!((&*name, port), ("sidecar", i32::from(opened_port)));
        let candidates = || format!("{:?}", first.target.current().candidates);
        assert!(candidates().contains("\"a\""), "{}", candidates());
        assert_eq!(view.local_address(NodeId(1), "b", 9093), Some((name, port)));
        assert!(
            candidates().contains("\"b\"") && opened.try_recv().is_err(),
            "{}",
            candidates()
        );
        assert_ne!(view.local_address(NodeId(2), "b", 9093).unwrap().1, port);
    }

    #[tokio::test]
    async fn null_brokers_keep_their_address() {
        let (view, _opened) = addressed(PortRange::Any);
        for (node, host, port) in [
            (-1, "a", 9092),
            (1, "", 9092),
            (1, "a", 0),
            (1, "a", -1),
            (1, "a", 70_000),
        ] {
            assert_eq!(view.local_address(NodeId(node), host, port), None);
        }
        let view = SharedCluster::transparent(ClusterConfig::default()).view("sidecar".into());
        assert_eq!(
            (
                view.is_addressed(),
                view.local_address(NodeId(1), "a", 9092)
            ),
            (false, None)
        );
    }
}
