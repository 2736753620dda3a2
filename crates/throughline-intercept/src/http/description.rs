//! Names and attributes of HTTP spans (semantic conventions v1.44: HTTP is stable, gRPC in
//! development).

use std::sync::Arc;

use throughline_model::convention::{
    CLIENT_ADDRESS, HTTP_REQUEST_METHOD, HTTP_REQUEST_METHOD_ORIGINAL, HTTP_ROUTE,
    NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT, NETWORK_PROTOCOL_VERSION, RPC_METHOD, RPC_SERVICE,
    RPC_SYSTEM, SERVER_ADDRESS, SERVER_PORT, URL_FULL, URL_PATH, URL_QUERY, URL_SCHEME,
    URL_TEMPLATE, USER_AGENT_ORIGINAL,
};
use throughline_model::{KeyValue, redact};

use super::grpc;
use super::request::{Direction, HttpPeer, HttpRequestHead, RequestContent};
use super::route::RouteTemplate;
use super::settings::Settings;
use super::url::{AuthorityParts, full_url, split_target};
use crate::trace::{push, push_some};

/// Methods that span names and attributes show as they are. The list bounds the number of names.
const KNOWN_METHODS: [&str; 9] = [
    "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE",
];
/// Other values of attributes that need no memory.
const KNOWN_VALUES: [&str; 5] = ["1.1", "http", "2", "https", "1.0"];
const DEFAULT_HTTP_PORT: u16 = 80;
const DEFAULT_HTTPS_PORT: u16 = 443;

/// Name and attributes of a request's span.
#[derive(Debug)]
pub(super) struct SpanDescription {
    pub(super) name: String,
    pub(super) attributes: Vec<KeyValue>,
}

/// Attributes of a span, with bounded text values.
struct AttributeWriter {
    attributes: Vec<KeyValue>,
    max_value_bytes: usize,
}

/// Returns the method if it is well known.
pub(super) fn known_method(method: &str) -> Option<&'static str> {
    KNOWN_METHODS.into_iter().find(|known| *known == method)
}

// === impl SpanDescription ===

impl SpanDescription {
    pub(super) fn of(
        direction: Direction,
        request: &HttpRequestHead<'_>,
        content: RequestContent<'_>,
        peer: HttpPeer,
        settings: &Settings,
    ) -> Self {
        let mut writer = AttributeWriter {
            attributes: Vec::with_capacity(16),
            max_value_bytes: settings.max_attribute_bytes,
        };
        let method = known_method(request.method);
        writer.push_method(request, method);
        writer.push_server(direction, request);
        writer.push_known(NETWORK_PROTOCOL_VERSION, request.version);
        writer.push_peer(direction, peer);
        let (path, query) = split_target(request.target);
        let (routes, route_key) = match direction {
            Direction::Inbound => {
                writer.push_known(URL_SCHEME, request.scheme);
                writer.push_text(URL_PATH, path);
                if let Some(query) = query {
                    writer.push_text(URL_QUERY, &redact::query(query));
                }
                (&settings.routes, HTTP_ROUTE)
            }
            Direction::Outbound => {
                writer.push_text(URL_FULL, &full_url(request));
                (&settings.templates, URL_TEMPLATE)
            }
        };
        if let Some(user_agent) = content.user_agent {
            writer.push_text(USER_AGENT_ORIGINAL, user_agent);
        }
        let route = routes.iter().find(|route| route.matches(path));
        if let Some(route) = route {
            writer.push_text(route_key, route.template());
        }
        let grpc_name = if content.is_grpc() {
            writer.push_grpc(path)
        } else {
            None
        };
        Self {
            name: grpc_name.unwrap_or_else(|| span_name(method, route)),
            attributes: writer.attributes,
        }
    }
}

/// Returns the name of an HTTP span: the method, and the route where one matches.
fn span_name(method: Option<&str>, route: Option<&RouteTemplate>) -> String {
    // HTTP conventions, "Name": an unknown method is called HTTP.
    let method = method.unwrap_or("HTTP");
    match route {
        Some(route) => format!("{method} {}", route.template()),
        None => method.to_owned(),
    }
}

// === impl AttributeWriter ===

impl AttributeWriter {
    fn push_text(&mut self, key: &'static str, value: &str) {
        // A text cannot be cut within a character.
        let end = value.floor_char_boundary(self.max_value_bytes);
        let value = value.get(..end).unwrap_or_default();
        push(&mut self.attributes, key, value.to_owned());
    }

    /// Appends a text that most often is one of [`KNOWN_VALUES`].
    fn push_known(&mut self, key: &'static str, value: &str) {
        match KNOWN_VALUES.into_iter().find(|known| *known == value) {
            Some(known) => push(&mut self.attributes, key, known),
            None => self.push_text(key, value),
        }
    }

    fn push_method(&mut self, request: &HttpRequestHead<'_>, known: Option<&'static str>) {
        let method = known.unwrap_or("_OTHER");
        push(&mut self.attributes, HTTP_REQUEST_METHOD, method);
        if known.is_none() {
            self.push_text(HTTP_REQUEST_METHOD_ORIGINAL, request.method);
        }
    }

    fn push_server(&mut self, direction: Direction, request: &HttpRequestHead<'_>) {
        let AuthorityParts { host, port, .. } = AuthorityParts::parse(request.authority);
        if host.is_empty() {
            return;
        }
        self.push_text(SERVER_ADDRESS, host);
        let default_port = if request.scheme == "https" {
            DEFAULT_HTTPS_PORT
        } else {
            DEFAULT_HTTP_PORT
        };
        // `server.port` is required on CLIENT spans; SERVER spans may omit the default port.
        let is_required = direction == Direction::Outbound;
        let port = port.or_else(|| is_required.then_some(default_port));
        push_some(&mut self.attributes, SERVER_PORT, port.map(i64::from));
    }

    fn push_peer(&mut self, direction: Direction, peer: HttpPeer) {
        let Some(address) = peer.address else { return };
        // An IPv4 client of a dual-stack socket has a mapped IPv6 address.
        let address: Arc<str> = address.to_canonical().to_string().into();
        push(&mut self.attributes, NETWORK_PEER_ADDRESS, &address);
        let port = peer.port.map(i64::from);
        push_some(&mut self.attributes, NETWORK_PEER_PORT, port);
        if direction == Direction::Inbound {
            push(&mut self.attributes, CLIENT_ADDRESS, &address);
        }
    }

    /// Appends the attributes of a gRPC call and returns the name of its span.
    fn push_grpc(&mut self, path: &str) -> Option<String> {
        let (service, method) = grpc::split_path(path)?;
        self.push_text(RPC_SYSTEM, "grpc");
        self.push_text(RPC_SERVICE, service);
        self.push_text(RPC_METHOD, method);
        Some(format!("{service}/{method}"))
    }
}
