//! Maps by the numbers of activities.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use super::activity::ActivityId;

/// An odd number whose products with numbers in order are far apart: 2^64 by the golden ratio.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A map by the numbers of activities.
pub(super) type ActivityMap<V> = HashMap<ActivityId, V, BuildHasherDefault<ActivityIdHasher>>;

/// Hashes the number of an activity. Numbers are given in order and by nobody else, so that they
/// need no secret. Their products are spread evenly over a table, however large it is.
#[derive(Debug, Default)]
pub(super) struct ActivityIdHasher(u64);

// === impl ActivityIdHasher ===

impl Hasher for ActivityIdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.wrapping_mul(SPREAD) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number.wrapping_mul(SPREAD);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::hash::BuildHasher as _;

    use super::*;

    #[test]
    fn numbers_in_order_are_spread_evenly() {
        let hasher = BuildHasherDefault::<ActivityIdHasher>::default();
        let first = 1_000_000;
        let hashes = (first..first + 4096).map(|number| hasher.hash_one(ActivityId(number)));
        let (mut places, mut tags) = (HashSet::new(), HashSet::new());
        for hash in hashes {
            places.insert(hash % 8192);
            tags.insert(hash >> 57);
        }
        assert_eq!((places.len(), tags.len()), (4096, 128));
    }
}
