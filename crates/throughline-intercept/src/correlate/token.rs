//! Values that an inbound message and what it causes have in common: request ids, order numbers.

use throughline_model::context::Carrier;

/// A name, and where in messages its value stands. A value that an inbound and an outbound message have under the same name
/// tells that the one caused the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    pub name: String,
    pub places: Vec<Place>,
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A header of HTTP or of a record.
    Header(String),
    /// The key of a record.
    RecordKey,
    /// A JSON pointer (RFC 6901) into the body of a request or the value of a record. It points at text, a number or a truth.
    Body(String),
}

/// What a message shows of itself.
#[derive(Clone, Copy)]
pub struct Message<'a> {
    pub headers: &'a dyn Carrier,
    /// The key of a record.
    pub key: Option<&'a [u8]>,
    /// The whole body, when it is at hand.
    pub body: Option<&'a [u8]>,
}

/// The values found in a message.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tokens(pub(super) Vec<Token>);

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Token {
    key: usize,
    value: Box<[u8]>,
}

/// The header that proxies and gateways agree on.
pub const REQUEST_ID: &str = "x-request-id";

/// Longer values are texts, not names of something.
const MAX_VALUE: usize = 128;

// === impl Key ===

impl Key {
    /// `x-request-id`, in the headers of requests and of records.
    #[must_use]
    pub fn request_id() -> Self {
        Self {
            name: REQUEST_ID.to_owned(),
            places: vec![Place::Header(REQUEST_ID.to_owned())],
        }
    }
}

// === impl Message ===

impl std::fmt::Debug for Message<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message").finish_non_exhaustive()
    }
}

// === impl Tokens ===

impl Tokens {
    /// What `keys` find in the message. A body longer than `max_body_bytes`, or that is no JSON, holds nothing.
    #[must_use]
    pub fn of(keys: &[Key], message: Message<'_>, max_body_bytes: usize) -> Self {
        let mut body = Body::Unread(message.body.filter(|body| body.len() <= max_body_bytes));
        let mut found = Vec::new();
        for (key, places) in keys.iter().map(|key| &key.places).enumerate() {
            for place in places {
                let token = match place {
                    Place::Header(name) => message
                        .headers
                        .last(name)
                        .and_then(|value| Token::new(key, value)),
                    Place::RecordKey => message.key.and_then(|value| Token::new(key, value)),
                    Place::Body(pointer) => body
                        .at(pointer)
                        .and_then(|value| Token::new(key, value.as_bytes())),
                };
                found.extend(token.filter(|token| !found.contains(token)));
            }
        }
        Self(found)
    }

    /// Whether nothing was found.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

// === impl Token ===

impl Token {
    fn new(key: usize, value: &[u8]) -> Option<Self> {
        let value = value.trim_ascii();
        (1..=MAX_VALUE).contains(&value.len()).then(|| Self {
            key,
            value: value.into(),
        })
    }

    /// The value, if this key found it.
    pub(super) fn of(&self, key: usize) -> Option<&[u8]> {
        (self.key == key).then_some(&*self.value)
    }
}

/// A body, parsed when it is first asked.
enum Body<'a> {
    Unread(Option<&'a [u8]>),
    Read(Option<serde_json::Value>),
}

// === impl Body ===

impl Body<'_> {
    fn at(&mut self, pointer: &str) -> Option<String> {
        if let Self::Unread(bytes) = self {
            *self = Self::Read(bytes.and_then(|bytes| serde_json::from_slice(bytes).ok()));
        }
        let Self::Read(Some(json)) = self else {
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

    fn keys() -> Vec<Key> {
        let places = vec![
            Place::Header("x-order".to_owned()),
            Place::RecordKey,
            Place::Body("/order/id".to_owned()),
        ];
        vec![
            Key::request_id(),
            Key {
                name: "order".to_owned(),
                places,
            },
        ]
    }

    fn found(headers: &[(&str, &str)], key: Option<&[u8]>, body: Option<&[u8]>) -> Tokens {
        let mut list = HeaderList::default();
        headers
            .iter()
            .for_each(|(name, value)| list.push(name, value));
        Tokens::of(
            &keys(),
            Message {
                headers: &list,
                key,
                body,
            },
            64,
        )
    }

    #[test]
    fn the_same_value_is_found_wherever_its_key_says_that_it_stands() {
        let header = found(&[("X-Order", " 17 ")], None, None);
        assert_eq!(header.0.len(), 1);
        assert_eq!(header, found(&[], Some(b"17"), None));
        assert_eq!(header, found(&[], None, Some(br#"{"order":{"id":17}}"#)));
        assert_eq!(header, found(&[], None, Some(br#"{"order":{"id":"17"}}"#)));
        assert_eq!(
            header,
            found(
                &[("x-order", "17")],
                Some(b"17"),
                Some(br#"{"order":{"id":"17"}}"#)
            )
        );
        assert_ne!(
            header,
            found(&[("x-request-id", "17")], None, None),
            "another name, another value"
        );
    }

    #[test]
    fn what_names_nothing_is_no_token() {
        let long = "x".repeat(129);
        assert!(found(&[("x-order", ""), ("x-request-id", &long)], Some(b""), None).is_empty());
        let bodies: [&[u8]; 5] = [
            b"",
            b"{",
            br#"{"order":17}"#,
            br#"{"order":{"id":null}}"#,
            br#"{"order":{"id":[17]}}"#,
        ];
        for body in bodies {
            assert!(found(&[], None, Some(body)).is_empty());
        }
        let too_long = format!(r#"{{"order":{{"id":17}},"more":"{}"}}"#, "x".repeat(64));
        assert!(found(&[], None, Some(too_long.as_bytes())).is_empty());
    }
}
