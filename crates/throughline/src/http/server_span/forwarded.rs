//! The client and the target of a request that proxies forwarded.

use crate::http::RequestMetadata;

/// The first hop of a forwarded request, as the proxies described it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ForwardedRequest<'a> {
    pub(super) client: Option<&'a str>,
    pub(super) scheme: Option<&'a str>,
    pub(super) host: Option<&'a str>,
}

// === impl ForwardedRequest ===

impl<'a> ForwardedRequest<'a> {
    /// Reads `Forwarded` (RFC 7239), else `X-Forwarded-For`, `-Proto` and `-Host`.
    pub(super) fn read(head: &RequestMetadata<'a>) -> Self {
        if let Some(elements) = head.header("forwarded") {
            return Self::parse(first(elements));
        }
        Self {
            client: head.header("x-forwarded-for").map(first).and_then(address),
            scheme: head.header("x-forwarded-proto").map(first),
            host: head.header("x-forwarded-host").map(first),
        }
    }

    fn parse(element: &'a str) -> Self {
        let mut found = Self::default();
        for pair in element.split(';') {
            let Some((name, value)) = pair.split_once('=') else {
                continue;
            };
            let value = value.trim().trim_matches('"');
            match name.trim().to_ascii_lowercase().as_str() {
                "for" => found.client = address(value),
                "proto" => found.scheme = Some(value),
                "host" => found.host = Some(value),
                _ => {}
            }
        }
        found
    }
}

/// Returns the first element of a list: each proxy appends its own.
fn first(list: &str) -> &str {
    list.split(',').next().unwrap_or_default().trim()
}

/// Returns an address without its port and brackets; `None` for `unknown`.
fn address(node: &str) -> Option<&str> {
    let host = match node.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        // An IPv6 address without brackets has no port.
        None if node.matches(':').count() > 1 => node,
        None => node.split(':').next().unwrap_or_default(),
    };
    Some(host).filter(|host| !host.is_empty() && *host != "unknown")
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn read(headers: &[(&str, &str)]) -> String {
        let mut request = Request::new(());
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().unwrap();
            request.headers_mut().append(name, value.parse().unwrap());
        }
        let head = RequestMetadata::of(&request);
        let found = ForwardedRequest::read(&head);
        format!("{:?} {:?} {:?}", found.client, found.scheme, found.host)
    }

    #[test]
    fn first_hop_is_the_client() {
        assert_eq!(
            read(&[
                ("x-forwarded-for", "203.0.113.7:4711, 10.0.0.1"),
                ("x-forwarded-proto", "https"),
            ]),
            r#"Some("203.0.113.7") Some("https") None"#
        );
        assert_eq!(
            read(&[(
                "forwarded",
                r#"for="[2001:db8::1]:80";proto=https;host=shop, for=b"#
            )]),
            r#"Some("2001:db8::1") Some("https") Some("shop")"#
        );
        assert_eq!(
            read(&[("x-forwarded-for", "2001:db8::1")]),
            r#"Some("2001:db8::1") None None"#
        );
        assert_eq!(read(&[("forwarded", "for=unknown")]), "None None None");
        assert_eq!(read(&[]), "None None None");
    }
}
