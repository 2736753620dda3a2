//! The end of a record's story: its consumer commits it, or acknowledges it.

use std::collections::HashSet;
use std::ops::RangeInclusive;
use std::sync::Arc;

use throughline_kafka::api::ApiKey;
use throughline_kafka::message::group::{
    OffsetCommitRequest, OffsetCommitResponse, OffsetCommitResponsePartition,
    TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};
use throughline_kafka::message::{ApiMessage, ParseOutcome, TopicRef, share};
use throughline_kafka::wire::Error;

use super::delivery::{Arrival, Times};
use super::span::{self, Details, Operation, seconds};
use super::tools::BatchReader;
use super::topic::{PartitionKey, TopicKey};
use super::tracer::{Identity, Tracer};
use super::{Cluster, Delivery, Known, Place, Progress, Reason, error};
use crate::Timestamp;

/// An OffsetCommit or TxnOffsetCommit on its way.
#[derive(Debug)]
pub(super) struct Commit {
    group: Arc<str>,
    begun: Timestamp,
    offsets: Vec<(PartitionKey, i64)>,
}

/// Acknowledgements on their way, of a ShareFetch or a ShareAcknowledge.
#[derive(Debug)]
pub(super) struct Acknowledging {
    group: Option<Arc<str>>,
    begun: Timestamp,
    ranges: Vec<(PartitionKey, RangeInclusive<i64>, &'static str)>,
}

// === impl Commit ===

impl Commit {
    /// Reads the body of a request.
    ///
    /// # Errors
    /// When the body is not well-formed.
    pub(super) fn read<C: Cluster>(
        tracer: &mut Tracer<C>,
        api: ApiKey,
        (body, version): (&[u8], i16),
        now: Timestamp,
    ) -> Result<ParseOutcome<Self>, Error> {
        if api == ApiKey::TXN_OFFSET_COMMIT {
            let opened = TxnOffsetCommitRequest::parse(body, version)?;
            return Ok(opened.map(|request| {
                let offsets = request.topics.iter().map(|topic| {
                    let offsets = topic
                        .partitions
                        .iter()
                        .map(|of| (of.partition_index.0, of.committed_offset.0));
                    (topic.topic, offsets)
                });
                Self::new(tracer, request.group_id.text(), offsets, now)
            }));
        }
        let opened = OffsetCommitRequest::parse(body, version)?;
        Ok(opened.map(|request| {
            let offsets = request.topics.iter().map(|topic| {
                let offsets = topic
                    .partitions
                    .iter()
                    .map(|of| (of.partition_index.0, of.committed_offset.0));
                (topic.topic, offsets)
            });
            Self::new(tracer, request.group_id.text(), offsets, now)
        }))
    }

    fn new<'a, C: Cluster>(
        tracer: &mut Tracer<C>,
        group: Option<&str>,
        topics: impl Iterator<Item = (TopicRef<'a>, impl Iterator<Item = (i32, i64)>)>,
        begun: Timestamp,
    ) -> Self {
        let group = group.unwrap_or_default();
        tracer.see_group(group);
        let max = tracer.settings.limits.max_partitions;
        let mut offsets = Vec::new();
        for (topic, partitions) in topics {
            let Some(topic) = tracer.topic_key(&topic) else {
                continue;
            };
            for (index, offset) in partitions.take(max.saturating_sub(offsets.len())) {
                offsets.push((
                    PartitionKey {
                        topic: topic.clone(),
                        index,
                    },
                    offset,
                ));
            }
        }
        Self {
            group: group.into(),
            begun,
            offsets,
        }
    }

    /// The response has come: what the broker took is settled.
    pub(super) fn answer<C: Cluster>(
        self,
        tracer: &mut Tracer<C>,
        api: ApiKey,
        (body, version): (&[u8], i16),
        now: Timestamp,
    ) {
        let mut refused = HashSet::new();
        let mut see = |topic: TopicRef<'_>, partition: OffsetCommitResponsePartition| {
            if partition.error_code != error::NONE
                && let Some(topic) = tracer.topic_key(&topic)
            {
                refused.insert(PartitionKey {
                    topic,
                    index: partition.partition_index.0,
                });
            }
        };
        let is_read = if api == ApiKey::TXN_OFFSET_COMMIT {
            let opened = TxnOffsetCommitResponse::parse(body, version)
                .ok()
                .and_then(ParseOutcome::parsed);
            opened.map(|response| {
                response.topics.iter().for_each(|of| {
                    of.partitions
                        .iter()
                        .for_each(|partition| see(of.topic, partition))
                });
            })
        } else {
            let opened = OffsetCommitResponse::parse(body, version)
                .ok()
                .and_then(ParseOutcome::parsed);
            opened.map(|response| {
                response.topics.iter().for_each(|of| {
                    of.partitions
                        .iter()
                        .for_each(|partition| see(of.topic, partition))
                });
            })
        };
        if is_read.is_none() {
            return tracer.passed(Reason::Malformed, 0);
        }
        for (key, offset) in self
            .offsets
            .iter()
            .filter(|(key, _)| !refused.contains(key))
        {
            let settled = Settled {
                key,
                group: Some(&self.group),
                begun: self.begun,
                now,
                acknowledged: None,
            };
            settled.finish(tracer, &Progress::Before(*offset));
        }
        tracer.flush();
    }
}

