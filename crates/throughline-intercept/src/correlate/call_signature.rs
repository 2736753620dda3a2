//! Call signatures: equal for outbound calls of the same kind.

use std::hash::{DefaultHasher, Hash, Hasher};

/// Hash of what similar outbound calls have in common: method, peer and path template of a request,
/// topic of a record. The protocol decides which parts those are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallSignature(u64);

impl CallSignature {
    /// Creates the signature of calls with these parts in common.
    #[must_use]
    pub fn new(parts: &impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        parts.hash(&mut hasher);
        Self(hasher.finish())
    }

    pub(super) const fn value(self) -> u64 {
        self.0
    }
}
