//! Produce: contexts into records, and a span for each of them, which the response closes.

use std::collections::{HashMap, VecDeque};

use throughline_kafka::batch::{
    BatchOutcome, InjectionLimits, Record, RecordBatch, RecordBatches, RecordSetEntry,
};
use throughline_kafka::message::produce::{
    PartitionProduceResponse, ProduceRequest, ProduceResponse,
};
use throughline_kafka::message::{ApiMessage, BodySplice, ParseOutcome};
use throughline_kafka::wire::{Error, WireField};

use super::cause::Told;
use super::context::{self, Found};
use super::span::{Details, Operation, Place};
use super::tools::{BatchReader, Tools};
use super::topic::{PartitionKey, TopicKey};
use super::tracer::{Identity, Tracer};
use super::{Cluster, DEFAULT_MAX_MESSAGE_BYTES, Known, Notice, Reason, error};
use crate::Timestamp;

/// The records of a request, on their way.
#[derive(Debug)]
pub(super) struct Sending {
    begun: Timestamp,
    /// With 0 there is no answer.
    pub(super) acks: i16,
    partitions: VecDeque<Partition>,
}

/// The batch for a partition.
#[derive(Debug)]
struct Partition {
    key: PartitionKey,
    /// How many records there are.
    count: i32,
    /// Bytes of the batch as it came.
    bytes: usize,
    /// Records that got a context.
    injected: u32,
    /// Why records that should have got a context did not.
    not_injected: Option<Reason>,
    /// How many records have been looked at.
    seen: usize,
    records: Vec<Sent>,
}

/// A record whose span is not finished.
#[derive(Debug)]
struct Sent {
    identity: Identity,
    offset_delta: i32,
    tombstone: bool,
    /// The context was in the record when it came.
    by_header: bool,
    /// How else its parent was found.
    told: Option<Told>,
    key: Option<Box<str>>,
}

/// How sending ended.
#[derive(Debug, Clone, Copy)]
struct Ending {
    at: Timestamp,
    error_code: i16,
    /// The first record's offset, negative when it is not known.
    base_offset: i64,
}

/// What may be done with the records of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Inject,
    /// The frame is on its way already, or injection is off.
    Nothing,
}

// === impl Sending ===

impl Sending {
    /// Reads the body of a request that began at `now`. What is to be changed in it stands in the splice of `tools`, which is
    /// empty when nothing is.
    ///
    /// # Errors
    /// When the body is not well-formed; then it is to go on as it came.
    pub(super) fn read<C: Cluster>(
        tracer: &mut Tracer<C>,
        tools: &mut Tools,
        (body, version): (&[u8], i16),
        now: Timestamp,
        change: Change,
    ) -> Result<ParseOutcome<Self>, Error> {
        let Tools {
            injector,
            splice,
            reader,
            ..
        } = tools;
        splice.clear();
        let Some(request) = ProduceRequest::parse(body, version)?.parsed() else {
            return Ok(ParseOutcome::UnsupportedVersion);
        };
        let mut partitions = VecDeque::new();
        for topic in &request.topics {
            let Some(key) = tracer.topic_key(&topic.topic) else {
                continue;
            };
            let limits = injection_limits(tracer, &key, change);
            for partition in &topic.partitions {
                let Some(field) = partition.records else {
                    continue;
                };
                let key = PartitionKey {
                    topic: key.clone(),
                    index: partition.index.0,
                };
                let Some(batch) = sole_batch(tracer, &field) else {
                    continue;
                };
                let mut partition = Partition::new(key, &batch);
                let outcome = match limits {
                    Ok(limits) => partition.inject(
                        tracer,
                        injector,
                        (&field, splice),
                        &batch,
                        &limits,
                        now,
                    )?,
                    Err(reason) => {
                        partition.not_injected = reason;
                        None
                    }
                };
                if let Some(done) = outcome {
                    partition.injected = done;
                } else if let Err(reason) = partition.observe(tracer, reader, &batch, now) {
                    tracer.passed(reason, 0);
                    tracer.dropped(reason, partition.unread());
                }
                tracer.open_spans += partition.records.len();
                partitions.push_back(partition);
            }
        }
        Ok(ParseOutcome::Parsed(Self {
            begun: now,
            acks: request.acks,
            partitions,
        }))
    }

