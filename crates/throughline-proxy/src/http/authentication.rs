//! Authentication of connections: schemes whose exchange logs in the connection rather than one
//! request (NTLM, and Negotiate of RFC 4559).
//!
//! A server that uses such a scheme answers every later request on the connection as the user that
//! logged in. The connection must then serve one client only. A scheme that is not known to
//! authenticate each request by itself counts as one that binds the connection: not sharing one
//! costs a handshake, and sharing it wrongly hands out a login.

use http::header::{AUTHORIZATION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName};

/// Sent by servers that keep a connection authenticated (`true`), or stop doing so (`false`).
static PERSISTENT_AUTH: HeaderName = HeaderName::from_static("persistent-auth");

/// Schemes in which every request carries its own credentials: the IANA registry without Negotiate,
/// and common schemes outside it.
const PER_REQUEST_SCHEMES: [&str; 30] = [
    "basic",
    "bearer",
    "concealed",
    "digest",
    "dpop",
    "gnap",
    "hoba",
    "mutual",
    "oauth",
    "privatetoken",
    "scram-sha-1",
    "scram-sha-256",
    "vapid",
    "apikey",
    "api-key",
    "aws",
    "aws3-https",
    "aws4-ecdsa-p256-sha256",
    "aws4-hmac-sha256",
    "googlelogin",
    "hawk",
    "hmac",
    "jwt",
    "key",
    "macaroon",
    "sharedaccesssignature",
    "sharedkey",
    "sharedkeylite",
    "signature",
    "token",
];

/// Whether the credentials of a request, or the challenges of a response, bind the connection to
/// the client that sends and receives them.
pub(super) fn binds_connection(headers: &HeaderMap) -> bool {
    // One pass instead of five lookups: most messages have few fields, and none of these.
    headers.iter().any(|(name, value)| match *name {
        AUTHORIZATION | PROXY_AUTHORIZATION => are_bound_credentials(value.as_bytes()),
        WWW_AUTHENTICATE | PROXY_AUTHENTICATE => has_bound_challenge(value.as_bytes()),
        _ => *name == PERSISTENT_AUTH,
    })
}

/// Whether credentials (`scheme token68` or `scheme parameters`) are of a scheme that binds.
fn are_bound_credentials(value: &[u8]) -> bool {
    let value = value.trim_ascii();
    let end = value.iter().position(u8::is_ascii_whitespace);
    let scheme = value.get(..end.unwrap_or(value.len())).unwrap_or_default();
    // A single word is most often a key without a scheme.
    match end {
        None => is_login_scheme(scheme),
        Some(_) => !is_per_request(scheme),
    }
}

/// Whether a list of challenges has one of a scheme that binds (RFC 9110, section 11.6.1). Commas
/// separate challenges, and the parameters of one challenge as well.
fn has_bound_challenge(value: &[u8]) -> bool {
    let mut is_quoted = false;
    let mut is_escaped = false;
    value
        .split(|byte| {
            let is_separator = *byte == b',' && !is_quoted;
            if is_escaped {
                is_escaped = false;
            } else if is_quoted && *byte == b'\\' {
                is_escaped = true;
            } else if *byte == b'"' {
                is_quoted = !is_quoted;
            }
            is_separator
        })
        .filter_map(challenge_scheme)
        .any(|scheme| !is_per_request(scheme))
}

/// Returns the scheme at the start of a list element; [`None`] if it is a parameter.
fn challenge_scheme(element: &[u8]) -> Option<&[u8]> {
    let element = element.trim_ascii();
    let length = element
        .iter()
        .position(|byte| !is_token_byte(*byte))
        .unwrap_or(element.len());
    let (scheme, rest) = element.split_at_checked(length)?;
    let is_parameter = rest.trim_ascii_start().first() == Some(&b'=');
    (!scheme.is_empty() && !is_parameter).then_some(scheme)
}

fn is_per_request(scheme: &[u8]) -> bool {
    PER_REQUEST_SCHEMES
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known.as_bytes()))
}

/// Whether a word is a scheme that logs a connection in.
fn is_login_scheme(scheme: &[u8]) -> bool {
    ["ntlm", "negotiate", "kerberos", "nego2"]
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known.as_bytes()))
}

/// Whether a byte may be part of a token (RFC 9110, section 5.6.2).
const fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#'
                | b'$'
                | b'%'
                | b'&'
                | b'\''
                | b'*'
                | b'+'
                | b'-'
                | b'.'
                | b'^'
                | b'_'
                | b'`'
                | b'|'
                | b'~'
        )
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn binds(fields: &[(&'static str, &'static str)]) -> bool {
        let headers = fields
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect();
        binds_connection(&headers)
    }

    #[test]
    fn credentials_of_login_schemes_bind_the_connection() {
        for value in [
            "NTLM TlRMTVNTUAABAAAA",
            "ntlm TlRM",
            "Negotiate YIIJvwYGKwYBBQUC",
            "NEGOTIATE abc==",
            "Kerberos YII=",
            "Nego2 x",
            "Negotiate",
            "SomethingNew abc",
        ] {
            assert!(binds(&[("authorization", value)]), "{value}");
            assert!(binds(&[("proxy-authorization", value)]), "{value}");
        }
        for value in [
            "Basic YTpi",
            "bearer abc",
            "Digest username=\"Negotiate x\"",
            "AWS4-HMAC-SHA256 Credential=a",
            "0123456789abcdef",
            "",
        ] {
            assert!(!binds(&[("authorization", value)]), "{value}");
        }
        assert!(!binds(&[]));
    }

    #[test]
    fn challenges_are_found_among_others() {
        for value in [
            "Negotiate",
            "NTLM",
            "ntlm TlRMTVNTUAACAAAA==",
            "Basic realm=\"a, b\", Negotiate",
            "Negotiate, Basic realm=\"a\"",
            "Basic realm = \"a\\\", x\" , NTLM",
            ", Basic realm=a,,kerberos",
        ] {
            assert!(binds(&[("www-authenticate", value)]), "{value}");
            assert!(binds(&[("proxy-authenticate", value)]), "{value}");
        }
        for value in [
            "Basic realm=\"NTLM, Negotiate\"",
            "Bearer realm=x, error=\"invalid\", scope = \"a b\"",
            "Digest realm=\"a\", qop=\"auth, auth-int\", nonce=abc",
            "",
        ] {
            assert!(!binds(&[("www-authenticate", value)]), "{value}");
        }
        assert!(
            binds(&[
                ("www-authenticate", "Basic realm=a"),
                ("www-authenticate", "NTLM"),
            ]),
            "in the second line"
        );
        assert!(binds(&[("persistent-auth", "true")]));
    }
}
