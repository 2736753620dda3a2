//! What a request asks for, and of whom: the forms of its target (RFC 9112, section 3.2), and what makes no sense refused.

use http::header::{CONTENT_LENGTH, COOKIE, HOST};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderValue, Method, Request, Uri, Version};

use super::config::{Origin, Protocol, Route};
use super::refusal::Refusal;
use crate::address::HostPort;

/// A request's target, understood.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Who is asked.
    pub(super) origin: Origin,
    /// What the request is for, as it says itself.
    pub(super) authority: Authority,
    /// Path and query.
    pub(super) target: PathAndQuery,
    /// How it goes on.
    pub(super) is_http2: bool,
    /// Whether a tunnel is asked for.
    pub(super) is_connect: bool,
    /// Whether the target names its host, as for a proxy, and goes on so.
    is_absolute: bool,
}

// === impl Place ===

impl Place {
    /// Understands a request that came to a listener of this route.
    pub(super) fn of<B>(request: &Request<B>, route: &Route) -> Result<Self, Refusal> {
        let is_http2 = request.version() == Version::HTTP_2;
        let said = said_authority(request)?;
        let target = request
            .uri()
            .path_and_query()
            .cloned()
            .unwrap_or_else(|| PathAndQuery::from_static("/"));
        let connects = request.method() == Method::CONNECT;
        if connects {
            return match route {
                Route::Named { connect: true } => tunnel(request.uri(), is_http2),
                Route::Named { connect: false }
                | Route::Service { .. }
                | Route::Fixed(_)
                | Route::Original(_) => Err(Refusal::Connect),
            };
        }
        let (origin, authority, is_http2) = match route {
            Route::Service { address, protocol } => {
                let authority = said
                    .or_else(|| address.to_string().parse().ok())
                    .ok_or(Refusal::NoHost)?;
                let origin = Origin {
                    address: address.clone(),
                    tls: false,
                };
                (origin, authority, protocol.is_http2(is_http2))
            }
            Route::Original(to) => {
                let address = HostPort {
                    host: to.ip().to_string().into(),
                    port: to.port(),
                };
                let origin = Origin {
                    address,
                    tls: false,
                };
                let authority = said.or_else(|| origin.authority()).ok_or(Refusal::NoHost)?;
                (origin, authority, is_http2)
            }
            Route::Fixed(origin) => (
                origin.clone(),
                origin.authority().ok_or(Refusal::NoHost)?,
                is_http2,
            ),
            Route::Named { .. } => {
                // Who does not know that we are a proxy would be sent to ourselves by its `host`.
                let authority = request
                    .uri()
                    .authority()
                    .cloned()
                    .ok_or(Refusal::NotForProxy)?;
                (named(request.uri(), &authority)?, authority, is_http2)
            }
        };
        // Whoever is asked there is a proxy itself.
        let is_absolute =
            matches!(route, Route::Original(_)) && !is_http2 && request.uri().authority().is_some();
        Ok(Self {
            origin,
            authority,
            target,
            is_http2,
            is_connect: false,
            is_absolute,
        })
    }

    /// Puts the request into the form in which it goes on.
    pub(super) fn write(&self, uri: &mut Uri, version: &mut Version, fields: &mut HeaderMap) {
        if self.is_http2 {
            fields.remove(HOST);
            *version = Version::HTTP_2;
            *uri = self.absolute().unwrap_or_default();
            return;
        }
        if *version == Version::HTTP_2 {
            join_cookies(fields);
        }
        *version = Version::HTTP_11;
        if !self.is_absolute {
            *uri = Uri::from(self.target.clone());
        }
        if let Ok(host) = HeaderValue::from_str(without_credentials(&self.authority)) {
            fields.insert(HOST, host);
        }
    }

    /// `http` or `https`.
    pub(super) const fn scheme(&self) -> &'static str {
        if self.origin.tls { "https" } else { "http" }
    }

    fn absolute(&self) -> Option<Uri> {
        Uri::builder()
            .scheme(self.scheme())
            .authority(without_credentials(&self.authority))
            .path_and_query(self.target.clone())
            .build()
            .ok()
    }
}

