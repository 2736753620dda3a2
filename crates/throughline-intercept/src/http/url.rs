//! Parts of a request URL, and its redacted form.

use std::borrow::Cow;

use throughline_model::redact;

use super::request::HttpRequestHead;

/// Parts of an authority: `user:password@host:port`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AuthorityParts<'a> {
    user_info: Option<&'a str>,
    /// Host, without the brackets of an IPv6 address.
    pub(super) host: &'a str,
    pub(super) port: Option<u16>,
}

/// Splits a request target into path and query.
pub(super) fn split_target(target: &str) -> (&str, Option<&str>) {
    target
        .split_once('?')
        .map_or((target, None), |(path, query)| (path, Some(query)))
}

/// Returns the URL for `url.full`, with credentials and signatures redacted.
pub(super) fn full_url(request: &HttpRequestHead<'_>) -> String {
    let (path, query) = split_target(request.target);
    let user_info = AuthorityParts::parse(request.authority).user_info;
    let host_and_port = request.authority.rsplit('@').next().unwrap_or_default();
    let credentials = user_info.map_or_else(String::new, redact::credentials);
    let query = query.map_or(Cow::Borrowed(""), |query| {
        Cow::Owned(format!("?{}", redact::query(query)))
    });
    format!(
        "{}://{credentials}{host_and_port}{path}{query}",
        request.scheme
    )
}

// === impl AuthorityParts ===

impl<'a> AuthorityParts<'a> {
    pub(super) fn parse(authority: &'a str) -> Self {
        let (user_info, host_and_port) = match authority.rsplit_once('@') {
            // At the last `@`, as browsers do: a password may contain others.
            Some((user_info, rest)) => (Some(user_info), rest),
            None => (None, authority),
        };
        // RFC 3986, section 3.2.2: brackets delimit an IPv6 address and are not part of it.
        let bracketed = host_and_port
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'));
        let (host, port) = match bracketed {
            Some((host, rest)) => (host, rest.strip_prefix(':')),
            None => match host_and_port.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (host_and_port, None),
            },
        };
        Self {
            user_info,
            host,
            port: port.and_then(|port| port.parse().ok()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authority_is_split_into_user_info_host_and_port() {
        let parse = |authority| {
            let parts = AuthorityParts::parse(authority);
            (parts.user_info, parts.host, parts.port)
        };
        assert_eq!(parse("host:8080"), (None, "host", Some(8080)));
        assert_eq!(parse("host"), (None, "host", None));
        assert_eq!(parse("[::1]:8080"), (None, "::1", Some(8080)));
        assert_eq!(parse("[::1]"), (None, "::1", None));
        assert_eq!(parse("ann:pw@host:1"), (Some("ann:pw"), "host", Some(1)));
        assert_eq!(parse("host:99999"), (None, "host", None));
        assert_eq!(parse(""), (None, "", None));
    }
}