    /// The changes could not be made after all: everything goes as it came.
    pub(super) fn give_up_injection(&mut self, reason: Reason) {
        for partition in self
            .partitions
            .iter_mut()
            .filter(|partition| partition.injected > 0)
        {
            (partition.injected, partition.not_injected) = (0, Some(reason));
        }
    }

    /// Tells what was injected and what was not.
    pub(super) fn tell<C: Cluster>(&self, tracer: &mut Tracer<C>) {
        let injected = self.partitions.iter().fold(0u32, |sum, partition| {
            sum.saturating_add(partition.injected)
        });
        if injected > 0 {
            tracer.out.notice(Notice::Injected { records: injected });
        }
        for partition in &self.partitions {
            if let Some(reason) = partition.not_injected {
                tracer.passed(reason, u32::try_from(partition.count).unwrap_or(0));
            }
        }
        tracer.flush();
    }

    /// The request has gone out, and there will be no answer.
    pub(super) fn sent<C: Cluster>(self, tracer: &mut Tracer<C>, now: Timestamp) {
        self.end(
            tracer,
            Ending {
                at: now,
                error_code: error::NONE,
                base_offset: -1,
            },
        );
    }

    /// There was no answer.
    pub(super) fn fail<C: Cluster>(self, tracer: &mut Tracer<C>, now: Timestamp, error_code: i16) {
        self.end(
            tracer,
            Ending {
                at: now,
                error_code,
                base_offset: -1,
            },
        );
    }

    fn end<C: Cluster>(self, tracer: &mut Tracer<C>, ending: Ending) {
        for partition in self.partitions {
            partition.end(tracer, self.begun, ending);
        }
        tracer.flush();
    }

    /// No spans come of it.
    pub(super) fn forget<C: Cluster>(self, tracer: &mut Tracer<C>, reason: Reason) {
        for partition in self.partitions {
            partition.forget(tracer, reason);
        }
    }

    /// The body of the response has come.
    pub(super) fn answer<C: Cluster>(
        mut self,
        tracer: &mut Tracer<C>,
        body: &[u8],
        version: i16,
        now: Timestamp,
    ) {
        let Ok(ParseOutcome::Parsed(response)) = ProduceResponse::parse(body, version) else {
            return self.forget(tracer, Reason::Malformed);
        };
        let mut others = HashMap::new();
        for topic in &response.topics {
            let Some(key) = tracer.topic_key(&topic.topic) else {
                continue;
            };
            for answer in &topic.partitions {
                if let Some(partition) = self.take(&mut others, &key, answer.index.0) {
                    partition.learn(tracer, &answer);
                    let PartitionProduceResponse {
                        error_code,
                        base_offset,
                        ..
                    } = answer;
                    partition.end(
                        tracer,
                        self.begun,
                        Ending {
                            at: now,
                            error_code,
                            base_offset: base_offset.0,
                        },
                    );
                }
            }
        }
        // A broker that says nothing of a partition has not got it.
        self.partitions.extend(others.into_values().flatten());
        self.forget(tracer, Reason::Malformed);
        tracer.flush();
    }

    /// Takes what was sent to a partition. Answers come in the order of the request, so it is nearly always the first; from
    /// the first time that it is not, the rest is found by key among `others`.
    fn take(
        &mut self,
        others: &mut HashMap<PartitionKey, VecDeque<Partition>>,
        topic: &TopicKey,
        index: i32,
    ) -> Option<Partition> {
        let is_it = |partition: &mut Partition| {
            partition.key.index == index && partition.key.topic == *topic
        };
        if let Some(first) = self.partitions.pop_front_if(is_it) {
            return Some(first);
        }
        for partition in self.partitions.drain(..) {
            others
                .entry(partition.key.clone())
                .or_default()
                .push_back(partition);
        }
        others
            .get_mut(&PartitionKey {
                topic: topic.clone(),
                index,
            })?
            .pop_front()
    }
}