// === impl Origin ===

impl Origin {
    fn authority(&self) -> Option<Authority> {
        let is_usual = self.address.port == if self.tls { 443 } else { 80 };
        let text = self.address.to_string();
        let text = if is_usual {
            text.rsplit_once(':').map_or(&*text, |(host, _)| host)
        } else {
            &text
        };
        text.parse().ok()
    }
}

// === impl Protocol ===

impl Protocol {
    const fn is_http2(self, came_as_http2: bool) -> bool {
        match self {
            Self::Same => came_as_http2,
            Self::Http1 => false,
            Self::Http2 => true,
        }
    }
}

/// Of whom the request says that it is for. The target goes before the field `host` (RFC 9112, section 3.2.2).
fn said_authority<B>(request: &Request<B>) -> Result<Option<Authority>, Refusal> {
    let fields = request.headers();
    let mut hosts = fields.get_all(HOST).iter();
    let (host, more) = (hosts.next(), hosts.next());
    // Two of us could take it for two different ones.
    if more.is_some() || fields.get_all(CONTENT_LENGTH).iter().count() > 1 {
        return Err(Refusal::Ambiguous);
    }
    if let Some(authority) = request.uri().authority() {
        return Ok(Some(authority.clone()));
    }
    match host {
        Some(host) if host.is_empty() => Ok(None),
        Some(host) => {
            let authority = Authority::try_from(host.as_bytes()).map_err(|_| Refusal::BadHost)?;
            if authority.as_str().contains('@') {
                Err(Refusal::BadHost)
            } else {
                Ok(Some(authority))
            }
        }
        None if request.version() == Version::HTTP_11 => Err(Refusal::NoHost),
        None => Ok(None),
    }
}

fn named(uri: &Uri, authority: &Authority) -> Result<Origin, Refusal> {
    let tls = match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => false,
        Some(scheme) if *scheme == Scheme::HTTPS => true,
        _ => return Err(Refusal::NotForProxy),
    };
    let port = authority.port_u16().unwrap_or(if tls { 443 } else { 80 });
    Ok(Origin {
        address: address(authority, port)?,
        tls,
    })
}

fn tunnel(uri: &Uri, is_http2: bool) -> Result<Place, Refusal> {
    let authority = uri.authority().cloned().ok_or(Refusal::BadHost)?;
    let port = authority.port_u16().ok_or(Refusal::BadHost)?;
    // A tunnel in HTTP/2 would be one of its streams; nobody asks an HTTP proxy for that in clear text.
    if is_http2 {
        return Err(Refusal::Connect);
    }
    let origin = Origin {
        address: address(&authority, port)?,
        tls: false,
    };
    let target = PathAndQuery::from_static("/");
    Ok(Place {
        origin,
        authority,
        target,
        is_http2,
        is_connect: true,
        is_absolute: false,
    })
}

fn address(authority: &Authority, port: u16) -> Result<HostPort, Refusal> {
    format!("{}:{port}", authority.host())
        .parse()
        .map_err(|_| Refusal::BadHost)
}

fn without_credentials(authority: &Authority) -> &str {
    authority.as_str().rsplit('@').next().unwrap_or_default()
}

