//! Names and attributes of HTTP spans (semantic conventions v1.44, HTTP: stable; gRPC: in development).

use std::borrow::Cow;

use throughline_model::convention::{
    CLIENT_ADDRESS, HTTP_REQUEST_METHOD, HTTP_REQUEST_METHOD_ORIGINAL, HTTP_ROUTE,
    NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT, NETWORK_PROTOCOL_VERSION, RPC_METHOD, RPC_SERVICE,
    RPC_SYSTEM, SERVER_ADDRESS, SERVER_PORT, URL_FULL, URL_PATH, URL_QUERY, URL_SCHEME,
    URL_TEMPLATE, USER_AGENT_ORIGINAL,
};
use throughline_model::{KeyValue, redact};

use super::{Direction, Peer, Request, Route, Settings};

/// What a span says of a request.
#[derive(Debug)]
pub(super) struct Description {
    pub(super) name: String,
    pub(super) attributes: Vec<KeyValue>,
}

const METHODS: [&str; 9] = [
    "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE",
];
/// The least `status` code of gRPC is 0, OK.
const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

impl Description {
    pub(super) fn of(
        direction: Direction,
        request: &Request<'_>,
        content: Content<'_>,
        peer: Peer,
        settings: &Settings,
    ) -> Self {
        let (path, query) = split(request.target);
        let mut text = Text {
            attributes: Vec::with_capacity(16),
            most: settings.max_attribute_bytes,
        };
        let known = known_method(request.method);
        text.put(HTTP_REQUEST_METHOD, known.unwrap_or("_OTHER"));
        if known.is_none() {
            text.put(HTTP_REQUEST_METHOD_ORIGINAL, request.method);
        }
        text.server(direction, request);
        text.put(NETWORK_PROTOCOL_VERSION, request.version);
        text.peer(direction, peer);
        let routes = match direction {
            Direction::Inbound => {
                text.put(URL_SCHEME, request.scheme);
                text.put(URL_PATH, path);
                query
                    .into_iter()
                    .for_each(|query| text.put(URL_QUERY, &redact::query(query)));
                &settings.routes
            }
            Direction::Outbound => {
                text.put(URL_FULL, &full(request, path, query));
                &settings.templates
            }
        };
        if let Some(agent) = content.user_agent {
            text.put(USER_AGENT_ORIGINAL, agent);
        }
        let route = routes
            .iter()
            .find(|route| route.matches(path))
            .map(Route::template);
        if let Some(route) = route {
            text.put(
                if direction == Direction::Inbound {
                    HTTP_ROUTE
                } else {
                    URL_TEMPLATE
                },
                route,
            );
        }
        let method = known.unwrap_or("HTTP");
        let http_name =
            route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
        let name = if content.is_grpc() {
            text.grpc(path).unwrap_or(http_name)
        } else {
            http_name
        };
        Self {
            name,
            attributes: text.attributes,
        }
    }
}

/// What the headers tell of a request besides its context.
#[derive(Debug, Clone, Copy)]
pub(super) struct Content<'a> {
    pub(super) user_agent: Option<&'a str>,
    pub(super) content_type: Option<&'a str>,
}

impl Content<'_> {
    pub(super) fn is_grpc(self) -> bool {
        let content_type = self.content_type.unwrap_or_default();
        content_type
            .strip_prefix("application/grpc")
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(['+', ';']))
    }
}

/// Attributes whose values are no longer than allowed.
struct Text {
    attributes: Vec<KeyValue>,
    most: usize,
}

// === impl Text ===

impl Text {
    fn put(&mut self, key: &'static str, value: &str) {
        let value = value
            .get(..value.floor_char_boundary(self.most))
            .unwrap_or_default();
        self.attributes.push(KeyValue::new(key, value.to_owned()));
    }

    fn server(&mut self, direction: Direction, request: &Request<'_>) {
        let (_, host, port) = authority(request.authority);
        if host.is_empty() {
            return;
        }
        self.put(SERVER_ADDRESS, host);
        // A client span must have it, a server span may leave out what the scheme says.
        let by_scheme = (direction == Direction::Outbound)
            .then_some(if request.scheme == "https" { 443 } else { 80 });
        if let Some(port) = port.or(by_scheme) {
            self.attributes
                .push(KeyValue::new(SERVER_PORT, i64::from(port)));
        }
    }

