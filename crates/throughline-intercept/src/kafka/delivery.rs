//! Fetch: which records are for the client, and a span for each of them.
//!
//! A broker sends whole batches as they lie: records before the offset that was asked for, records of aborted transactions
//! and the marks at the ends of transactions come with the others, and the client leaves them out. So does this.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use throughline_kafka::batch::{Record, RecordBatch, RecordBatches, RecordSetEntry};
use throughline_kafka::message::fetch::{
    AbortedTransaction, FetchPartitionData, FetchRequest, FetchResponse,
};
use throughline_kafka::message::{ApiMessage, ParseOutcome};
use throughline_kafka::wire::{Error, WireArray};
use throughline_model::Link;

use super::context::{self, Found};
use super::span::{Details, Operation, seconds};
use super::tools::BatchReader;
use super::topic::PartitionKey;
use super::tracer::{Identity, Tracer};
use super::{Cluster, Delivery, Notice, Place, Reason, Relation, span};
use crate::Timestamp;

/// What a fetch asks for: the changes to what its session asks for.
#[derive(Debug)]
pub(super) struct Asked {
    /// Forget what the session asked for before.
    is_full: bool,
    read_committed: bool,
    positions: Vec<(PartitionKey, i64)>,
    forgotten: Vec<PartitionKey>,
}

/// Where the client reads on in each partition.
#[derive(Debug, Default)]
pub(super) struct Positions {
    asked: HashMap<PartitionKey, i64>,
    /// The offsets behind the last that were delivered on this connection: what comes before them comes again.
    delivered: HashMap<PartitionKey, i64>,
}

/// Records of one partition on their way to the client.
pub(super) struct Arrival<'a> {
    place: span::Place,
    pub(super) relation: Relation,
    pub(super) settle: bool,
    /// When the first byte of the response came, and when the last did.
    pub(super) begun: Timestamp,
    pub(super) now: Timestamp,
    pub(super) high_watermark: Option<i64>,
    /// What comes before this offset comes again.
    pub(super) again_before: i64,
    /// Says of an offset how often it has been delivered; [`None`] when the record is not for the client.
    pub(super) delivered: &'a dyn Fn(i64) -> Option<Times>,
    /// Of the spans made: which record's context is to be replaced by which.
    pub(super) made: Vec<(i64, Identity)>,
    pub(super) deliveries: Vec<Delivery>,
    pub(super) last_offset: Option<i64>,
    /// The offset behind all that was brought, marks and what is left out too: the client reads on there.
    pub(super) end: Option<i64>,
}

/// How often a record has been delivered, where that is counted.
pub(super) type Times = Option<i16>;

/// Transactions that were aborted, as a reader of committed records follows them.
struct Aborted {
    /// By their first offsets, the last of them first.
    to_come: Vec<AbortedTransaction>,
    producers: HashSet<i64>,
}

/// A wait of no known beginning: `CreateTime` -1.
pub(super) const NO_TIMESTAMP: i64 = -1;

// === impl Asked ===

impl Asked {
    /// Nobody knows what was asked, so nothing is known of what was asked before either.
    pub(super) const fn unread() -> Self {
        Self {
            is_full: true,
            read_committed: false,
            positions: Vec::new(),
            forgotten: Vec::new(),
        }
    }

    /// Reads the body of a request.
    ///
    /// # Errors
    /// When the body is not well-formed.
    pub(super) fn read<C: Cluster>(
        tracer: &mut Tracer<C>,
        body: &[u8],
        version: i16,
    ) -> Result<ParseOutcome<Self>, Error> {
        let Some(request) = FetchRequest::parse(body, version)?.parsed() else {
            return Ok(ParseOutcome::UnsupportedVersion);
        };
        let max = tracer.settings.limits.max_partitions;
        let (mut positions, mut forgotten) = (Vec::new(), Vec::new());
        for topic in &request.topics {
            let Some(key) = tracer.topic_key(&topic.topic) else {
                continue;
            };
            for partition in topic
                .partitions
                .iter()
                .take(max.saturating_sub(positions.len()))
            {
                let key = PartitionKey {
                    topic: key.clone(),
                    index: partition.partition.0,
                };
                positions.push((key, partition.fetch_offset.0));
            }
        }
        for topic in &request.forgotten_topics {
            let Some(key) = tracer.topic_key(&topic.topic) else {
                continue;
            };
            for index in topic
                .partitions
                .iter()
                .take(max.saturating_sub(forgotten.len()))
            {
                forgotten.push(PartitionKey {
                    topic: key.clone(),
                    index: index.0,
                });
            }
        }
        let is_full = request.session_epoch <= 0;
        Ok(ParseOutcome::Parsed(Self {
            is_full,
            read_committed: request.isolation_level == 1,
            positions,
            forgotten,
        }))
    }

