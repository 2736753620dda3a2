//! The parsed arguments: ports to redirect to, and connections to leave alone.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use throughline_intercept::http::Cidr;

use crate::args::init::InitArgs;

/// Default port of the sidecar's metrics and probes.
const METRICS_PORT: u16 = 19_091;

/// Redirection of one network namespace.
#[derive(Debug, Default)]
pub(super) struct RedirectConfig {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) outbound_port: u16,
    /// [`None`] leaves inbound connections alone.
    pub(super) inbound_port: Option<u16>,
    pub(super) exclude_outbound: Vec<RedirectPorts>,
    pub(super) exclude_inbound: Vec<RedirectPorts>,
    pub(super) exclude_networks: Vec<IpNetwork>,
}

/// An IP network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IpNetwork {
    pub(super) address: IpAddr,
    pub(super) prefix_bits: u8,
}

/// Ports from the first to the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RedirectPorts {
    pub(super) first: u16,
    pub(super) last: u16,
}

/// Parses arguments and collects their errors.
#[derive(Debug, Default)]
struct InitParser {
    errors: Vec<String>,
}

// === impl RedirectConfig ===

impl RedirectConfig {
    /// Parses the arguments.
    ///
    /// # Errors
    /// Every error, each with its remedy.
    pub(super) fn parse(args: &InitArgs) -> Result<Self, Vec<String>> {
        let mut parser = InitParser::default();
        let inbound_port = (args.inbound_port.trim() != "off")
            .then(|| parser.port("--inbound-port", &args.inbound_port));
        let config = Self {
            uid: parser.id("--uid", &args.uid),
            gid: parser.id("--gid", &args.gid),
            outbound_port: parser.port("--outbound-port", &args.outbound_port),
            inbound_port,
            exclude_outbound: parser.ports("--exclude-outbound", &args.exclude_outbound),
            exclude_inbound: parser.ports("--exclude-inbound", &args.exclude_inbound),
            exclude_networks: parser.networks(&args.exclude_networks),
        };
        if config.inbound_port == Some(config.outbound_port) {
            parser.errors.push(
                "--inbound-port and --outbound-port are the same port; change one of them"
                    .to_owned(),
            );
        }
        if parser.errors.is_empty() {
            Ok(config)
        } else {
            Err(parser.errors)
        }
    }

    /// Returns the inbound ports that are not redirected: the sidecar's own, whose clients address
    /// it on purpose, and the configured ones.
    pub(super) fn all_excluded_inbound(&self) -> Vec<RedirectPorts> {
        let own = [
            self.inbound_port.unwrap_or_default(),
            METRICS_PORT,
            self.outbound_port,
        ];
        let own = own.into_iter().map(RedirectPorts::single);
        own.chain(self.exclude_inbound.iter().copied()).collect()
    }
}

// === impl IpNetwork ===

impl IpNetwork {
    pub(super) const LOOPBACK_V4: Self = Self {
        address: IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)),
        prefix_bits: 8,
    };
    pub(super) const LOOPBACK_V6: Self = Self {
        address: IpAddr::V6(Ipv6Addr::LOCALHOST),
        prefix_bits: 128,
    };

    /// Parses an address with or without a prefix length.
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text
            .split_once('/')
            .map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let address: IpAddr = address.parse().ok()?;
        let all_bits = if address.is_ipv4() { 32 } else { 128 };
        let prefix_bits = prefix.map_or(Some(all_bits), |bits| bits.parse().ok())?;
        Some(Self {
            address,
            prefix_bits,
        })
    }
}

impl fmt::Display for IpNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all_bits = if self.address.is_ipv4() { 32 } else { 128 };
        if self.prefix_bits == all_bits {
            write!(f, "{}", self.address)
        } else {
            write!(f, "{}/{}", self.address, self.prefix_bits)
        }
    }
}

impl fmt::Display for RedirectPorts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

// === impl RedirectPorts ===

impl RedirectPorts {
    const fn single(port: u16) -> Self {
        Self {
            first: port,
            last: port,
        }
    }
}

// === impl InitParser ===

impl InitParser {
    fn id(&mut self, option: &str, text: &str) -> u32 {
        text.trim().parse().unwrap_or_else(|_| {
            // The kernel matches numbers; a name would need the passwd file of the image.
            let command = if option == "--gid" { "id -g" } else { "id -u" };
            self.errors.push(format!(
                "{option} {text:?} is not a number; give the one that {command} prints"
            ));
            0
        })
    }

    fn port(&mut self, option: &str, text: &str) -> u16 {
        text.trim()
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .unwrap_or_else(|| {
                self.errors.push(format!(
                    "{option} {text:?} is not a port; use a number from 1 to 65535"
                ));
                0
            })
    }

    /// Parses ports and ranges: `22,6000-6010`.
    fn ports(&mut self, option: &str, text: &str) -> Vec<RedirectPorts> {
        let mut ports = Vec::new();
        for part in list_items(text) {
            // A single port is a range of one.
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            match (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
                (Ok(first), Ok(last)) if first <= last => ports.push(RedirectPorts { first, last }),
                _ => self.errors.push(format!(
                    "{option}: {part:?} is not a port or a range; write them as 22,6000-6010"
                )),
            }
        }
        ports
    }

    fn networks(&mut self, text: &str) -> Vec<IpNetwork> {
        let mut networks = Vec::new();
        for part in list_items(text) {
            // The parser of `--trust` has the better errors; its network has no accessors.
            match (part.parse::<Cidr>(), IpNetwork::parse(part)) {
                (Ok(_), Some(network)) => networks.push(network),
                (Err(error), _) => self.errors.push(format!("--exclude-networks: {error}")),
                (Ok(_), None) => self
                    .errors
                    .push(format!("--exclude-networks: {part:?} is not a network")),
            }
        }
        networks
    }
}

fn list_items(text: &str) -> impl Iterator<Item = &str> {
    text.split(',')
        .map(str::trim)
        .filter(|part| !part.is_empty())
}
