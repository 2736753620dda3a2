//! The target of a request: the forms of RFC 9112, section 3.2, and the upstream host behind them.

use std::net::IpAddr;

use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};
use throughline_intercept::http::HttpPeer;

use super::config::{ConnectPorts, HttpRoute, UpstreamOrigin, UpstreamProtocol};
use super::error::ProxyError;
use super::header::has_repeated_chunks;
use crate::address::HostPort;

/// The parsed target of a request.
#[derive(Debug, Clone)]
pub(super) struct RequestTarget {
    /// Host to forward the request to.
    pub(super) origin: UpstreamOrigin,
    /// Host that the request is for, by its own account.
    pub(super) authority: Authority,
    pub(super) path_and_query: PathAndQuery,
    /// Whether the request is forwarded as HTTP/2.
    pub(super) is_http2: bool,
    /// Whether the request is a CONNECT.
    pub(super) is_connect: bool,
    /// Whether the target is an absolute URL and is forwarded as one.
    is_absolute: bool,
}

/// Where a request is forwarded to, and how.
struct ResolvedTarget {
    origin: UpstreamOrigin,
    authority: Authority,
    is_http2: bool,
}

// === impl RequestTarget ===

impl RequestTarget {
    /// Parses the target of a request to a listener with this route.
    pub(super) fn parse<B>(request: &Request<B>, route: &HttpRoute) -> Result<Self, ProxyError> {
        let is_http2 = request.version() == Version::HTTP_2;
        let authority = request_authority(request)?;
        if request.method() == Method::CONNECT {
            return match route {
                HttpRoute::Named { connect } => parse_connect(request.uri(), is_http2, connect),
                HttpRoute::Service { .. } | HttpRoute::Fixed(_) | HttpRoute::Original(_) => {
                    Err(ProxyError::ConnectNotAllowed)
                }
            };
        }
        let destination = ResolvedTarget::resolve(request.uri(), route, authority, is_http2)?;
        let path_and_query = request
            .uri()
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        // A client that sends an absolute URL to its original destination takes that for a proxy.
        let is_absolute = matches!(route, HttpRoute::Original(_))
            && !destination.is_http2
            && request.uri().authority().is_some();
        Ok(Self {
            origin: destination.origin,
            authority: destination.authority,
            path_and_query,
            is_http2: destination.is_http2,
            is_connect: false,
            is_absolute,
        })
    }

    /// Rewrites the request line and the Host header into the form to forward.
    pub(super) fn apply(&self, uri: &mut Uri, version: &mut Version, headers: &mut HeaderMap) {
        if self.is_http2 {
            // HTTP/2 has the pseudo-header `:authority` instead (RFC 9113, section 8.3.1).
            headers.remove(HOST);
            *version = Version::HTTP_2;
            *uri = self.absolute_uri().unwrap_or_default();
            return;
        }
        if *version == Version::HTTP_2 {
            join_cookies(headers);
        }
        *version = Version::HTTP_11;
        if !self.is_absolute {
            *uri = Uri::from(self.path_and_query.clone());
        }
        let host = without_credentials(&self.authority);
        let is_same = headers.get(HOST).is_some_and(|known| known == host);
        if !is_same && let Ok(host) = HeaderValue::from_str(host) {
            headers.insert(HOST, host);
        }
    }

    /// Returns `http` or `https`.
    pub(super) const fn scheme(&self) -> &'static str {
        if self.origin.tls { "https" } else { "http" }
    }

    /// Returns the address and port of the upstream host, if they are known before DNS.
    pub(super) fn peer(&self) -> HttpPeer {
        let address: Option<IpAddr> = self.origin.address.host.parse().ok();
        HttpPeer {
            address,
            port: address.map(|_| self.origin.address.port),
        }
    }

    fn absolute_uri(&self) -> Option<Uri> {
        Uri::builder()
            .scheme(self.scheme())
            .authority(without_credentials(&self.authority))
            .path_and_query(self.path_and_query.clone())
            .build()
            .ok()
    }
}

// === impl ResolvedTarget ===

impl ResolvedTarget {
    /// Returns where a route sends a request.
    fn resolve(
        uri: &Uri,
        route: &HttpRoute,
        authority: Option<Authority>,
        is_http2: bool,
    ) -> Result<Self, ProxyError> {
        match route {
            HttpRoute::Service { address, protocol } => {
                let authority = authority
                    .or_else(|| address.to_string().parse().ok())
                    .ok_or(ProxyError::MissingHost)?;
                Ok(Self {
                    origin: UpstreamOrigin {
                        address: address.clone(),
                        tls: false,
                    },
                    authority,
                    is_http2: protocol.forwards_as_http2(is_http2),
                })
            }
            HttpRoute::Original(destination) => {
                let origin = UpstreamOrigin {
                    address: destination.clone(),
                    tls: false,
                };
                let authority = authority
                    .or_else(|| origin.authority())
                    .ok_or(ProxyError::MissingHost)?;
                Ok(Self {
                    origin,
                    authority,
                    is_http2,
                })
            }
            HttpRoute::Fixed(origin) => Ok(Self {
                origin: origin.clone(),
                authority: origin.authority().ok_or(ProxyError::MissingHost)?,
                is_http2,
            }),
            HttpRoute::Named { .. } => {
                // Only an absolute URL counts: by the Host header, a client that does not know that
                // this is a proxy would be sent back to it.
                let authority = uri.authority().cloned().ok_or(ProxyError::NotProxyForm)?;
                Ok(Self {
                    origin: named_origin(uri, &authority)?,
                    authority,
                    is_http2,
                })
            }
        }
    }
}

