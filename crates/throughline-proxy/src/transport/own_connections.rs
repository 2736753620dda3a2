//! Connections that the system turned towards us (iptables `REDIRECT`), and the loops that this can make.
//!
//! In a loop our own connection to the broker comes to us again. It shows in its two ends, which are those of a socket of ours:
//! so every socket that connects to a broker is listed while it lives. Both ends count: a client on the same machine may well
//! have the port that we connect to a broker from, since the system gives a port once for each destination.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::address::plain;

/// All connections to brokers that are open.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outgoing(Arc<Mutex<HashSet<Ends>>>);

/// One of them; not listed any longer when dropped.
#[derive(Debug)]
pub(crate) struct Listed {
    ends: Ends,
    outgoing: Outgoing,
}

/// Where a connection comes from, and where it was to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    from: SocketAddr,
    to: SocketAddr,
}

// === impl Ends ===

impl Ends {
    pub(crate) fn new(from: SocketAddr, to: SocketAddr) -> Self {
        Self {
            from: plain(from),
            to: plain(to),
        }
    }
}

// === impl Outgoing ===

impl Outgoing {
    pub(crate) fn list(&self, ends: Ends) -> Listed {
        self.all(|all| all.insert(ends));
        Listed {
            ends,
            outgoing: self.clone(),
        }
    }

    /// Whether this connection of a "client" is one of our own.
    pub(crate) fn has(&self, ends: Ends) -> bool {
        self.all(|all| all.contains(&ends))
    }

    fn all<T>(&self, with: impl FnOnce(&mut HashSet<Ends>) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.outgoing.all(|all| all.remove(&self.ends));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_with_the_port_of_a_connection_to_a_broker_is_no_loop() {
        let [port, ours, broker] = ["127.0.0.1:5001", "127.0.0.1:19092", "127.0.0.1:9092"]
            .map(|text| text.parse().unwrap());
        let outgoing = Outgoing::default();
        let listed = outgoing.list(Ends::new(port, broker));
        assert!(
            !outgoing.has(Ends::new(port, ours)),
            "the system gives a port once for each destination"
        );
        assert!(outgoing.has(Ends::new(port, broker)));
        drop(listed);
        assert!(
            !outgoing.has(Ends::new(port, broker)),
            "what has ended is nobody's"
        );
    }
}
