//! Text that spans have in common: attribute names, and values that many spans repeat.
//!
//! A Kafka span has some thirty texts, nearly all of which its neighbours have too. As [`String`]s,
//! their allocation took a fifth of the time that a span costs.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// Text that is cheap to clone: a constant, shared, or owned. Equality and hash depend on the
/// characters alone.
#[derive(Clone)]
pub struct Text(TextStorage);

#[derive(Clone)]
enum TextStorage {
    Constant(&'static str),
    Shared(Arc<str>),
    Owned(String),
}

// === impl Text ===

impl Text {
    /// Returns the text as a string slice.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            TextStorage::Constant(text) => text,
            TextStorage::Shared(text) => text,
            TextStorage::Owned(text) => text,
        }
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self(TextStorage::Constant(text))
    }
}

impl From<Arc<str>> for Text {
    fn from(text: Arc<str>) -> Self {
        Self(TextStorage::Shared(text))
    }
}

impl From<&Arc<str>> for Text {
    fn from(text: &Arc<str>) -> Self {
        Self(TextStorage::Shared(Arc::clone(text)))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(TextStorage::Owned(text))
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::from("")
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl AsRef<str> for Text {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self.as_str(), f)
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Text {}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl PartialEq<String> for Text {
    fn eq(&self, other: &String) -> bool {
        self.as_str() == other
    }
}

impl Hash for Text {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equality_does_not_depend_on_storage() {
        let texts = [
            Text::from("a"),
            Text::from(Arc::<str>::from("a")),
            Text::from("a".to_owned()),
        ];
        for text in &texts {
            assert_eq!(
                (text, format!("{text} {text:?}")),
                (&texts[0], "a \"a\"".to_owned())
            );
            assert_ne!(*text, Text::from("b"));
        }
        assert_eq!(Text::default(), "");
    }

    /// The queue of spans is bounded by bytes, most of which are texts.
    #[test]
    fn text_is_as_small_as_a_string() {
        assert_eq!(size_of::<Text>(), size_of::<String>());
    }
}
