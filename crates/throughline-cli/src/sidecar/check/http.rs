//! HTTP: where requests come in and where they go, and how they are traced.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use throughline_intercept::http::{Cidr, Route as PathRoute, Settings, Trust};
use throughline_intercept::kafka::{self, Service};
use throughline_model::{KeyValue, Resource};
use throughline_proxy::http::{Config, Limits, Listener, Origin, Protocol, Route};
use throughline_proxy::{DownstreamTls, HostPort, TlsRoots, UpstreamTls};

use super::Check;

// === impl Check ===

impl Check<'_> {
    /// Whether there is anything for HTTP to do.
    pub(super) fn has_http(&self) -> bool {
        self.told.options.inbound.is_some() || self.told.options.outbound.is_some()
    }

    pub(super) fn http(&mut self, kafka: &kafka::Settings, connect_deadline: Duration) -> Config {
        let told = self.told;
        let options = &told.options;
        let mut listeners = Vec::new();
        if let Some(inbound) = &options.inbound {
            let protocol = self.word(
                "inbound_protocol",
                &options.inbound_protocol,
                &PROTOCOLS,
                Protocol::Same,
            );
            let tls = self.inbound_tls();
            listeners.extend(
                inbound
                    .split(',')
                    .filter_map(|text| self.inbound(text, protocol, tls.clone())),
            );
        }
        let outbound = options.outbound.as_deref().map(str::trim);
        let outbound = outbound
            .or_else(|| options.inbound.is_some().then_some(USUAL_OUTBOUND))
            .filter(|text| *text != "off");
        if let Some(outbound) = outbound {
            listeners.extend(outbound.split(',').filter_map(|text| self.outbound(text)));
        }
        let limits = Limits {
            connect_deadline,
            answer_deadline: self.answer_deadline(),
            ..Limits::default()
        };
        let settings = self.http_settings(kafka);
        let outbound_tls = self.outbound_tls();
        Config {
            listeners,
            settings,
            correlate: self.correlate(),
            outbound_tls,
            limits,
        }
    }

    /// As Kafka's, as far as both have it.
    pub(super) fn http_settings(&mut self, kafka: &kafka::Settings) -> Arc<Settings> {
        let resource = if kafka.service == Service::ByClientId {
            nameless(&kafka.resource)
        } else {
            Arc::clone(&kafka.resource)
        };
        Arc::new(Settings {
            resource,
            read: kafka.read.clone(),
            write: if kafka.inject {
                kafka.write.clone()
            } else {
                Vec::new()
            },
            request_id: kafka.inject,
            sample_ratio: kafka.sample_ratio,
            trust: self.trust(),
            routes: self.routes(),
            ..Settings::default()
        })
    }

    /// `8080`, `8080=3000`, `0.0.0.0:8080=app:3000`.
    fn inbound(
        &mut self,
        text: &str,
        protocol: Protocol,
        tls: Option<DownstreamTls>,
    ) -> Option<Listener> {
        let (listen, service) = text
            .split_once('=')
            .map_or((text, None), |(listen, to)| (listen, Some(to.trim())));
        let address = listen_address(listen, IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let service = match (service, address) {
            (Some(service), _) => local_address(service),
            (None, Some(address)) => address
                .port()
                .checked_add(USUALLY_BEHIND)
                .filter(|_| address.port() != 0)
                .map(local_port),
            (None, None) => None,
        };
        let (Some(address), Some(service)) = (address, service) else {
            let mend = "write it as 8080 (the service then listens at 127.0.0.1:18080), 8080=3000 or 0.0.0.0:8080=127.0.0.1:3000";
            self.mistake(
                "inbound",
                &format!("{text:?} is no port and its service; {mend}"),
            );
            return None;
        };
        if address.port() == service.port && is_here(&service.host) {
            self.mistake(
                "inbound",
                &format!(
                    "{text:?} leads back to the sidecar itself; the service needs another port"
                ),
            );
        }
        Some(Listener {
            address,
            route: Route::Service {
                address: service,
                protocol,
            },
            tls,
        })
    }

    /// `127.0.0.1:19080`, `9001=https://api.example`.
    fn outbound(&mut self, text: &str) -> Option<Listener> {
        let (listen, to) = text
            .split_once('=')
            .map_or((text, None), |(listen, to)| (listen, Some(to.trim())));
        let address = listen_address(listen, IpAddr::V4(Ipv4Addr::LOCALHOST));
        let route = match to {
            None => Some(Route::Named {
                connect: self.told.options.allow_connect,
            }),
            Some(to) => origin(to).map(Route::Fixed),
        };
        if let (Some(address), Some(route)) = (address, route) {
            return Some(Listener {
                address,
                route,
                tls: None,
            });
        }
        let mend = "write it as 127.0.0.1:19080, or as 9001=https://api.example for requests to one place, or off";
        self.mistake("outbound", &format!("{text:?} is no address; {mend}"));
        None
    }

    fn answer_deadline(&mut self) -> Option<Duration> {
        let text = self.told.options.answer_timeout.trim();
        (text != "off")
            .then(|| self.duration("answer_timeout", text))
            .filter(|time| !time.is_zero())
    }

    fn trust(&mut self) -> Trust {
        match self.told.options.trust.trim() {
            "always" => Trust::Always,
            "never" => Trust::Never,
            networks => {
                let networks: Result<Vec<Cidr>, _> = networks
                    .split(',')
                    .map(|text| text.trim().parse())
                    .collect();
                networks.map(Trust::From).unwrap_or_else(|error| {
                    self.mistake("trust", &format!("has {error}; or say always or never"));
                    Trust::Never
                })
            }
        }
    }

    fn routes(&mut self) -> Vec<PathRoute> {
        let mut routes = Vec::new();
        let told = self.told.options.routes.as_deref().unwrap_or_default();
        for text in told
            .split(',')
            .map(str::trim)
            .filter(|text| !text.is_empty())
        {
            if text.starts_with('/') {
                routes.push(PathRoute::new(text));
            } else {
                self.mistake(
                    "routes",
                    &format!("{text:?} is no path; write it as /orders/{{id}}"),
                );
            }
        }
        routes
    }

    fn outbound_tls(&mut self) -> Option<UpstreamTls> {
        let ca = self.file(
            "outbound_tls_ca",
            self.told.options.outbound_tls_ca.as_deref(),
        );
        match ca {
            Some(pem) => self.built(
                "outbound_tls_ca",
                UpstreamTls::new(TlsRoots::Pem(&pem), None, None),
            ),
            // A machine that trusts nobody asks nobody by https, most likely.
            None => UpstreamTls::new(TlsRoots::System, None, None).ok(),
        }
    }
}

