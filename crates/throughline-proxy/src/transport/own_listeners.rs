//! The addresses that this proxy listens on for Kafka and redirected connections.
//!
//! A broker that advertises one of them would have the proxy connect to itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, PoisonError, RwLock};

use crate::address::unmap_ipv4;

/// The addresses of all listeners that are open.
#[derive(Debug, Clone, Default)]
pub(crate) struct OwnListeners(Arc<RwLock<Vec<SocketAddr>>>);

// === impl OwnListeners ===

impl OwnListeners {
    pub(crate) fn add(&self, address: SocketAddr) {
        let mut listeners = self.0.write().unwrap_or_else(PoisonError::into_inner);
        listeners.push(unmap_ipv4(address));
    }

    /// Adds addresses that are bound.
    pub(crate) fn extend(&self, addresses: &[SocketAddr]) {
        addresses.iter().for_each(|address| self.add(*address));
    }

    /// Returns whether a connection to an address would reach one of the listeners.
    pub(crate) fn contains(&self, address: SocketAddr) -> bool {
        let address = unmap_ipv4(address);
        let listeners = self.0.read().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().any(|own| covers(*own, address))
    }

    /// Returns whether clients would reach one of the listeners by a host and port in a response,
    /// as far as that shows without DNS. `host` is the name by which this client reached the proxy.
    pub(crate) fn names(&self, name: &str, port: u16, host: &str) -> bool {
        let is_own = |ip| self.contains(SocketAddr::new(ip, port));
        match name.parse() {
            Ok(ip) => is_own(ip),
            Err(_) if name.eq_ignore_ascii_case("localhost") => {
                is_own(Ipv4Addr::LOCALHOST.into()) || is_own(Ipv6Addr::LOCALHOST.into())
            }
            Err(_) => name.eq_ignore_ascii_case(host) && self.has_port(port),
        }
    }

    fn has_port(&self, port: u16) -> bool {
        let listeners = self.0.read().unwrap_or_else(PoisonError::into_inner);
        listeners.iter().any(|own| own.port() == port)
    }
}

/// Returns whether a listener accepts connections to an address.
fn covers(own: SocketAddr, address: SocketAddr) -> bool {
    // Connecting to the unspecified address reaches this machine.
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    // An IPv6 wildcard accepts IPv4 as well (ipv6(7), IPV6_V6ONLY).
    let is_wildcard = own.ip().is_unspecified() && (own.is_ipv6() || ip.is_ipv4());
    own.port() == address.port() && (own.ip() == ip || (is_wildcard && is_local(ip)))
}

/// Returns whether this machine has the address. The system binds sockets to its own only.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listeners(address: &str) -> OwnListeners {
        let listeners = OwnListeners::default();
        listeners.add(address.parse().unwrap());
        listeners
    }

    #[test]
    fn listener_covers_the_addresses_that_reach_it() {
        for (own, address, expected) in [
            ("127.0.0.1:19092", "127.0.0.1:19092", true),
            ("127.0.0.1:19092", "127.0.0.1:9092", false),
            ("127.0.0.1:19092", "127.0.0.2:19092", false),
            ("127.0.0.1:19092", "0.0.0.0:19092", true),
            ("127.0.0.1:19092", "[::ffff:127.0.0.1]:19092", true),
            ("0.0.0.0:19092", "127.0.0.2:19092", true),
            // TEST-NET-1 (RFC 5737): no machine has it.
            ("0.0.0.0:19092", "192.0.2.1:19092", false),
            ("[::]:19092", "127.0.0.1:19092", true),
        ] {
            let contains = listeners(own).contains(address.parse().unwrap());
            assert_eq!(contains, expected, "{own} {address}");
        }
    }

    #[test]
    fn names_are_compared_with_the_host_that_clients_use() {
        let own = listeners("127.0.0.1:19092");
        assert!(own.names("localhost", 19092, "127.0.0.1"));
        assert!(own.names("Sidecar", 19092, "sidecar"));
        assert!(!own.names("broker", 19092, "sidecar"));
        assert!(!own.names("sidecar", 9092, "sidecar"));
    }
}
