//! State that the connections to one cluster share.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use throughline_intercept::correlate::{Correlator, CorrelatorAccess as _, TokenExtractor};
use throughline_intercept::kafka::{ClusterCapacity, ClusterHandle, ClusterState, NodeId};
use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::sync::mpsc;

use crate::address::HostPort;
use crate::correlator::SharedCorrelator;
use crate::kafka::config::AddressedCluster;
use crate::kafka::endpoint::{EndpointRegistry, OpenedBrokerPort};
use crate::kafka::observed_brokers::ObservedBrokers;
use crate::telemetry::log_throttle::LogThrottle;
use crate::transport::drain::Drain;
use crate::transport::own_listeners::OwnListeners;

/// The state that the connections to one cluster share.
#[derive(Debug)]
pub(crate) struct SharedCluster {
    state: Mutex<ClusterState>,
    correlator: Option<SharedCorrelator>,
    /// The local ports of brokers, in addressed mode.
    endpoints: Option<EndpointRegistry>,
    /// The brokers' own addresses, where clients get these.
    observed_brokers: ObservedBrokers,
    own_listeners: OwnListeners,
    own_address_named: LogThrottle,
}

/// The settings of a cluster that hold for all its clients.
#[derive(Debug, Clone, Default)]
pub(crate) struct ClusterConfig {
    pub(crate) capacity: ClusterCapacity,
    /// The correlator of the process that all clients belong to, if they belong to one.
    pub(crate) correlator: Option<SharedCorrelator>,
    /// The listeners of the proxy; broker ports are added as they open.
    pub(crate) own_listeners: OwnListeners,
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
        let own_listeners = config.own_listeners.clone();
        let (endpoints, opened) = EndpointRegistry::new(host, addressed, own_listeners, drain);
        (Arc::new(Self::new(config, Some(endpoints))), opened)
    }

    fn new(config: ClusterConfig, endpoints: Option<EndpointRegistry>) -> Self {
        Self {
            state: Mutex::new(ClusterState::new(config.capacity)),
            correlator: config.correlator,
            endpoints,
            observed_brokers: ObservedBrokers::default(),
            own_listeners: config.own_listeners,
            own_address_named: LogThrottle::default(),
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

    fn run_long<T>(work: impl FnOnce() -> T) -> T {
        // The worker's other tasks go on in another thread. A runtime without workers has none.
        match Handle::try_current().map(|runtime| runtime.runtime_flavor()) {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(work),
            _ => work(),
        }
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
        let broker = broker_address(node_id, host, port)?;
        // A port of its own would lead back to the proxy. The listener that the address names
        // leads to a bootstrap broker, which is the right one in a cluster of one.
        if self.is_own_address(node_id, &broker) {
            return None;
        }
        let local = endpoints.local_port(node_id, broker)?;
        Some((Arc::clone(&self.host), local.into()))
    }

    fn observe_address(&self, cluster_id: Option<&str>, node_id: NodeId, host: &str, port: i32) {
        let Some(broker) = broker_address(node_id, host, port) else {
            return;
        };
        if !self.is_own_address(node_id, &broker)
            && let Some(id) = cluster_id
        {
            self.cluster.observed_brokers.observe(id, node_id, &broker);
        }
    }
}

impl ClusterView {
    /// Returns whether a broker advertises an address of the proxy, and warns of it.
    fn is_own_address(&self, node_id: NodeId, broker: &HostPort) -> bool {
        let cluster = &self.cluster;
        let is_own = cluster
            .own_listeners
            .names(&broker.host, broker.port, &self.host);
        if is_own && let Some(suppressed) = cluster.own_address_named.permit() {
            tracing::warn!(
                node_id = node_id.0, %broker, suppressed,
                "a broker advertises an address of this proxy: clients keep it and may reach \
                 another broker; give advertised.listeners the broker's own address"
            );
        }
        is_own
    }
}

/// Returns the address of a broker in a response. Responses may hold a null broker: node id -1, an
/// empty host, port -1 or 0.
fn broker_address(node_id: NodeId, host: &str, port: i32) -> Option<HostPort> {
    // Ports are i32 on the wire.
    let port = u16::try_from(port)
        .ok()
        .filter(|port| *port != 0 && node_id.0 >= 0 && !host.is_empty())?;
    let host = host.into();
    Some(HostPort { host, port })
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
    async fn address_of_the_proxy_is_kept_and_no_port_opens_for_it() {
        let (view, mut opened) = addressed(PortRange::Any);
        let own: std::net::SocketAddr = "127.0.0.1:19092".parse().unwrap();
        view.cluster.own_listeners.add(own);
        for name in ["127.0.0.1", "localhost", "sidecar"] {
            assert_eq!(view.local_address(NodeId(1), name, 19092), None, "{name}");
        }
        assert!(opened.try_recv().is_err());
        assert!(view.local_address(NodeId(1), "127.0.0.1", 9092).is_some());
        // The port of a broker is an address of the proxy as well.
        let (_, port) = view.local_address(NodeId(2), "broker", 9092).unwrap();
        assert_eq!(view.local_address(NodeId(3), "localhost", port), None);
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