/// A port, or an address with a port.
fn listen_address(text: &str, otherwise: IpAddr) -> Option<SocketAddr> {
    let text = text.trim();
    match text.parse::<u16>() {
        Ok(port) => Some(SocketAddr::new(otherwise, port)),
        Err(_) => super::net::socket_address(text),
    }
}

/// A port of this machine, or a host with a port.
fn local_address(text: &str) -> Option<HostPort> {
    text.parse::<u16>()
        .ok()
        .filter(|port| *port != 0)
        .map_or_else(|| text.parse().ok(), |port| Some(local_port(port)))
}

fn local_port(port: u16) -> HostPort {
    HostPort {
        host: "127.0.0.1".into(),
        port,
    }
}

fn is_here(host: &str) -> bool {
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|ip: IpAddr| ip.is_loopback() || ip.is_unspecified())
}

/// `http://host:port` or `https://host`, without a path.
fn origin(text: &str) -> Option<Origin> {
    let (tls, place) = match text.split_once("://")? {
        ("http", place) => (false, place),
        ("https", place) => (true, place),
        _ => return None,
    };
    let place = place.strip_suffix('/').unwrap_or(place);
    let usual = if tls { 443 } else { 80 };
    let address = place
        .parse()
        .or_else(|_| format!("{place}:{usual}").parse())
        .ok()?;
    Some(Origin { address, tls })
}

/// Spans of Kafka have the name of the client; those of HTTP have none to take.
fn nameless(resource: &Resource) -> Arc<Resource> {
    let mut attributes = resource.attributes.clone();
    for pair in &mut attributes {
        if pair.key == "service.name" {
            *pair = KeyValue::new("service.name", "unknown_service");
        }
    }
    Arc::new(Resource { attributes })
}

const PROTOCOLS: [(&str, Protocol); 3] = [
    ("same", Protocol::Same),
    ("http1", Protocol::Http1),
    ("http2", Protocol::Http2),
];

/// How far behind the port by which a service is known it listens itself, unless told otherwise.
const USUALLY_BEHIND: u16 = 10_000;

/// Where a service finds its HTTP proxy, unless told otherwise.
const USUAL_OUTBOUND: &str = "127.0.0.1:19080";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_urls_without_a_path() {
        let text = |text| origin(text).map(|origin| (origin.address.to_string(), origin.tls));
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
    }
}
