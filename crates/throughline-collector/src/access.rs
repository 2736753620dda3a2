//! Access for senders and for queries: bearer tokens (RFC 6750), or a header of a proxy.
//!
//! Without rules everybody may, which is meant for a loopback address. Tokens are compared in
//! constant time, and none is ever logged.

mod grant;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName};
use subtle::ConstantTimeEq as _;

pub(crate) use self::grant::IngestGrant;

/// The rules, which can be replaced while the collector runs. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct AccessControl(Arc<RwLock<Arc<AccessRules>>>);

/// The rules of access. The default lets everybody send and query.
#[derive(Debug, Default)]
pub struct AccessRules {
    /// Tokens of senders; without any, everybody may send.
    pub ingest: Vec<IngestToken>,
    /// Tokens of queries and of the web UI.
    pub query: Vec<AccessToken>,
    /// A header that an authenticating proxy sets, and that takes the place of a query token.
    pub query_header: Option<HeaderName>,
}

/// A secret, which nothing prints.
#[derive(Clone)]
pub struct AccessToken(Arc<str>);

/// The token of a sender, and what it allows.
#[derive(Debug)]
pub struct IngestToken {
    token: AccessToken,
    grant: IngestGrant,
}

// === impl AccessControl ===

impl AccessControl {
    /// Returns access by these rules.
    #[must_use]
    pub fn new(rules: AccessRules) -> Self {
        Self(Arc::new(RwLock::new(Arc::new(rules))))
    }

    /// Replaces the rules, from the next request on.
    pub fn replace(&self, rules: AccessRules) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
    }

    /// Returns whether senders need a token.
    #[must_use]
    pub fn restricts_ingest(&self) -> bool {
        !self.rules().ingest.is_empty()
    }

    /// Returns whether queries need a token or a header.
    #[must_use]
    pub fn restricts_queries(&self) -> bool {
        self.rules().restricts_queries()
    }

    pub(crate) fn rules(&self) -> Arc<AccessRules> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

// === impl AccessRules ===

impl AccessRules {
    /// Returns the grant of a sender with a valid token; without tokens, of everybody.
    pub(crate) fn grant_of(&self, headers: &HeaderMap) -> Option<IngestGrant> {
        if self.ingest.is_empty() {
            return Some(IngestGrant::default());
        }
        let given = token_of(headers)?;
        // All are compared, so that the time does not depend on the one that matches.
        let matching = self.ingest.iter().filter(|one| one.token.is(&given));
        let matching: Vec<&IngestToken> = matching.collect();
        matching.first().map(|one| one.grant.clone())
    }

    /// Returns whether queries are restricted.
    fn restricts_queries(&self) -> bool {
        !self.query.is_empty() || self.query_header.is_some()
    }

    /// Returns whether a query with these headers is allowed.
    pub(crate) fn allows_query(&self, headers: &HeaderMap) -> bool {
        if !self.restricts_queries() {
            return true;
        }
        let named = self.query_header.as_ref().and_then(|it| headers.get(it));
        if named.is_some_and(|value| !value.is_empty()) {
            return true;
        }
        let given = token_of(headers);
        given.is_some_and(|given| self.query.iter().filter(|own| own.is(&given)).count() > 0)
    }
}

// === impl AccessToken ===

impl AccessToken {
    /// Returns the token of this text.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    fn is(&self, given: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(given).into()
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken").finish_non_exhaustive()
    }
}

// === impl IngestToken ===

impl IngestToken {
    /// Returns a token that allows spans of these services, or of all without any, up to a number
    /// in each second.
    #[must_use]
    pub fn new(token: AccessToken, services: Vec<String>, max_rate: Option<u32>) -> Self {
        Self {
            token,
            grant: IngestGrant::new(services, max_rate),
        }
    }
}

/// Returns the token of the header `authorization`: that of the scheme Bearer, or the password of
/// the scheme Basic (RFC 7617), which browsers and data sources have a field for.
fn token_of(headers: &HeaderMap) -> Option<Vec<u8>> {
    let (scheme, value) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    let value = value.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(value.as_bytes().to_vec());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = STANDARD.decode(value).ok()?;
    let colon = decoded.iter().position(|byte| *byte == b':')?;
    decoded.get(colon.saturating_add(1)..).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn bearer_and_basic_carry_a_token() {
        let rules = AccessRules {
            ingest: vec![IngestToken::new(AccessToken::new("s3nd"), Vec::new(), None)],
            query: vec![AccessToken::new("r3ad")],
            query_header: None,
        };
        let authorization = |value: &str| headers(AUTHORIZATION, value);
        for valid in ["Bearer r3ad", "bearer  r3ad", "Basic Y21hbjpyM2Fk"] {
            assert!(rules.allows_query(&authorization(valid)), "{valid}");
        }
        for invalid in [
            "Bearer s3nd",
            "Bearer r3a",
            "Bearer r3add",
            "Bearer ",
            "r3ad",
            "Basic r3ad",
            "Basic cjNhZA==",
            "Digest r3ad",
        ] {
            assert!(!rules.allows_query(&authorization(invalid)), "{invalid}");
        }
        assert!(!rules.allows_query(&HeaderMap::new()));
        assert!(rules.grant_of(&authorization("Bearer s3nd")).is_some());
        assert!(rules.grant_of(&authorization("Bearer r3ad")).is_none());
        let debug = format!("{rules:?}");
        assert!(
            !debug.contains("s3nd") && !debug.contains("r3ad"),
            "{debug}"
        );
    }

    #[test]
    fn header_of_a_proxy_takes_the_place_of_a_token() {
        let user = HeaderName::from_static("x-forwarded-user");
        let rules = AccessRules {
            query_header: Some(user.clone()),
            ..AccessRules::default()
        };
        assert!(rules.allows_query(&headers(user.clone(), "ann")));
        assert!(!rules.allows_query(&headers(user, "")));
        assert!(!rules.allows_query(&HeaderMap::new()));
    }
}
