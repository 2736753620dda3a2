//! Header fields: as contexts are read from them and written to them, and which of them end at each hop.

use http::header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue};
use throughline_model::context::{Carrier, CarrierMut};

/// Fields to read.
pub(super) struct Fields<'a>(pub(super) &'a HeaderMap);

/// Fields to read and write.
pub(super) struct FieldsMut<'a>(pub(super) &'a mut HeaderMap);

// === impl Fields ===

impl Carrier for Fields<'_> {
    fn last<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        self.0
            .get_all(name)
            .iter()
            .next_back()
            .map(HeaderValue::as_bytes)
    }

    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
        for (name, value) in self.0 {
            visit(name.as_str().as_bytes(), Some(value.as_bytes()));
        }
    }
}

// === impl FieldsMut ===

impl Carrier for FieldsMut<'_> {
    fn last<'a>(&'a self, name: &str) -> Option<&'a [u8]> {
        self.0
            .get_all(name)
            .iter()
            .next_back()
            .map(HeaderValue::as_bytes)
    }

    fn each<'a>(&'a self, visit: &mut dyn FnMut(&'a [u8], Option<&'a [u8]>)) {
        for (name, value) in &*self.0 {
            visit(name.as_str().as_bytes(), Some(value.as_bytes()));
        }
    }
}

impl CarrierMut for FieldsMut<'_> {
    fn replace(&mut self, name: &str, value: &[u8]) {
        // What is no header field cannot stand in one, and goes without.
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_bytes(value),
        ) {
            self.0.insert(name, value);
        }
    }

    fn remove(&mut self, name: &str) {
        self.0.remove(name);
    }
}

/// Takes out what is between us and who sent it (RFC 9110, section 7.6.1). Gives the protocol that the other end would like to go on
/// with, if it is one that we can pass: `upgrade` stays then.
pub(super) fn end_hop(fields: &mut HeaderMap, may_upgrade: bool) -> Option<HeaderValue> {
    let mut named = Vec::new();
    let mut upgrades = false;
    for value in fields.get_all(CONNECTION) {
        for option in value
            .as_bytes()
            .split(|byte| *byte == b',')
            .map(<[u8]>::trim_ascii)
        {
            upgrades |= option.eq_ignore_ascii_case(b"upgrade");
            named.extend(
                HeaderName::from_bytes(option)
                    .ok()
                    .filter(|name| !ESSENTIAL.contains(&name.as_str())),
            );
        }
    }
    let upgrade = fields
        .get(UPGRADE)
        .filter(|_| upgrades && may_upgrade)
        .filter(|value| is_passed(value))
        .cloned();
    let takes_trailers = fields.get_all(TE).iter().any(has_trailers);
    for name in named {
        fields.remove(name);
    }
    for name in [CONNECTION, TE, TRANSFER_ENCODING, UPGRADE] {
        fields.remove(name);
    }
    for name in HOP_BY_HOP {
        fields.remove(name);
    }
    if takes_trailers {
        fields.insert(TE, HeaderValue::from_static("trailers"));
    }
    if let Some(upgrade) = &upgrade {
        fields.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        fields.insert(UPGRADE, upgrade.clone());
    }
    upgrade
}

/// Upgrades to another HTTP would hide the requests in them, from us and from whoever guards the service. `h2c` by upgrade is
/// obsolete besides (RFC 9113, section 3.1).
fn is_passed(upgrade: &HeaderValue) -> bool {
    let mut names = upgrade
        .as_bytes()
        .split(|byte| *byte == b',')
        .map(<[u8]>::trim_ascii);
    !names.any(|name| {
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

/// Besides those of which we look at the value.
const HOP_BY_HOP: [&str; 3] = ["keep-alive", "proxy-connection", "http2-settings"];

/// What a `connection` field cannot have taken out: a request without it would be another one to whoever is asked.
const ESSENTIAL: [&str; 4] = ["host", "content-length", "authorization", "cookie"];

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn what_is_hop_by_hop_ends_and_the_rest_goes_on() {
        let mut some = fields(&[
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
            end_hop(&mut some, true),
            None,
            "the connection field does not name it"
        );
        assert_eq!(some, fields(&[("x-theirs", "2"), ("trailer", "x-sum")]));
    }

    #[test]
    fn trailers_are_still_taken_and_nothing_else_is_promised() {
        let mut some = fields(&[("te", "deflate, Trailers"), ("connection", "te")]);
        end_hop(&mut some, true);
        assert_eq!(some, fields(&[("te", "trailers")]));
    }

    #[test]
    fn nobody_can_have_the_essential_taken_out() {
        let given = [
            ("host", "a"),
            ("content-length", "1"),
            ("authorization", "x"),
            ("cookie", "y"),
        ];
        let mut some = fields(&given);
        some.insert(
            "connection",
            HeaderValue::from_static("host, content-length, authorization, cookie"),
        );
        end_hop(&mut some, true);
        assert_eq!(some, fields(&given));
    }

    #[test]
    fn an_upgrade_is_passed_unless_it_is_to_another_http() {
        for (upgrade, passes) in [
            ("websocket", true),
            ("h2c", false),
            ("HTTP/2.0", false),
            ("websocket, h2c", false),
        ] {
            let mut some = fields(&[
                ("connection", "Upgrade, HTTP2-Settings"),
                ("upgrade", upgrade),
                ("http2-settings", "AAM"),
            ]);
            assert_eq!(end_hop(&mut some, true).is_some(), passes, "{upgrade}");
            assert_eq!(some.contains_key("upgrade"), passes, "{upgrade}");
            assert!(!some.contains_key("http2-settings"));
        }
        let mut some = fields(&[("connection", "upgrade"), ("upgrade", "websocket")]);
        assert_eq!(end_hop(&mut some, false), None, "HTTP/2 has none");
        assert!(some.is_empty());
    }

    #[test]
    fn a_context_is_written_as_fields_and_what_cannot_be_one_is_left_out() {
        let mut some = fields(&[("traceparent", "a"), ("traceparent", "b")]);
        assert_eq!(Fields(&some).last("traceparent"), Some(&b"b"[..]));
        FieldsMut(&mut some).replace("traceparent", b"c");
        FieldsMut(&mut some).replace("bad", b"line\nbreak");
        assert_eq!(some, fields(&[("traceparent", "c")]));
    }
}
