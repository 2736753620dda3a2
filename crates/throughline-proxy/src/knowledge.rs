//! What the connections to one cluster know together, and where its brokers have their local ports.

use std::collections::HashMap;
use std::net::{IpAddr, TcpListener};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use throughline_intercept::correlate::{Correlator, CorrelatorAccess as _, TokenExtractor};
use throughline_intercept::kafka::{Capacity, Cluster, Known};
use tokio::sync::mpsc;

use crate::address::Address;
use crate::config::Addressed;
use crate::dial::Candidates;
use crate::port::{BROKERS_MAX, Port, Ports};
use crate::process::Process;
use crate::stop::Stop;

/// Shared by the connections to one cluster.
#[derive(Debug)]
pub(crate) struct Knowledge {
    known: Mutex<Known>,
    process: Option<Process>,
    brokers: Option<Brokers>,
}

/// What is known of all clients before they connect.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clients {
    pub(crate) capacity: Capacity,
    /// The process that all clients are of, where they are known to be of one.
    pub(crate) process: Option<Process>,
}

/// How one connection sees it.
#[derive(Debug, Clone)]
pub(crate) struct View {
    knowledge: Arc<Knowledge>,
    /// The host by which this client can reach us.
    host: Arc<str>,
}

/// A broker's local port has been opened; somebody has to answer there.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) listener: TcpListener,
    pub(crate) target: Arc<Target>,
}

/// Where the connections of a port go. A broker may move; its port stays.
#[derive(Debug)]
pub(crate) struct Target(Mutex<Aim>);

/// Where they go now.
#[derive(Debug, Clone)]
pub(crate) struct Aim {
    pub(crate) candidates: Candidates,
    /// What ends these connections. Those of a port whose broker is not known yet end once it is: until then any broker will do,
    /// as for a client's first connection, and after that only the one.
    pub(crate) stop: Stop,
}

/// The brokers of a cluster in addressed mode.
#[derive(Debug)]
struct Brokers {
    places: Mutex<Places>,
    opened: mpsc::Sender<Opened>,
    stop: Stop,
}

#[derive(Debug)]
struct Places {
    ports: Ports,
    open: HashMap<i32, Place>,
    /// By port: those that are open and have no broker yet.
    waiting: HashMap<u16, Arc<Target>>,
    /// When a port could not be opened, so that it is not tried at each answer.
    failed: HashMap<i32, Instant>,
}

#[derive(Debug)]
struct Place {
    port: u16,
    address: Address,
    target: Arc<Target>,
}

// === impl Knowledge ===

impl Knowledge {
    /// For connections that keep the addresses of the brokers.
    pub(crate) fn transparent(clients: Clients) -> Arc<Self> {
        Arc::new(Self::new(clients, None))
    }

    /// For connections that are told addresses of ours. Ports that are opened on `host` come out at the receiver: those of the
    /// range at once, which lead to `bootstrap` until their brokers are known.
    pub(crate) fn addressed(
        clients: Clients,
        host: IpAddr,
        addressed: &Addressed,
        stop: &Stop,
    ) -> (Arc<Self>, mpsc::Receiver<Opened>) {
        let (opened, receiver) = mpsc::channel(2 * BROKERS_MAX);
        let mut ports = Ports::new(host, addressed.broker_ports, addressed.state.clone());
        let mut waiting = HashMap::new();
        for listener in ports.open_range() {
            let target = Arc::new(Target::new(
                addressed.bootstrap.iter().cloned(),
                stop.part(),
            ));
            let Ok(port) = listener.local_addr().map(|address| address.port()) else {
                continue;
            };
            waiting.insert(port, Arc::clone(&target));
            // There is room for every port that a range can have.
            opened
                .try_send(Opened { listener, target })
                .unwrap_or_default();
        }
        let places = Mutex::new(Places {
            ports,
            open: HashMap::new(),
            waiting,
            failed: HashMap::new(),
        });
        let brokers = Some(Brokers {
            places,
            opened,
            stop: stop.clone(),
        });
        (Arc::new(Self::new(clients, brokers)), receiver)
    }

    fn new(clients: Clients, brokers: Option<Brokers>) -> Self {
        Self {
            known: Mutex::new(Known::new(clients.capacity)),
            process: clients.process,
            brokers,
        }
    }

    /// As a client sees it that reaches us by `host`.
    pub(crate) fn view(self: &Arc<Self>, host: Arc<str>) -> View {
        View {
            knowledge: Arc::clone(self),
            host,
        }
    }