    /// The response has come: reads what it brings. With `patches` the places of spans in records are given back.
    pub(super) fn answer<C: Cluster>(
        self,
        tracer: &mut Tracer<C>,
        reader: &mut BatchReader,
        positions: &mut Positions,
        (body, version): (&[u8], i16),
        times: (Timestamp, Timestamp),
    ) -> Vec<Patch> {
        let (read_committed, max) = (self.read_committed, tracer.settings.limits.max_partitions);
        positions.apply(self, max);
        let mut patches = Vec::new();
        let Ok(ParseOutcome::Parsed(response)) = FetchResponse::parse(body, version) else {
            tracer.passed(Reason::Malformed, 0);
            return patches;
        };
        for topic in &response.topics {
            let Some(key) = tracer.topic_key(&topic.topic) else {
                continue;
            };
            let name = tracer.topic_name(&key);
            for partition in &topic.partitions {
                let key = PartitionKey {
                    topic: key.clone(),
                    index: partition.partition_index.0,
                };
                let wanted = positions.wanted(&key, partition.high_watermark.0, read_committed);
                let last = deliver(
                    tracer,
                    reader,
                    &name,
                    &partition,
                    wanted,
                    times,
                    &mut patches,
                );
                positions.deliver(key, last, max);
            }
        }
        tracer.flush();
        patches
    }
}

/// Records, by their place in the body, and the spans that were made of them.
#[derive(Debug)]
pub(super) struct Patch {
    pub(super) records: std::ops::Range<usize>,
    pub(super) made: Vec<(i64, Identity)>,
}

/// Which records of a partition the client wants.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    /// From this offset on; [`None`] when that is not known.
    position: Option<i64>,
    /// What comes before it comes again.
    again_before: i64,
    read_committed: bool,
}

/// Reads the records of one partition. Gives the offset of the last that was for the client.
fn deliver<C: Cluster>(
    tracer: &mut Tracer<C>,
    reader: &mut BatchReader,
    topic: &Arc<str>,
    partition: &FetchPartitionData<'_>,
    wanted: Wanted,
    times: (Timestamp, Timestamp),
    patches: &mut Vec<Patch>,
) -> Option<i64> {
    let Wanted {
        position,
        again_before,
        read_committed,
    } = wanted;
    let Some(records) = partition
        .records
        .filter(|records| !records.bytes().is_empty())
    else {
        tell_lag(tracer, topic, partition, position);
        return None;
    };
    let Some(position) = position else {
        tracer.lose_sight(times.1);
        tracer.passed(Reason::Capacity, 0);
        return None;
    };
    let delivered = move |offset| (offset >= position).then_some(None);
    let mut arrival = Arrival::new(
        tracer,
        topic,
        partition.partition_index.0,
        times,
        &delivered,
    );
    (arrival.high_watermark, arrival.again_before) =
        (Some(partition.high_watermark.0), again_before);
    let mut aborted = read_committed.then(|| Aborted::new(&partition.aborted_transactions));
    arrival.read(tracer, reader, records.bytes(), |batch| {
        let is_aborted = aborted
            .as_mut()
            .is_some_and(|aborted| aborted.covers(batch));
        !is_aborted && last_offset(batch) >= position
    });
    let last = arrival.last_offset;
    tell_lag(tracer, topic, partition, arrival.end.max(Some(position)));
    let made = arrival.finish(tracer);
    if !made.is_empty() && tracer.settings.topic(topic).deliver == super::Deliver::Patch {
        patches.push(Patch {
            records: records.range(),
            made,
        });
    }
    last
}

/// How far behind the end of the partition its consumer is, that reads on at `position`.
fn tell_lag<C: Cluster>(
    tracer: &mut Tracer<C>,
    topic: &Arc<str>,
    partition: &FetchPartitionData<'_>,
    position: Option<i64>,
) {
    if let Some(position) =
        position.filter(|_| partition.high_watermark.0 >= 0 && partition.error_code == 0)
    {
        let lag = partition.high_watermark.0.saturating_sub(position).max(0);
        let (group, topic, partition) = (
            tracer.group(),
            Arc::clone(topic),
            partition.partition_index.0,
        );
        tracer.out.notice(Notice::Lag {
            group,
            topic,
            partition,
            lag,
        });
    }
}

fn last_offset(batch: &RecordBatch<'_>) -> i64 {
    batch
        .base_offset()
        .0
        .saturating_add(i64::from(batch.last_offset_delta()))
}

