//! References to topics.

use crate::types::TopicId;
use crate::wire::{Error, WireField, WireReader};

/// A reference to a topic: by name or, in newer versions, by id (KIP-516).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicRef<'a> {
    /// The name.
    Name(WireField<'a>),
    /// The id.
    Id(TopicId),
}

// === impl TopicRef ===

impl<'a> TopicRef<'a> {
    /// Reads a reference that is an id from version `ids_since` on.
    pub(super) fn decode(reader: &mut WireReader<'a>, ids_since: i16) -> Result<Self, Error> {
        if reader.version() >= ids_since {
            Ok(Self::Id(reader.decode()?))
        } else {
            Ok(Self::Name(reader.string()?))
        }
    }

    /// Returns the name; [`None`] for a reference by id or a name that is not UTF-8.
    #[must_use]
    pub fn name(&self) -> Option<&'a str> {
        match self {
            Self::Name(field) => field.text(),
            Self::Id(_) => None,
        }
    }

    /// Returns the id; [`None`] for a reference by name.
    #[must_use]
    pub const fn id(&self) -> Option<TopicId> {
        match self {
            Self::Name(_) => None,
            Self::Id(id) => Some(*id),
        }
    }
}
