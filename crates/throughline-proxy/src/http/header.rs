//! Header fields: the carrier of contexts, and the removal of hop-by-hop fields.

use std::sync::LazyLock;

use bytes::BytesMut;
use http::header::{CONNECTION, CONTENT_LENGTH, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};
use throughline_intercept::correlate::REQUEST_ID;
use throughline_model::context::{Carrier, CarrierMut, Format};

/// Hop-by-hop fields besides [`CONNECTION`], [`TE`], [`TRANSFER_ENCODING`] and [`UPGRADE`].
static HOP_BY_HOP: [HeaderName; 3] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    HeaderName::from_static("http2-settings"),
];

/// Fields that a `connection` field cannot remove: without them the upstream would see another
/// request.
const PROTECTED: [&str; 4] = ["host", "content-length", "authorization", "cookie"];

/// Names of the fields that are written: those that carry contexts, and a request id. Static ones
/// are neither checked nor copied.
static CONTEXT_FIELDS: LazyLock<Vec<HeaderName>> = LazyLock::new(|| {
    let names = Format::ALL.iter().flat_map(|format| format.headers());
    names
        .copied()
        .chain([REQUEST_ID])
        .map(HeaderName::from_static)
        .collect()
});

/// Size of the values of a context in all formats.
const CONTEXT_BYTES: usize = 256;

/// Number of fields up to which a name is compared with all of them, which costs less than to check
/// and hash it.
const MAX_COMPARED_FIELDS: usize = 16;

/// Read access to contexts in header fields.
pub(super) struct HttpHeaderCarrier<'a>(pub(super) &'a HeaderMap);

/// Read and write access to contexts in header fields.
pub(super) struct HttpHeaderCarrierMut<'a> {
    headers: &'a mut HeaderMap,
    /// The values that are written share one buffer: they are kept and cloned together.
    values: BytesMut,
}

// === impl HttpHeaderCarrier ===

impl Carrier for HttpHeaderCarrier<'_> {
    fn last<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        last(self.0, name)
    }

    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
        each(self.0, visit);
    }
}

// === impl HttpHeaderCarrierMut ===

impl<'a> HttpHeaderCarrierMut<'a> {
    pub(super) fn new(headers: &'a mut HeaderMap) -> Self {
        // The map would grow several times otherwise.
        headers
            .try_reserve(CONTEXT_FIELDS.len())
            .unwrap_or_default();
        Self {
            headers,
            values: BytesMut::with_capacity(CONTEXT_BYTES),
        }
    }
}

impl Carrier for HttpHeaderCarrierMut<'_> {
    fn last<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        last(self.headers, name)
    }

    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
        each(self.headers, visit);
    }
}

impl CarrierMut for HttpHeaderCarrierMut<'_> {
    fn replace(&mut self, name: &str, value: &[u8]) {
        self.values.extend_from_slice(value);
        // A context of an application may hold bytes that are not allowed in a field (RFC 9110,
        // section 5.5); it is left out.
        let Ok(value) = HeaderValue::from_maybe_shared(self.values.split().freeze()) else {
            return;
        };
        let name = context_field(name)
            .cloned()
            .map_or_else(|| HeaderName::from_bytes(name.as_bytes()), Ok);
        if let Ok(name) = name {
            self.headers.insert(name, value);
        }
    }

    fn remove(&mut self, name: &str) {
        match context_field(name) {
            Some(name) => self.headers.remove(name),
            None => self.headers.remove(name),
        };
    }
}

fn last<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    if headers.len() <= MAX_COMPARED_FIELDS {
        let found = headers
            .iter()
            .filter(|(known, _)| known.as_str().eq_ignore_ascii_case(name));
        return found.last().map(|(_, value)| value.as_bytes());
    }
    let values = match context_field(name) {
        Some(name) => headers.get_all(name),
        None => headers.get_all(name),
    };
    values.iter().next_back().map(HeaderValue::as_bytes)
}

fn each<'a>(headers: &'a HeaderMap, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
    for (name, value) in headers {
        visit(name.as_str().as_bytes(), Some(value.as_bytes()));
    }
}

