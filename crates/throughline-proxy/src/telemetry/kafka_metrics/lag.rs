//! The last consumer lag of each partition, for a bounded number of groups, topics and partitions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use throughline_intercept::kafka::PartitionIndex;

/// The most pairs of group and topic. Each becomes a label set.
const MAX_SERIES: usize = 1000;

/// The most partitions of all pairs together.
const MAX_PARTITIONS: usize = 50_000;

/// Age at which a lag is dropped: the partition has moved to a consumer elsewhere.
const MAX_LAG_AGE: Duration = Duration::from_secs(300);

/// A topic that a consumer group reads.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LagKey {
    /// Empty for consumers without a group.
    pub(super) group: Arc<str>,
    pub(super) topic: Arc<str>,
}

/// The last lag of each partition, by group and topic.
#[derive(Debug, Default)]
pub(super) struct LagTable {
    series: HashMap<LagKey, HashMap<PartitionIndex, PartitionLag>>,
    partitions: usize,
}

#[derive(Debug)]
struct PartitionLag {
    lag: i64,
    updated_at: Instant,
}

// === impl LagTable ===

impl LagTable {
    pub(super) fn set(
        &mut self,
        series: LagKey,
        partition: PartitionIndex,
        lag: i64,
        now: Instant,
    ) {
        let is_known = self
            .series
            .get(&series)
            .is_some_and(|partitions| partitions.contains_key(&partition));
        if !is_known {
            // Groups and topics come off the wire: beyond the caps, new ones are ignored.
            let is_full = self.partitions >= MAX_PARTITIONS
                || (self.series.len() >= MAX_SERIES && !self.series.contains_key(&series));
            if is_full {
                return;
            }
            self.partitions += 1;
        }
        let entry = PartitionLag {
            lag,
            updated_at: now,
        };
        self.series
            .entry(series)
            .or_default()
            .insert(partition, entry);
    }

    /// Returns the total lag of each group in each topic, and drops old entries.
    pub(super) fn sums(&mut self, now: Instant) -> BTreeMap<LagKey, i64> {
        let is_fresh =
            |entry: &PartitionLag| now.saturating_duration_since(entry.updated_at) < MAX_LAG_AGE;
        for partitions in self.series.values_mut() {
            partitions.retain(|_, entry| is_fresh(entry));
        }
        self.series.retain(|_, partitions| !partitions.is_empty());
        // Recounting is simpler than counting each removal, and scrapes are rare.
        self.partitions = self.series.values().map(HashMap::len).sum();
        let sum = |partitions: &HashMap<PartitionIndex, PartitionLag>| {
            partitions
                .values()
                .fold(0_i64, |sum, entry| sum.saturating_add(entry.lag))
        };
        self.series
            .iter()
            .map(|(series, partitions)| (series.clone(), sum(partitions)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(group: &str) -> LagKey {
        LagKey {
            group: Arc::from(group),
            topic: Arc::from("t"),
        }
    }

    #[test]
    fn partitions_add_up_until_they_are_too_old() {
        let (mut table, begin) = (LagTable::default(), Instant::now());
        table.set(series("g"), PartitionIndex(0), 5, begin);
        table.set(series("g"), PartitionIndex(0), 3, begin);
        table.set(series("g"), PartitionIndex(1), 4, begin + MAX_LAG_AGE / 2);
        let sum = |table: &mut LagTable, at| table.sums(at).into_values().collect::<Vec<_>>();
        assert_eq!(sum(&mut table, begin), [7]);
        assert_eq!(sum(&mut table, begin + MAX_LAG_AGE), [4]);
        assert!(sum(&mut table, begin + MAX_LAG_AGE * 2).is_empty());
        assert_eq!(table.partitions, 0);
    }

    #[test]
    fn number_of_series_is_bounded() {
        let (mut table, now) = (LagTable::default(), Instant::now());
        for group in 0..=MAX_SERIES {
            table.set(series(&group.to_string()), PartitionIndex(0), 1, now);
        }
        table.set(series("0"), PartitionIndex(1), 1, now);
        assert_eq!(
            (table.sums(now).len(), table.partitions),
            (MAX_SERIES, MAX_SERIES + 1)
        );
    }
}