// === impl Positions ===

impl Positions {
    fn apply(&mut self, asked: Asked, max: usize) {
        if asked.is_full {
            self.asked.clear();
        }
        for key in &asked.forgotten {
            self.asked.remove(key);
        }
        for (key, position) in asked.positions {
            if self.asked.len() < max || self.asked.contains_key(&key) {
                self.asked.insert(key, position);
            }
        }
    }

    fn wanted(&mut self, key: &PartitionKey, high_watermark: i64, read_committed: bool) -> Wanted {
        // A log that ends before what was delivered is another one: its topic was made anew, or it was cut.
        if self
            .delivered
            .get(key)
            .is_some_and(|end| (0..*end).contains(&high_watermark))
        {
            self.delivered.remove(key);
        }
        let again_before = self.delivered.get(key).copied().unwrap_or(i64::MIN);
        Wanted {
            position: self.asked.get(key).copied(),
            again_before,
            read_committed,
        }
    }

    /// Records have been delivered, up to this one.
    fn deliver(&mut self, key: PartitionKey, last: Option<i64>, max: usize) {
        let Some(last) = last else { return };
        if let Some(end) = self.delivered.get_mut(&key) {
            *end = (*end).max(last.saturating_add(1));
        } else if self.delivered.len() < max {
            self.delivered.insert(key, last.saturating_add(1));
        }
    }
}

// === impl Arrival ===

impl<'a> Arrival<'a> {
    pub(super) fn new<C: Cluster>(
        tracer: &Tracer<C>,
        topic: &Arc<str>,
        partition: i32,
        (begun, now): (Timestamp, Timestamp),
        delivered: &'a dyn Fn(i64) -> Option<Times>,
    ) -> Self {
        let settings = tracer.settings.topic(topic);
        let cluster_id = tracer.cluster.known(|known| known.cluster_id());
        Self {
            place: span::Place::new(
                Operation::Process,
                (Arc::clone(topic), partition),
                tracer.group(),
                cluster_id,
            ),
            relation: settings.relation,
            settle: settings.settle,
            begun,
            now,
            high_watermark: None,
            again_before: i64::MIN,
            delivered,
            made: Vec::new(),
            deliveries: Vec::new(),
            last_offset: None,
            end: None,
        }
    }