fn context_field(name: &str) -> Option<&'static HeaderName> {
    CONTEXT_FIELDS.iter().find(|field| field.as_str() == name)
}

/// Removes the hop-by-hop fields (RFC 9110, section 7.6.1). Returns the protocol of an upgrade that
/// the proxy can forward; its `upgrade` field then stays.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap, may_upgrade: bool) -> Option<HeaderValue> {
    // Most messages have none of these fields, and comparing names costs less than looking them up.
    if !headers.keys().any(is_hop_by_hop) {
        return None;
    }
    let mut named = Vec::new();
    let mut names_upgrade = false;
    // The field may be repeated, and each value is a list of options.
    for value in headers.get_all(CONNECTION) {
        for option in value
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
        {
            names_upgrade |= option.eq_ignore_ascii_case(b"upgrade");
            // The usual options name no field, or one that is removed in any case.
            if is_usual_option(option) {
                continue;
            }
            named.extend(
                HeaderName::from_bytes(option)
                    .ok()
                    .filter(|name| !PROTECTED.contains(&name.as_str())),
            );
        }
    }
    // An upgrade field without the connection option is ignored (RFC 9110, section 7.8).
    let upgrade = headers
        .get(UPGRADE)
        .filter(|_| names_upgrade && may_upgrade)
        .filter(|value| is_forwarded_upgrade(value))
        .cloned();
    let accepts_trailers = accepts_trailers(headers);
    for name in named {
        headers.remove(name);
    }
    for name in [CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(name);
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    // The proxy forwards trailers, and gRPC servers demand `te: trailers`; no transfer coding is
    // promised.
    if accepts_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(upgrade) = &upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, upgrade.clone());
    }
    upgrade
}

fn is_usual_option(option: &[u8]) -> bool {
    [&b"keep-alive"[..], b"close", b"upgrade", b"te"]
        .iter()
        .any(|usual| option.eq_ignore_ascii_case(usual))
}

fn is_hop_by_hop(name: &HeaderName) -> bool {
    matches!(*name, CONNECTION | TE | TRANSFER_ENCODING | UPGRADE) || HOP_BY_HOP.contains(name)
}

/// Returns the `transfer-encoding` of a message to forward, if its body has other codings than
/// chunked: the chunks are decoded and encoded again, everything inside of them is forwarded.
pub(super) fn forwarded_coding(headers: &HeaderMap) -> Option<HeaderValue> {
    let codings: Vec<&[u8]> = headers
        .get_all(TRANSFER_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|coding| !coding.is_empty())
        .collect();
    let is_plain = match &*codings {
        [] => true,
        [coding] => coding.eq_ignore_ascii_case(b"chunked"),
        [..] => false,
    };
    if is_plain {
        return None;
    }
    let mut forwarded = codings.join(&b", "[..]);
    if !codings
        .last()
        .is_some_and(|last| last.eq_ignore_ascii_case(b"chunked"))
    {
        forwarded.extend_from_slice(b", chunked");
    }
    HeaderValue::from_bytes(&forwarded).ok()
}

/// Whether chunks are applied twice, which recipients undo differently (RFC 9112, section 6.1).
pub(super) fn has_repeated_chunks(headers: &HeaderMap) -> bool {
    let codings = headers
        .get_all(TRANSFER_ENCODING)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let chunked = codings.filter(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"chunked"));
    chunked.count() > 1
}

/// Removes the length of a response where chunks replace it (RFC 9112, section 6.3), and leaves one
/// field of several that are equal.
pub(super) fn normalize_length(headers: &mut HeaderMap) {
    if headers.contains_key(TRANSFER_ENCODING) {
        headers.remove(CONTENT_LENGTH);
    } else if headers.get_all(CONTENT_LENGTH).iter().count() > 1
        && let Some(length) = headers.get(CONTENT_LENGTH).cloned()
    {
        headers.insert(CONTENT_LENGTH, length);
    }
}

