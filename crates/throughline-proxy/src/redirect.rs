//! Connections that the system turned towards us (iptables `REDIRECT`), and the loops that this can make.
//!
//! In a loop our own connection to the broker comes to us again. It shows in its two ends, which are those of a socket of ours:
//! so every socket that connects to a broker is listed while it lives. Both ends count: a client on the same machine may well
//! have the port that we connect to a broker from, since the system gives a port once for each destination.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use socket2::SockRef;
use tokio::net::TcpStream;

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

/// Where a redirected connection wanted to go.
///
/// # Errors
/// When it was not redirected: it came to us of its own will, or this system has no such thing.
pub(crate) fn original_destination(stream: &TcpStream) -> io::Result<SocketAddr> {
    let local = plain(stream.local_addr()?);
    let socket = SockRef::from(stream);
    let original = if local.is_ipv4() {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    };
    let original = original?
        .as_socket()
        .map(plain)
        .ok_or(io::ErrorKind::Unsupported)?;
    // A kernel that tracks connections answers for those as well that nobody redirected.
    if original == local {
        Err(io::ErrorKind::NotConnected.into())
    } else {
        Ok(original)
    }
}

/// An IPv4 address that an IPv6 socket wrapped up, unwrapped.
pub(crate) fn plain(address: SocketAddr) -> SocketAddr {
    match address {
        // Others stay as they are: a link-local address means nothing without its scope.
        SocketAddr::V6(six) if six.ip().to_ipv4_mapped().is_some() => {
            SocketAddr::new(address.ip().to_canonical(), address.port())
        }
        SocketAddr::V6(_) | SocketAddr::V4(_) => address,
    }
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
