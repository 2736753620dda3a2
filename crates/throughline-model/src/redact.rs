//! Removal of secrets from URLs before they become attributes (HTTP conventions, `url.full` and
//! `url.query`).

use std::borrow::Cow;

/// The replacement for a secret.
pub const REDACTED: &str = "REDACTED";

/// Query keys whose values sign a URL and so let anyone use it, compared without regard to case.
const SIGNATURE_KEYS: [&str; 5] = [
    "awsaccesskeyid",
    "signature",
    "sig",
    "x-goog-signature",
    "x-amz-signature",
];

/// Returns the query of a URL with the values of signing keys replaced by [`REDACTED`].
#[must_use]
pub fn query(query: &str) -> Cow<'_, str> {
    // Nearly every query has no signature, and is passed on without a copy.
    if !query.split('&').any(is_signature) {
        return Cow::Borrowed(query);
    }
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((key, _)) if is_signature(pair) => Cow::Owned(format!("{key}={REDACTED}")),
        _ => Cow::Borrowed(pair),
    });
    Cow::Owned(pairs.collect::<Vec<_>>().join("&"))
}

/// Returns the user information of a URL, with the `@` behind it, in redacted form.
#[must_use]
pub fn credentials(user_info: &str) -> String {
    if user_info.contains(':') {
        format!("{REDACTED}:{REDACTED}@")
    } else {
        format!("{REDACTED}@")
    }
}

fn is_signature(pair: &str) -> bool {
    let key = pair.split_once('=').map_or(pair, |(key, _)| key);
    SIGNATURE_KEYS
        .iter()
        .any(|known| key.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_values_of_signing_keys_are_replaced() {
        assert_eq!(query("a=1&sig=s3cret&b"), "a=1&sig=REDACTED&b");
        assert_eq!(query("X-Amz-Signature=abc"), "X-Amz-Signature=REDACTED");
        assert_eq!(query("design=1&sig"), "design=1&sig");
    }

    #[test]
    fn credentials_keep_their_form_only() {
        assert_eq!(credentials("ann:pw"), "REDACTED:REDACTED@");
        assert_eq!(credentials("ann"), "REDACTED@");
    }
}