/// Whether the client of a request accepts trailers.
pub(super) fn accepts_trailers(headers: &HeaderMap) -> bool {
    headers.get_all(TE).iter().any(has_trailers)
}

/// Whether an upgrade is forwarded. One to another HTTP version would hide requests from the proxy,
/// and `h2c` by upgrade is obsolete (RFC 9113, section 3.1).
fn is_forwarded_upgrade(upgrade: &HeaderValue) -> bool {
    let mut names = upgrade
        .as_bytes()
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii);
    !names.any(|name| {
        // Each protocol may have a version behind a slash: `HTTP/2.0`.
        let name = name.split(|byte| *byte == b'/').next().unwrap_or_default();
        [&b"h2c"[..], b"h2", b"http"]
            .iter()
            .any(|http| name.eq_ignore_ascii_case(http))
    })
}

fn has_trailers(te: &HeaderValue) -> bool {
    te.as_bytes()
        .split(|byte| *byte == b',')
        .any(|part| part.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn hop_by_hop_fields_are_removed_and_others_kept() {
        let mut map = headers(&[
            ("connection", "close, X-Mine"),
            ("connection", "keep-alive"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("te", "gzip, trailers;q=1"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("x-mine", "1"),
            ("x-theirs", "2"),
            ("trailer", "x-sum"),
        ]);
        assert_eq!(
            strip_hop_by_hop(&mut map, true),
            None,
            "the connection field does not name it"
        );
        assert_eq!(map, headers(&[("x-theirs", "2"), ("trailer", "x-sum")]));
    }

    #[test]
    fn te_keeps_trailers_only() {
        let mut map = headers(&[("te", "deflate, Trailers"), ("connection", "te")]);
        strip_hop_by_hop(&mut map, true);
        assert_eq!(map, headers(&[("te", "trailers")]));
    }

    #[test]
    fn connection_field_cannot_remove_protected_fields() {
        let given = [
            ("host", "a"),
            ("content-length", "1"),
            ("authorization", "x"),
            ("cookie", "y"),
        ];
        let mut map = headers(&given);
        map.insert(
            "connection",
            HeaderValue::from_static("host, content-length, authorization, cookie"),
        );
        strip_hop_by_hop(&mut map, true);
        assert_eq!(map, headers(&given));
    }

    #[test]
    fn upgrades_are_forwarded_unless_to_another_http_version() {
        for (upgrade, is_forwarded) in [
            ("websocket", true),
            ("h2c", false),
            ("HTTP/2.0", false),
            ("websocket, h2c", false),
        ] {
            let mut map = headers(&[
                ("connection", "Upgrade, HTTP2-Settings"),
                ("upgrade", upgrade),
                ("http2-settings", "AAM"),
            ]);
            assert_eq!(
                strip_hop_by_hop(&mut map, true).is_some(),
                is_forwarded,
                "{upgrade}"
            );
            assert_eq!(map.contains_key("upgrade"), is_forwarded, "{upgrade}");
            assert!(!map.contains_key("http2-settings"));
        }
        let mut map = headers(&[("connection", "upgrade"), ("upgrade", "websocket")]);
        assert_eq!(
            strip_hop_by_hop(&mut map, false),
            None,
            "HTTP/2 has no upgrades"
        );
        assert!(map.is_empty());
    }

    #[test]
    fn contexts_are_written_as_fields_unless_invalid() {
        let mut map = headers(&[("traceparent", "a"), ("traceparent", "b")]);
        assert_eq!(HttpHeaderCarrier(&map).last("traceparent"), Some(&b"b"[..]));
        let mut carrier = HttpHeaderCarrierMut::new(&mut map);
        carrier.replace("traceparent", b"c");
        carrier.replace("bad", b"line\nbreak");
        carrier.replace("x-request-id", b"d");
        carrier.replace("Uberctx-Key", b"e");
        carrier.replace("b3", b"0");
        carrier.remove("b3");
        let expected = [
            ("traceparent", "c"),
            ("x-request-id", "d"),
            ("uberctx-key", "e"),
        ];
        assert_eq!(map, headers(&expected));
    }
}
