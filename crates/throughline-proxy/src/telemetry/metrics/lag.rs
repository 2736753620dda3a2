//! Consumer lag as the connections saw it last, for a limited number of groups, topics and partitions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The last lag of each partition, by group and topic. What nobody has told of for a while is forgotten: the partition has gone
/// to a consumer elsewhere.
#[derive(Debug, Default)]
pub(super) struct Lags {
    groups: HashMap<Series, HashMap<i32, Seen>>,
    partitions: usize,
}

type Series = (Arc<str>, Arc<str>);

#[derive(Debug)]
struct Seen {
    lag: i64,
    at: Instant,
}

// === impl Lags ===

impl Lags {
    pub(super) fn set(
        &mut self,
        group: &str,
        topic: &Arc<str>,
        partition: i32,
        lag: i64,
        now: Instant,
    ) {
        let seen = Seen { lag, at: now };
        let series = (Arc::from(group), Arc::clone(topic));
        let is_known = self
            .groups
            .get(&series)
            .is_some_and(|partitions| partitions.contains_key(&partition));
        if !is_known {
            let is_full = self.partitions >= PARTITIONS_MAX
                || (self.groups.len() >= SERIES_MAX && !self.groups.contains_key(&series));
            if is_full {
                return;
            }
            self.partitions += 1;
        }
        self.groups
            .entry(series)
            .or_default()
            .insert(partition, seen);
    }

    /// The lag of each group in each topic: that of its partitions together.
    pub(super) fn sums(&mut self, now: Instant) -> BTreeMap<Series, i64> {
        for partitions in self.groups.values_mut() {
            partitions.retain(|_, seen| now.saturating_duration_since(seen.at) < MEMORY);
        }
        self.groups.retain(|_, partitions| !partitions.is_empty());
        self.partitions = self.groups.values().map(HashMap::len).sum();
        let sum = |partitions: &HashMap<i32, Seen>| {
            partitions
                .values()
                .fold(0_i64, |sum, seen| sum.saturating_add(seen.lag))
        };
        self.groups
            .iter()
            .map(|(series, partitions)| (series.clone(), sum(partitions)))
            .collect()
    }
}

/// Label sets that are told.
const SERIES_MAX: usize = 1000;

/// Partitions that are remembered for them.
const PARTITIONS_MAX: usize = 50_000;

const MEMORY: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_add_up_until_nobody_tells_of_them() {
        let (mut lags, begin, topic) = (Lags::default(), Instant::now(), Arc::from("t"));
        lags.set("g", &topic, 0, 5, begin);
        lags.set("g", &topic, 0, 3, begin);
        lags.set("g", &topic, 1, 4, begin + MEMORY / 2);
        let sum = |lags: &mut Lags, at| lags.sums(at).into_values().collect::<Vec<_>>();
        assert_eq!(sum(&mut lags, begin), [7]);
        assert_eq!(sum(&mut lags, begin + MEMORY), [4]);
        assert!(sum(&mut lags, begin + MEMORY * 2).is_empty());
        assert_eq!(lags.partitions, 0);
    }

    #[test]
    fn there_are_never_more_series_than_allowed() {
        let (mut lags, now, topic) = (Lags::default(), Instant::now(), Arc::from("t"));
        for group in 0..=SERIES_MAX {
            lags.set(&group.to_string(), &topic, 0, 1, now);
        }
        lags.set("0", &topic, 1, 1, now);
        assert_eq!(
            (lags.sums(now).len(), lags.partitions),
            (SERIES_MAX, SERIES_MAX + 1)
        );
    }
}