// === impl UpstreamOrigin ===

impl UpstreamOrigin {
    /// Returns the value of a Host header, without the scheme's default port.
    fn authority(&self) -> Option<Authority> {
        let is_default_port = self.address.port == if self.tls { 443 } else { 80 };
        let text = self.address.to_string();
        let text = if is_default_port {
            text.rsplit_once(':').map_or(&*text, |(host, _)| host)
        } else {
            &text
        };
        text.parse().ok()
    }
}

// === impl UpstreamProtocol ===

impl UpstreamProtocol {
    const fn forwards_as_http2(self, is_http2: bool) -> bool {
        match self {
            Self::Same => is_http2,
            Self::Http1 => false,
            Self::Http2 => true,
        }
    }
}

/// Returns the host that a request is for. The target takes precedence over the Host header
/// (RFC 9112, section 3.2.2).
fn request_authority<B>(request: &Request<B>) -> Result<Option<Authority>, ProxyError> {
    let headers = request.headers();
    let mut hosts = headers.get_all(HOST).iter();
    let (host, second) = (hosts.next(), hosts.next());
    // Two hops could choose different ones, which is how requests are smuggled.
    if second.is_some()
        || headers.get_all(CONTENT_LENGTH).iter().count() > 1
        || has_repeated_chunks(headers)
    {
        return Err(ProxyError::AmbiguousRequest);
    }
    if let Some(authority) = request.uri().authority() {
        return Ok(Some(authority.clone()));
    }
    match host {
        // An empty Host is valid where the target has no authority (RFC 9112, section 3.2).
        Some(host) if host.is_empty() => Ok(None),
        Some(host) => {
            let authority =
                Authority::try_from(host.as_bytes()).map_err(|_| ProxyError::InvalidHost)?;
            if authority.as_str().contains('@') {
                Err(ProxyError::InvalidHost)
            } else {
                Ok(Some(authority))
            }
        }
        None if request.version() == Version::HTTP_11 => Err(ProxyError::MissingHost),
        None => Ok(None),
    }
}

/// Returns the origin of an absolute URL.
fn named_origin(uri: &Uri, authority: &Authority) -> Result<UpstreamOrigin, ProxyError> {
    let tls = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => false,
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        _ => return Err(ProxyError::NotProxyForm),
    };
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    Ok(UpstreamOrigin {
        address: host_port(authority, port)?,
        tls,
    })
}

/// Parses the target of a CONNECT: a host and a port.
fn parse_connect(
    uri: &Uri,
    is_http2: bool,
    allowed: &ConnectPorts,
) -> Result<RequestTarget, ProxyError> {
    let authority = uri.authority().cloned().ok_or(ProxyError::InvalidHost)?;
    let port = authority.port_u16().ok_or(ProxyError::InvalidHost)?;
    // In HTTP/2 a tunnel is one stream of a connection (RFC 9113, section 8.5). Clients do not use
    // that with a proxy in clear text.
    if is_http2 || allowed.is_empty() {
        return Err(ProxyError::ConnectNotAllowed);
    }
    if !allowed.contains(port) {
        return Err(ProxyError::ConnectPortDenied);
    }
    let origin = UpstreamOrigin {
        address: host_port(&authority, port)?,
        tls: false,
    };
    Ok(RequestTarget {
        origin,
        authority,
        path_and_query: PathAndQuery::from_static("/"),
        is_http2,
        is_connect: true,
        is_absolute: false,
    })
}

fn host_port(authority: &Authority, port: u16) -> Result<HostPort, ProxyError> {
    format!("{}:{port}", authority.host())
        .parse()
        .map_err(|_| ProxyError::InvalidHost)
}

/// Returns the host and port: credentials in a URL are not forwarded (RFC 9110, section 4.2.4).
fn without_credentials(authority: &Authority) -> &str {
    authority.as_str().rsplit('@').next().unwrap_or_default()
}

