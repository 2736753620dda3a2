//! What the connections of a process know together: plain maps, all of them capped.

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use throughline_model::context::TraceState;
use throughline_model::{SpanId, TraceId};

use super::capped::Capped;
use super::tools::Tools;
use super::{ClientKey, DEFAULT_MAX_MESSAGE_BYTES};
use crate::Timestamp;

/// What bounds a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Topics, groups and clients that are remembered.
    pub max_names: usize,
    /// Records sent whose spans' ends are remembered.
    pub max_sent: usize,
    /// Deliveries that wait for their commit.
    pub max_deliveries: usize,
    /// How long, in nanoseconds, a delivery waits for its commit.
    pub delivery_timeout: u64,
    /// Bytes of frames that may be held at once.
    pub max_held_bytes: usize,
    /// Spans that may be made in a second.
    pub max_spans_per_second: u32,
}

/// What the connections of a process know together.
#[derive(Debug)]
pub struct Known {
    capacity: Capacity,
    cluster_id: Option<Arc<str>>,
    topics: Capped<[u8; 16], Arc<str>>,
    max_message_bytes: Capped<Arc<str>, usize>,
    groups: Capped<ClientKey, Group>,
    sent: Capped<SpanId, Timestamp>,
    deliveries: Deliveries,
    held: usize,
    bucket: Bucket,
    /// Tools that nobody uses now.
    tools: Vec<Box<Tools>>,
}

/// Whose deliveries, of which partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    pub client: ClientKey,
    pub topic: Arc<str>,
    pub partition: i32,
}

/// A record that was delivered, until it is committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub offset: i64,
    /// The consumer span.
    pub trace_id: TraceId,
    pub span_id: SpanId,
    pub trace_state: TraceState,
    /// The W3C trace flags.
    pub flags: u8,
    pub at: Timestamp,
    /// The group that it was delivered to, if it was known then.
    pub group: Option<Arc<str>>,
}

