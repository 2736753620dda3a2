//! The service graph: services, topics, and the edges between them, as the stored spans show them.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

/// The graph of services and topics in one time range.
#[derive(Debug, Clone, Default)]
pub struct ServiceGraph {
    /// Start of the first span in the range, in nanoseconds since the Unix epoch.
    pub first_start: Option<u64>,
    /// Number of spans in the range.
    pub spans: u64,
    /// Services, by name.
    pub services: Vec<ServiceNode>,
    /// Topics, by name.
    pub topics: Vec<TopicNode>,
    /// Edges between services and topics, by kind and names.
    pub edges: Vec<GraphEdge>,
    /// The same relations without the topics between services, by names.
    pub dependencies: Vec<ServiceDependency>,
    /// True when services, topics or edges are missing because a limit was reached.
    pub more: bool,
}

/// A service in the graph.
#[derive(Debug, Clone)]
pub struct ServiceNode {
    /// Service name.
    pub name: Arc<str>,
    /// Number of spans.
    pub spans: u64,
    /// Number of failed spans.
    pub errors: u64,
}

/// A topic in the graph.
#[derive(Debug, Clone)]
pub struct TopicNode {
    /// Topic name.
    pub name: Arc<str>,
    /// Number of spans that sent to the topic.
    pub sent: u64,
    /// Number of spans that received from the topic.
    pub received: u64,
}

/// A directed edge between two services, or between a service and a topic.
#[derive(Debug, Clone)]
pub struct GraphEdge {
    /// Kind of the edge.
    pub kind: EdgeKind,
    /// Calling or sending service; for [`EdgeKind::Receive`] the topic.
    pub from: Arc<str>,
    /// Called or receiving service; for [`EdgeKind::Send`] the topic.
    pub to: Arc<str>,
    /// Consumer group of a [`EdgeKind::Receive`] edge; empty when no span names it.
    pub group: Arc<str>,
    /// Number of spans behind the edge.
    pub count: u64,
    /// Number of failed spans among them.
    pub errors: u64,
    /// Durations of the called, sending or receiving spans, in nanoseconds.
    pub latency: LatencyHistogram,
    /// Times that messages waited in the topic, in nanoseconds.
    pub queue_time: LatencyHistogram,
    /// Greatest consumer lag seen, in messages.
    pub max_lag: Option<i64>,
}

/// The kind of a graph edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EdgeKind {
    /// A service calls another service.
    Call,
    /// A service sends to a topic.
    Send,
    /// A service receives from a topic.
    Receive,
}

/// A direct dependency of one service on another, whether by call or by message.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServiceDependency {
    /// Service that calls or sends.
    pub parent: Arc<str>,
    /// Service that is called or receives.
    pub child: Arc<str>,
    /// Number of the child's spans whose parent (or, without a parent, whose link) is a span of
    /// the parent service.
    pub calls: u64,
}

/// Counts of values by magnitude, in buckets 1/16 apart.
#[derive(Debug, Clone, Default)]
pub struct LatencyHistogram {
    buckets: Vec<u32>,
    count: u64,
}

// === impl ServiceGraph ===

impl ServiceGraph {
    /// Adds the counts of another graph, which is about other spans.
    pub fn merge(&mut self, other: Self) {
        self.first_start = match (self.first_start, other.first_start) {
            (Some(own), Some(other)) => Some(own.min(other)),
            (own, other) => own.or(other),
        };
        self.spans += other.spans;
        self.more |= other.more;
        merge_sorted(
            &mut self.services,
            other.services,
            |it| Arc::clone(&it.name),
            |own, it| {
                own.spans += it.spans;
                own.errors += it.errors;
            },
        );
        merge_sorted(
            &mut self.topics,
            other.topics,
            |it| Arc::clone(&it.name),
            |own, it| {
                own.sent += it.sent;
                own.received += it.received;
            },
        );
        let edge = |it: &GraphEdge| {
            let names = [&it.from, &it.to, &it.group].map(Arc::clone);
            (it.kind, names)
        };
        merge_sorted(&mut self.edges, other.edges, edge, |own, it| {
            own.count += it.count;
            own.errors += it.errors;
            own.latency.merge(&it.latency);
            own.queue_time.merge(&it.queue_time);
            own.max_lag = own.max_lag.max(it.max_lag);
        });
        let pair = |it: &ServiceDependency| [&it.parent, &it.child].map(Arc::clone);
        merge_sorted(
            &mut self.dependencies,
            other.dependencies,
            pair,
            |own, it| {
                own.calls += it.calls;
            },
        );
    }
}

