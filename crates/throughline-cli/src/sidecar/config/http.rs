//! HTTP: listeners, upstream routes, and how requests are traced.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use throughline_export::OtlpEndpoint;
use throughline_intercept::http::{
    Cidr, CollectorAddress, IgnoredRequests, RouteTemplate, Settings, TrustPolicy,
};
use throughline_intercept::kafka::{self, ServiceNaming};
use throughline_intercept::options::{OptionReader as _, correlation_settings};
use throughline_model::convention::SERVICE_NAME;
use throughline_model::{KeyValue, Resource};
use throughline_proxy::http::{
    Config, ConnectPorts, HttpLimits, HttpListenerConfig, HttpRoute, PoolScope, UpstreamOrigin,
    UpstreamProtocol,
};
use throughline_proxy::{DownstreamTls, HostPort};

use super::listeners::{all_addresses, parse_port_range, parse_socket_addr};
use super::parser::ConfigParser;

const PROTOCOL_VALUES: [(&str, UpstreamProtocol); 3] = [
    ("same", UpstreamProtocol::Same),
    ("http1", UpstreamProtocol::Http1),
    ("http2", UpstreamProtocol::Http2),
];

const POOL_VALUES: [(&str, PoolScope); 2] = [
    ("shared", PoolScope::Shared),
    ("per-connection", PoolScope::PerConnection),
];

/// Default distance from the port that the sidecar takes over to the service's own.
const SERVICE_PORT_OFFSET: u16 = 10_000;

/// Default address of the HTTP proxy for the service's outbound requests.
const DEFAULT_OUTBOUND: &str = "127.0.0.1:19080";

// === impl ConfigParser ===

