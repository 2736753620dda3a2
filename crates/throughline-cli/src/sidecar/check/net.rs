//! Where the sidecar listens and connects to.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use throughline_intercept::http::Direction;
use throughline_proxy::{AddressedCluster, HostPort, ListenerConfig, ListenerRoute, PortRange};

use super::Check;

// === impl Check ===

impl Check<'_> {
    pub(super) fn listeners(&mut self) -> Vec<ListenerConfig> {
        let told = self.told;
        let listen: Vec<SocketAddr> = told
            .options
            .listen
            .split(',')
            .filter_map(|text| self.address(text))
            .collect();
        if told.options.transparent {
            self.transparent(&listen)
        } else if self.has_http() && told.options.kafka.is_none() {
            // A service that only speaks HTTP.
            Vec::new()
        } else {
            self.addressed(&listen)
        }
    }

    fn address(&mut self, text: &str) -> Option<SocketAddr> {
        let address = socket_address(text);
        if address.is_none() {
            let mend = "use 127.0.0.1:19092, or 0.0.0.0:19092 to let other machines in";
            self.mistake("listen", &format!("{text:?} is no address; {mend}"));
        }
        address
    }

    fn transparent(&mut self, listen: &[SocketAddr]) -> Vec<ListenerConfig> {
        for (key, why) in [
            ("kafka", "clients keep their brokers"),
            ("broker_ports", "clients keep their brokers"),
            ("advertise", "clients keep their brokers"),
            ("state_dir", "clients keep their brokers"),
            ("inbound", "the service keeps its port"),
            ("client_tls_cert", "TLS passes as it is"),
        ] {
            if self.told.is_given(key) {
                self.mistake(
                    key,
                    &format!("means nothing with --transparent, where {why}; give one of the two"),
                );
            }
        }
        let mut outbound = listen.to_vec();
        let has_ipv6 = has_ipv6();
        // What is redirected of IPv6 comes to ::1.
        if let (true, [first]) = (has_ipv6, listen)
            && first.ip() == Ipv4Addr::LOCALHOST
            && first.port() != 0
        {
            outbound.push(SocketAddr::new(
                IpAddr::V6(Ipv6Addr::LOCALHOST),
                first.port(),
            ));
        }
        let at = |direction| {
            move |address| ListenerConfig {
                address,
                route: ListenerRoute::Redirected(direction),
            }
        };
        let inbound = self.listen_inbound(has_ipv6).map(at(Direction::Inbound));
        outbound
            .into_iter()
            .map(at(Direction::Outbound))
            .chain(inbound)
            .collect()
    }

    fn listen_inbound(&mut self, has_ipv6: bool) -> Option<SocketAddr> {
        let all = if has_ipv6 {
            IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        } else {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        };
        let Some(text) = self.told.options.listen_inbound.as_deref() else {
            return Some(SocketAddr::new(all, USUALLY_INBOUND));
        };
        if text.trim() == "off" {
            return None;
        }
        let address = socket_address(text);
        if address.is_none() {
            self.mistake(
                "listen_inbound",
                &format!("{text:?} is no address; use [::]:19090, 0.0.0.0:19090 or off"),
            );
        }
        address
    }

    fn addressed(&mut self, listen: &[SocketAddr]) -> Vec<ListenerConfig> {
        let bootstrap = self.bootstrap(listen);
        let (&address, more) = match listen {
            [] => return Vec::new(),
            [first, more @ ..] => (first, more),
        };
        if !more.is_empty() {
            self.mistake(
                "listen",
                "can be one address only, unless with --transparent; use [::]:19092 for all of IPv4 and IPv6",
            );
        }
        let broker_ports = self.broker_ports(address.port());
        let advertise = self.advertise();
        let state = self.state(address);
        let route = ListenerRoute::Addressed(AddressedCluster {
            bootstrap,
            broker_ports,
            advertise,
            state,
        });
        vec![ListenerConfig { address, route }]
    }

    fn bootstrap(&mut self, listen: &[SocketAddr]) -> Vec<HostPort> {
        let Some(text) = self.told.options.kafka.as_deref() else {
            let mend = "give it your cluster's brokers, as in --kafka localhost:9092 (or --transparent, after throughline init; or --inbound 8080 for HTTP)";
            self.mistake("kafka", &format!("is missing; {mend}"));
            return Vec::new();
        };
        let mut brokers = Vec::new();
        for part in text.split(',') {
            match part.parse::<HostPort>() {
                Ok(broker) if is_one_of(&broker, listen) => {
                    self.mistake(
                        "kafka",
                        &format!("{broker} is our own address; give that of the broker, or another to --listen"),
                    );
                }
                Ok(broker) => brokers.push(broker),
                Err(error) => self.mistake("kafka", &error.to_string()),
            }
        }
        brokers
    }

    fn broker_ports(&mut self, listen: u16) -> PortRange {
        let range = match self.told.options.broker_ports.as_deref().map(str::trim) {
            None => return usual_ports(listen),
            Some("any") => return PortRange::Any,
            Some(text) => range(text),
        };
        match range {
            Some(range) if range.contains(listen) => {
                self.mistake(
                    "broker_ports",
                    &format!("contain {listen}, the port of --listen; give them others"),
                );
                range
            }
            Some(range) => range,
            None => {
                self.mistake(
                    "broker_ports",
                    "are no ports; write them as 19093-19192, or any for whatever is free",
                );
                PortRange::Any
            }
        }
    }

    fn advertise(&mut self) -> Option<std::sync::Arc<str>> {
        let host = self.told.options.advertise.as_deref()?;
        // A host is right when it would be with a port.
        let bracketed = if host.contains(':') {
            format!("[{host}]:1")
        } else {
            format!("{host}:1")
        };
        match bracketed.parse::<HostPort>() {
            Ok(address) => Some(address.host),
            Err(_) => {
                self.mistake(
                    "advertise",
                    &format!("{host:?} is no host; give a name or an address, without a port"),
                );
                None
            }
        }
    }

    /// The file that holds the ports: one for each address that is listened on.
    fn state(&mut self, listen: SocketAddr) -> Option<PathBuf> {
        let dir = PathBuf::from(self.told.options.state_dir.as_deref()?);
        if dir.exists() && !dir.is_dir() {
            self.mistake("state_dir", &format!("{} is no folder", dir.display()));
        }
        Some(dir.join(format!("broker-ports-{}", listen.port())))
    }

    pub(super) fn admin(&mut self, listeners: &[ListenerConfig]) -> Option<SocketAddr> {
        let text = self.told.options.admin.trim();
        if text == "off" {
            return None;
        }
        let Some(admin) = socket_address(text) else {
            self.mistake(
                "admin",
                &format!("{text:?} is no address; use 127.0.0.1:19091, or off for none"),
            );
            return None;
        };
        let port = admin.port();
        let is_taken = listeners
            .iter()
            .any(|listener| port != 0 && port == listener.address.port());
        let is_a_broker_s = listeners.iter().any(|listener| match &listener.route {
            ListenerRoute::Addressed(addressed) => addressed.broker_ports.contains(port),
            ListenerRoute::Redirected(_) => false,
        });
        if is_taken {
            self.mistake(
                "admin",
                &format!("{admin} has the port of --listen; give it another one"),
            );
        } else if is_a_broker_s {
            self.mistake(
                "admin",
                &format!("{admin} has one of the brokers' ports; give it another one, or others to --broker-ports"),
            );
        }
        Some(admin)
    }
}

