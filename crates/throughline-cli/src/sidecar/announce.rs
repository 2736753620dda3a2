//! What the sidecar says once it is up: where clients are to connect, with a line to copy.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use throughline_export::OtlpEndpoint;
use throughline_intercept::http::Direction;
use throughline_proxy::{ListenerRoute, PortRange, ProxyAddresses, http};

use crate::sidecar::file::Told;

/// One line of JSON for scripts, or words.
pub(crate) fn announce(
    told: &Told,
    addresses: &ProxyAddresses,
    routes: &[ListenerRoute],
    http: &[http::Listener],
    collector: &OtlpEndpoint,
) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if told.options.json {
        let line = serde_json::json!({
            "kafka": addresses.listeners.first(),
            "listeners": addresses.listeners,
            "http": addresses.http,
            "admin": addresses.admin,
            "collector": collector.to_string(),
        });
        writeln!(out, "{line}")?;
    } else {
        write!(out, "{}", words(told, addresses, routes, http, collector))?;
    }
    out.flush()
}

fn words(
    told: &Told,
    addresses: &ProxyAddresses,
    routes: &[ListenerRoute],
    http: &[http::Listener],
    collector: &OtlpEndpoint,
) -> String {
    let mut lines = vec!["The sidecar is up.".to_owned()];
    let at = |wanted: Option<Direction>| {
        let of = |route: &ListenerRoute| match route {
            ListenerRoute::Addressed(_) => None,
            ListenerRoute::Redirected(direction) => Some(*direction),
        };
        let all = addresses
            .listeners
            .iter()
            .zip(routes)
            .filter(|(_, route)| of(route) == wanted);
        all.map(|(address, _)| reachable(*address).to_string())
            .collect::<Vec<_>>()
            .join(" and ")
    };
    let clients = at(None);
    match routes.first() {
        Some(ListenerRoute::Addressed(addressed)) => {
            let kafka = told.options.kafka.as_deref().unwrap_or_default();
            lines.push(format!(
                "  Clients   bootstrap.servers={clients} in place of {kafka}"
            ));
            if let PortRange::Between(first, last) = addressed.broker_ports {
                lines.push(format!(
                    "  Brokers   each at a port of its own, of {first}-{last}"
                ));
            }
        }
        None => {}
        Some(ListenerRoute::Redirected(_)) => {
            lines.push(format!(
                "  Outbound  what the service connects to; throughline init redirects it to {}",
                at(Some(Direction::Outbound))
            ));
            let inbound = at(Some(Direction::Inbound));
            if !inbound.is_empty() {
                lines.push(format!(
                    "  Inbound   what connects to the service; redirected to {inbound}"
                ));
            }
        }
    }
    lines.extend(
        http.iter()
            .zip(&addresses.http)
            .map(|(listener, address)| http_line(listener, *address)),
    );
    lines.push(format!("  Spans     {collector}"));
    if let Some(admin) = addresses.admin {
        lines.push(format!("  Metrics   http://{}/metrics", reachable(admin)));
    }
    if matches!(routes.first(), Some(ListenerRoute::Addressed(_))) {
        lines.push("For example:".to_owned());
        lines.push(format!(
            "  kafka-console-producer.sh --bootstrap-server {clients} --topic orders"
        ));
    }
    lines.push("Ctrl-C ends it.".to_owned());
    lines.join("\n") + "\n"
}

fn http_line(listener: &http::Listener, address: SocketAddr) -> String {
    match &listener.route {
        http::Route::Service {
            address: service, ..
        } => {
            let scheme = if listener.tls.is_some() {
                "https"
            } else {
                "http"
            };
            format!(
                "  Inbound   {scheme}://{} is asked; the service is to listen at {service}",
                reachable(address)
            )
        }
        http::Route::Fixed(http::Origin { address: to, tls }) => {
            let scheme = if *tls { "https" } else { "http" };
            format!(
                "  Outbound  http://{} in place of {scheme}://{to}",
                reachable(address)
            )
        }
        http::Route::Named { .. } | http::Route::Original(_) => {
            format!(
                "  Outbound  http_proxy=http://{} for the service",
                reachable(address)
            )
        }
    }
}

/// An address that one can connect to, for one that listens on all.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        one if !one.is_unspecified() => one,
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    };
    SocketAddr::new(ip, address.port())
}
