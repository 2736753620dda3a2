//! Tokens: values such as request ids that an inbound message shares with the calls it causes.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use throughline_model::context::Carrier;

/// The request-id header that proxies and gateways agree on.
pub const REQUEST_ID: &str = "x-request-id";

/// Values that clients and proxies write where they have none.
const PLACEHOLDERS: [&str; 9] = [
    "undefined",
    "null",
    "none",
    "nil",
    "nan",
    "unknown",
    "n/a",
    "[object Object]",
    "(null)",
];
/// Longest value of a token. A longer one is content rather than an identifier.
const MAX_TOKEN_BYTES: usize = 128;

/// Name of a correlation value, with the places of a message where it can be found. An outbound
/// message with the same value under the same name as an inbound one was caused by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorrelationKey {
    pub name: String,
    pub locations: Vec<TokenLocation>,
}

/// Place of a token in a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenLocation {
    /// Header of a request or of a record.
    Header(String),
    /// Key of a record.
    RecordKey,
    /// JSON pointer (RFC 6901) to a string, number or boolean in the body of a request or the value
    /// of a record.
    Body(String),
}

/// Parts of a message that may hold tokens.
#[derive(Clone, Copy)]
pub struct TokenSource<'a> {
    pub headers: &'a dyn Carrier,
    /// Key of a record.
    pub key: Option<&'a [u8]>,
    /// Complete body, where it is available.
    pub body: Option<&'a [u8]>,
}

/// Extracts tokens from messages. Cheap to clone, so that callers keep one outside the lock of the
/// correlator and extract before they take the lock.
#[derive(Debug, Clone)]
pub struct TokenExtractor {
    keys: Arc<[CorrelationKey]>,
    max_body_bytes: usize,
}

/// Tokens found in one message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TokenSet(Vec<CorrelationToken>);

/// One value found under one key, with its hash. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CorrelationToken {
    key_index: usize,
    value: Arc<[u8]>,
    hash: u64,
}

/// A message body, parsed on first use.
enum LazyJsonBody<'a> {
    Unparsed(Option<&'a [u8]>),
    Parsed(Option<serde_json::Value>),
}

// === impl CorrelationKey ===

impl CorrelationKey {
    /// Returns the key for `x-request-id` in headers of requests and records.
    #[must_use]
    pub fn request_id() -> Self {
        Self {
            name: REQUEST_ID.to_owned(),
            locations: vec![TokenLocation::Header(REQUEST_ID.to_owned())],
        }
    }
}

// === impl TokenSource ===

impl std::fmt::Debug for TokenSource<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenSource").finish_non_exhaustive()
    }
}

// === impl TokenExtractor ===

impl TokenExtractor {
    /// Creates an extractor for `keys`. Bodies longer than `max_body_bytes` are not parsed.
    #[must_use]
    pub fn new(keys: Vec<CorrelationKey>, max_body_bytes: usize) -> Self {
        Self {
            keys: keys.into(),
            max_body_bytes,
        }
    }

    /// Returns the tokens of a message. A body that is too long or not JSON has none.
    #[must_use]
    pub fn extract(&self, source: TokenSource<'_>) -> TokenSet {
        // Parsing is the expensive part: it is bounded by size, and done only if a location needs
        // it.
        let body = source.body.filter(|body| body.len() <= self.max_body_bytes);
        let mut body = LazyJsonBody::Unparsed(body);
        let mut found = Vec::new();
        for (index, key) in self.keys.iter().enumerate() {
            for location in &key.locations {
                let token = match location {
                    TokenLocation::Header(name) => source
                        .headers
                        .last(name)
                        .and_then(|value| CorrelationToken::new(index, value)),
                    TokenLocation::RecordKey => source
                        .key
                        .and_then(|value| CorrelationToken::new(index, value)),
                    TokenLocation::Body(pointer) => body
                        .value_at(pointer)
                        .and_then(|value| CorrelationToken::new(index, value.as_bytes())),
                };
                // One key often finds the same value in several locations.
                if let Some(token) = token.filter(|token| !found.contains(token)) {
                    found.reserve_exact(usize::from(found.is_empty()));
                    found.push(token);
                }
            }
        }
        TokenSet(found)
    }

    /// Returns the size up to which bodies are searched, or [`None`] if no key refers to bodies.
    #[must_use]
    pub fn max_body_bytes(&self) -> Option<usize> {
        self.keys
            .iter()
            .flat_map(|key| &key.locations)
            .any(|location| matches!(location, TokenLocation::Body(_)))
            .then_some(self.max_body_bytes)
    }

    /// Returns the index of the key for `x-request-id`.
    pub(super) fn request_id_index(&self) -> Option<usize> {
        self.keys.iter().position(|key| key.name == REQUEST_ID)
    }
}

// === impl TokenSet ===

