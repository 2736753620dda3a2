//! Connections that the system turned towards us (iptables `REDIRECT`), and the loops that this can make.
//!
//! In a loop our own connection to the broker is redirected to us again. It shows in the address of the "client": it is that of
//! a socket of ours. So every socket that connects to a broker is listed while it lives.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use socket2::SockRef;
use tokio::net::TcpStream;

/// The local addresses of all connections to brokers that are open.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outgoing(Arc<Mutex<HashSet<SocketAddr>>>);

/// One of them; not listed any longer when dropped.
#[derive(Debug)]
pub(crate) struct Listed {
    address: SocketAddr,
    outgoing: Outgoing,
}

/// Where a redirected connection wanted to go.
///
/// # Errors
/// When it was not redirected: it came to us of its own will, or this system has no such thing.
pub(crate) fn original_destination(stream: &TcpStream) -> io::Result<SocketAddr> {
    let local = plain(stream.local_addr()?);
    let socket = SockRef::from(stream);
    let original = if local.is_ipv4() { socket.original_dst_v4() } else { socket.original_dst_v6() };
    let original = original?.as_socket().map(plain).ok_or(io::ErrorKind::Unsupported)?;
    // A kernel that tracks connections answers for those as well that nobody redirected.
    if original == local { Err(io::ErrorKind::NotConnected.into()) } else { Ok(original) }
}

/// An IPv4 address that an IPv6 socket wrapped up, unwrapped.
pub(crate) fn plain(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

// === impl Outgoing ===

impl Outgoing {
    pub(crate) fn list(&self, address: SocketAddr) -> Listed {
        let address = plain(address);
        self.addresses(|addresses| addresses.insert(address));
        Listed { address, outgoing: self.clone() }
    }

    /// Whether this "client" is a connection of our own.
    pub(crate) fn has(&self, client: SocketAddr) -> bool {
        self.addresses(|addresses| addresses.contains(&plain(client)))
    }

    fn addresses<T>(&self, with: impl FnOnce(&mut HashSet<SocketAddr>) -> T) -> T {
        with(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        self.outgoing.addresses(|addresses| addresses.remove(&self.address));
    }
}
