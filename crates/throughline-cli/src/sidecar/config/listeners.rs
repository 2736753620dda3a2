//! Listen addresses, and the brokers behind them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::Arc;

use throughline_intercept::http::Direction;
use throughline_intercept::options::OptionReader as _;
use throughline_proxy::{AddressedCluster, HostPort, ListenerConfig, ListenerRoute, PortRange};

use super::parser::ConfigParser;

/// Default port that inbound connections are redirected to.
const DEFAULT_INBOUND_PORT: u16 = 19_090;

/// Default number of ports for brokers.
const BROKER_PORTS: u16 = 100;

/// Options that contradict `--transparent`, each with the reason.
const NOT_WITH_TRANSPARENT: [(&str, &str); 6] = [
    ("kafka", "clients keep their brokers"),
    ("broker_ports", "clients keep their brokers"),
    ("advertise", "clients keep their brokers"),
    ("state_dir", "clients keep their brokers"),
    ("inbound", "the service keeps its port"),
    ("client_tls_cert", "TLS passes unmodified"),
];

// === impl ConfigParser ===

impl ConfigParser<'_> {
    pub(super) fn listeners(&mut self) -> Vec<ListenerConfig> {
        let raw = self.raw;
        let listen: Vec<SocketAddr> = raw
            .options
            .listen
            .split(',')
            .filter_map(|text| self.listen_address(text))
            .collect();
        if raw.options.transparent {
            self.redirected_listeners(&listen)
        } else if self.has_http() && raw.options.kafka.is_none() {
            // The service uses HTTP only. Without HTTP, a missing `--kafka` is an error.
            Vec::new()
        } else {
            self.addressed_listeners(&listen)
        }
    }

    fn listen_address(&mut self, text: &str) -> Option<SocketAddr> {
        let address = parse_socket_addr(text);
        if address.is_none() {
            let remedy = "use 127.0.0.1:19092, or 0.0.0.0:19092 to accept other machines";
            self.error("listen", &format!("{text:?} is not an address; {remedy}"));
        }
        address
    }

    fn redirected_listeners(&mut self, listen: &[SocketAddr]) -> Vec<ListenerConfig> {
        for (key, reason) in NOT_WITH_TRANSPARENT {
            if self.raw.is_set(key) {
                self.error(
                    key,
                    &format!("has no effect with --transparent ({reason}); remove one of the two"),
                );
            }
        }
        let mut outbound = listen.to_vec();
        let has_ipv6 = has_ipv6();
        // The redirect of nftables sends a pod's own IPv6 connections to ::1.
        if let (true, [first]) = (has_ipv6, listen)
            && first.ip() == Ipv4Addr::LOCALHOST
            && first.port() != 0
        {
            outbound.push(SocketAddr::new(
                IpAddr::V6(Ipv6Addr::LOCALHOST),
                first.port(),
            ));
        }
        let redirected = |direction| {
            move |address| ListenerConfig {
                address,
                route: ListenerRoute::Redirected(direction),
            }
        };
        let inbound = self.inbound_address();
        outbound
            .into_iter()
            .map(redirected(Direction::Outbound))
            .chain(inbound.map(redirected(Direction::Inbound)))
            .collect()
    }

    fn inbound_address(&mut self) -> Option<SocketAddr> {
        let Some(text) = self.raw.options.listen_inbound.as_deref() else {
            return Some(SocketAddr::new(all_addresses(), DEFAULT_INBOUND_PORT));
        };
        if text.trim() == "off" {
            return None;
        }
        let address = parse_socket_addr(text);
        if address.is_none() {
            let remedy = "use [::]:19090, 0.0.0.0:19090 or off";
            self.error(
                "listen_inbound",
                &format!("{text:?} is not an address; {remedy}"),
            );
        }
        address
    }

    fn addressed_listeners(&mut self, listen: &[SocketAddr]) -> Vec<ListenerConfig> {
        // Parsed even without a valid `--listen`, so that all errors are reported.
        let bootstrap = self.bootstrap_brokers(listen);
        let (&address, more) = match listen {
            [] => return Vec::new(),
            [first, more @ ..] => (first, more),
        };
        if !more.is_empty() {
            self.error(
                "listen",
                "takes several addresses with --transparent only; use [::]:19092 for all of IPv4 \
                 and IPv6",
            );
        }
        let broker_ports = self.broker_ports(address.port());
        let advertise = self.advertised_host();
        let state = self.state_file(address);
        let route = ListenerRoute::Addressed(AddressedCluster {
            bootstrap,
            broker_ports,
            advertise,
            state,
        });
        vec![ListenerConfig { address, route }]
    }

    fn bootstrap_brokers(&mut self, listen: &[SocketAddr]) -> Vec<HostPort> {
        let Some(text) = self.raw.options.kafka.as_deref() else {
            let remedy = "give it the cluster's brokers, as in --kafka localhost:9092 (or \
                          --transparent, after throughline init; or --inbound 8080 for HTTP)";
            self.error("kafka", &format!("is missing; {remedy}"));
            return Vec::new();
        };
        let mut brokers = Vec::new();
        for part in text.split(',') {
            match part.parse::<HostPort>() {
                Ok(broker) if is_own_address(&broker, listen) => {
                    let remedy = "give the broker's address, or another one to --listen";
                    self.error(
                        "kafka",
                        &format!("{broker} is the sidecar's own address; {remedy}"),
                    );
                }
                Ok(broker) => brokers.push(broker),
                Err(error) => self.error("kafka", &error.to_string()),
            }
        }
        brokers
    }

    fn broker_ports(&mut self, listen_port: u16) -> PortRange {
        let range = match self.raw.options.broker_ports.as_deref().map(str::trim) {
            None => return default_broker_ports(listen_port),
            // The port of --listen cannot collide with ports that the system assigns.
            Some("any") => return PortRange::Any,
            Some(text) => parse_port_range(text).map(|ports| {
                let (first, last) = ports.into_inner();
                PortRange::Between(first, last)
            }),
        };
        let Some(range) = range else {
            self.error(
                "broker_ports",
                "is not a range of ports; write it as 19093-19192, or any for free ports",
            );
            return PortRange::Any;
        };
        // The listener would take the port of a broker, whose clients would get another one.
        if range.contains(listen_port) {
            self.error(
                "broker_ports",
                &format!("contains {listen_port}, the port of --listen; use another range"),
            );
        }
        range
    }

    fn advertised_host(&mut self) -> Option<Arc<str>> {
        let host = self.raw.options.advertise.as_deref()?;
        // With a port behind it, a host is checked by the parser of addresses.
        let address = if host.contains(':') {
            format!("[{host}]:1")
        } else {
            format!("{host}:1")
        };
        match address.parse::<HostPort>() {
            Ok(address) => Some(address.host),
            Err(_) => {
                let remedy = "give a name or an IP address, without a port";
                self.error("advertise", &format!("{host:?} is not a host; {remedy}"));
                None
            }
        }
    }

    /// Returns the file of the port assignments: one for each listen port.
    fn state_file(&mut self, listen: SocketAddr) -> Option<PathBuf> {
        let dir = PathBuf::from(self.raw.options.state_dir.as_deref()?);
        if dir.exists() && !dir.is_dir() {
            let path = dir.display();
            self.error("state_dir", &format!("{path} is not a directory"));
        }
        // Two sidecars on one machine may share the directory.
        Some(dir.join(format!("broker-ports-{}", listen.port())))
    }

    pub(super) fn admin(&mut self, listeners: &[ListenerConfig]) -> Option<SocketAddr> {
        let text = self.raw.options.admin.trim();
        if text == "off" {
            return None;
        }
        let Some(admin) = parse_socket_addr(text) else {
            self.error(
                "admin",
                &format!("{text:?} is not an address; use 127.0.0.1:19091, or off"),
            );
            return None;
        };
        let port = admin.port();
        // Ports are compared, not addresses: a wildcard address covers the others.
        let is_listen_port = listeners
            .iter()
            .any(|listener| port != 0 && port == listener.address.port());
        let is_broker_port = listeners.iter().any(|listener| match &listener.route {
            ListenerRoute::Addressed(addressed) => addressed.broker_ports.contains(port),
            ListenerRoute::Redirected(_) => false,
        });
        if is_listen_port {
            self.error(
                "admin",
                &format!("{admin} has the port of --listen; use another port"),
            );
        } else if is_broker_port {
            self.error(
                "admin",
                &format!("{admin} has one of --broker-ports; change one of the two"),
            );
        }
        Some(admin)
    }
}