impl ConfigParser<'_> {
    /// Whether any HTTP listener is configured.
    pub(super) fn has_http(&self) -> bool {
        self.raw.options.inbound.is_some() || self.raw.options.outbound.is_some()
    }

    pub(super) fn http(&mut self, settings: Arc<Settings>, connect_timeout: Duration) -> Config {
        let mut listeners = self.inbound_listeners();
        listeners.extend(self.outbound_listeners());
        let limits = HttpLimits {
            connect_timeout,
            response_timeout: self.response_timeout(),
            ..HttpLimits::default()
        };
        Config {
            listeners,
            settings,
            correlate: correlation_settings(self),
            outbound_tls: self.outbound_tls(),
            pool: self.word("pool", &POOL_VALUES, PoolScope::default()),
            limits,
        }
    }

    /// Returns the settings of HTTP, with those of Kafka where both have the same one.
    pub(super) fn http_settings(
        &mut self,
        kafka: &kafka::Settings,
        collector: &OtlpEndpoint,
    ) -> Arc<Settings> {
        let resource = if kafka.service != ServiceNaming::Fixed {
            with_unknown_service(&kafka.resource)
        } else {
            Arc::clone(&kafka.resource)
        };
        Arc::new(Settings {
            resource,
            read: kafka.read.clone(),
            write: kafka.write.clone(),
            match_propagation: kafka.match_propagation,
            // `--propagation none` stops all writing.
            request_id: self.boolean("request_id", true) && !kafka.write.is_empty(),
            sample_ratio: kafka.sample_ratio,
            ignore_telemetry: self.boolean("ignore_telemetry", true),
            collector: Some(CollectorAddress::new(collector.host(), collector.port())),
            trust: self.trust(),
            routes: self.routes(),
            ignored: self.ignored(),
            ..Settings::default()
        })
    }

    fn inbound_listeners(&mut self) -> Vec<HttpListenerConfig> {
        let options = &self.raw.options;
        let Some(inbound) = &options.inbound else {
            return Vec::new();
        };
        let protocol = self.word("inbound_protocol", &PROTOCOL_VALUES, UpstreamProtocol::Same);
        // One certificate for all inbound listeners.
        let tls = self.inbound_tls();
        inbound
            .split(',')
            .filter_map(|text| self.inbound_listener(text, protocol, tls.clone()))
            .collect()
    }

    /// Parses `8080`, `8080=3000` or `0.0.0.0:8080=app:3000`.
    fn inbound_listener(
        &mut self,
        text: &str,
        protocol: UpstreamProtocol,
        tls: Option<DownstreamTls>,
    ) -> Option<HttpListenerConfig> {
        let (listen, service) = text
            .split_once('=')
            .map_or((text, None), |(listen, to)| (listen, Some(to.trim())));
        let address = parse_listen_address(listen, all_addresses());
        let service = match (service, address) {
            (Some(service), _) => parse_service_address(service),
            (None, Some(address)) => address
                .port()
                // Ports above 55535 have no default counterpart and need an explicit one.
                .checked_add(SERVICE_PORT_OFFSET)
                .filter(|_| address.port() != 0)
                .map(loopback_address),
            (None, None) => None,
        };
        let (Some(address), Some(service)) = (address, service) else {
            let remedy = "write it as 8080 (the service then listens on 127.0.0.1:18080), \
                          8080=3000 or 0.0.0.0:8080=127.0.0.1:3000";
            self.error(
                "inbound",
                &format!("{text:?} is not a port and its service; {remedy}"),
            );
            return None;
        };
        // Found at run time as well, but then every request fails.
        if address.port() == service.port && is_local(&service.host) {
            let remedy = "give the service another port";
            self.error(
                "inbound",
                &format!("{text:?} forwards to the sidecar itself; {remedy}"),
            );
        }
        Some(HttpListenerConfig {
            address,
            route: HttpRoute::Service {
                address: service,
                protocol,
            },
            tls,
        })
    }

    fn outbound_listeners(&mut self) -> Vec<HttpListenerConfig> {
        let options = &self.raw.options;
        let outbound = options.outbound.as_deref().map(str::trim);
        let outbound = outbound
            // A service with only an inbound listener would have no traced outbound requests.
            .or_else(|| options.inbound.is_some().then_some(DEFAULT_OUTBOUND))
            .filter(|text| *text != "off");
        let Some(outbound) = outbound else {
            return Vec::new();
        };
        outbound
            .split(',')
            .filter_map(|text| self.outbound_listener(text))
            .collect()
    }

    /// Parses `127.0.0.1:19080` or `9001=https://api.example`.
    fn outbound_listener(&mut self, text: &str) -> Option<HttpListenerConfig> {
        let (listen, to) = text
            .split_once('=')
            .map_or((text, None), |(listen, to)| (listen, Some(to.trim())));
        let address = parse_listen_address(listen, IpAddr::V4(Ipv4Addr::LOCALHOST));
        let route = match to {
            None => Some(HttpRoute::Named {
                connect: self.connect_ports(address.is_some_and(|own| own.ip().is_loopback())),
            }),
            Some(to) => match parse_origin(to) {
                Ok(origin) => Some(HttpRoute::Fixed(origin)),
                Err(reason) => {
                    self.error("outbound", &format!("{to:?} {reason}"));
                    return None;
                }
            },
        };
        if let (Some(address), Some(route)) = (address, route) {
            return Some(HttpListenerConfig {
                address,
                route,
                tls: None,
            });
        }
        let remedy = "write it as 127.0.0.1:19080, as 9001=https://api.example to forward to one \
                      host, or as off";
        self.error(
            "outbound",
            &format!("{text:?} is not a listen address; {remedy}"),
        );
        None
    }

    /// Returns the ports that CONNECT opens tunnels to. A listener on a loopback address serves
    /// programs that could connect themselves; any other would be an open relay.
    fn connect_ports(&mut self, is_loopback: bool) -> ConnectPorts {
        let options = &self.raw.options;
        let Some(text) = options.connect_ports.as_deref().map(str::trim) else {
            return if is_loopback || options.allow_connect {
                ConnectPorts::all()
            } else {
                ConnectPorts::default()
            };
        };
        match text {
            "all" => ConnectPorts::all(),
            "none" => ConnectPorts::default(),
            list => parse_ports(list).unwrap_or_else(|| {
                let remedy = "write them as 443,8000-8999, or use all or none";
                let text = format!("{list:?} is not a list of ports; {remedy}");
                self.error("connect_ports", &text);
                ConnectPorts::default()
            }),
        }
    }

    fn response_timeout(&mut self) -> Option<Duration> {
        let text = self.raw.options.response_timeout.trim();
        (text != "off")
            .then(|| self.duration("response_timeout", text))
            // An invalid duration is zero here, and reported.
            .filter(|timeout| !timeout.is_zero())
    }

    fn trust(&mut self) -> TrustPolicy {
        match self.raw.options.trust.trim() {
            "always" => TrustPolicy::Always,
            "never" => TrustPolicy::Never,
            networks => {
                // An invalid network must not widen the trust: none is trusted then.
                let networks: Result<Vec<Cidr>, _> = networks
                    .split(',')
                    .map(|text| text.trim().parse())
                    .collect();
                networks.map(TrustPolicy::From).unwrap_or_else(|error| {
                    let name = self.raw.name("trust");
                    self.errors
                        .push(format!("{name}: {error}; or use always or never"));
                    TrustPolicy::Never
                })
            }
        }
    }

    fn routes(&mut self) -> Vec<RouteTemplate> {
        let option = self.raw.options.routes.as_deref().unwrap_or_default();
        self.route_list("routes", option)
    }

    fn ignored(&mut self) -> IgnoredRequests {
        let option = self.raw.options.rules.ignore_paths.trim();
        let mut ignored = IgnoredRequests {
            probes: false,
            paths: Vec::new(),
        };
        if option == "none" {
            return ignored;
        }
        let words = option.split(',').map(str::trim);
        let (probes, paths): (Vec<_>, Vec<_>) = words.partition(|word| *word == "probes");
        ignored.probes = !probes.is_empty();
        ignored.paths = self.route_list("ignore_paths", &paths.join(","));
        ignored
    }

    fn route_list(&mut self, key: &str, option: &str) -> Vec<RouteTemplate> {
        let mut routes = Vec::new();
        for text in option
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            match text.parse() {
                Ok(route) => routes.push(route),
                Err(error) => self.error(key, &format!("{text:?} {error}")),
            }
        }
        routes
    }
}