/// Joins the cookie fields into one, which HTTP/1 requires (RFC 9113, section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        headers.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> HttpRoute {
        HttpRoute::Service {
            address: "127.0.0.1:18080".parse().unwrap(),
            protocol: UpstreamProtocol::Same,
        }
    }

    fn request(line: &str, hosts: &[&str]) -> Request<()> {
        let (method, uri) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(uri);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap()
    }

    fn forwarded(line: &str, hosts: &[&str], route: &HttpRoute) -> (String, String) {
        let (mut parts, ()) = request(line, hosts).into_parts();
        let target = RequestTarget::parse(&Request::from_parts(parts.clone(), ()), route).unwrap();
        target.apply(&mut parts.uri, &mut parts.version, &mut parts.headers);
        (
            parts.uri.to_string(),
            parts.headers[HOST].to_str().unwrap().to_owned(),
        )
    }

    #[test]
    fn every_target_form_is_forwarded_in_origin_form() {
        let expected = |uri: &str, host: &str| (uri.to_owned(), host.to_owned());
        assert_eq!(
            forwarded("GET /a?b", &["shop"], &service()),
            expected("/a?b", "shop")
        );
        assert_eq!(
            forwarded("GET http://shop:81/a", &["other"], &service()),
            expected("/a", "shop:81"),
            "the target takes precedence"
        );
        assert_eq!(
            forwarded("OPTIONS *", &["shop"], &service()),
            expected("*", "shop")
        );
        let named = HttpRoute::Named {
            connect: ConnectPorts::default(),
        };
        assert_eq!(
            forwarded("GET http://shop/a", &["x"], &named),
            expected("/a", "shop")
        );
        assert_eq!(
            forwarded("GET http://ann:pw@shop/a", &["x"], &named),
            expected("/a", "shop")
        );
        let fixed = HttpRoute::Fixed(UpstreamOrigin {
            address: "api.example:443".parse().unwrap(),
            tls: true,
        });
        assert_eq!(
            forwarded("GET /a", &["localhost:9001"], &fixed),
            expected("/a", "api.example")
        );
    }

    #[test]
    fn proxy_forwards_to_the_host_of_the_target() {
        let named = HttpRoute::Named {
            connect: ConnectPorts::all(),
        };
        let origin = |line| {
            RequestTarget::parse(&request(line, &["x"]), &named)
                .unwrap()
                .origin
        };
        let expected = |address: &str, tls| UpstreamOrigin {
            address: address.parse().unwrap(),
            tls,
        };
        assert_eq!(origin("GET http://shop/"), expected("shop:80", false));
        assert_eq!(origin("GET https://shop/"), expected("shop:443", true));
        assert_eq!(origin("GET http://[::1]:81/"), expected("[::1]:81", false));
        assert_eq!(origin("CONNECT shop:443"), expected("shop:443", false));
    }

    #[test]
    fn invalid_targets_are_rejected() {
        let rejected = |line, hosts: &[&str], route: &HttpRoute| {
            RequestTarget::parse(&request(line, hosts), route).unwrap_err()
        };
        let named = HttpRoute::Named {
            connect: ConnectPorts::default(),
        };
        assert_eq!(
            rejected("GET /", &["a", "b"], &service()),
            ProxyError::AmbiguousRequest
        );
        assert_eq!(rejected("GET /", &[], &service()), ProxyError::MissingHost);
        assert_eq!(
            rejected("GET /", &["a b"], &service()),
            ProxyError::InvalidHost
        );
        assert_eq!(
            rejected("GET /", &["a@b"], &service()),
            ProxyError::InvalidHost
        );
        assert_eq!(rejected("GET /", &["a"], &named), ProxyError::NotProxyForm);
        assert_eq!(
            rejected("GET ftp://a/", &["a"], &named),
            ProxyError::NotProxyForm
        );
        assert_eq!(
            rejected("CONNECT a:443", &["a"], &named),
            ProxyError::ConnectNotAllowed
        );
        let some_ports = HttpRoute::Named {
            connect: ConnectPorts::new(vec![443..=443, 8000..=8999]),
        };
        assert_eq!(
            rejected("CONNECT a:25", &["a"], &some_ports),
            ProxyError::ConnectPortDenied
        );
        let allowed = RequestTarget::parse(&request("CONNECT a:8080", &["a"]), &some_ports);
        assert!(allowed.unwrap().is_connect);
        assert_eq!(
            rejected("CONNECT a:443", &["a"], &service()),
            ProxyError::ConnectNotAllowed
        );
    }

    #[test]
    fn cookie_fields_are_joined_in_http1() {
        let route = HttpRoute::Service {
            address: "127.0.0.1:1".parse().unwrap(),
            protocol: UpstreamProtocol::Http1,
        };
        let request = Request::builder()
            .version(Version::HTTP_2)
            .uri("http://shop/")
            .header(COOKIE, "a=1")
            .header(COOKIE, "b=2");
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let target = RequestTarget::parse(&Request::from_parts(parts.clone(), ()), &route).unwrap();
        target.apply(&mut parts.uri, &mut parts.version, &mut parts.headers);
        assert_eq!(parts.headers[COOKIE], "a=1; b=2");
        assert_eq!(
            (parts.version, &parts.headers[HOST]),
            (Version::HTTP_11, &HeaderValue::from_static("shop"))
        );
    }
}