    pub(crate) fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        look(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl View ===

impl Cluster for View {
    fn known<T>(&self, look: impl FnOnce(&mut Known) -> T) -> T {
        self.knowledge.known(look)
    }

    fn token_extractor(&self) -> Option<&TokenExtractor> {
        let process = self.knowledge.process.as_ref()?;
        Some(process.token_extractor())
    }

    fn correlate<T>(&self, look: impl FnOnce(&mut Correlator) -> T) -> Option<T> {
        let process = self.knowledge.process.as_ref()?;
        Some(process.with_correlator(look))
    }

    fn is_addressed(&self) -> bool {
        self.knowledge.brokers.is_some()
    }

    fn local_address(&self, node_id: i32, host: &str, port: i32) -> Option<(Arc<str>, i32)> {
        let brokers = self.knowledge.brokers.as_ref()?;
        let port = u16::try_from(port)
            .ok()
            .filter(|port| *port != 0 && node_id >= 0 && !host.is_empty())?;
        let local = brokers.local_port(node_id, host, port)?;
        Some((Arc::clone(&self.host), local.into()))
    }
}

// === impl Target ===

impl Target {
    pub(crate) fn new(brokers: impl IntoIterator<Item = Address>, stop: Stop) -> Self {
        Self(Mutex::new(Aim {
            candidates: Candidates::new(brokers),
            stop,
        }))
    }

    pub(crate) fn aim(&self) -> Aim {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// The broker is somewhere else from now on. Connections to where it was end by themselves.
    fn move_to(&self, broker: Address) {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .candidates = Candidates::new([broker]);
    }

    /// The broker of the port is known now. Connections to others end, once nothing is under way on them.
    fn settle(&self, broker: Address, stop: Stop) {
        let aim = Aim {
            candidates: Candidates::new([broker]),
            stop,
        };
        let before = std::mem::replace(
            &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner),
            aim,
        );
        before.stop.begin();
    }
}

// === impl Brokers ===

impl Brokers {
    /// The local port of a broker; opened when it is heard of for the first time.
    fn local_port(&self, node: i32, host: &str, port: u16) -> Option<u16> {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.open.get_mut(&node) {
            place.follow(host, port);
            return Some(place.port);
        }
        let now = Instant::now();
        if places
            .failed
            .get(&node)
            .is_some_and(|last| now.saturating_duration_since(*last) < RETRY_PAUSE)
        {
            return None;
        }
        let broker = Address {
            host: host.into(),
            port,
        };
        match self.open(&mut places, node, &broker) {
            Ok(port) => {
                tracing::info!(node, broker = %broker, port, "a broker has its port");
                Some(port)
            }
            Err(error) => {
                tracing::warn!(
                    node, broker = %broker, %error,
                    "no port for a broker: clients connect to it past us, and are not traced there; give broker_ports more of them"
                );
                if places.failed.len() < BROKERS_MAX {
                    places.failed.insert(node, now);
                }
                None
            }
        }
    }

    fn open(&self, places: &mut Places, node: i32, broker: &Address) -> std::io::Result<u16> {
        let (port, target) = match places.ports.open(node)? {
            Port::Waiting(port) => {
                let target = places
                    .waiting
                    .remove(&port)
                    .ok_or(std::io::ErrorKind::NotFound)?;
                target.settle(broker.clone(), self.stop.clone());
                (port, target)
            }
            Port::New(listener) => {
                let port = listener.local_addr()?.port();
                let target = Arc::new(Target::new([broker.clone()], self.stop.clone()));
                let opened = Opened {
                    listener,
                    target: Arc::clone(&target),
                };
                let full = |_| std::io::Error::other("too many brokers, or about to end");
                self.opened.try_send(opened).map_err(full)?;
                (port, target)
            }
        };
        places.open.insert(
            node,
            Place {
                port,
                address: broker.clone(),
                target,
            },
        );
        Ok(port)
    }
}

// === impl Place ===

impl Place {
    fn follow(&mut self, host: &str, port: u16) {
        if *self.address.host != *host || self.address.port != port {
            self.address = Address {
                host: host.into(),
                port,
            };
            tracing::info!(broker = %self.address, port = self.port, "a broker has moved");
            self.target.move_to(self.address.clone());
        }
    }
}

const RETRY_PAUSE: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::port::PortRange;

    fn addressed(broker_ports: PortRange) -> (View, mpsc::Receiver<Opened>) {
        let bootstrap = vec!["first:9092".parse().unwrap()];
        let addressed = Addressed {
            bootstrap,
            broker_ports,
            advertise: None,
            state: None,
        };
        let host = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let (knowledge, opened) =
            Knowledge::addressed(Clients::default(), host, &addressed, &Stop::default());
        (knowledge.view("sidecar".into()), opened)
    }

    #[tokio::test]
    async fn a_broker_has_one_port_and_keeps_it_when_it_moves() {
        let (view, mut opened) = addressed(PortRange::Any);
        let (name, port) = view.local_address(1, "a", 9092).unwrap();
        let first = opened.recv().await.unwrap();
        assert_eq!(
            (&*name, port),
            (
                "sidecar",
                i32::from(first.listener.local_addr().unwrap().port())
            )
        );
        let candidates = || format!("{:?}", first.target.aim().candidates);
        assert!(candidates().contains("\"a\""), "{}", candidates());
        assert_eq!(view.local_address(1, "b", 9093), Some((name, port)));
        assert!(
            candidates().contains("\"b\"") && opened.try_recv().is_err(),
            "{}",
            candidates()
        );
        assert_ne!(view.local_address(2, "b", 9093).unwrap().1, port);
    }

    #[tokio::test]
    async fn what_is_no_broker_keeps_its_address() {
        let (view, _opened) = addressed(PortRange::Any);
        for (node, host, port) in [
            (-1, "a", 9092),
            (1, "", 9092),
            (1, "a", 0),
            (1, "a", -1),
            (1, "a", 70_000),
        ] {
            assert_eq!(view.local_address(node, host, port), None);
        }
        let view = Knowledge::transparent(Clients::default()).view("sidecar".into());
        assert_eq!(
            (view.is_addressed(), view.local_address(1, "a", 9092)),
            (false, None)
        );
    }
}