/// `127.0.0.1:1`, `[::1]:1`, and `localhost:1` for the first.
pub(super) fn socket_address(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    match text.strip_prefix("localhost:") {
        Some(port) => Some(SocketAddr::new(
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            port.parse().ok()?,
        )),
        None => text.parse().ok(),
    }
}

/// Whether this broker would be ourselves, as far as can be seen without asking anybody.
fn is_one_of(broker: &HostPort, listen: &[SocketAddr]) -> bool {
    let ip: Option<IpAddr> = if &*broker.host == "localhost" {
        Some(IpAddr::V4(Ipv4Addr::LOCALHOST))
    } else {
        broker.host.parse().ok()
    };
    let is_here = |own: &SocketAddr| {
        ip.is_some_and(|ip| {
            own.ip() == ip
                || (own.ip().is_unspecified() && (ip.is_loopback() || ip.is_unspecified()))
        })
    };
    listen
        .iter()
        .any(|own| own.port() == broker.port && is_here(own))
}

/// The hundred ports behind the listener's, or any where that has no number itself.
fn usual_ports(listen: u16) -> PortRange {
    match listen.checked_add(1) {
        Some(first) if listen != 0 => PortRange::Between(first, first.saturating_add(PORTS - 1)),
        _ => PortRange::Any,
    }
}

fn range(text: &str) -> Option<PortRange> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    (first != 0 && first <= last).then_some(PortRange::Between(first, last))
}

/// Whether this system has addresses of IPv6 at all (proc(5)).
fn has_ipv6() -> bool {
    std::fs::read_to_string("/proc/net/if_inet6")
        .is_ok_and(|addresses| !addresses.trim().is_empty())
}

/// Where connections to the service are redirected to, unless told otherwise.
pub(crate) const USUALLY_INBOUND: u16 = 19_090;

/// Ports for brokers, unless told otherwise.
const PORTS: u16 = 100;
