//! Applies the rules by netlink, so that `nft` need not be installed: an image with this program
//! alone can redirect a pod's connections.
//!
//! The format is that of Linux' `include/uapi/linux/netfilter/nf_tables.h` and `nfnetlink.h`. The
//! messages of a batch take effect together, or not at all.

mod attribute;
mod expression;
mod message;

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::io::Errno;
use rustix::net::netlink::{NETFILTER, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect, recv, send, socket_with,
};

use self::message::{MessageBatch, parse_acknowledgements};
use super::ruleset::RedirectChain;

/// Time for the kernel to respond. It may have to load modules.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);

/// Size of one datagram of acknowledgements.
const MAX_RESPONSE_BYTES: usize = 64 << 10;

/// Replaces the table by one with these chains, or removes it if there are none.
///
/// # Errors
/// Fails if the kernel rejects the rules; the previous ones then stay in effect.
pub(super) fn replace_table(chains: &[RedirectChain]) -> anyhow::Result<()> {
    let batch = MessageBatch::replacing_table(chains);
    match exchange(&batch) {
        Ok(()) => Ok(()),
        Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => bail!(
            "redirecting connections needs root (CAP_NET_ADMIN) in this network namespace: {error}"
        ),
        Err(error) => Err(error).context(
            "the kernel rejected the rules; it needs nf_tables with NAT of the inet family (Linux \
             5.2)",
        ),
    }
}

/// Sends the batch and waits until each message is acknowledged.
fn exchange(batch: &MessageBatch) -> io::Result<()> {
    let socket = connected_socket()?;
    let bytes = batch.as_bytes();
    let sent = send(&socket, bytes, SendFlags::empty())?;
    if sent != bytes.len() {
        return Err(io::Error::other("the kernel took a part of the rules"));
    }
    let mut missing = batch.acknowledged_messages();
    let mut buffer = vec![0; MAX_RESPONSE_BYTES];
    while missing > 0 {
        let (_, length) = recv(&socket, &mut *buffer, RecvFlags::empty())?;
        let response = buffer.get(..length).unwrap_or_default();
        // The first error is the cause of the others.
        missing = missing.saturating_sub(parse_acknowledgements(response)?);
    }
    Ok(())
}

fn connected_socket() -> io::Result<OwnedFd> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        Some(NETFILTER),
    )?;
    set_socket_timeout(&socket, Timeout::Recv, Some(RESPONSE_TIMEOUT))?;
    // Port 0 is the kernel.
    connect(&socket, &SocketAddrNetlink::new(0, 0))?;
    Ok(socket)
}
