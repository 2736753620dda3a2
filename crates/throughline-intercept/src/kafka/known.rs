//! What the connections of a process know together: plain maps, all of them capped.

use std::collections::{BTreeMap, HashMap};
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
    /// By where they were delivered, to which group if that was known then, and by offset.
    waiting: HashMap<(Place, Option<Arc<str>>), BTreeMap<i64, Delivery>>,
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
            bucket: Bucket {
                saved: SECOND,
                last: 0,
            },
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
        self.max_message_bytes
            .get(topic)
            .copied()
            .unwrap_or(DEFAULT_MAX_MESSAGE_BYTES)
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

    /// Keeps what was delivered to a group until it is settled; what comes again takes the place of what it was before. Gives
    /// the number of deliveries that were given up, these or others.
    pub fn deliver(
        &mut self,
        place: Place,
        group: Option<Arc<str>>,
        new: impl IntoIterator<Item = Delivery>,
        now: Timestamp,
    ) -> u32 {
        let mut lost = self.deliveries.sweep(now, self.capacity.delivery_timeout);
        let Deliveries { waiting, count, .. } = &mut self.deliveries;
        let key = (place, group);
        let mut places = waiting.remove(&key).unwrap_or_default();
        for delivery in new {
            if places.insert(delivery.offset, delivery).is_some() {
                lost = lost.saturating_add(1);
            } else if *count < self.capacity.max_deliveries {
                *count += 1;
            } else {
                // The first makes room: this one itself, when other partitions have it all.
                places.pop_first();
                lost = lost.saturating_add(1);
            }
        }
        if !places.is_empty() {
            waiting.insert(key, places);
        }
        lost
    }

    /// Takes what this group has handled. What was delivered to another under the same client id is not this one's.
    pub fn settle(
        &mut self,
        place: &Place,
        group: Option<&Arc<str>>,
        progress: &Progress,
    ) -> Vec<Delivery> {
        let Deliveries { waiting, count, .. } = &mut self.deliveries;
        let mut settled = Vec::new();
        for group in [group.cloned(), None]
            .into_iter()
            .skip(usize::from(group.is_none()))
        {
            let key = (place.clone(), group);
            let Some(places) = waiting.get_mut(&key) else {
                continue;
            };
            progress.take(places, &mut settled);
            if places.is_empty() {
                waiting.remove(&key);
            }
        }
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

    /// So many bytes are held, allowed or not: others get less.
    pub fn hold(&mut self, bytes: usize) {
        self.held = self.held.saturating_add(bytes);
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
    /// Takes what it covers.
    fn take(&self, places: &mut BTreeMap<i64, Delivery>, settled: &mut Vec<Delivery>) {
        match self {
            Self::Before(end) => {
                while let Some(first) = places.first_entry().filter(|first| first.key() < end) {
                    settled.push(first.remove());
                }
            }
            Self::Range(range) if range.is_empty() => {}
            Self::Range(range) => {
                let offsets: Vec<i64> = places
                    .range(range.clone())
                    .map(|(offset, _)| *offset)
                    .collect();
                settled.extend(offsets.iter().filter_map(|offset| places.remove(offset)));
            }
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
        waiting.retain(|_, places| {
            // The first is nearly always the oldest; one that came again is looked at when it is the first again.
            let is_old = |first: &Delivery| first.at.saturating_add(timeout) <= now;
            while let Some(first) = places.first_entry().filter(|first| is_old(first.get())) {
                first.remove();
                *count = count.saturating_sub(1);
            }
            !places.is_empty()
        });
        u32::try_from(before - self.count).unwrap_or(u32::MAX)
    }
}

// === impl Bucket ===

impl Bucket {
    fn take(&mut self, now: Timestamp, per_second: u32) -> bool {
        self.saved = self
            .saved
            .saturating_add(now.saturating_sub(self.last))
            .min(SECOND);
        self.last = self.last.max(now);
        let Some(price) = SECOND.checked_div(u64::from(per_second)) else {
            return false;
        };
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
        let (trace_id, span_id) = (
            TraceId::from_hex("1").unwrap(),
            SpanId::from_hex("2").unwrap(),
        );
        Delivery {
            offset,
            trace_id,
            span_id,
            trace_state: TraceState::default(),
            flags: 1,
            at,
        }
    }

    fn place(partition: i32) -> Place {
        Place {
            client: ClientKey::default(),
            topic: "t".into(),
            partition,
        }
    }

    #[test]
    fn spans_are_admitted_at_the_rate_and_a_second_is_saved_at_most() {
        let mut known = Known::new(Capacity {
            max_spans_per_second: 4,
            ..Capacity::default()
        });
        let mut admitted = |now| (0..100).filter(|_| known.admit_span(now)).count();
        assert_eq!(
            [0, SECOND / 2, SECOND, 100 * SECOND].map(&mut admitted),
            [4, 2, 2, 4]
        );
        let mut none = Known::new(Capacity {
            max_spans_per_second: 0,
            ..Capacity::default()
        });
        assert!(!none.admit_span(SECOND));
    }

    #[test]
    fn what_is_held_has_a_bound_and_comes_back() {
        let mut known = Known::new(Capacity {
            max_held_bytes: 10,
            ..Capacity::default()
        });
        assert!(known.reserve(6) && !known.reserve(5) && known.reserve(4));
        known.release(6);
        assert!(known.reserve(6) && !known.reserve(1) && known.held() == 10);
        assert!(!known.reserve(usize::MAX));
    }

    #[test]
    fn deliveries_are_settled_once_by_offset_or_range_or_given_up_in_time() {
        let mut known = Known::new(Capacity {
            delivery_timeout: 10 * SECOND,
            ..Capacity::default()
        });
        assert_eq!(
            known.deliver(place(0), None, (0..6).map(|offset| delivery(offset, 0)), 0),
            0
        );
        let settled = |of: Vec<Delivery>| {
            of.iter()
                .map(|delivery| delivery.offset)
                .collect::<Vec<_>>()
        };
        let nothing = Progress::Range(RangeInclusive::new(5, 2));
        assert_eq!(
            settled(known.settle(&place(0), None, &nothing)),
            [0; 0],
            "and nobody minds"
        );
        assert_eq!(
            settled(known.settle(&place(0), None, &Progress::Range(2..=3))),
            [2, 3]
        );
        assert_eq!(
            settled(known.settle(&place(0), None, &Progress::Before(5))),
            [0, 1, 4]
        );
        assert_eq!(
            settled(known.settle(&place(1), None, &Progress::Before(9))),
            [0; 0]
        );
        assert_eq!(
            (
                known.waiting(),
                known.deliver(place(1), None, [delivery(0, 20 * SECOND)], 20 * SECOND)
            ),
            (1, 1)
        );
        assert_eq!(
            known.deliver(place(1), None, [delivery(0, 21 * SECOND)], 21 * SECOND),
            1,
            "it comes again"
        );
        assert_eq!(
            (
                known.waiting(),
                known.settle(&place(1), None, &Progress::Before(1))[0].at
            ),
            (1, 21 * SECOND)
        );
        assert_eq!(known.waiting(), 0);
    }

    #[test]
    fn groups_under_one_client_id_settle_their_own_and_what_is_nobodys() {
        let mut known = Known::new(Capacity {
            max_deliveries: 4,
            ..Capacity::default()
        });
        let (g, h): (Arc<str>, Arc<str>) = ("g".into(), "h".into());
        for group in [Some(&g), Some(&h), None] {
            known.deliver(place(0), group.cloned(), [delivery(0, 0)], 0);
        }
        let mut settled = |group| {
            known
                .settle(&place(0), Some(group), &Progress::Before(9))
                .len()
        };
        assert_eq!((settled(&g), settled(&g), settled(&h)), (2, 0, 1));
        assert!(
            known.deliveries.waiting.is_empty(),
            "no place is kept for nothing"
        );
        // Where there is no room, none is made for a place either.
        assert_eq!(
            known.deliver(place(0), None, (0..4).map(|offset| delivery(offset, 0)), 0),
            0
        );
        assert_eq!(
            (
                known.deliver(place(1), None, [delivery(0, 0)], 0),
                known.deliveries.waiting.len()
            ),
            (1, 1)
        );
    }

    #[test]
    fn a_topic_made_anew_has_another_id_and_a_client_of_two_groups_has_none() {
        let mut known = Known::default();
        known.learn_topic([1; 16], "t");
        known.learn_topic([2; 16], "t");
        known.learn_topic([0; 16], "none");
        assert_eq!(
            (
                known.topic_name([1; 16]).as_deref(),
                known.topic_name([2; 16]).as_deref()
            ),
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
