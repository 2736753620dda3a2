//! The registry of connections that this proxy opened, which detects redirection loops.
//!
//! In a loop, our own upstream connection is redirected back to our listener. It is recognised by
//! its pair of addresses, so every socket that the proxy connects is registered while it is open.
//! Both addresses are compared: a client on the same machine may well use the local port of one of
//! our connections, because the system assigns a port once for each destination.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::address::unmap_ipv4;

/// All upstream connections that are open.
#[derive(Debug, Clone, Default)]
pub(crate) struct OwnConnections(Arc<Mutex<HashSet<SocketPair>>>);

/// The registration of one connection, removed on drop.
#[derive(Debug)]
pub(crate) struct OwnConnectionGuard {
    pair: SocketPair,
    connections: OwnConnections,
}

/// The source and the destination of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SocketPair {
    source: SocketAddr,
    destination: SocketAddr,
}

// === impl SocketPair ===

impl SocketPair {
    pub(crate) fn new(source: SocketAddr, destination: SocketAddr) -> Self {
        // The same connection shows as mapped IPv4 on one socket and as plain IPv4 on the other.
        Self {
            source: unmap_ipv4(source),
            destination: unmap_ipv4(destination),
        }
    }
}

// === impl OwnConnections ===

impl OwnConnections {
    pub(crate) fn register(&self, pair: SocketPair) -> OwnConnectionGuard {
        self.with_set(|set| set.insert(pair));
        OwnConnectionGuard {
            pair,
            connections: self.clone(),
        }
    }

    /// Returns whether an accepted connection was opened by this proxy.
    pub(crate) fn contains(&self, pair: SocketPair) -> bool {
        self.with_set(|set| set.contains(&pair))
    }

    fn with_set<T>(&self, apply: impl FnOnce(&mut HashSet<SocketPair>) -> T) -> T {
        // Held for one operation of the set: every connection of the proxy passes here.
        apply(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for OwnConnectionGuard {
    fn drop(&mut self) {
        self.connections.with_set(|set| set.remove(&self.pair));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_with_the_local_port_of_an_upstream_connection_is_not_a_loop() {
        let [port, ours, broker] = ["127.0.0.1:5001", "127.0.0.1:19092", "127.0.0.1:9092"]
            .map(|text| text.parse().unwrap());
        let connections = OwnConnections::default();
        let guard = connections.register(SocketPair::new(port, broker));
        assert!(
            !connections.contains(SocketPair::new(port, ours)),
            "the system assigns a port once for each destination"
        );
        assert!(connections.contains(SocketPair::new(port, broker)));
        drop(guard);
        assert!(!connections.contains(SocketPair::new(port, broker)));
    }
}
