//! The message that the sidecar prints once it is up: every address that it listens on, and the
//! lines to configure clients with.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use throughline_export::OtlpEndpoint;
use throughline_intercept::http::Direction;
use throughline_proxy::{
    AddressedCluster, ListenerConfig, ListenerRoute, PortRange, ProxyAddresses, http,
};

use crate::sidecar::raw_config::RawConfig;

/// The configuration and the addresses that the message is made of.
pub(super) struct StartMessage<'a> {
    pub(super) raw: &'a RawConfig,
    /// Addresses in the order of the listeners, with the ports that the system assigned.
    pub(super) addresses: &'a ProxyAddresses,
    pub(super) listeners: &'a [ListenerConfig],
    pub(super) http_listeners: &'a [http::HttpListenerConfig],
    pub(super) collector: &'a OtlpEndpoint,
}

// === impl StartMessage ===

impl StartMessage<'_> {
    /// Prints one line of JSON for scripts, or text.
    pub(super) fn print(&self) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if self.raw.options.json {
            writeln!(out, "{}", self.json())?;
        } else {
            write!(out, "{}", self.text())?;
        }
        out.flush()
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            // Kept beside `listeners` for scripts that read the bootstrap address.
            "kafka": self.addresses.listeners.first(),
            "listeners": self.addresses.listeners,
            "http": self.addresses.http,
            "admin": self.addresses.admin,
            "collector": self.collector.to_string(),
        })
    }

    fn text(&self) -> String {
        let mut lines = vec!["The sidecar is up.".to_owned()];
        let kafka = self.listeners.iter().zip(&self.addresses.listeners);
        let mut example = None;
        for (listener, address) in kafka {
            // Redirected clients keep their bootstrap servers and need no line of their own.
            if let ListenerRoute::Addressed(addressed) = &listener.route {
                lines.extend(self.kafka_lines(addressed, *address));
                example = Some(connectable(*address));
            }
        }
        lines.extend(self.redirected_line(Direction::Outbound));
        lines.extend(self.redirected_line(Direction::Inbound));
        lines.extend(
            self.http_listeners
                .iter()
                .zip(&self.addresses.http)
                .map(|(listener, address)| http_line(listener, *address)),
        );
        lines.push(format!("  Spans     to {}", self.collector));
        if let Some(admin) = self.addresses.admin {
            let url = format!("http://{}/metrics", connectable(admin));
            lines.push(format!("  Metrics   {url}{}", listen_scope(admin)));
        }
        if let Some(address) = example {
            lines.push("Example:".to_owned());
            lines.push(format!(
                "  kafka-console-producer.sh --bootstrap-server {address} --topic orders"
            ));
        }
        lines.push("Press Ctrl-C to stop.".to_owned());
        lines.join("\n") + "\n"
    }

    fn kafka_lines(&self, addressed: &AddressedCluster, address: SocketAddr) -> Vec<String> {
        let brokers = self.raw.options.kafka.as_deref().unwrap_or_default();
        let mut lines = vec![format!(
            // A wildcard address cannot be connected to, so clients get the loopback.
            "  Clients   bootstrap.servers={} in place of {brokers}{}",
            connectable(address),
            listen_scope(address),
        )];
        // With any free ports there is no range to publish.
        if let PortRange::Between(first, last) = addressed.broker_ports {
            lines.push(format!(
                "  Brokers   one port each, {first}-{last}{}",
                listen_scope(address)
            ));
        }
        lines
    }

    /// Returns the line of the listeners for redirected connections of one direction.
    fn redirected_line(&self, direction: Direction) -> Option<String> {
        let addresses: Vec<String> = self
            .listeners
            .iter()
            .zip(&self.addresses.listeners)
            // Over IPv4 and IPv6 there are two listeners of one direction.
            .filter(|(listener, _)| match listener.route {
                ListenerRoute::Redirected(own) => own == direction,
                ListenerRoute::Addressed(_) => false,
            })
            .map(|(_, address)| format!("{address}{}", listen_scope(*address)))
            .collect();
        if addresses.is_empty() {
            return None;
        }
        let addresses = addresses.join(" and ");
        Some(match direction {
            Direction::Outbound => format!(
                "  Outbound  connections of the service, redirected by throughline init to \
                 {addresses}"
            ),
            Direction::Inbound => {
                format!("  Inbound   connections to the service, redirected to {addresses}")
            }
        })
    }
}

fn http_line(listener: &http::HttpListenerConfig, address: SocketAddr) -> String {
    let scheme = |is_tls| if is_tls { "https" } else { "http" };
    let (own, scope) = (connectable(address), listen_scope(address));
    match &listener.route {
        http::HttpRoute::Service {
            address: service, ..
        } => format!(
            "  Inbound   {}://{own}{scope}; the service must listen on {service}",
            scheme(listener.tls.is_some()),
        ),
        http::HttpRoute::Fixed(http::UpstreamOrigin { address: to, tls }) => format!(
            "  Outbound  http://{own} in place of {}://{to}{scope}",
            scheme(*tls)
        ),
        http::HttpRoute::Named { .. } | http::HttpRoute::Original(_) => {
            format!("  Outbound  http_proxy=http://{own} for the service{scope}")
        }
    }
}

/// Returns an address to connect to from this machine: the loopback for a wildcard address.
fn connectable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(ip, address.port())
}

/// Returns what a wildcard address covers, in parentheses; nothing for any other address.
fn listen_scope(address: SocketAddr) -> &'static str {
    match address.ip() {
        ip if !ip.is_unspecified() => "",
        IpAddr::V4(_) => " (all IPv4 addresses)",
        // Linux binds [::] for both families unless net.ipv6.bindv6only is set (ipv6(7)).
        IpAddr::V6(_) if is_ipv6_only() => " (all IPv6 addresses)",
        IpAddr::V6(_) => " (all IPv4 and IPv6 addresses)",
    }
}

fn is_ipv6_only() -> bool {
    std::fs::read_to_string("/proc/sys/net/ipv6/bindv6only").is_ok_and(|text| text.trim() == "1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcard_addresses_are_shown_with_their_scope_and_a_connectable_form() {
        let shown = |text: &str| {
            let address = text.parse().unwrap();
            format!("{}{}", connectable(address), listen_scope(address))
        };
        assert_eq!(shown("127.0.0.1:1"), "127.0.0.1:1");
        assert_eq!(shown("[fe80::1]:1"), "[fe80::1]:1");
        assert_eq!(shown("0.0.0.0:1"), "127.0.0.1:1 (all IPv4 addresses)");
        assert!(shown("[::]:1").starts_with("[::1]:1 (all "));
    }
}
