//! Hosts with ports as people and Kafka write them: `broker-1.example:9092`, `[2001:db8::1]:9092`.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

/// A host and a port. The host is an IP address, or a name that is looked up for each connection.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// The host, without the brackets of an IPv6 address.
    pub host: Arc<str>,
    /// The port, never zero.
    pub port: u16,
}

/// Text that is not a host and a port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a host and port; write it as host:9092")]
pub struct ParseHostPortError(String);

// === impl HostPort ===

impl FromStr for HostPort {
    type Err = ParseHostPortError;

    fn from_str(text: &str) -> Result<Self, ParseHostPortError> {
        parse(text.trim()).ok_or_else(|| ParseHostPortError(text.to_owned()))
    }
}

impl From<SocketAddr> for HostPort {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: address.ip().to_string().into(),
            port: address.port(),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

/// Returns the IPv4 address behind an IPv4-mapped IPv6 address, and any other address unchanged.
pub(crate) fn unmap_ipv4(address: SocketAddr) -> SocketAddr {
    match address {
        // Other IPv6 addresses keep their scope: without it, a link-local address is ambiguous.
        SocketAddr::V6(six) if six.ip().to_ipv4_mapped().is_some() => {
            SocketAddr::new(address.ip().to_canonical(), address.port())
        }
        SocketAddr::V6(_) | SocketAddr::V4(_) => address,
    }
}

fn parse(text: &str) -> Option<HostPort> {
    // The last colon begins the port: an IPv6 address has colons of its own.
    let (host, port) = text.rsplit_once(':')?;
    // Port 0 asks a listener for any free port; nothing can connect to it.
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .filter(|inner| inner.parse::<Ipv6Addr>().is_ok())?,
        // An IPv6 address without brackets is ambiguous, so no colon is allowed here.
        None => Some(host).filter(|host| is_host_name(host))?,
    };
    Some(HostPort {
        host: host.into(),
        port,
    })
}

/// Returns whether text is a host name or an IPv4 address. Container networks use underscores.
fn is_host_name(host: &str) -> bool {
    !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_survive_a_round_trip() {
        for text in [
            "localhost:9092",
            "10.0.0.1:1",
            "[::1]:65535",
            "kafka_1.b-c.example:9092",
        ] {
            assert_eq!(text.parse::<HostPort>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn malformed_addresses_are_rejected() {
        for text in [
            "",
            "localhost",
            "localhost:",
            ":9092",
            "localhost:0",
            "a:70000",
            "::1:9092",
            "[x]:1",
            "http://a:1",
        ] {
            assert!(text.parse::<HostPort>().is_err(), "{text:?}");
        }
    }
}
