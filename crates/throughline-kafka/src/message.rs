//! What matters in the messages of clients and brokers, found in their untouched bodies; and [`BodySplice`], which changes it.
//!
//! A message is opened with [`ApiMessage::parse`]: its whole body is walked once, and what the view gives out afterwards points
//! into it. Only what the product needs is given out; the rest is stepped over. A version that is not known is
//! [`ParseOutcome::UnsupportedVersion`] and passes. Bytes behind the known fields are nobody's business and stay.
//!
//! Names are those of <https://kafka.apache.org/protocol#protocol_api_keys> in snake case; versions are those of
//! Kafka 2.1 to 4.4.

pub mod address;
pub mod api_versions;
pub mod cluster;
pub mod endpoint;
pub mod fetch;
pub mod group;
pub mod produce;
pub mod share;
mod splice;
mod topic;

pub use splice::{BodyPiece, BodySplice};
pub use topic::TopicRef;

use crate::api::ApiKey;
use crate::wire::{Decode, Error, WireReader};

/// A message that can be opened.
pub trait ApiMessage<'a>: Decode<'a> {
    /// Its key, and whether it asks or answers.
    const API: ApiKey;

    /// Walks `body`, which is of this version.
    ///
    /// # Errors
    /// Where the body is not what the version says; a body that ends too early is one.
    fn parse(body: &'a [u8], version: i16) -> Result<ParseOutcome<Self>, Error> {
        let flexible = Self::API
            .is_flexible(version)
            .filter(|_| Self::API.supports(version));
        let Some(flexible) = flexible else {
            return Ok(ParseOutcome::UnsupportedVersion);
        };
        Self::decode(&mut WireReader::new(body, version, flexible)).map(ParseOutcome::Parsed)
    }
}

/// A message that was to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseOutcome<T> {
    Parsed(T),
    /// Of a version that is not known: it passes as it is.
    UnsupportedVersion,
}

// === impl ParseOutcome ===

impl<T> ParseOutcome<T> {
    /// What was opened.
    pub fn parsed(self) -> Option<T> {
        match self {
            Self::Parsed(message) => Some(message),
            Self::UnsupportedVersion => None,
        }
    }

    /// What was opened, made into something else.
    pub fn map<U>(self, make: impl FnOnce(T) -> U) -> ParseOutcome<U> {
        match self {
            Self::Parsed(message) => ParseOutcome::Parsed(make(message)),
            Self::UnsupportedVersion => ParseOutcome::UnsupportedVersion,
        }
    }
}
