//! Trust in the contexts of clients, by their addresses.

use std::net::IpAddr;
use std::str::FromStr;

/// Clients whose contexts are continued by inbound requests. A context of any other client is
/// linked to, and a new trace begins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum TrustPolicy {
    /// No client: the service is at the edge.
    Never,
    /// Every client.
    #[default]
    Always,
    /// Clients that connect from these networks.
    From(Vec<Cidr>),
}

/// An IP network: `10.0.0.0/8`, `fd00::/8`, `192.0.2.7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix_bits: u32,
}

/// Error for text that is not a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InvalidCidr {
    /// The text is not an address with a prefix length.
    Malformed(String),
    /// The address is that of a network, and its prefix length is missing.
    MissingPrefix(IpAddr),
}

// === impl TrustPolicy ===

impl TrustPolicy {
    /// Returns whether contexts of this client are continued.
    pub(super) fn admits(&self, peer: Option<IpAddr>) -> bool {
        match self {
            Self::Never => false,
            Self::Always => true,
            Self::From(networks) => {
                // A client without an address (a Unix socket) is in no network.
                peer.is_some_and(|peer| networks.iter().any(|network| network.contains(peer)))
            }
        }
    }
}

// === impl Cidr ===

impl Cidr {
    /// Returns whether the network contains the address. An IPv4-mapped IPv6 address, as a
    /// dual-stack socket reports it, is an IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                u64::from(network.to_bits() ^ address.to_bits()) >> (32 - self.prefix_bits) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                // A shift by 128, for the network of all addresses, would overflow.
                let difference = network.to_bits() ^ address.to_bits();
                difference.checked_shr(128 - self.prefix_bits).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = InvalidCidr;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidCidr::Malformed(text.to_owned());
        let (address, prefix) = text
            .split_once('/')
            .map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().map_err(|_| invalid())?;
        // 10.0.0.0 is meant as a network more often than as a host, and would be trusted as one.
        if prefix.is_none() && is_network_address(address) {
            return Err(InvalidCidr::MissingPrefix(address));
        }
        let max_prefix = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix
            .map_or(Ok(max_prefix), str::parse)
            .map_err(|_| invalid())?;
        if prefix <= max_prefix {
            Ok(Self {
                address,
                prefix_bits: prefix,
            })
        } else {
            Err(invalid())
        }
    }
}

// === impl InvalidCidr ===

impl std::fmt::Display for InvalidCidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(text) => write!(
                f,
                "'{text}' is not a network: write it as 10.0.0.0/8 or fd00::/8"
            ),
            Self::MissingPrefix(address) => {
                let (network, host) = if address.is_ipv4() { (8, 32) } else { (8, 128) };
                write!(
                    f,
                    "'{address}' has no prefix length: write it as {address}/{network} for a \
                     network, or {address}/{host} for this one address"
                )
            }
        }
    }
}

impl std::error::Error for InvalidCidr {}

/// Whether an address ends in zeros, as those of networks do.
const fn is_network_address(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.octets()[3] == 0,
        IpAddr::V6(address) => address.segments()[7] == 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn network_contains_its_addresses_only() {
        let contains = |network: &str, address: &str| {
            network
                .parse::<Cidr>()
                .unwrap()
                .contains(address.parse().unwrap())
        };
        assert!(contains("10.0.0.0/8", "10.255.0.1") && !contains("10.0.0.0/8", "11.0.0.1"));
        assert!(
            contains("10.0.0.0/8", "::ffff:10.1.2.3"),
            "an IPv4 address on an IPv6 socket"
        );
        assert!(contains("0.0.0.0/0", "1.2.3.4") && !contains("0.0.0.0/0", "::1"));
        assert!(contains("192.0.2.7", "192.0.2.7") && !contains("192.0.2.7", "192.0.2.6"));
        assert!(contains("fd00::/8", "fdff::1") && !contains("fd00::/8", "fe80::1"));
        assert!(
            contains("::/0", "2001:db8::1") && contains("::1", "::1") && !contains("::1", "::2")
        );
    }

    #[test]
    fn network_without_a_prefix_length_is_rejected() {
        for (text, remedy) in [
            ("10.0.0.0", "10.0.0.0/32 for this one address"),
            ("fd00::", "fd00::/128 for this one address"),
        ] {
            let error = text.parse::<Cidr>().unwrap_err().to_string();
            assert!(error.ends_with(remedy), "{error}");
        }
        assert!("10.0.0.0/32".parse::<Cidr>().is_ok() && "10.0.0.1".parse::<Cidr>().is_ok());
    }

    #[test]
    fn invalid_network_is_rejected_with_an_example() {
        for bad in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "fd00::/129",
            "10.0.0.0/",
            "10.0.0.0/-1",
            "host/8",
        ] {
            let error = bad.parse::<Cidr>().unwrap_err();
            assert!(
                error.to_string().contains("write it as 10.0.0.0/8"),
                "{error}"
            );
        }
    }
}