/// How injected batches of a topic are bounded; an error where nothing is to be injected, with the reason if there is one that
/// the settings do not give.
fn injection_limits<C: Cluster>(
    tracer: &mut Tracer<C>,
    topic: &TopicKey,
    change: Change,
) -> Result<InjectionLimits, Option<Reason>> {
    if change == Change::Nothing {
        return Err(None);
    }
    let is_known = tracer.is_named(topic);
    let name = tracer.topic_name(topic);
    let settings = &tracer.settings;
    if !settings.inject || settings.write.is_empty() || !settings.topic(&name).inject {
        return Err(None);
    }
    if !is_known && settings.excepts() {
        return Err(Some(Reason::UnknownTopic));
    }
    let max_inflated_bytes = settings.limits.max_inflated_bytes;
    match tracer.cluster.known(|known| known.max_message_bytes(&name)) {
        0 => Err(Some(Reason::RefusedBefore)),
        max_batch_bytes => Ok(InjectionLimits {
            max_batch_bytes,
            max_inflated_bytes,
        }),
    }
}

/// A partition gets exactly one batch; the broker will say what it thinks of anything else.
fn sole_batch<'a, C: Cluster>(
    tracer: &mut Tracer<C>,
    field: &WireField<'a>,
) -> Option<RecordBatch<'a>> {
    let batch = RecordBatch::new(field.bytes());
    if batch.is_none() {
        let is_old = matches!(
            RecordBatches::new(field.bytes()).next(),
            Some(RecordSetEntry::LegacyMessageSet { .. })
        );
        tracer.passed(
            if is_old {
                Reason::OldFormat
            } else {
                Reason::Malformed
            },
            0,
        );
        tracer.dropped(
            if is_old {
                Reason::OldFormat
            } else {
                Reason::Malformed
            },
            1,
        );
    }
    batch
}

// === impl Partition ===

impl Partition {
    fn new(key: PartitionKey, batch: &RecordBatch<'_>) -> Self {
        let (count, bytes) = (batch.record_count(), batch.bytes().len());
        Self {
            key,
            count,
            bytes,
            injected: 0,
            not_injected: None,
            seen: 0,
            records: Vec::new(),
        }
    }