/// Parses `127.0.0.1:1` or `[::1]:1`, and `localhost:1` as the former.
pub(super) fn parse_socket_addr(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::new(
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            port.parse().ok()?,
        )),
        // Other host names are not resolved: a listen address must not depend on DNS.
        None => text.parse().ok(),
    }
}

/// Whether a broker's address is one that the sidecar listens on, as far as that shows without DNS.
fn is_own_address(broker: &HostPort, listen: &[SocketAddr]) -> bool {
    let ip: Option<IpAddr> = if &*broker.host == "localhost" {
        Some(IpAddr::V4(Ipv4Addr::LOCALHOST))
    } else {
        broker.host.parse().ok()
    };
    let is_covered = |own: &SocketAddr| {
        ip.is_some_and(|ip| {
            own.ip() == ip
                || (own.ip().is_unspecified() && (ip.is_loopback() || ip.is_unspecified()))
        })
    };
    listen
        .iter()
        .any(|own| own.port() == broker.port && is_covered(own))
}

/// Returns the ports after the listener's, or any free ones where the listener's is free as well.
fn default_broker_ports(listen_port: u16) -> PortRange {
    match listen_port.checked_add(1) {
        Some(first) if listen_port != 0 => {
            PortRange::Between(first, first.saturating_add(BROKER_PORTS - 1))
        }
        _ => PortRange::Any,
    }
}

/// Parses `443` or `8000-8999`.
pub(super) fn parse_port_range(text: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first != 0 && first <= last).then_some(first..=last)
}

/// Returns the address that stands for all of this system's. One socket takes both families;
/// without IPv6 it could not be bound.
pub(super) fn all_addresses() -> IpAddr {
    if has_ipv6() {
        IpAddr::V6(Ipv6Addr::UNSPECIFIED)
    } else {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED)
    }
}

/// Whether this system has any IPv6 address (proc(5)).
fn has_ipv6() -> bool {
    std::fs::read_to_string("/proc/net/if_inet6")
        .is_ok_and(|addresses| !addresses.trim().is_empty())
}