/// Adds items to those of the same key; the result is sorted by key.
fn merge_sorted<T, K: Ord>(
    own: &mut Vec<T>,
    other: Vec<T>,
    key: impl Fn(&T) -> K,
    add: impl Fn(&mut T, T),
) {
    let mut merged: BTreeMap<K, T> = BTreeMap::new();
    for item in own.drain(..).chain(other) {
        match merged.entry(key(&item)) {
            Entry::Vacant(entry) => {
                entry.insert(item);
            }
            Entry::Occupied(mut entry) => add(entry.get_mut(), item),
        }
    }
    own.extend(merged.into_values());
}

// === impl LatencyHistogram ===

impl LatencyHistogram {
    /// Adds the counts of another histogram.
    pub fn merge(&mut self, other: &Self) {
        if self.buckets.len() < other.buckets.len() {
            self.buckets.resize(other.buckets.len(), 0);
        }
        for (own, other) in self.buckets.iter_mut().zip(&other.buckets) {
            *own = own.saturating_add(*other);
        }
        self.count += other.count;
    }

    /// Records a value.
    pub fn add(&mut self, value: u64) {
        let bucket = bucket(value);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        if let Some(count) = self.buckets.get_mut(bucket) {
            // Four bytes for each bucket; a graph has thousands of histograms.
            *count = count.saturating_add(1);
        }
        self.count += 1;
    }

    /// Returns the value that this percentage of all values does not exceed, exact to about 3 %;
    /// `None` without any value.
    #[must_use]
    pub fn quantile(&self, percent: u64) -> Option<u64> {
        // Nearest-rank definition of a percentile; at least the first value.
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let at = self.buckets.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        Some(midpoint(at))
    }
}

/// Returns the bucket of a value: one each below 16, then 16 for each power of two.
fn bucket(value: u64) -> usize {
    let small = |value: u64| usize::try_from(value).unwrap_or_default();
    let Some(power) = value.checked_ilog2().filter(|power| *power >= 4) else {
        return small(value);
    };
    // The four bits after the leading one: each bucket spans 1/16 of its power of two.
    let step = (value >> (power - 4)) & 15;
    ((power as usize - 3) << 4) + small(step)
}

/// Returns the value in the middle of a bucket.
fn midpoint(bucket: usize) -> u64 {
    let at = bucket as u64;
    if at < 16 {
        return at;
    }
    let power = (at >> 4) + 3;
    let width = 1u64 << (power - 4);
    ((16 + (at & 15)) << (power - 4)) + width / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact_to_three_percent_at_every_magnitude() {
        assert_eq!(LatencyHistogram::default().quantile(50), None);
        for value in [
            0,
            1,
            15,
            16,
            17,
            1000,
            123_456_789,
            3_600_000_000_000,
            u64::MAX,
        ] {
            let mut histogram = LatencyHistogram::default();
            histogram.add(value);
            let quantile = histogram.quantile(50).unwrap();
            assert!(
                quantile.abs_diff(value) <= value / 31,
                "{value}: {quantile}"
            );
        }
        let mut histogram = LatencyHistogram::default();
        (1..=1000).for_each(|value| histogram.add(value * 1000));
        let (half, most) = (
            histogram.quantile(50).unwrap(),
            histogram.quantile(95).unwrap(),
        );
        assert!(
            half.abs_diff(500_000) < 20_000 && most.abs_diff(950_000) < 35_000,
            "{half} {most}"
        );
    }
}