/// Records that a client is done with.
struct Settled<'a> {
    key: &'a PartitionKey,
    group: Option<&'a Arc<str>>,
    begun: Timestamp,
    now: Timestamp,
    acknowledged: Option<&'static str>,
}

// === impl Settled ===

impl Settled<'_> {
    fn finish<C: Cluster>(&self, tracer: &mut Tracer<C>, progress: &Progress) {
        let topic = tracer.topic_name(&self.key.topic);
        let partition = self.key.index;
        let place = Place {
            client: tracer.client.clone(),
            topic: Arc::clone(&topic),
            partition,
        };
        tracer.handled(&place, progress, self.now);
        let group = self.group.cloned().or_else(|| tracer.group());
        let settle = |known: &mut Known| {
            (
                known.settle(&place, group.as_ref(), progress),
                known.cluster_id(),
            )
        };
        let (deliveries, cluster_id) = tracer.cluster.known(settle);
        if deliveries.is_empty() {
            return;
        }
        let place = span::Place::new(Operation::Commit, (topic, partition), group, cluster_id);
        for delivery in deliveries {
            self.one(tracer, delivery, &place);
        }
    }

    fn one<C: Cluster>(&self, tracer: &mut Tracer<C>, delivery: Delivery, place: &span::Place) {
        if !tracer.admit_settled(self.now) {
            return;
        }
        let identity = Identity {
            trace_id: delivery.trace_id,
            span_id: tracer.span_id(),
            parent: Some(delivery.span_id),
            flags: delivery.flags,
            trace_state: delivery.trace_state,
        };
        let details = Details {
            offset: Some(delivery.offset),
            handled: Some(seconds(self.now.saturating_sub(delivery.at))),
            acknowledged: self.acknowledged,
            ..Details::default()
        };
        tracer.finish(
            identity,
            (self.begun, self.now),
            place,
            &details,
            Vec::new(),
        );
    }
}

// === impl Acknowledging ===

impl Acknowledging {
    /// Reads the body of a ShareFetch or ShareAcknowledge request.
    ///
    /// # Errors
    /// When the body is not well-formed.
    pub(super) fn read<C: Cluster>(
        tracer: &mut Tracer<C>,
        api: ApiKey,
        (body, version): (&[u8], i16),
        begun: Timestamp,
    ) -> Result<ParseOutcome<Self>, Error> {
        let opened = if api == ApiKey::SHARE_FETCH {
            share::ShareFetchRequest::parse(body, version)?
                .map(|request| (request.group_id, request.topics))
        } else {
            share::ShareAcknowledgeRequest::parse(body, version)?
                .map(|request| (request.group_id, request.topics))
        };
        Ok(opened.map(|(group, topics)| {
            let group = group
                .and_then(|group| group.text())
                .filter(|group| !group.is_empty());
            if let Some(group) = group {
                tracer.see_group(group);
            }
            let max = tracer.settings.limits.max_partitions;
            let partitions = topics.iter().flat_map(|topic| {
                topic
                    .partitions
                    .iter()
                    .map(move |partition| (TopicKey::Id(topic.topic_id.0), partition))
            });
            let mut ranges = Vec::new();
            for (topic, partition) in partitions {
                let key = PartitionKey {
                    topic,
                    index: partition.partition_index.0,
                };
                for batch in &partition.acknowledgement_batches {
                    let left = max.saturating_sub(ranges.len());
                    acknowledged(&batch, left, |range, how| {
                        ranges.push((key.clone(), range, how))
                    });
                }
            }
            Self {
                group: group.map(Arc::from),
                begun,
                ranges,
            }
        }))
    }

    /// The response to a ShareAcknowledge has come.
    pub(super) fn acknowledged<C: Cluster>(
        self,
        tracer: &mut Tracer<C>,
        body: &[u8],
        version: i16,
        now: Timestamp,
    ) {
        let Ok(ParseOutcome::Parsed(response)) =
            share::ShareAcknowledgeResponse::parse(body, version)
        else {
            return tracer.passed(Reason::Malformed, 0);
        };
        if response.error_code == error::NONE {
            let topics = response.topics.iter().flat_map(|topic| {
                topic
                    .partitions
                    .iter()
                    .map(move |of| (topic.topic_id.0, of.partition_index.0, of.error_code))
            });
            let refused = refused(topics);
            self.settle(tracer, &refused, now);
        }
        tracer.flush();
    }

