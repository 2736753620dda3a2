//! Hash of span ids that were made here: they are random, so that their bits are the hash.
//!
//! Not for ids off the wire, which a sender could choose so that all of them collide.

use std::hash::{BuildHasherDefault, Hasher};

/// Hash of a map whose keys are span ids of this process.
pub(super) type SpanIdHash = BuildHasherDefault<SpanIdHasher>;

/// Takes the bits of a span id as its hash.
#[derive(Debug, Default)]
pub(super) struct SpanIdHasher(u64);

// === impl SpanIdHasher ===

impl Hasher for SpanIdHasher {
    fn write_u64(&mut self, id: u64) {
        self.0 ^= id;
    }

    fn write(&mut self, bytes: &[u8]) {
        // Span ids are numbers of 64 bits, and come above.
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher as _;

    use throughline_model::SpanId;

    use super::*;

    #[test]
    fn different_ids_have_different_hashes() {
        let ids = (1..1000u64).filter_map(|id| SpanId::from_bytes(id.to_be_bytes()));
        let hashes: HashSet<u64> = ids.map(|id| SpanIdHash::default().hash_one(id)).collect();
        assert_eq!(hashes.len(), 999);
    }
}
