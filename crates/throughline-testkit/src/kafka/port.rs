//! Free ports for brokers, which must keep their ports over a restart.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Result, ensure};

/// Returns ports that are free now and stay free until the caller binds them, and while a broker is
/// down. They lie outside of the range for ephemeral ports (`ip_local_port_range`), no two calls of
/// this process return the same port, and processes begin at different ones.
pub(crate) fn free_ports(count: usize) -> Result<Vec<u16>> {
    static TRIED: AtomicU32 = AtomicU32::new(0);
    let (first, last) = (20_000, 32_000);
    let (own, most) = (std::process::id().wrapping_mul(101), last - first);
    let mut ports = Vec::new();
    while ports.len() < count {
        // The counter is shared by all threads, so parallel tests never try the same port.
        let tried = TRIED.fetch_add(1, Ordering::Relaxed);
        ensure!(tried < most, "all ports from {first} to {last} are in use");
        let port = u16::try_from(first + own.wrapping_add(tried) % most)?;
        ports.extend(
            // The listener is dropped at once: the probe must not keep the port.
            TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .is_ok()
                .then_some(port),
        );
    }
    Ok(ports)
}
