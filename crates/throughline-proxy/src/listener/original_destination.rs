//! The original destination of a connection that the system redirected (`REDIRECT` of
//! nftables or iptables).

use std::io;
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::address::unmap_ipv4;

/// A connection that the system redirected to our listener.
#[derive(Debug)]
pub(crate) struct RedirectedConnection {
    pub(crate) stream: TcpStream,
    pub(crate) client: SocketAddr,
    /// The address that the client connected to.
    pub(crate) destination: SocketAddr,
}

/// Returns the address that the client of a redirected connection connected to.
///
/// # Errors
/// Fails when the connection was not redirected, or when this system does not support it.
pub(crate) fn original_destination(stream: &TcpStream) -> io::Result<SocketAddr> {
    let local = unmap_ipv4(stream.local_addr()?);
    let socket = SockRef::from(stream);
    let original = if local.is_ipv4() {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    };
    let original = original?
        .as_socket()
        .map(unmap_ipv4)
        .ok_or(io::ErrorKind::Unsupported)?;
    // With connection tracking on, the kernel answers for connections that were not redirected,
    // too: their destination is the listener itself.
    if original == local {
        Err(io::ErrorKind::NotConnected.into())
    } else {
        Ok(original)
    }
}
