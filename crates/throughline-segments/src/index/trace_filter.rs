//! The traces that a segment may have: a hash of each id.

use throughline_model::TraceId;

use super::byte_codec;

/// Bits of a hash: one id in thirty million is found in a segment that does not have it.
const HASH_BITS: u32 = 40;

/// The hashes of a segment's trace ids, sorted.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct TraceFilter(Vec<u64>);

// === impl TraceFilter ===

impl TraceFilter {
    pub(crate) fn of(ids: impl Iterator<Item = TraceId>) -> Self {
        let mut hashes: Vec<u64> = ids.map(hash).collect();
        hashes.sort_unstable();
        hashes.dedup();
        Self(hashes)
    }

    /// Returns whether this trace may be there.
    pub(crate) fn may_contain(&self, id: TraceId) -> bool {
        self.0.binary_search(&hash(id)).is_ok()
    }

    /// Returns those of the traces that may be there; they come with their hashes, sorted.
    pub(crate) fn possible(&self, ids: &[(u64, TraceId)]) -> Vec<TraceId> {
        let mut own = self.0.iter().peekable();
        let possible = ids.iter().filter(|(hash, _)| {
            while own.next_if(|it| *it < hash).is_some() {}
            own.peek() == Some(&hash)
        });
        possible.map(|(_, id)| *id).collect()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        byte_codec::write_varint(out, self.0.len() as u64);
        let mut last = 0;
        for hash in &self.0 {
            byte_codec::write_varint(out, hash - last);
            last = *hash;
        }
    }

    pub(super) fn read(bytes: &mut &[u8]) -> Option<Self> {
        let mut hashes = Vec::new();
        let mut last = 0u64;
        for _ in 0..byte_codec::read_count(bytes)? {
            last = last.checked_add(byte_codec::read_varint(bytes)?)?;
            hashes.push(last);
        }
        // It stays in memory for as long as its segment.
        hashes.shrink_to_fit();
        Some(Self(hashes))
    }
}

/// Returns ids with their hashes, sorted.
pub(crate) fn hashed(ids: impl Iterator<Item = TraceId>) -> Vec<(u64, TraceId)> {
    let mut hashed: Vec<(u64, TraceId)> = ids.map(|id| (hash(id), id)).collect();
    hashed.sort_unstable();
    hashed
}

/// Returns a hash that is the same in every process: it is kept in files. Ids that were made to
/// collide make searches slower, not wrong.
fn hash(id: TraceId) -> u64 {
    let product =
        u128::from_be_bytes(id.to_bytes()).wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645);
    let folded = (product >> 64) ^ (product >> 24);
    #[expect(clippy::cast_possible_truncation, reason = "some bits of it")]
    let hash = folded as u64;
    hash >> (u64::BITS - HASH_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u128) -> TraceId {
        TraceId::from_bytes((number + 1).to_be_bytes()).unwrap()
    }

    #[test]
    fn ids_are_found_and_others_are_not() {
        let filter = TraceFilter::of((0..5000).map(|it| id((it << 64) | (it * 3))));
        assert!((0..5000).all(|it| filter.may_contain(id((it << 64) | (it * 3)))));
        let others = (5000..50_000).filter(|it| filter.may_contain(id(*it)));
        assert_eq!(others.count(), 0);
        let wanted = hashed([id(7), id(3 << 64 | 9)].into_iter());
        assert_eq!(filter.possible(&wanted), [id(3 << 64 | 9)]);
        let mut bytes = Vec::new();
        filter.write(&mut bytes);
        assert_eq!(TraceFilter::read(&mut bytes.as_slice()), Some(filter));
    }

    #[test]
    fn a_trace_takes_eight_bytes_of_memory() {
        let filter = TraceFilter::of((0..5000).map(id));
        let mut bytes = Vec::new();
        filter.write(&mut bytes);
        let read = TraceFilter::read(&mut bytes.as_slice()).unwrap();
        for filter in [filter, read] {
            assert_eq!(filter.0.capacity() * size_of::<u64>(), 8 * 5000);
        }
    }
}
