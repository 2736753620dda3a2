//! Builds the posting lists of a segment.

use super::posting_lists::PostingLists;
use crate::columns::{HotColumns, SealedOrder};

/// Pairs of a hash, by its number, and a trace. Each pair comes once, traces in rising order.
#[derive(Debug)]
struct PairCollector {
    pairs: Vec<(u32, u32)>,
    hashes: Vec<CollectedHash>,
    /// The trace that had an attribute last, plus one.
    terms: Vec<u32>,
}

/// The last trace and the number of traces of a hash; side by side, as most are in no cache.
#[derive(Debug, Default, Clone, Copy)]
struct CollectedHash {
    /// The trace that was added last, plus one.
    last: u32,
    /// Number of its traces.
    count: u32,
}

// === impl PairCollector ===

impl PairCollector {
    fn add(&mut self, hash: u32, trace: u32) {
        let Some(collected) = self.hashes.get_mut(hash as usize) else {
            return;
        };
        if collected.last != trace + 1 {
            collected.last = trace + 1;
            collected.count += 1;
            self.pairs.push((hash, trace));
        }
    }

    /// Adds the hashes of attributes. Most of a span are those of another span of its trace, and
    /// their hashes need no look.
    fn add_terms(&mut self, columns: &HotColumns, terms: &[u32], trace: u32) {
        for term in terms {
            let Some(last) = self.terms.get_mut(*term as usize) else {
                continue;
            };
            if std::mem::replace(last, trace + 1) != trace + 1 {
                self.add_all(columns.terms().hashes_of(*term), trace);
            }
        }
    }

    fn add_all(&mut self, hashes: &[u32], trace: u32) {
        hashes.iter().for_each(|hash| self.add(*hash, trace));
    }

    /// Returns the traces of all hashes, one hash after the other, and where each begins.
    fn grouped(&self) -> (Vec<u32>, Vec<u32>) {
        let mut next = 0u32;
        let starts = self.hashes.iter().map(|collected| {
            let start = next;
            next += collected.count;
            start
        });
        let starts: Vec<u32> = starts.collect();
        let mut free = starts.clone();
        let mut traces = vec![0; self.pairs.len()];
        for (hash, trace) in &self.pairs {
            if let Some(at) = free.get_mut(*hash as usize)
                && let Some(slot) = traces.get_mut(*at as usize)
            {
                *slot = *trace;
                *at += 1;
            }
        }
        (traces, starts)
    }
}

// === impl PostingLists ===

impl PostingLists {
    /// Builds the lists of a segment with these rows.
    pub(super) fn of(columns: &HotColumns, order: &SealedOrder) -> Self {
        let hashes = columns.terms().hashes().all();
        let mut collector = PairCollector {
            pairs: Vec::with_capacity(order.rows.len() * 8),
            hashes: vec![CollectedHash::default(); hashes.len()],
            terms: vec![0; columns.terms().len()],
        };
        let extra = ExtraHashes::of_columns(columns);
        let mut rows = order.rows.iter().zip(&order.numbers);
        for (trace, (_, spans)) in (0..).zip(&order.traces) {
            let mut origin = u32::MAX;
            for (row, number) in rows.by_ref().take(*spans as usize) {
                collector.add_all(&columns.field_hashes(row), trace);
                if row.origin != origin {
                    origin = row.origin;
                    collector.add_all(columns.origin_hashes(origin), trace);
                }
                collector.add_terms(columns, columns.terms_of(row), trace);
                collector.add_all(extra.of(*number), trace);
            }
        }
        Self::encode(hashes, &collector)
    }

    fn encode(hashes: &[u32], collector: &PairCollector) -> Self {
        let (traces, starts) = collector.grouped();
        let numbers = (0u32..).zip(hashes).zip(&collector.hashes);
        let numbers = numbers.filter(|(_, collected)| collected.count > 0);
        let mut sorted: Vec<(u32, u32)> =
            numbers.map(|((number, hash), _)| (*hash, number)).collect();
        sorted.sort_unstable();
        let mut lists = Self::default();
        for (hash, number) in sorted {
            let start = starts.get(number as usize).copied().unwrap_or_default() as usize;
            let collected = collector.hashes.get(number as usize);
            let end = start + collected.map_or(0, |it| it.count) as usize;
            lists.push(hash, traces.get(start..end).unwrap_or_default());
        }
        lists
    }
}

/// The hashes that few rows have beside their attributes.
#[derive(Debug, Default)]
struct ExtraHashes {
    /// By row.
    pairs: Vec<(u32, u32)>,
    hashes: Vec<u32>,
}

impl ExtraHashes {
    fn of_columns(columns: &HotColumns) -> Self {
        let mut pairs = extra_hashes(columns);
        pairs.sort_unstable();
        let hashes = pairs.iter().map(|(_, hash)| *hash).collect();
        Self { pairs, hashes }
    }

    fn of(&self, row: u32) -> &[u32] {
        if self.pairs.is_empty() {
            return &[];
        }
        let first = self.pairs.partition_point(|(own, _)| *own < row);
        let end = self.pairs.partition_point(|(own, _)| *own <= row);
        self.hashes.get(first..end).unwrap_or_default()
    }
}

/// Returns the hashes of topics, of the attributes of events and links, and of other traces that
/// are linked to, with their rows.
fn extra_hashes(columns: &HotColumns) -> Vec<(u32, u32)> {
    let topics = columns.row_topics().iter();
    let topics = topics.map(|(row, topic)| (*row, columns.topic_hash(*topic)));
    let nested = columns.nested().iter().flat_map(|(row, _, term)| {
        let hashes = columns.terms().hashes_of(*term).iter();
        hashes.map(|hash| (*row, *hash))
    });
    let links = columns.links().iter().filter_map(|link| {
        let row = columns.row(link.row).filter(|row| columns.is_live(row))?;
        let own = columns.trace(row.trace)?.id;
        (own != link.target).then_some((link.row, link.hash))
    });
    topics.chain(nested).chain(links).collect()
}
