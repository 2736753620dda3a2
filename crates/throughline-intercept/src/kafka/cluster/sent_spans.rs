//! Ends of the spans that sent records: a table of fixed size whose oldest entries give way.
//!
//! Span ids are random, and only those that were made here are inserted: their bits choose the
//! place. An id is looked for within one cache line.

use throughline_model::SpanId;

use crate::Timestamp;

/// Table of the ends of spans, by their ids.
#[derive(Debug)]
pub(super) struct SentSpans {
    /// The memory is taken with the first entry.
    buckets: Vec<Bucket>,
    bucket_count: usize,
}

/// Ids and ends of spans, in the same order; 0 for no span. Numbers, so that the system supplies
/// the table in zeroed pages as they are used.
type Bucket = [[u64; BUCKET_SPANS]; 2];

/// A bucket takes a cache line of 64 bytes.
const BUCKET_SPANS: usize = 4;

// === impl SentSpans ===

impl SentSpans {
    /// Returns an empty table for at most `capacity` spans, rounded to a power of two.
    pub(super) fn new(capacity: usize) -> Self {
        let bucket_count = (capacity / BUCKET_SPANS).max(1).next_power_of_two();
        Self {
            buckets: Vec::new(),
            bucket_count,
        }
    }

    /// Records the end of a span. The oldest one in its bucket gives way.
    pub(super) fn insert(&mut self, span: SpanId, at: Timestamp) {
        if self.buckets.is_empty() {
            self.buckets = vec![Bucket::default(); self.bucket_count];
        }
        let (id, index) = self.place(span);
        let Some([ids, ends]) = self.buckets.get_mut(index) else {
            return;
        };
        let known = ids.iter().position(|other| *other == id);
        let oldest = || (0..BUCKET_SPANS).min_by_key(|slot| ends.get(*slot).copied());
        if let Some(slot) = known.or_else(oldest)
            && let (Some(slot_id), Some(slot_end)) = (ids.get_mut(slot), ends.get_mut(slot))
        {
            (*slot_id, *slot_end) = (id, at);
        }
    }

    /// Returns the end of a span.
    pub(super) fn get(&self, span: SpanId) -> Option<Timestamp> {
        let (id, index) = self.place(span);
        let [ids, ends] = self.buckets.get(index)?;
        let slot = ids.iter().position(|other| *other == id)?;
        ends.get(slot).copied()
    }

    /// Returns the id as a number, and the index of its bucket.
    fn place(&self, span: SpanId) -> (u64, usize) {
        let id = u64::from_be_bytes(span.to_bytes());
        let low = usize::try_from(id & u64::from(u32::MAX)).unwrap_or_default();
        (id, low & (self.bucket_count - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> SpanId {
        SpanId::from_bytes(number.to_be_bytes()).unwrap()
    }

    #[test]
    fn oldest_span_of_a_bucket_gives_way() {
        let mut table = SentSpans::new(16);
        assert_eq!(table.get(id(4)), None);
        // The low two bits choose one of four buckets.
        for (number, at) in [(4, 50), (8, 20), (12, 30), (16, 40), (5, 10)] {
            table.insert(id(number), at);
        }
        assert_eq!(table.get(id(8)), Some(20));
        table.insert(id(20), 60);
        let ends = [4, 8, 12, 16, 20, 5].map(|number| table.get(id(number)));
        let expected = [Some(50), None, Some(30), Some(40), Some(60), Some(10)];
        assert_eq!(ends, expected);
        table.insert(id(4), 70);
        assert_eq!((table.get(id(4)), table.get(id(12))), (Some(70), Some(30)));
    }

    #[test]
    fn table_of_any_capacity_holds_a_span() {
        for capacity in [0, 1, 5, 1000] {
            let mut table = SentSpans::new(capacity);
            table.insert(id(u64::MAX), 1);
            assert_eq!(table.get(id(u64::MAX)), Some(1));
        }
    }
}