impl TokenSet {
    /// Returns whether the message has no token.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &CorrelationToken> {
        self.0.iter()
    }

    pub(super) fn into_tokens(self) -> Vec<CorrelationToken> {
        self.0
    }
}

/// Returns whether a value stands for a missing one.
fn is_placeholder(value: &[u8]) -> bool {
    // Also the nil UUID.
    value.iter().all(|byte| b"0-_.*?#".contains(byte))
        || PLACEHOLDERS
            .iter()
            .any(|word| value.eq_ignore_ascii_case(word.as_bytes()))
}

// === impl CorrelationToken ===

impl CorrelationToken {
    fn new(key_index: usize, value: &[u8]) -> Option<Self> {
        // White space around a header value is not part of it (RFC 9110, section 5.5).
        let value = value.trim_ascii();
        if !(1..=MAX_TOKEN_BYTES).contains(&value.len()) || is_placeholder(value) {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        (key_index, value).hash(&mut hasher);
        Some(Self {
            key_index,
            value: value.into(),
            hash: hasher.finish(),
        })
    }

    /// Returns the hash of key and value.
    pub(super) const fn value_hash(&self) -> u64 {
        self.hash
    }

    /// Returns the value if it was found under the key with this index.
    pub(super) fn value_of(&self, key_index: usize) -> Option<&Arc<[u8]>> {
        (self.key_index == key_index).then_some(&self.value)
    }
}

impl Hash for CorrelationToken {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Hashed by the extractor, so that a lookup under the correlator's lock hashes eight bytes.
        // Equality still compares the values: a collision must not become exact evidence.
        state.write_u64(self.hash);
    }
}

// === impl LazyJsonBody ===

impl LazyJsonBody<'_> {
    fn value_at(&mut self, pointer: &str) -> Option<String> {
        if let Self::Unparsed(bytes) = self {
            *self = Self::Parsed(bytes.and_then(|bytes| serde_json::from_slice(bytes).ok()));
        }
        let Self::Parsed(Some(json)) = self else {
            return None;
        };
        match json.pointer(pointer)? {
            serde_json::Value::String(text) => Some(text.clone()),
            value @ (serde_json::Value::Number(_) | serde_json::Value::Bool(_)) => {
                Some(value.to_string())
            }
            serde_json::Value::Null
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use throughline_model::context::HeaderList;

    use super::*;

    fn keys() -> Vec<CorrelationKey> {
        let locations = vec![
            TokenLocation::Header("x-order".to_owned()),
            TokenLocation::RecordKey,
            TokenLocation::Body("/order/id".to_owned()),
        ];
        vec![
            CorrelationKey::request_id(),
            CorrelationKey {
                name: "order".to_owned(),
                locations,
            },
        ]
    }

    fn extract(headers: &[(&str, &str)], key: Option<&[u8]>, body: Option<&[u8]>) -> TokenSet {
        let mut list = HeaderList::default();
        headers
            .iter()
            .for_each(|(name, value)| list.push(name, value));
        TokenExtractor::new(keys(), 64).extract(TokenSource {
            headers: &list,
            key,
            body,
        })
    }

    #[test]
    fn same_value_is_one_token_in_every_location_of_its_key() {
        let header = extract(&[("X-Order", " 17 ")], None, None);
        assert_eq!(header.0.len(), 1);
        assert_eq!(header, extract(&[], Some(b"17"), None));
        assert_eq!(header, extract(&[], None, Some(br#"{"order":{"id":17}}"#)));
        assert_eq!(
            header,
            extract(&[], None, Some(br#"{"order":{"id":"17"}}"#))
        );
        assert_eq!(
            header,
            extract(
                &[("x-order", "17")],
                Some(b"17"),
                Some(br#"{"order":{"id":"17"}}"#)
            )
        );
        assert_ne!(
            header,
            extract(&[("x-request-id", "17")], None, None),
            "the same value under another key"
        );
    }

    #[test]
    fn empty_long_and_structured_values_are_not_tokens() {
        let long = "x".repeat(129);
        assert!(extract(&[("x-order", ""), ("x-request-id", &long)], Some(b""), None).is_empty());
        let bodies: [&[u8]; 5] = [
            b"",
            b"{",
            br#"{"order":17}"#,
            br#"{"order":{"id":null}}"#,
            br#"{"order":{"id":[17]}}"#,
        ];
        for body in bodies {
            assert!(extract(&[], None, Some(body)).is_empty());
        }
        let too_long = format!(r#"{{"order":{{"id":17}},"more":"{}"}}"#, "x".repeat(64));
        assert!(extract(&[], None, Some(too_long.as_bytes())).is_empty());
    }

    #[test]
    fn bodies_are_wanted_only_if_a_key_refers_to_them() {
        assert_eq!(TokenExtractor::new(keys(), 64).max_body_bytes(), Some(64));
        let request_id = vec![CorrelationKey::request_id()];
        assert_eq!(TokenExtractor::new(request_id, 64).max_body_bytes(), None);
    }
}
