//! Text that spans have in common: names of attributes, and values that are the same for many spans.
//!
//! A span of Kafka has some thirty texts, nearly all of which its neighbours have too. As [`String`]s, making and dropping them
//! was a fifth of the time that a span took.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::sync::Arc;

/// Text that is cheap to have again: a constant, shared, or its owner's alone. How it is held makes no difference to what it is.
#[derive(Clone)]
pub struct Text(Held);

#[derive(Clone)]
enum Held {
    Constant(&'static str),
    Shared(Arc<str>),
    Own(String),
}

// === impl Text ===

impl Text {
    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            Held::Constant(text) => text,
            Held::Shared(text) => text,
            Held::Own(text) => text,
        }
    }
}

impl From<&'static str> for Text {
    fn from(text: &'static str) -> Self {
        Self(Held::Constant(text))
    }
}

impl From<Arc<str>> for Text {
    fn from(text: Arc<str>) -> Self {
        Self(Held::Shared(text))
    }
}

impl From<&Arc<str>> for Text {
    fn from(text: &Arc<str>) -> Self {
        Self(Held::Shared(Arc::clone(text)))
    }
}

impl From<String> for Text {
    fn from(text: String) -> Self {
        Self(Held::Own(text))
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
    fn text_is_the_same_however_it_is_held() {
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

    /// The spans in a queue are bounded by their bytes, of which texts are most.
    #[test]
    fn text_takes_no_more_room_than_a_string() {
        assert_eq!(size_of::<Text>(), size_of::<String>());
    }
}