/// What a client has told to be handled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// All before this offset.
    Before(i64),
    /// These offsets.
    Range(RangeInclusive<i64>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Group {
    One(Arc<str>),
    /// More than one under the same address and client id.
    Several,
}

#[derive(Debug, Default)]
struct Deliveries {
    waiting: HashMap<Place, VecDeque<Delivery>>,
    count: usize,
    next_sweep: Timestamp,
}

/// A token bucket, filled in nanoseconds of a second.
#[derive(Debug)]
struct Bucket {
    /// Nanoseconds that have been saved, a second's at most.
    saved: u64,
    last: Timestamp,
}

const SECOND: u64 = 1_000_000_000;

/// As many as there may be threads that drive sessions.
const MOST_TOOLS: usize = 16;

// === impl Capacity ===

impl Default for Capacity {
    fn default() -> Self {
        Self {
            max_names: 64 * 1024,
            max_sent: 256 * 1024,
            max_deliveries: 128 * 1024,
            // As the Java client's `max.poll.interval.ms`, and as much again.
            delivery_timeout: 600 * SECOND,
            max_held_bytes: 256 * 1024 * 1024,
            max_spans_per_second: 10_000,
        }
    }
}

// === impl Known ===

impl Known {
    /// Nothing is known yet.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self {
            capacity,
            cluster_id: None,
            topics: Capped::new(capacity.max_names),
            max_message_bytes: Capped::new(capacity.max_names),
            groups: Capped::new(capacity.max_names),
            sent: Capped::new(capacity.max_sent),
            deliveries: Deliveries::default(),
            held: 0,
            bucket: Bucket { saved: SECOND, last: 0 },
            tools: Vec::new(),
        }
    }

    // --- names ---

    /// The topic of this id.
    #[must_use]
    pub fn topic_name(&self, id: [u8; 16]) -> Option<Arc<str>> {
        self.topics.get(&id).cloned()
    }

    /// A topic has this id, until it is made anew.
    pub fn learn_topic(&mut self, id: [u8; 16], name: &str) {
        if id != [0; 16] && self.topics.get(&id).is_none_or(|known| **known != *name) {
            self.topics.insert(id, name.into());
        }
    }

    /// `messaging.kafka.cluster.id`.
    #[must_use]
    pub fn cluster_id(&self) -> Option<Arc<str>> {
        self.cluster_id.clone()
    }

    /// The cluster says that this is its id.
    pub fn learn_cluster_id(&mut self, id: &str) {
        if self.cluster_id.as_deref() != Some(id) {
            self.cluster_id = Some(id.into());
        }
    }

    /// The group of a client; [`None`] when it is not known, or there are several.
    #[must_use]
    pub fn group(&self, client: &ClientKey) -> Option<Arc<str>> {
        match self.groups.get(client) {
            Some(Group::One(group)) => Some(Arc::clone(group)),
            Some(Group::Several) | None => None,
        }
    }

    /// A client has said that it is of this group.
    pub fn learn_group(&mut self, client: &ClientKey, group: &str) {
        match self.groups.get_mut(client) {
            None => self.groups.insert(client.clone(), Group::One(group.into())),
            Some(Group::One(known)) if **known == *group => {}
            Some(known) => *known = Group::Several,
        }
    }

    /// Most bytes of a batch that the topic takes; 0 when it takes no injected batch at all.
    #[must_use]
    pub fn max_message_bytes(&self, topic: &str) -> usize {
        self.max_message_bytes.get(topic).copied().unwrap_or(DEFAULT_MAX_MESSAGE_BYTES)
    }

    /// The topic takes batches of so many bytes at most.
    pub fn learn_max_message_bytes(&mut self, topic: &str, bytes: usize) {
        self.max_message_bytes.insert(topic.into(), bytes);
    }

    // --- records on their way ---

    /// The span of a record that carries this id ended then.
    pub fn sent(&mut self, span: SpanId, at: Timestamp) {
        self.sent.insert(span, at);
    }

    /// When the span ended that sent a record.
    #[must_use]
    pub fn sent_at(&self, span: SpanId) -> Option<Timestamp> {
        self.sent.get(&span).copied()
    }

    /// Keeps what was delivered until it is settled. Gives the number of deliveries that were given up, these or others.
    pub fn deliver(&mut self, place: Place, new: impl IntoIterator<Item = Delivery>, now: Timestamp) -> u32 {
        let mut lost = self.deliveries.sweep(now, self.capacity.delivery_timeout);
        let Deliveries { waiting, count, .. } = &mut self.deliveries;
        let waiting = waiting.entry(place).or_default();
        for delivery in new {
            if *count < self.capacity.max_deliveries {
                *count += 1;
            } else {
                lost = lost.saturating_add(1);
                // The oldest makes room; there is none when other partitions have it all.
                if waiting.pop_front().is_none() {
                    continue;
                }
            }
            waiting.push_back(delivery);
        }
        lost
    }

    /// The client has gone back: what it had been given from this offset on is given again.
    pub fn rewind(&mut self, place: &Place, offset: i64) {
        let Deliveries { waiting, count, .. } = &mut self.deliveries;
        let Some(waiting) = waiting.get_mut(place) else { return };
        while waiting.pop_back_if(|last| last.offset >= offset).is_some() {
            *count = count.saturating_sub(1);
        }
    }

    /// Takes what has been handled.
    pub fn settle(&mut self, place: &Place, progress: &Progress) -> Vec<Delivery> {
        let Deliveries { waiting, count, .. } = &mut self.deliveries;
        let Some(waiting) = waiting.get_mut(place) else { return Vec::new() };
        let mut settled = Vec::new();
        waiting.retain(|delivery| {
            let is_settled = progress.covers(delivery.offset);
            if is_settled {
                settled.push(delivery.clone());
            }
            !is_settled
        });
        *count = count.saturating_sub(settled.len());
        settled
    }

    // --- bounds ---

    /// May so many bytes be held? They count until they are released.
    pub fn reserve(&mut self, bytes: usize) -> bool {
        let held = self.held.saturating_add(bytes);
        let allowed = held <= self.capacity.max_held_bytes;
        if allowed {
            self.held = held;
        }
        allowed
    }

    /// Bytes are not held any more.
    pub fn release(&mut self, bytes: usize) {
        self.held = self.held.saturating_sub(bytes);
    }

    /// Bytes that are held now.
    #[must_use]
    pub const fn held(&self) -> usize {
        self.held
    }

    /// May a span be made now?
    pub fn admit_span(&mut self, now: Timestamp) -> bool {
        self.bucket.take(now, self.capacity.max_spans_per_second)
    }

    /// Deliveries that wait to be settled.
    #[must_use]
    pub const fn waiting(&self) -> usize {
        self.deliveries.count
    }
}

// Compressors take megabytes: there are as many as are used at once, not as many as there are connections.
impl Known {
    pub(super) fn take_tools(&mut self) -> Option<Box<Tools>> {
        self.tools.pop()
    }

    pub(super) fn give_tools(&mut self, tools: Box<Tools>) {
        if self.tools.len() < MOST_TOOLS {
            self.tools.push(tools);
        }
    }
}

impl Default for Known {
    fn default() -> Self {
        Self::new(Capacity::default())
    }
}