/// Parses a port, or an address with a port.
fn parse_listen_address(text: &str, default_ip: IpAddr) -> Option<SocketAddr> {
    let text = text.trim();
    match text.parse::<u16>() {
        Ok(port) => Some(SocketAddr::new(default_ip, port)),
        Err(_) => parse_socket_addr(text),
    }
}

/// Parses a port of this machine, or a host with a port.
fn parse_service_address(text: &str) -> Option<HostPort> {
    text.parse::<u16>()
        .ok()
        .filter(|port| *port != 0)
        .map_or_else(|| text.parse().ok(), |port| Some(loopback_address(port)))
}

/// Parses ports and ranges of ports: `443,8000-8999`.
fn parse_ports(list: &str) -> Option<ConnectPorts> {
    let ranges = list.split(',').map(parse_port_range);
    ranges.collect::<Option<Vec<_>>>().map(ConnectPorts::new)
}

fn loopback_address(port: u16) -> HostPort {
    HostPort {
        host: "127.0.0.1".into(),
        port,
    }
}

fn is_local(host: &str) -> bool {
    // Names other than localhost would need DNS.
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|ip: IpAddr| ip.is_loopback() || ip.is_unspecified())
}

/// Parses `http://host:port` or `https://host`, without a path. An error is the rest of a sentence.
fn parse_origin(text: &str) -> Result<UpstreamOrigin, &'static str> {
    const NOT_A_URL: &str = "is not an http:// or https:// URL; write it as https://api.example";
    let (tls, authority) = match text.split_once("://") {
        Some(("http", authority)) => (false, authority),
        Some(("https", authority)) => (true, authority),
        _ => return Err(NOT_A_URL),
    };
    // A trailing slash is the empty path.
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.contains(['/', '?', '#']) {
        return Err(
            "has a path, and requests keep their own; leave it out here and let the \
                    service send it, as in https://api.example",
        );
    }
    if authority.contains('@') {
        return Err(
            "has a user name or password, which the service has to send; write it as \
                    https://api.example",
        );
    }
    let default_port = if tls { 443 } else { 80 };
    let address = authority
        .parse()
        .or_else(|_| format!("{authority}:{default_port}").parse())
        .map_err(|_| NOT_A_URL)?;
    Ok(UpstreamOrigin { address, tls })
}

/// Returns the resource with `unknown_service`: HTTP has no client.id to name a service by.
fn with_unknown_service(resource: &Resource) -> Arc<Resource> {
    let mut attributes = resource.attributes.clone();
    for pair in &mut attributes {
        if pair.key == SERVICE_NAME {
            *pair = KeyValue::new(SERVICE_NAME, "unknown_service");
        }
    }
    Arc::new(Resource {
        attributes,
        ..Resource::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_urls_without_a_path() {
        let text = |text| {
            let origin = parse_origin(text).ok();
            origin.map(|origin| (origin.address.to_string(), origin.tls))
        };
        assert_eq!(
            text("https://api.example"),
            Some(("api.example:443".to_owned(), true))
        );
        assert_eq!(text("http://a:81/"), Some(("a:81".to_owned(), false)));
        assert_eq!(
            text("http://[::1]:81"),
            Some(("[::1]:81".to_owned(), false))
        );
        for bad in ["a:81", "ftp://a", "http://", "http://a/b", "http://u:p@a"] {
            assert_eq!(text(bad), None, "{bad}");
        }
        let path = parse_origin("http://a/b?c").unwrap_err();
        assert!(path.starts_with("has a path"), "{path}");
        let user = parse_origin("http://u:p@a").unwrap_err();
        assert!(user.starts_with("has a user name"), "{user}");
    }
}
