//! The traces that a segment may have: a Bloom filter over their ids.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use throughline_model::TraceId;

use super::byte_codec;

/// Bits for each trace: one id in a hundred is found that is not there.
const BITS_PER_TRACE: usize = 10;

/// Bits that one trace sets.
const PROBES: u64 = 7;

/// A Bloom filter over trace ids.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct TraceFilter(Vec<u8>);

// === impl TraceFilter ===

impl TraceFilter {
    pub(crate) fn of(ids: impl ExactSizeIterator<Item = TraceId>) -> Self {
        let bytes = (ids.len() * BITS_PER_TRACE).div_ceil(8);
        let mut filter = Self(vec![0; bytes]);
        for id in ids {
            let positions: Vec<usize> = filter.positions(id).collect();
            for at in positions {
                if let Some(byte) = filter.0.get_mut(at / 8) {
                    *byte |= 1 << (at % 8);
                }
            }
        }
        filter
    }

    /// Returns whether this trace may be there.
    pub(crate) fn may_contain(&self, id: TraceId) -> bool {
        !self.0.is_empty()
            && self.positions(id).all(|at| {
                let byte = self.0.get(at / 8).copied().unwrap_or_default();
                byte >> (at % 8) & 1 == 1
            })
    }

    fn positions(&self, id: TraceId) -> impl Iterator<Item = usize> + use<> {
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        let hash = hasher.finish();
        // Two halves make any number of hashes (Kirsch and Mitzenmacher, 2006).
        let (first, step) = (hash & u64::from(u32::MAX), (hash >> 32) | 1);
        let bits = (self.0.len() as u64 * 8).max(1);
        (0..PROBES).filter_map(move |probe| {
            usize::try_from(first.wrapping_add(probe.wrapping_mul(step)) % bits).ok()
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        byte_codec::write_varint(out, self.0.len() as u64);
        out.extend_from_slice(&self.0);
    }

    pub(super) fn read(bytes: &mut &[u8]) -> Option<Self> {
        let length = byte_codec::read_count(bytes)?;
        let (own, rest) = bytes.split_at_checked(length)?;
        *bytes = rest;
        Some(Self(own.to_vec()))
    }
}
