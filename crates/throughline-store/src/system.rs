//! The system as its spans show it: services, topics, and what goes between them.

use std::sync::Arc;

/// The system, in the time asked for.
#[derive(Debug, Clone, Default)]
pub struct System {
    /// When the first span of that time started.
    pub first: Option<u64>,
    /// Spans of that time.
    pub spans: u64,
    /// By name.
    pub services: Vec<ServiceNode>,
    /// By name.
    pub topics: Vec<TopicNode>,
    /// By kind and names.
    pub edges: Vec<Edge>,
    /// Whether there were too many of something to count them all.
    pub more: bool,
}

/// A service.
#[derive(Debug, Clone)]
pub struct ServiceNode {
    /// Its name.
    pub name: Arc<str>,
    /// Its spans.
    pub spans: u64,
    /// Those that failed.
    pub errors: u64,
}

/// A topic.
#[derive(Debug, Clone)]
pub struct TopicNode {
    /// Its name.
    pub name: Arc<str>,
    /// Spans that sent to it.
    pub sent: u64,
    /// Spans that got from it.
    pub received: u64,
}

/// What went from one to another.
#[derive(Debug, Clone)]
pub struct Edge {
    /// What it is.
    pub kind: EdgeKind,
    /// A service, or a topic that was got from.
    pub from: Arc<str>,
    /// A service, or a topic that was sent to.
    pub to: Arc<str>,
    /// The consumer group, where one got from a topic; empty when not said.
    pub group: Arc<str>,
    /// How often.
    pub count: u64,
    /// How often it failed.
    pub errors: u64,
    /// How long it took who was called, sent, or got, in nanoseconds.
    pub time: Histogram,
    /// How long messages waited in the topic, in nanoseconds.
    pub queue: Histogram,
    /// The most messages that were behind one.
    pub lag_max: Option<i64>,
}

/// What an edge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EdgeKind {
    /// A service calls another.
    Call,
    /// A service sends to a topic.
    Send,
    /// A service gets from a topic.
    Receive,
}

/// How often values of each size were seen; sizes differ by 1/16.
#[derive(Debug, Clone, Default)]
pub struct Histogram {
    buckets: Vec<u32>,
    count: u64,
}

// === impl Histogram ===

impl Histogram {
    /// A value was seen.
    pub fn add(&mut self, value: u64) {
        let bucket = bucket(value);
        if self.buckets.len() <= bucket {
            self.buckets.resize(bucket + 1, 0);
        }
        if let Some(count) = self.buckets.get_mut(bucket) {
            *count = count.saturating_add(1);
        }
        self.count += 1;
    }

    /// The value that this share of all does not exceed, to about 3%; `None` when none was seen.
    #[must_use]
    pub fn quantile(&self, percent: u64) -> Option<u64> {
        let rank = (self.count * percent).div_ceil(100).max(1);
        let mut seen = 0;
        let at = self.buckets.iter().position(|count| {
            seen += u64::from(*count);
            seen >= rank
        })?;
        Some(middle(at))
    }
}

/// Values below 16 have buckets of their own; above, each power of two has 16.
fn bucket(value: u64) -> usize {
    let small = |value: u64| usize::try_from(value).unwrap_or_default();
    let Some(power) = value.checked_ilog2().filter(|power| *power >= 4) else {
        return small(value);
    };
    let step = (value >> (power - 4)) & 15;
    ((power as usize - 3) << 4) + small(step)
}

fn middle(bucket: usize) -> u64 {
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
    fn quantiles_are_right_to_three_percent_at_every_size() {
        assert_eq!(Histogram::default().quantile(50), None);
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
            let mut histogram = Histogram::default();
            histogram.add(value);
            let told = histogram.quantile(50).unwrap();
            assert!(told.abs_diff(value) <= value / 31, "{value}: {told}");
        }
        let mut histogram = Histogram::default();
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
