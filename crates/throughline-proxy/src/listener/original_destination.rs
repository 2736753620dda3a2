//! The original destination of a connection that the system redirected (iptables `REDIRECT`).

use std::io;
use std::net::SocketAddr;

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::address::plain;

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