    /// Gives records their contexts. [`None`] when nothing came of it, and the records are to be looked at as they are.
    fn inject<C: Cluster>(
        &mut self,
        tracer: &mut Tracer<C>,
        injector: &mut throughline_kafka::batch::HeaderInjector,
        (field, splice): (&WireField<'_>, &mut BodySplice),
        batch: &RecordBatch<'_>,
        limits: &InjectionLimits,
        now: Timestamp,
    ) -> Result<Option<u32>, Error> {
        let mut outcome = BatchOutcome::Unchanged;
        splice.replace_field(field, |out| {
            outcome = injector.inject(*batch, limits, out, |record, headers| {
                if let Some(context) = self.add(tracer, batch, record, now) {
                    context::write(&tracer.settings.write, &context, record, headers);
                }
            });
            matches!(outcome, BatchOutcome::Changed(_)).then_some(())
        })?;
        match outcome {
            BatchOutcome::Changed(records) => Ok(Some(records)),
            BatchOutcome::Unchanged => Ok(Some(0)),
            BatchOutcome::Skipped(reason) => {
                self.not_injected = Some(reason.into());
                Ok(None)
            }
        }
    }

    /// Looks at those records that have not been looked at.
    fn observe<C: Cluster>(
        &mut self,
        tracer: &mut Tracer<C>,
        reader: &mut BatchReader,
        batch: &RecordBatch<'_>,
        now: Timestamp,
    ) -> Result<(), Reason> {
        let seen = self.seen;
        let records = reader.records(batch, tracer.settings.limits.max_inflated_bytes)?;
        for record in records.skip(seen) {
            let record = record.map_err(|_| Reason::Malformed)?;
            drop(self.add(tracer, batch, &record, now));
        }
        Ok(())
    }

    /// Notes a record that is to have a span. Gives the context that it is to get.
    fn add<C: Cluster>(
        &mut self,
        tracer: &mut Tracer<C>,
        batch: &RecordBatch<'_>,
        record: &Record<'_>,
        now: Timestamp,
    ) -> Option<throughline_model::context::SpanContext> {
        self.seen += 1;
        let found = context::read(record, &tracer.settings);
        let by_header = matches!(found, Found::Context(_));
        let cause = if by_header {
            None
        } else {
            tracer.cause(&self.key.topic, batch, record, now)
        };
        let told = cause
            .as_ref()
            .map(|cause| (cause.evidence, cause.confidence));
        let (identity, context) = tracer.send(found, cause.and_then(|cause| cause.context), now);
        if let Some(identity) = identity {
            let key = record
                .key
                .filter(|_| tracer.settings.message_key)
                .and_then(|key| str::from_utf8(key).ok());
            self.records.push(Sent {
                identity,
                offset_delta: record.offset_delta,
                tombstone: record.value.is_none(),
                by_header,
                told,
                key: key.map(Box::from),
            });
        }
        context
    }

    /// How many records have not been looked at.
    fn unread(&self) -> u32 {
        u32::try_from(self.count)
            .unwrap_or(0)
            .saturating_sub(u32::try_from(self.seen).unwrap_or(u32::MAX))
    }

    /// The broker may refuse what was injected: then it gets less from here on. If it then refuses what was left as it came, and
    /// in the same words, the fault was never ours (a record without a key for a compacted topic), and injection goes on.
    fn learn<C: Cluster>(&self, tracer: &mut Tracer<C>, answer: &PartitionProduceResponse) {
        if answer.error_code == error::NONE {
            return;
        }
        let topic = tracer.topic_name(&self.key.topic);
        let max = match answer.error_code {
            error::INVALID_RECORD if self.not_injected == Some(Reason::RefusedBefore) => {
                let learn = |known: &mut Known| {
                    known.learn_max_message_bytes(&topic, DEFAULT_MAX_MESSAGE_BYTES)
                };
                return tracer.cluster.known(learn);
            }
            _ if self.injected == 0 => return,
            // What it was before injection may pass; certainly not more.
            error::MESSAGE_TOO_LARGE | error::RECORD_LIST_TOO_LARGE => self.bytes,
            error::CORRUPT_MESSAGE
            | error::UNSUPPORTED_FOR_MESSAGE_FORMAT
            | error::INVALID_RECORD => 0,
            _ => return,
        };
        tracer.cluster.known(|known| {
            let max = max.min(known.max_message_bytes(&topic));
            known.learn_max_message_bytes(&topic, max);
        });
        tracer.out.notice(Notice::Refused {
            topic,
            error_code: answer.error_code,
        });
    }

    fn end<C: Cluster>(self, tracer: &mut Tracer<C>, begun: Timestamp, ending: Ending) {
        if self.records.is_empty() {
            return;
        }
        tracer.open_spans = tracer.open_spans.saturating_sub(self.records.len());
        let topic = tracer.topic_name(&self.key.topic);
        let has_arrived = ending.error_code == error::NONE && self.injected > 0;
        let cluster_id = tracer.cluster.known(|known| {
            for record in self
                .records
                .iter()
                .filter(|record| has_arrived && !record.by_header)
            {
                known.sent(record.identity.span_id, ending.at);
            }
            known.cluster_id()
        });
        let place = Place::new(Operation::Send, (topic, self.key.index), None, cluster_id);
        let base_offset = (ending.base_offset >= 0).then_some(ending.base_offset);
        for record in self.records {
            let details = Details {
                offset: base_offset.map(|base| base.saturating_add(i64::from(record.offset_delta))),
                key: record.key.as_deref(),
                tombstone: record.tombstone,
                batch_size: Some(self.count),
                by_header: record.by_header,
                told: record.told,
                not_injected: self.not_injected.filter(|_| !record.by_header),
                error_code: ending.error_code,
                ..Details::default()
            };
            tracer.finish(
                record.identity,
                (begun, ending.at),
                &place,
                &details,
                Vec::new(),
            );
        }
    }

    fn forget<C: Cluster>(self, tracer: &mut Tracer<C>, reason: Reason) {
        tracer.open_spans = tracer.open_spans.saturating_sub(self.records.len());
        tracer.dropped(
            reason,
            u32::try_from(self.records.len()).unwrap_or(u32::MAX),
        );
    }
}
