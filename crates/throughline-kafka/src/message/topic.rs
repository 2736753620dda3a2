//! A topic as messages name it.

use crate::types::TopicId;
use crate::wire::{Error, WireField, WireReader};

/// A topic, by name or, in newer versions, by id (KIP-516).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TopicRef<'a> {
    Name(WireField<'a>),
    Id(TopicId),
}

// === impl TopicRef ===

impl<'a> TopicRef<'a> {
    /// Reads a topic that is named by its id from version `since` on.
    pub(super) fn decode(reader: &mut WireReader<'a>, since: i16) -> Result<Self, Error> {
        if reader.version() >= since {
            Ok(Self::Id(reader.decode()?))
        } else {
            Ok(Self::Name(reader.string()?))
        }
    }

    /// The name; [`None`] when it is named by id, or its name is not UTF-8.
    #[must_use]
    pub fn name(&self) -> Option<&'a str> {
        match self {
            Self::Name(field) => field.text(),
            Self::Id(_) => None,
        }
    }

    /// The id; [`None`] when it is named by name.
    #[must_use]
    pub const fn id(&self) -> Option<TopicId> {
        match self {
            Self::Name(_) => None,
            Self::Id(id) => Some(*id),
        }
    }
}
