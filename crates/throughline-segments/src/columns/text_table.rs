//! Distinct byte strings, by number.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::Range;

/// Smallest number of slots.
const MIN_SLOTS: usize = 64;

/// Distinct byte strings, numbered in the order in which they came.
#[derive(Debug)]
pub(crate) struct TextTable {
    hasher: FoldHasher,
    /// Open addressing: the upper half is a part of the hash, the lower half the number plus one.
    slots: Vec<u64>,
    bytes: Vec<u8>,
    /// End of each string in `bytes`.
    ends: Vec<usize>,
}

/// A fast hash with a secret, so that a sender cannot choose what collides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FoldHasher {
    secret: [u64; 2],
}

// === impl FoldHasher ===

impl FoldHasher {
    pub(crate) fn new() -> Self {
        let random = RandomState::new();
        Self {
            secret: [random.hash_one(1), random.hash_one(2) | 1],
        }
    }

    /// Hashes a number.
    pub(super) fn number(self, number: u64) -> u64 {
        fold(number ^ self.secret[0], self.secret[1])
    }

    fn bytes(self, mut bytes: &[u8]) -> u64 {
        let mut hash = self.secret[0] ^ bytes.len() as u64;
        while let Some((word, rest)) = bytes.split_first_chunk::<8>() {
            hash = fold(hash ^ u64::from_le_bytes(*word), self.secret[1]);
            bytes = rest;
        }
        let mut last = [0; 8];
        for (to, from) in last.iter_mut().zip(bytes) {
            *to = *from;
        }
        fold(hash ^ u64::from_le_bytes(last), self.secret[1])
    }
}

impl BuildHasher for FoldHasher {
    type Hasher = FoldState;

    fn build_hasher(&self) -> FoldState {
        FoldState {
            hasher: *self,
            hash: self.secret[0],
        }
    }
}

/// A hash of several values.
#[derive(Debug)]
pub(crate) struct FoldState {
    hasher: FoldHasher,
    hash: u64,
}

impl Hasher for FoldState {
    fn write(&mut self, bytes: &[u8]) {
        self.hash = fold(self.hash ^ self.hasher.bytes(bytes), self.hasher.secret[1]);
    }

    fn write_u32(&mut self, number: u32) {
        self.hash = fold(self.hash ^ u64::from(number), self.hasher.secret[1]);
    }

    fn write_usize(&mut self, number: usize) {
        // The length of an array, which is always the same.
        self.hash ^= number as u64;
    }

    fn finish(&self) -> u64 {
        self.hash
    }
}

/// Multiplies to 128 bits and adds the halves without carry: every bit depends on every other.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    let halves = (product as u64, (product >> 64) as u64);
    halves.0 ^ halves.1
}

// === impl TextTable ===