    /// The response to a ShareFetch has come: it says what became of acknowledgements, and brings records.
    pub(super) fn fetched<C: Cluster>(
        self,
        tracer: &mut Tracer<C>,
        reader: &mut BatchReader,
        (body, version): (&[u8], i16),
        times: (Timestamp, Timestamp),
    ) {
        let Ok(ParseOutcome::Parsed(response)) = share::ShareFetchResponse::parse(body, version)
        else {
            return tracer.passed(Reason::Malformed, 0);
        };
        if response.error_code == error::NONE {
            let topics = response.topics.iter().flat_map(|topic| {
                topic.partitions.iter().map(move |of| {
                    (
                        topic.topic_id.0,
                        of.partition_index.0,
                        of.acknowledge_error_code,
                    )
                })
            });
            let refused = refused(topics);
            self.settle(tracer, &refused, times.1);
        }
        for topic in &response.topics {
            let name = tracer.topic_name(&TopicKey::Id(topic.topic_id.0));
            for partition in &topic.partitions {
                deliver(tracer, reader, &name, &partition, times);
            }
        }
        tracer.flush();
    }

    fn settle<C: Cluster>(
        self,
        tracer: &mut Tracer<C>,
        refused: &HashSet<PartitionKey>,
        now: Timestamp,
    ) {
        for (key, range, how) in self.ranges {
            if !refused.contains(&key) {
                let settled = Settled {
                    key: &key,
                    group: self.group.as_ref(),
                    begun: self.begun,
                    now,
                    acknowledged: Some(how),
                };
                settled.finish(tracer, &Progress::Range(range));
            }
        }
    }
}

/// Partitions of which the broker did not take what was acknowledged.
fn refused(partitions: impl Iterator<Item = ([u8; 16], i32, i16)>) -> HashSet<PartitionKey> {
    let refused = partitions.filter(|(_, _, error_code)| *error_code != error::NONE);
    refused
        .map(|(id, index, _)| PartitionKey {
            topic: TopicKey::Id(id),
            index,
        })
        .collect()
}

/// Ranges of records that were acknowledged alike. Gaps were no records; what is renewed is still being handled.
fn acknowledged(
    batch: &share::AcknowledgementBatch<'_>,
    max: usize,
    mut each: impl FnMut(RangeInclusive<i64>, &'static str),
) {
    let name = |code| match code {
        1 => Some("accept"),
        2 => Some("release"),
        3 => Some("reject"),
        _ => None,
    };
    let types = &batch.acknowledge_types;
    if max == 0 {
        return;
    }
    if types.len() <= 1 {
        // An empty list has no meaning in the protocol.
        if let Some(name) = types.iter().next().and_then(name) {
            each(batch.first_offset.0..=batch.last_offset.0, name);
        }
        return;
    }
    let mut run: Option<(RangeInclusive<i64>, &'static str)> = None;
    for (offset, code) in (batch.first_offset.0..=batch.last_offset.0)
        .zip(types)
        .take(max)
    {
        let name = name(code);
        match (&mut run, name) {
            (Some((range, how)), Some(name)) if *how == name => *range = *range.start()..=offset,
            _ => {
                if let Some((range, how)) = run.take() {
                    each(range, how);
                }
                run = name.map(|name| (offset..=offset, name));
            }
        }
    }
    if let Some((range, how)) = run {
        each(range, how);
    }
}

/// Reads the records of one partition of a ShareFetch: those that were acquired are for the client.
fn deliver<C: Cluster>(
    tracer: &mut Tracer<C>,
    reader: &mut BatchReader,
    topic: &Arc<str>,
    partition: &share::ShareFetchPartitionData<'_>,
    times: (Timestamp, Timestamp),
) {
    let Some(records) = partition
        .records
        .filter(|_| !partition.acquired_records.is_empty())
    else {
        return;
    };
    let mut acquired: Vec<share::AcquiredRecords> = partition.acquired_records.iter().collect();
    acquired.sort_by_key(|of| of.last_offset.0);
    let delivered = |offset: i64| -> Option<Times> {
        let of = acquired.get(acquired.partition_point(|of| of.last_offset.0 < offset))?;
        (of.first_offset.0 <= offset).then_some(Some(of.delivery_count))
    };
    let mut arrival = Arrival::new(
        tracer,
        topic,
        partition.partition_index.0,
        times,
        &delivered,
    );
    arrival.read(tracer, reader, records.bytes(), |_| true);
    drop(arrival.finish(tracer));
}
