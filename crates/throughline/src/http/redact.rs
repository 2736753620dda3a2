//! Taking secrets out of URLs before they become attributes (HTTP conventions, `url.full` and `url.query`).

use std::borrow::Cow;

/// What stands in place of a secret.
pub(super) const REDACTED: &str = "REDACTED";

/// Query keys whose values sign a URL and so let anyone use it. Compared without regard to case.
const SIGNATURES: [&str; 5] = [
    "awsaccesskeyid",
    "signature",
    "sig",
    "x-goog-signature",
    "x-amz-signature",
];

/// The query with the values of signing keys replaced.
pub(super) fn query(query: &str) -> Cow<'_, str> {
    let secret = |pair: &str| {
        let key = pair.split_once('=').map_or(pair, |(key, _)| key);
        SIGNATURES.iter().any(|one| key.eq_ignore_ascii_case(one))
    };
    if !query.split('&').any(secret) {
        return Cow::Borrowed(query);
    }
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((key, _)) if secret(pair) => Cow::Owned(format!("{key}={REDACTED}")),
        _ => Cow::Borrowed(pair),
    });
    Cow::Owned(pairs.collect::<Vec<_>>().join("&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_sign_a_url_are_hidden_and_nothing_else() {
        assert_eq!(query("a=1&sig=s3cret&b"), "a=1&sig=REDACTED&b");
        assert_eq!(query("X-Amz-Signature=abc"), "X-Amz-Signature=REDACTED");
        assert_eq!(query("design=1&sig"), "design=1&sig");
    }
}