impl TextTable {
    pub(crate) fn new() -> Self {
        Self {
            hasher: FoldHasher::new(),
            slots: vec![0; MIN_SLOTS],
            bytes: Vec::new(),
            ends: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// Returns an estimate of the memory.
    pub(crate) fn memory(&self) -> usize {
        self.slots.capacity() * 8 + self.bytes.capacity() + self.ends.capacity() * 8
    }

    /// Returns the string with this number; an empty one when there is none.
    pub(crate) fn get(&self, number: u32) -> &[u8] {
        self.bytes.get(self.range(number)).unwrap_or_default()
    }

    fn range(&self, number: u32) -> Range<usize> {
        let at = number as usize;
        let end = self.ends.get(at).copied().unwrap_or_default();
        let start = at.checked_sub(1).and_then(|at| self.ends.get(at));
        start.copied().unwrap_or_default()..end
    }

    /// Returns the number of a string that is there.
    pub(crate) fn find(&self, text: &[u8]) -> Option<u32> {
        let hash = self.hasher.bytes(text);
        self.probe(hash, text).ok()
    }

    /// Returns the number of a string, and whether it is new.
    pub(crate) fn intern(&mut self, text: &[u8]) -> (u32, bool) {
        let hash = self.hasher.bytes(text);
        let slot = match self.probe(hash, text) {
            Ok(number) => return (number, false),
            Err(slot) => slot,
        };
        // Fewer than 2^32: each takes a slot of eight bytes.
        let number = u32::try_from(self.ends.len()).unwrap_or(u32::MAX - 1);
        self.bytes.extend_from_slice(text);
        self.ends.push(self.bytes.len());
        if let Some(slot) = self.slots.get_mut(slot) {
            *slot = tag(hash) | u64::from(number + 1);
        }
        if self.ends.len() * 2 > self.slots.len() {
            self.grow();
        }
        (number, true)
    }

    /// Returns the numbers of strings that are there; `None` for a string that is new, or whose
    /// place another one has taken.
    ///
    /// The strings are looked up step by step, all of them in each step: the reads of a step do not
    /// depend on each other, so the processor waits for the memory once and not for every string.
    pub(crate) fn find_each<'t>(
        &self,
        texts: impl Iterator<Item = &'t [u8]> + Clone,
        found: &mut Vec<Option<u32>>,
    ) {
        let mask = self.slots.len() - 1;
        found.clear();
        found.extend(texts.clone().map(|text| {
            let hash = self.hasher.bytes(text);
            let slot = self.slots.get(slot_of(hash, mask)).copied();
            slot.filter(|slot| *slot != 0 && slot & TAG == tag(hash))
                .map(number_in)
        }));
        let ranges = found.iter().map(|number| number.map(|it| self.range(it)));
        let ranges: Vec<Option<Range<usize>>> = ranges.collect();
        for ((text, range), number) in texts.zip(ranges).zip(found) {
            if range.and_then(|range| self.bytes.get(range)) != Some(text) {
                *number = None;
            }
        }
    }

    /// Returns the number of an equal string, or the free slot for it.
    fn probe(&self, hash: u64, text: &[u8]) -> Result<u32, usize> {
        let mask = self.slots.len() - 1;
        let mut at = slot_of(hash, mask);
        loop {
            let slot = self.slots.get(at).copied().unwrap_or_default();
            if slot == 0 {
                return Err(at);
            }
            if slot & TAG == tag(hash) {
                let number = number_in(slot);
                if self.get(number) == text {
                    return Ok(number);
                }
            }
            at = (at + 1) & mask;
        }
    }

    fn grow(&mut self) {
        let size = self.slots.len() * 2;
        let mask = size - 1;
        let mut slots = vec![0u64; size];
        for number in 0..self.ends.len() {
            let number = u32::try_from(number).unwrap_or(u32::MAX - 1);
            let hash = self.hasher.bytes(self.get(number));
            let mut at = slot_of(hash, mask);
            while slots.get(at).is_some_and(|slot| *slot != 0) {
                at = (at + 1) & mask;
            }
            if let Some(slot) = slots.get_mut(at) {
                *slot = tag(hash) | u64::from(number + 1);
            }
        }
        self.slots = slots;
    }
}

/// The bits of a slot that are a part of the hash.
const TAG: u64 = 0xffff_ffff_0000_0000;

/// Returns the number in a slot that is taken.
const fn number_in(slot: u64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "the lower half")]
    let number = slot as u32;
    number.saturating_sub(1)
}

const fn tag(hash: u64) -> u64 {
    hash & TAG
}

fn slot_of(hash: u64, mask: usize) -> usize {
    usize::try_from(hash & 0xffff_ffff).unwrap_or_default() & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_keep_their_numbers_while_the_table_grows() {
        let mut table = TextTable::new();
        let text = |number: u32| format!("text {}", number % 5000);
        for number in 0..10_000 {
            let (own, is_new) = table.intern(text(number).as_bytes());
            assert_eq!((own, is_new), (number % 5000, number < 5000));
        }
        assert_eq!(table.len(), 5000);
        assert_eq!(table.get(17), b"text 17");
        assert_eq!(table.find(b"text 4999"), Some(4999));
        assert_eq!(table.find(b""), None);
        assert_eq!(table.intern(b""), (5000, true));
        assert_eq!(table.intern(b""), (5000, false));
    }

    #[test]
    fn many_strings_are_found_at_once_or_left_to_a_search_of_their_own() {
        let mut table = TextTable::new();
        let mut found = Vec::new();
        table.find_each([b"new".as_slice()].into_iter(), &mut found);
        assert_eq!(found, [None]);
        let texts: Vec<String> = (0..1000).map(|number| format!("text {number}")).collect();
        for text in &texts {
            table.intern(text.as_bytes());
        }
        let wanted = texts.iter().map(|text| text.as_bytes());
        table.find_each(wanted.chain([b"new".as_slice()]), &mut found);
        assert_eq!(found.pop(), Some(None));
        for (number, found) in (0..).zip(&found) {
            assert!(found.is_none_or(|own| own == number), "{number}: {found:?}");
        }
        // A slot in two is taken at most, so most strings are in their own.
        assert!(found.iter().flatten().count() > 600, "{found:?}");
    }
}
