//! Where the call of a client span went, for display beside its name.
//!
//! The HTTP conventions name a client span after its method alone when the route is unknown, so a
//! list of calls would read `GET`, `GET`, `GET`. The web UI has the same rules
//! (`ui/src/trace/destination.ts`).

use std::borrow::Cow;

use crate::convention::{
    HTTP_ROUTE, NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT, RPC_METHOD, RPC_SERVICE, SERVER_ADDRESS,
    SERVER_PORT, TOPIC_KEYS, URL_FULL, URL_PATH, URL_TEMPLATE,
};
use crate::{Span, SpanKind, Value};

/// Names of a whole URL; of several names in this file, the first one that is set counts.
const URLS: &[&str] = &[URL_FULL, "http.url"];
const ADDRESSES: &[(&str, &str)] = &[
    (SERVER_ADDRESS, SERVER_PORT),
    ("net.peer.name", "net.peer.port"),
    ("http.host", ""),
    ("peer.hostname", "peer.port"),
    (NETWORK_PEER_ADDRESS, NETWORK_PEER_PORT),
    ("net.sock.peer.addr", "net.sock.peer.port"),
    ("net.peer.ip", "net.peer.port"),
    ("peer.ipv4", "peer.port"),
    ("peer.service", ""),
];
const PATHS: &[&str] = &[
    URL_PATH,
    "http.target",
    URL_TEMPLATE,
    HTTP_ROUTE,
    "db.namespace",
    "db.name",
];
/// Longest destination, in characters.
const MAX_CHARS: usize = 160;

/// Returns the [`destination`] of a span.
#[must_use]
pub fn of_span(span: &Span) -> Option<String> {
    destination(&span.name, span.kind, |key| match span.attribute(key)? {
        Value::String(text) => Some(Cow::Borrowed(text.as_str())),
        Value::Int(number) => Some(Cow::Owned(number.to_string())),
        Value::Empty
        | Value::Bool(_)
        | Value::Double(_)
        | Value::Bytes(_)
        | Value::Array(_)
        | Value::Map(_) => None,
    })
}

/// Returns where a client's or producer's call went, such as `billing:8080/payment` or a topic,
/// without the parts that the span's name has already. `value` looks up an attribute as text.
///
/// Queries and credentials of URLs are left out.
pub fn destination<'a>(
    name: &str,
    kind: SpanKind,
    value: impl Fn(&str) -> Option<Cow<'a, str>>,
) -> Option<String> {
    if !matches!(kind, SpanKind::Client | SpanKind::Producer) {
        return None;
    }
    let value = |key: &str| value(key).filter(|text| !text.is_empty());
    let is_named = |part: &str| !part.is_empty() && name.contains(part);
    if let Some(topic) = TOPIC_KEYS.iter().find_map(|key| value(key)) {
        return (!is_named(&topic)).then(|| shortened(&topic));
    }
    let url = URLS.iter().find_map(|key| value(key));
    let (mut host, path) = url
        .as_deref()
        .and_then(split_url)
        .map(|(host, path)| (host.to_owned(), path.to_owned()))
        .unwrap_or_default();
    if host.is_empty() {
        host = address(&value).unwrap_or_default();
    }
    let path = rpc_path(&value)
        .or_else(|| Some(path).filter(|path| !path.is_empty()))
        .or_else(|| PATHS.iter().find_map(|key| value(key)).map(Cow::into_owned))
        .unwrap_or_default();
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let path = path.trim_start_matches('/');
    let path = if path.is_empty() || is_named(path) {
        String::new()
    } else {
        format!("/{path}")
    };
    let bare_host = host
        .rsplit_once(':')
        .map_or(host.as_str(), |(host, _)| host);
    let host = if is_named(bare_host) { "" } else { &host };
    let destination = format!("{host}{path}");
    (!destination.is_empty()).then(|| shortened(&destination))
}

