//! Views of the messages between clients and brokers, and [`BodySplice`], which edits a body.
//!
//! [`ApiMessage::parse`] walks a body once; the fields of the view point into it. Views expose the
//! fields that the product reads and skip the others. A version outside the table of [`crate::api`]
//! is a value, [`ParseOutcome::UnsupportedVersion`], and its message passes unmodified. So do bytes
//! after the last known field.
//!
//! Messages, structures and fields have the names of
//! <https://kafka.apache.org/protocol#protocol_api_keys>, fields in snake case. To add a version of
//! an API, see [`crate::api`].

pub mod address;
pub mod api_versions;
pub mod cluster;
pub mod commit;
pub mod config;
pub mod endpoint;
pub mod fetch;
pub mod group;
pub mod produce;
pub mod share;
mod splice;
mod topic;

pub use splice::BodySplice;
pub use topic::TopicRef;

use crate::api::ApiKey;
use crate::wire::{Decode, Error, WireReader};

/// A request or response that can be parsed.
pub trait ApiMessage<'a>: Decode<'a> {
    /// The API that it belongs to.
    const API: ApiKey;

    /// Parses `body`, which is of this version.
    ///
    /// # Errors
    /// When the body does not follow the version, for example because it is truncated.
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

/// The outcome of parsing a well-formed message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseOutcome<T> {
    /// The view of the message.
    Parsed(T),
    /// The version is not supported, so the message must pass unmodified.
    UnsupportedVersion,
}

// === impl ParseOutcome ===

impl<T> ParseOutcome<T> {
    /// Returns the view, if the version is supported.
    pub fn parsed(self) -> Option<T> {
        match self {
            Self::Parsed(message) => Some(message),
            Self::UnsupportedVersion => None,
        }
    }

    /// Converts the view.
    pub fn map<U>(self, convert: impl FnOnce(T) -> U) -> ParseOutcome<U> {
        match self {
            Self::Parsed(message) => ParseOutcome::Parsed(convert(message)),
            Self::UnsupportedVersion => ParseOutcome::UnsupportedVersion,
        }
    }
}