    fn peer(&mut self, direction: Direction, peer: Peer) {
        let Some(address) = peer.address else { return };
        let address = address.to_canonical().to_string();
        self.put(NETWORK_PEER_ADDRESS, &address);
        if let Some(port) = peer.port {
            self.attributes
                .push(KeyValue::new(NETWORK_PEER_PORT, i64::from(port)));
        }
        if direction == Direction::Inbound {
            self.put(CLIENT_ADDRESS, &address);
        }
    }

    /// `/package.Service/Method`, whose path is the span's name.
    fn grpc(&mut self, path: &str) -> Option<String> {
        let (service, method) = path.strip_prefix('/')?.rsplit_once('/')?;
        self.put(RPC_SYSTEM, "grpc");
        self.put(RPC_SERVICE, service);
        self.put(RPC_METHOD, method);
        Some(format!("{service}/{method}"))
    }
}

/// One of the methods that are known, which keeps the number of names small.
pub(super) fn known_method(method: &str) -> Option<&'static str> {
    METHODS.into_iter().find(|known| *known == method)
}

/// What gRPC calls this status.
pub(super) fn grpc_code(status: u32) -> &'static str {
    usize::try_from(status)
        .ok()
        .and_then(|status| GRPC_CODES.get(status))
        .copied()
        .unwrap_or("UNKNOWN")
}

/// Whether a server has failed that answers so (gRPC conventions, "Span status"): the others are the client's doing.
pub(super) const fn is_fault_of_server(grpc_status: u32) -> bool {
    matches!(grpc_status, 2 | 4 | 12 | 13 | 14 | 15)
}

fn split(target: &str) -> (&str, Option<&str>) {
    target
        .split_once('?')
        .map_or((target, None), |(path, query)| (path, Some(query)))
}

/// Credentials, host and port. The brackets of an IPv6 address are not part of it.
fn authority(authority: &str) -> (Option<&str>, &str, Option<u16>) {
    let (credentials, place) = authority
        .rsplit_once('@')
        .map_or((None, authority), |(credentials, place)| {
            (Some(credentials), place)
        });
    let (host, port) = match place
        .strip_prefix('[')
        .and_then(|rest| rest.split_once(']'))
    {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => place
            .rsplit_once(':')
            .map_or((place, None), |(host, port)| (host, Some(port))),
    };
    (credentials, host, port.and_then(|port| port.parse().ok()))
}

fn full(request: &Request<'_>, path: &str, query: Option<&str>) -> String {
    let (credentials, ..) = authority(request.authority);
    let place = request.authority.rsplit('@').next().unwrap_or_default();
    let credentials = credentials.map_or_else(String::new, redact::credentials);
    let query = query.map_or(Cow::Borrowed(""), |query| {
        Cow::Owned(format!("?{}", redact::query(query)))
    });
    format!("{}://{credentials}{place}{path}{query}", request.scheme)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_of_all_forms_are_taken_apart() {
        assert_eq!(authority("host:8080"), (None, "host", Some(8080)));
        assert_eq!(authority("host"), (None, "host", None));
        assert_eq!(authority("[::1]:8080"), (None, "::1", Some(8080)));
        assert_eq!(authority("[::1]"), (None, "::1", None));
        assert_eq!(
            authority("ann:pw@host:1"),
            (Some("ann:pw"), "host", Some(1))
        );
        assert_eq!(authority("host:99999"), (None, "host", None));
        assert_eq!(authority(""), (None, "", None));
    }

    #[test]
    fn grpc_is_told_by_its_content_type() {
        let is = |content_type| {
            Content {
                user_agent: None,
                content_type: Some(content_type),
            }
            .is_grpc()
        };
        assert!(
            is("application/grpc")
                && is("application/grpc+proto")
                && is("application/grpc;charset=utf-8")
        );
        assert!(!is("application/grpc-web") && !is("application/json") && !is(""));
    }
}
