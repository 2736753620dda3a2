//! The registry of brokers and their local ports, in addressed mode.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use throughline_intercept::kafka::NodeId;
use tokio::sync::mpsc;

use crate::address::HostPort;
use crate::kafka::config::AddressedCluster;
use crate::kafka::port::{BrokerPort, BrokerPorts, MAX_BROKERS};
use crate::kafka::target::BrokerTarget;
use crate::transport::drain::Drain;
use crate::transport::own_listeners::OwnListeners;

/// Time until a port that could not be opened is tried again. Every response may name the broker.
const OPEN_RETRY_INTERVAL: Duration = Duration::from_secs(60);

/// The brokers of a cluster with their local ports.
#[derive(Debug)]
pub(crate) struct EndpointRegistry {
    table: Mutex<EndpointTable>,
    opened: mpsc::Sender<OpenedBrokerPort>,
    own_listeners: OwnListeners,
    drain: Drain,
}

/// A local port that has been opened and needs an accept loop.
#[derive(Debug)]
pub(crate) struct OpenedBrokerPort {
    pub(crate) listener: TcpListener,
    pub(crate) target: Arc<BrokerTarget>,
}

#[derive(Debug)]
struct EndpointTable {
    ports: BrokerPorts,
    /// Brokers that have a port.
    assigned: HashMap<NodeId, LocalEndpoint>,
    /// By port: open ports whose broker is not known yet.
    unassigned: HashMap<u16, Arc<BrokerTarget>>,
    /// The last failed attempt to open a port.
    failed: HashMap<NodeId, Instant>,
}

#[derive(Debug)]
struct LocalEndpoint {
    port: u16,
    broker: HostPort,
    target: Arc<BrokerTarget>,
}

// === impl EndpointRegistry ===

impl EndpointRegistry {
    /// Opens the ports of the range on `host`, which lead to bootstrap brokers until their brokers
    /// are known. These ports, and those that open later, arrive at the receiver.
    pub(crate) fn new(
        host: IpAddr,
        addressed: &AddressedCluster,
        own_listeners: OwnListeners,
        drain: &Drain,
    ) -> (Self, mpsc::Receiver<OpenedBrokerPort>) {
        // There is room for every port of a range and for as many brokers outside of it.
        let (opened, receiver) = mpsc::channel(2 * MAX_BROKERS);
        let mut ports = BrokerPorts::new(host, addressed.broker_ports, addressed.state.clone());
        let mut unassigned = HashMap::new();
        for listener in ports.open_range() {
            let bootstrap = addressed.bootstrap.iter().cloned();
            // A drain of its own: it starts as soon as the broker of the port is known.
            let target = Arc::new(BrokerTarget::new(bootstrap, drain.child()));
            let Ok(address) = listener.local_addr() else {
                continue;
            };
            own_listeners.add(address);
            unassigned.insert(address.port(), Arc::clone(&target));
            // The channel is empty and has room for all ports, so this cannot fail.
            opened
                .try_send(OpenedBrokerPort { listener, target })
                .unwrap_or_default();
        }
        let table = Mutex::new(EndpointTable {
            ports,
            assigned: HashMap::new(),
            unassigned,
            failed: HashMap::new(),
        });
        let registry = Self {
            table,
            opened,
            own_listeners,
            drain: drain.clone(),
        };
        (registry, receiver)
    }

    /// Returns the local port of a broker, which is assigned when its node id is seen first.
    pub(crate) fn local_port(&self, node_id: NodeId, broker: HostPort) -> Option<u16> {
        // The lock is held while a port opens, so that a broker cannot get two of them.
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = table.assigned.get_mut(&node_id) {
            // Metadata is the only sign of a move, and every response with it leads here.
            endpoint.update(node_id, broker);
            return Some(endpoint.port);
        }
        let now = Instant::now();
        let failed_at = table.failed.get(&node_id);
        if failed_at.is_some_and(|at| now.saturating_duration_since(*at) < OPEN_RETRY_INTERVAL) {
            return None;
        }
        match self.assign_port(&mut table, node_id, &broker) {
            Ok(port) => {
                tracing::info!(node_id = node_id.0, broker = %broker, port, "broker port opened");
                Some(port)
            }
            Err(error) => {
                tracing::warn!(
                    node_id = node_id.0, broker = %broker, %error,
                    "no local port for a broker: its clients bypass the proxy and are not traced; \
                     widen --broker-ports"
                );
                // Node ids come off the wire: the map stays bounded.
                if table.failed.len() < MAX_BROKERS {
                    table.failed.insert(node_id, now);
                }
                None
            }
        }
    }

    fn assign_port(
        &self,
        table: &mut EndpointTable,
        node_id: NodeId,
        broker: &HostPort,
    ) -> io::Result<u16> {
        let (port, target) = match table.ports.assign(node_id)? {
            BrokerPort::Open(port) => {
                let target = table
                    .unassigned
                    .remove(&port)
                    .ok_or(io::ErrorKind::NotFound)?;
                // From here on, only the drain of the whole proxy ends the connections of the port.
                target.assign(broker.clone(), self.drain.clone());
                (port, target)
            }
            BrokerPort::New(listener) => {
                let address = listener.local_addr()?;
                self.own_listeners.add(address);
                let port = address.port();
                let target = Arc::new(BrokerTarget::new([broker.clone()], self.drain.clone()));
                let opened = OpenedBrokerPort {
                    listener,
                    target: Arc::clone(&target),
                };
                let rejected = |_| io::Error::other("too many brokers, or the proxy drains");
                // A session calls this while it handles a response: it must not wait.
                self.opened.try_send(opened).map_err(rejected)?;
                (port, target)
            }
        };
        let endpoint = LocalEndpoint {
            port,
            broker: broker.clone(),
            target,
        };
        table.assigned.insert(node_id, endpoint);
        Ok(port)
    }
}

// === impl LocalEndpoint ===

impl LocalEndpoint {
    /// Follows a broker whose address has changed.
    fn update(&mut self, node_id: NodeId, broker: HostPort) {
        if self.broker == broker {
            return;
        }
        tracing::info!(
            node_id = node_id.0, previous = %self.broker, %broker, port = self.port,
            "broker address changed"
        );
        self.target.move_to(broker.clone());
        self.broker = broker;
    }
}
