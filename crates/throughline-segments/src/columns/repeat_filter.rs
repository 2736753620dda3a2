//! The spans that came before, as hashes: a span that is sent again is recognised, and one in a
//! million of the others is mistaken for such a one.

use throughline_model::{SpanId, TraceId};

use super::text_table::FoldHasher;

/// Smallest number of slots.
const MIN_SLOTS: usize = 64;

/// Hashes of spans.
#[derive(Debug)]
pub(super) struct RepeatFilter {
    hasher: FoldHasher,
    /// Open addressing; 0 is free.
    slots: Vec<u64>,
    count: usize,
}

// === impl RepeatFilter ===

impl RepeatFilter {
    pub(super) fn new() -> Self {
        Self {
            hasher: FoldHasher::new(),
            slots: vec![0; MIN_SLOTS],
            count: 0,
        }
    }

    pub(super) fn memory(&self) -> usize {
        self.slots.capacity() * 8
    }

    /// Adds a span; returns whether it came before.
    pub(super) fn insert(&mut self, trace: TraceId, span: SpanId) -> bool {
        let [high, low] = halves(trace);
        let span = u64::from_be_bytes(span.to_bytes());
        let hash = self.hasher.number(self.hasher.number(high ^ span) ^ low);
        let is_new = insert(&mut self.slots, hash | 1);
        if is_new {
            self.count += 1;
            if self.count * 2 > self.slots.len() {
                self.grow();
            }
        }
        !is_new
    }

    fn grow(&mut self) {
        let mut slots = vec![0; self.slots.len() * 2];
        for hash in self.slots.iter().filter(|hash| **hash != 0) {
            insert(&mut slots, *hash);
        }
        self.slots = slots;
    }
}

fn halves(trace: TraceId) -> [u64; 2] {
    let number = u128::from_be_bytes(trace.to_bytes());
    #[expect(clippy::cast_possible_truncation, reason = "the two halves")]
    let halves = [(number >> 64) as u64, number as u64];
    halves
}

fn insert(slots: &mut [u64], hash: u64) -> bool {
    let mask = slots.len() - 1;
    let mut at = usize::try_from(hash >> 32).unwrap_or_default() & mask;
    loop {
        match slots.get_mut(at) {
            Some(slot) if *slot == 0 => {
                *slot = hash;
                return true;
            }
            Some(slot) if *slot == hash => return false,
            _ => at = (at + 1) & mask,
        }
    }
}