// === impl Progress ===

impl Progress {
    fn covers(&self, offset: i64) -> bool {
        match self {
            Self::Before(end) => offset < *end,
            Self::Range(range) => range.contains(&offset),
        }
    }
}

// === impl Deliveries ===

impl Deliveries {
    /// Gives up what has waited too long; looks no more than once a second.
    fn sweep(&mut self, now: Timestamp, timeout: u64) -> u32 {
        if now < self.next_sweep {
            return 0;
        }
        self.next_sweep = now.saturating_add(SECOND);
        let before = self.count;
        let Self { waiting, count, .. } = self;
        waiting.retain(|_, place| {
            while place.front().is_some_and(|oldest| oldest.at.saturating_add(timeout) <= now) {
                place.pop_front();
                *count = count.saturating_sub(1);
            }
            !place.is_empty()
        });
        u32::try_from(before - self.count).unwrap_or(u32::MAX)
    }
}

// === impl Bucket ===

impl Bucket {
    fn take(&mut self, now: Timestamp, per_second: u32) -> bool {
        self.saved = self.saved.saturating_add(now.saturating_sub(self.last)).min(SECOND);
        self.last = self.last.max(now);
        let Some(price) = SECOND.checked_div(u64::from(per_second)) else { return false };
        let admitted = self.saved >= price;
        if admitted {
            self.saved -= price;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(offset: i64, at: Timestamp) -> Delivery {
        let (trace_id, span_id) = (TraceId::from_hex("1").unwrap(), SpanId::from_hex("2").unwrap());
        Delivery { offset, trace_id, span_id, trace_state: TraceState::default(), flags: 1, at, group: None }
    }

    fn place(partition: i32) -> Place {
        Place { client: ClientKey::default(), topic: "t".into(), partition }
    }

    #[test]
    fn spans_are_admitted_at_the_rate_and_a_second_is_saved_at_most() {
        let mut known = Known::new(Capacity { max_spans_per_second: 4, ..Capacity::default() });
        let mut admitted = |now| (0..100).filter(|_| known.admit_span(now)).count();
        assert_eq!([0, SECOND / 2, SECOND, 100 * SECOND].map(&mut admitted), [4, 2, 2, 4]);
        let mut none = Known::new(Capacity { max_spans_per_second: 0, ..Capacity::default() });
        assert!(!none.admit_span(SECOND));
    }

    #[test]
    fn what_is_held_has_a_bound_and_comes_back() {
        let mut known = Known::new(Capacity { max_held_bytes: 10, ..Capacity::default() });
        assert!(known.reserve(6) && !known.reserve(5) && known.reserve(4));
        known.release(6);
        assert!(known.reserve(6) && !known.reserve(1) && known.held() == 10);
        assert!(!known.reserve(usize::MAX));
    }

    #[test]
    fn deliveries_are_settled_once_by_offset_or_range_or_given_up_in_time() {
        let mut known = Known::new(Capacity { delivery_timeout: 10 * SECOND, ..Capacity::default() });
        assert_eq!(known.deliver(place(0), (0..6).map(|offset| delivery(offset, 0)), 0), 0);
        let settled = |of: Vec<Delivery>| of.iter().map(|delivery| delivery.offset).collect::<Vec<_>>();
        assert_eq!(settled(known.settle(&place(0), &Progress::Range(2..=3))), [2, 3]);
        assert_eq!(settled(known.settle(&place(0), &Progress::Before(5))), [0, 1, 4]);
        assert_eq!(settled(known.settle(&place(1), &Progress::Before(9))), [0; 0]);
        assert_eq!((known.waiting(), known.deliver(place(1), [delivery(0, 20 * SECOND)], 20 * SECOND)), (1, 1));
        assert_eq!(known.waiting(), 1);
        known.rewind(&place(1), 0);
        assert_eq!(known.waiting(), 0);
    }

    #[test]
    fn a_topic_made_anew_has_another_id_and_a_client_of_two_groups_has_none() {
        let mut known = Known::default();
        known.learn_topic([1; 16], "t");
        known.learn_topic([2; 16], "t");
        known.learn_topic([0; 16], "none");
        assert_eq!(
            (known.topic_name([1; 16]).as_deref(), known.topic_name([2; 16]).as_deref()),
            (Some("t"), Some("t"))
        );
        assert_eq!(known.topic_name([0; 16]), None);
        let client = ClientKey::default();
        known.learn_group(&client, "g");
        assert_eq!(known.group(&client).as_deref(), Some("g"));
        known.learn_group(&client, "h");
        assert_eq!(known.group(&client), None);
    }
}