/// Returns host with port, and path with query, of an absolute URL.
fn split_url(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end)?;
    let host = authority
        .rsplit_once('@')
        .map_or(authority, |(_, host)| host);
    let default_port = match scheme {
        "http" => ":80",
        "https" => ":443",
        _ => "\0",
    };
    Some((host.strip_suffix(default_port).unwrap_or(host), path))
}

fn address<'a>(value: &impl Fn(&str) -> Option<Cow<'a, str>>) -> Option<String> {
    let (host, port) = ADDRESSES
        .iter()
        .find_map(|(address, port)| Some((value(address)?, port)))?;
    // A colon in an address that is not in brackets belongs to IPv6.
    let is_ip_v6 = host.matches(':').count() > 1 && !host.starts_with('[');
    let host = if is_ip_v6 {
        format!("[{host}]")
    } else {
        host.into_owned()
    };
    Some(
        match value(port).filter(|port| !matches!(&**port, "80" | "443" | "0")) {
            Some(port) => format!("{host}:{port}"),
            None => host,
        },
    )
}

fn rpc_path<'a>(value: &impl Fn(&str) -> Option<Cow<'a, str>>) -> Option<String> {
    let method = value(RPC_METHOD)?;
    Some(match value(RPC_SERVICE) {
        Some(service) => format!("{service}/{method}"),
        None => method.into_owned(),
    })
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}\u{2026}", text.get(..end).unwrap_or_default()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, kind: SpanKind, attributes: &[(&str, &'static str)]) -> Option<String> {
        destination(name, kind, |key| {
            let found = attributes.iter().find(|(own, _)| *own == key);
            found.map(|(_, text)| Cow::Borrowed(*text))
        })
    }

    #[test]
    fn a_client_span_shows_what_its_name_lacks() {
        let of = |name, attributes: &[_]| of(name, SpanKind::Client, attributes);
        let server = [
            ("server.address", "billing"),
            ("server.port", "8080"),
            ("url.path", "/payment"),
        ];
        assert_eq!(of("GET", &server).unwrap(), "billing:8080/payment");
        assert_eq!(of("GET /payment", &server).unwrap(), "billing:8080");
        assert_eq!(of("GET billing/payment", &server), None);
        let url = [(
            "url.full",
            "http://user:secret@billing:8080/payment?card=1#x",
        )];
        assert_eq!(of("GET", &url).unwrap(), "billing:8080/payment");
        let old = [("http.url", "https://api.example:443/")];
        assert_eq!(of("HTTP GET", &old).unwrap(), "api.example");
        let rpc = [
            ("rpc.service", "shop.Cart"),
            ("rpc.method", "Add"),
            ("server.address", "::1"),
            ("server.port", "50051"),
        ];
        assert_eq!(of("shop.Cart/Add", &rpc).unwrap(), "[::1]:50051");
        assert_eq!(of("call", &rpc).unwrap(), "[::1]:50051/shop.Cart/Add");
        let database = [("server.address", "pg"), ("db.namespace", "orders")];
        assert_eq!(of("SELECT", &database).unwrap(), "pg/orders");
        assert_eq!(of("GET", &[("peer.service", "cart")]).unwrap(), "cart");
        assert_eq!(of("GET", &[]), None);
    }

    #[test]
    fn a_producer_shows_its_topic_and_other_kinds_show_nothing() {
        let topic = [("messaging.destination.name", "orders")];
        assert_eq!(of("publish", SpanKind::Producer, &topic).unwrap(), "orders");
        assert_eq!(of("send orders", SpanKind::Producer, &topic), None);
        let server = [("server.address", "billing")];
        assert_eq!(of("GET", SpanKind::Server, &server), None);
    }

    #[test]
    fn a_long_path_is_cut() {
        let long: &'static str = Box::leak("\u{e9}".repeat(500).into_boxed_str());
        let cut = of("GET", SpanKind::Client, &[("url.path", long)]).unwrap();
        assert_eq!(cut.chars().count(), MAX_CHARS + 1);
    }
}