/// HTTP/2 may have several, HTTP/1 has one (RFC 9113, section 8.2.3).
fn join_cookies(fields: &mut HeaderMap) {
    let cookies: Vec<&[u8]> = fields
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if cookies.len() > 1
        && let Ok(joined) = HeaderValue::from_bytes(&cookies.join(&b"; "[..]))
    {
        fields.insert(COOKIE, joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service() -> Route {
        Route::Service {
            address: "127.0.0.1:18080".parse().unwrap(),
            protocol: Protocol::Same,
        }
    }

    fn request(line: &str, hosts: &[&str]) -> Request<()> {
        let (method, target) = line.split_once(' ').unwrap();
        let mut request = Request::builder().method(method).uri(target);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        request.body(()).unwrap()
    }

    fn written(line: &str, hosts: &[&str], route: &Route) -> (String, String) {
        let (mut parts, ()) = request(line, hosts).into_parts();
        let place = Place::of(&Request::from_parts(parts.clone(), ()), route).unwrap();
        place.write(&mut parts.uri, &mut parts.version, &mut parts.headers);
        (
            parts.uri.to_string(),
            parts.headers[HOST].to_str().unwrap().to_owned(),
        )
    }

    #[test]
    fn every_form_of_a_target_goes_on_as_a_server_wants_it() {
        let both = |uri: &str, host: &str| (uri.to_owned(), host.to_owned());
        assert_eq!(
            written("GET /a?b", &["shop"], &service()),
            both("/a?b", "shop")
        );
        assert_eq!(
            written("GET http://shop:81/a", &["other"], &service()),
            both("/a", "shop:81"),
            "the target holds"
        );
        assert_eq!(
            written("OPTIONS *", &["shop"], &service()),
            both("*", "shop")
        );
        let named = Route::Named { connect: false };
        assert_eq!(
            written("GET http://shop/a", &["x"], &named),
            both("/a", "shop")
        );
        assert_eq!(
            written("GET http://ann:pw@shop/a", &["x"], &named),
            both("/a", "shop")
        );
        let fixed = Route::Fixed(Origin {
            address: "api.example:443".parse().unwrap(),
            tls: true,
        });
        assert_eq!(
            written("GET /a", &["localhost:9001"], &fixed),
            both("/a", "api.example")
        );
    }

    #[test]
    fn a_proxy_asks_whom_the_target_names() {
        let named = Route::Named { connect: true };
        let origin = |line| Place::of(&request(line, &["x"]), &named).unwrap().origin;
        let expected = |address: &str, tls| Origin {
            address: address.parse().unwrap(),
            tls,
        };
        assert_eq!(origin("GET http://shop/"), expected("shop:80", false));
        assert_eq!(origin("GET https://shop/"), expected("shop:443", true));
        assert_eq!(origin("GET http://[::1]:81/"), expected("[::1]:81", false));
        assert_eq!(origin("CONNECT shop:443"), expected("shop:443", false));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |line, hosts: &[&str], route: &Route| {
            Place::of(&request(line, hosts), route).unwrap_err()
        };
        let named = Route::Named { connect: false };
        assert_eq!(
            refused("GET /", &["a", "b"], &service()),
            Refusal::Ambiguous
        );
        assert_eq!(refused("GET /", &[], &service()), Refusal::NoHost);
        assert_eq!(refused("GET /", &["a b"], &service()), Refusal::BadHost);
        assert_eq!(refused("GET /", &["a@b"], &service()), Refusal::BadHost);
        assert_eq!(refused("GET /", &["a"], &named), Refusal::NotForProxy);
        assert_eq!(
            refused("GET ftp://a/", &["a"], &named),
            Refusal::NotForProxy
        );
        assert_eq!(refused("CONNECT a:443", &["a"], &named), Refusal::Connect);
        assert_eq!(
            refused("CONNECT a:443", &["a"], &service()),
            Refusal::Connect
        );
    }

    #[test]
    fn many_cookies_become_one_in_http1() {
        let route = Route::Service {
            address: "127.0.0.1:1".parse().unwrap(),
            protocol: Protocol::Http1,
        };
        let request = Request::builder()
            .version(Version::HTTP_2)
            .uri("http://shop/")
            .header(COOKIE, "a=1")
            .header(COOKIE, "b=2");
        let (mut parts, ()) = request.body(()).unwrap().into_parts();
        let place = Place::of(&Request::from_parts(parts.clone(), ()), &route).unwrap();
        place.write(&mut parts.uri, &mut parts.version, &mut parts.headers);
        assert_eq!(parts.headers[COOKIE], "a=1; b=2");
        assert_eq!(
            (parts.version, &parts.headers[HOST]),
            (Version::HTTP_11, &HeaderValue::from_static("shop"))
        );
    }
}
