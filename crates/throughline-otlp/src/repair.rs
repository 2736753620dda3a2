//! Counts of the values that were replaced or left out so that one bad value does not cost the
//! others.

use std::collections::BTreeMap;
use std::fmt;

/// The number of repairs, by kind.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct RepairCounts(BTreeMap<RepairKind, u64>);

/// A change that made a request readable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum RepairKind {
    /// Bytes of a text that are not UTF-8, or half of a surrogate pair, became U+FFFD.
    Text,
    /// An attribute was dropped, because its value is not of the type that it names.
    Attribute,
    /// A field was ignored, because its value is not of the field's type.
    Field,
}

// === impl RepairCounts ===

impl RepairCounts {
    /// Counts a repair.
    pub fn add(&mut self, kind: RepairKind, count: u64) {
        if count > 0 {
            *self.0.entry(kind).or_default() += count;
        }
    }

    /// Returns the number of repairs of each kind.
    pub fn iter(&self) -> impl Iterator<Item = (RepairKind, u64)> + '_ {
        self.0.iter().map(|(kind, count)| (*kind, *count))
    }
}

// === impl RepairKind ===

impl RepairKind {
    /// Returns the label in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Attribute => "attribute",
            Self::Field => "field",
        }
    }
}

impl fmt::Display for RepairKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Text => "invalid characters of a text were replaced by U+FFFD",
            Self::Attribute => "an attribute was dropped: its value is not of its type",
            Self::Field => "a field was ignored: its value is not of its type",
        })
    }
}
