//! Where a broker is, as people and Kafka write it: `broker-1.example:9092`, `[2001:db8::1]:9092`.

use std::fmt;
use std::net::{Ipv6Addr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;

/// A host and a port. The host is a name, to be looked up each time it is connected to, or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Address {
    /// The host, without the brackets of an IPv6 address.
    pub host: Arc<str>,
    /// The port, never zero.
    pub port: u16,
}

/// Not a host and a port.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no address of a broker; write it as host:9092")]
pub struct NoAddress(String);

// === impl Address ===

impl FromStr for Address {
    type Err = NoAddress;

    fn from_str(text: &str) -> Result<Self, NoAddress> {
        parse(text.trim()).ok_or_else(|| NoAddress(text.to_owned()))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
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

fn parse(text: &str) -> Option<Address> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|port| *port != 0)?;
    let host = match host.strip_prefix('[') {
        Some(rest) => rest
            .strip_suffix(']')
            .filter(|inner| inner.parse::<Ipv6Addr>().is_ok())?,
        None => Some(host).filter(|host| is_name(host))?,
    };
    Some(Address {
        host: host.into(),
        port,
    })
}

/// What may stand in a name or an IPv4 address; underscores too, which container networks use.
fn is_name(host: &str) -> bool {
    !host.is_empty()
        && host
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_read_and_written_alike() {
        for text in [
            "localhost:9092",
            "10.0.0.1:1",
            "[::1]:65535",
            "kafka_1.b-c.example:9092",
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_names_no_broker_is_refused() {
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
            assert!(text.parse::<Address>().is_err(), "{text:?}");
        }
    }
}
