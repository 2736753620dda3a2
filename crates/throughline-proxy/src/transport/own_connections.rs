//! The registry of connections that this proxy opened, which detects redirection loops.
//!
//! In a loop, our own upstream connection is redirected back to our listener. It is recognised by
//! its pair of addresses, so every socket that the proxy connects is registered while it is open.
//! Both addresses are compared: a client on the same machine may well use the local port of one of
//! our connections, because the system assigns a port once for each destination.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

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
    /// Begins to connect to an address, without waiting, and registers the connection before
    /// [`OwnConnections::contains`] can be asked about it.
    pub(crate) fn connect(
        &self,
        address: SocketAddr,
    ) -> io::Result<(std::net::TcpStream, OwnConnectionGuard)> {
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
        // On loopback the other end may be accepted within the call of connect, and the local
        // address does not exist before it. The lock covers both steps.
        let pair = self.with_set(|set| {
            begin_connect(&socket, address)?;
            let local = socket.local_addr()?.as_socket();
            let pair = SocketPair::new(local.ok_or(io::ErrorKind::Unsupported)?, address);
            set.insert(pair);
            io::Result::Ok(pair)
        })?;
        let connections = self.clone();
        Ok((socket.into(), OwnConnectionGuard { pair, connections }))
    }

    /// Returns whether an accepted connection was opened by this proxy.
    pub(crate) fn contains(&self, pair: SocketPair) -> bool {
        self.with_set(|set| set.contains(&pair))
    }

    fn with_set<T>(&self, apply: impl FnOnce(&mut HashSet<SocketPair>) -> T) -> T {
        // Held for moments: every connection of the proxy passes here.
        apply(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for OwnConnectionGuard {
    fn drop(&mut self) {
        self.connections.with_set(|set| set.remove(&self.pair));
    }
}

/// Starts the handshake of a non-blocking socket.
fn begin_connect(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() == Some(Errno::INPROGRESS.raw_os_error()) => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn client_with_the_local_port_of_an_upstream_connection_is_not_a_loop() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let broker = listener.local_addr().unwrap();
        let connections = OwnConnections::default();
        let (stream, guard) = connections.connect(broker).unwrap();
        let local = stream.local_addr().unwrap();
        let other = "127.0.0.1:19092".parse().unwrap();
        assert!(
            !connections.contains(SocketPair::new(local, other)),
            "the system assigns a port once for each destination"
        );
        assert!(connections.contains(SocketPair::new(local, broker)));
        drop(guard);
        assert!(!connections.contains(SocketPair::new(local, broker)));
    }

    #[test]
    fn connection_is_listed_before_its_other_end_can_be_accepted() {
        // Fewer than the backlog holds: a handshake that is dropped there takes seconds.
        const COUNT: usize = 100;
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let connections = OwnConnections::default();
        let own = connections.clone();
        let accepting = std::thread::spawn(move || {
            let is_listed = |_| {
                let (stream, client) = listener.accept().unwrap();
                own.contains(SocketPair::new(client, stream.local_addr().unwrap()))
            };
            (0..COUNT).filter(|number| is_listed(*number)).count()
        });
        let open: Vec<_> = (0..COUNT)
            .map(|_| connections.connect(address).unwrap())
            .collect();
        assert_eq!((accepting.join().unwrap(), open.len()), (COUNT, COUNT));
    }
}