    /// Reads the batches that are wanted: a span for each of their records that is for the client.
    pub(super) fn read<C: Cluster>(
        &mut self,
        tracer: &mut Tracer<C>,
        reader: &mut BatchReader,
        records: &[u8],
        mut is_wanted: impl FnMut(&RecordBatch<'_>) -> bool,
    ) {
        for entry in RecordBatches::new(records) {
            if let RecordSetEntry::Batch(batch) = &entry {
                self.end = self.end.max(Some(last_offset(batch).saturating_add(1)));
            }
            match entry {
                RecordSetEntry::Batch(batch) if is_wanted(&batch) => {
                    self.read_batch(tracer, reader, &batch)
                }
                RecordSetEntry::Batch(_) | RecordSetEntry::Partial(_) => {}
                RecordSetEntry::LegacyMessageSet { .. } => tracer.passed(Reason::OldFormat, 0),
                RecordSetEntry::Malformed(_) => tracer.passed(Reason::Malformed, 0),
            }
        }
    }

    fn read_batch<C: Cluster>(
        &mut self,
        tracer: &mut Tracer<C>,
        reader: &mut BatchReader,
        batch: &RecordBatch<'_>,
    ) {
        if batch.is_control() || batch.record_count() <= 0 {
            return;
        }
        let max = tracer.settings.limits.max_inflated_bytes;
        let unread = u32::try_from(batch.record_count()).unwrap_or(0);
        let records = match reader.records(batch, max) {
            Ok(records) => records,
            Err(reason) => {
                tracer.lose_sight(self.now);
                tracer.passed(reason.into(), unread);
                return tracer.dropped(reason.into(), unread);
            }
        };
        for (read, record) in (0..).zip(records) {
            let Ok(record) = record else {
                tracer.passed(Reason::Malformed, unread.saturating_sub(read));
                return tracer.dropped(Reason::Malformed, unread.saturating_sub(read));
            };
            let offset = batch
                .base_offset()
                .0
                .saturating_add(i64::from(record.offset_delta));
            if let Some(times) = (self.delivered)(offset) {
                self.last_offset = Some(offset);
                self.receive(tracer, batch, &record, (offset, times));
            }
        }
    }

    fn receive<C: Cluster>(
        &mut self,
        tracer: &mut Tracer<C>,
        batch: &RecordBatch<'_>,
        record: &Record<'_>,
        (offset, delivery_count): (i64, Times),
    ) {
        let found = context::read(record, &tracer.settings);
        let identity = tracer.receive(&found, self.relation, self.now);
        let place = (&self.place.topic, self.place.partition);
        tracer.handed_over(
            place,
            (offset, record),
            (&found, identity.as_ref()),
            self.now,
        );
        let Some(identity) = identity else { return };
        let sender = match &found {
            Found::Context(context) => Some(context),
            Found::Decided(_) | Found::Nothing => None,
        };
        let sent_at =
            sender.and_then(|sender| tracer.cluster.known(|known| known.sent_at(sender.span_id)));
        let details = Details {
            offset: Some(offset),
            key: record
                .key
                .filter(|_| tracer.settings.message_key)
                .and_then(|key| str::from_utf8(key).ok()),
            tombstone: record.value.is_none(),
            batch_size: Some(batch.record_count()),
            by_header: sender.is_some(),
            queue_time: waited(batch, record, self.now),
            queue_time_sent: sent_at.map(|at| seconds(self.now.saturating_sub(at))),
            lag: self
                .high_watermark
                .map(|end| end.saturating_sub(offset).saturating_sub(1).max(0)),
            delivery_count,
            redelivered: offset < self.again_before,
            ..Details::default()
        };
        let links = sender.map(Link::follows_from).into_iter().collect();
        if self.settle {
            self.deliveries.push(Delivery {
                offset,
                trace_id: identity.trace_id,
                span_id: identity.span_id,
                trace_state: identity.trace_state.clone(),
                flags: identity.flags,
                at: self.now,
            });
        }
        if self.relation == Relation::ParentAndLink && sender.is_some() {
            self.made.push((offset, identity.clone()));
        }
        tracer.finish(
            identity,
            (self.begun, self.now),
            &self.place,
            &details,
            links,
        );
    }

    /// All has been read. Gives the spans that records can name in place of their senders'.
    pub(super) fn finish<C: Cluster>(self, tracer: &mut Tracer<C>) -> Vec<(i64, Identity)> {
        if !self.deliveries.is_empty() {
            let span::Place {
                topic,
                partition,
                group,
                ..
            } = self.place;
            let place = Place {
                client: tracer.client.clone(),
                topic,
                partition,
            };
            let lost = tracer
                .cluster
                .known(|known| known.deliver(place, group, self.deliveries, self.now));
            if lost > 0 {
                tracer.out.notice(Notice::Unsettled { records: lost });
            }
        }
        self.made
    }
}

/// From the record's timestamp to now, in seconds; 0 when the producer's clock is ahead.
fn waited(batch: &RecordBatch<'_>, record: &Record<'_>, now: Timestamp) -> Option<f64> {
    let timestamp = if batch.is_log_append_time() {
        batch.max_timestamp().0
    } else {
        batch
            .base_timestamp()
            .0
            .saturating_add(record.timestamp_delta)
    };
    let since = u64::try_from(timestamp)
        .ok()
        .filter(|_| timestamp != NO_TIMESTAMP)?;
    Some(seconds(now.saturating_sub(since.saturating_mul(1_000_000))))
}

// === impl Aborted ===

impl Aborted {
    fn new(transactions: &WireArray<'_, AbortedTransaction>) -> Self {
        let mut to_come: Vec<_> = transactions.iter().collect();
        to_come.sort_by_key(|transaction| std::cmp::Reverse(transaction.first_offset.0));
        Self {
            to_come,
            producers: HashSet::new(),
        }
    }

    /// Whether the batch is of an aborted transaction; ends the transaction at its mark.
    fn covers(&mut self, batch: &RecordBatch<'_>) -> bool {
        let last = last_offset(batch);
        while let Some(next) = self.to_come.pop_if(|next| next.first_offset.0 <= last) {
            self.producers.insert(next.producer_id);
        }
        let producer = batch.producer_id();
        if batch.is_control() {
            if is_abort(batch) {
                self.producers.remove(&producer);
            }
            return false;
        }
        batch.is_transactional() && self.producers.contains(&producer)
    }
}

/// `ControlRecordType`: the key of a mark has a version and a type, 0 for an abort.
fn is_abort(batch: &RecordBatch<'_>) -> bool {
    let first = batch.records().and_then(|mut records| records.next());
    first
        .and_then(Result::ok)
        .and_then(|record| record.key)
        .is_some_and(|key| key.get(2..4) == Some(&[0, 0]))
}
