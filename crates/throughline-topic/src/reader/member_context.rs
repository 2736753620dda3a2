//! The knowledge of a member of a group about its partitions, and its answers to the events of the
//! group.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::{Offset, TopicPartitionList};
use throughline_collector::RecordIngest;

use crate::client_events::{ClientEvents, log_line};

/// A record that was read.
#[derive(Debug)]
pub(super) struct ReadRecord {
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) value: Option<Vec<u8>>,
    pub(super) are_fragments: bool,
}

/// The context of the consumer. Its callbacks run on the thread that polls, but for those about
/// log lines.
pub(super) struct MemberContext {
    topic: String,
    ingest: OnceLock<RecordIngest>,
    state: Mutex<MemberState>,
    pub(super) events: ClientEvents,
}

#[derive(Debug, Default)]
struct MemberState {
    assigned: BTreeSet<i32>,
    /// The offsets behind the latest durable records of partitions, until they are committed.
    stored: BTreeMap<i32, i64>,
    /// Records that are stored and may not be durable: number, partition, and offset behind.
    undurable: VecDeque<(u64, i32, i64)>,
    /// Records that the store refused, in order. Few, because reading is paused then.
    refused: VecDeque<ReadRecord>,
    /// Nothing is fetched while reading is paused, so the statistics have no new ends.
    is_paused: bool,
}

// === impl MemberContext ===

impl MemberContext {
    pub(super) fn new(topic: String) -> Self {
        Self {
            topic,
            ingest: OnceLock::new(),
            state: Mutex::default(),
            events: ClientEvents::default(),
        }
    }

    /// Begins to report to the pipeline.
    pub(super) fn begin(&self, ingest: RecordIngest) {
        ingest.set_partitions(0);
        self.ingest.get_or_init(|| ingest);
    }

    pub(super) fn note_stored(&self, record: &ReadRecord, number: u64) {
        let mut state = self.state();
        // A record of a partition that is gone meanwhile is committed by its new owner.
        if state.assigned.contains(&record.partition) {
            let entry = (number, record.partition, record.offset + 1);
            state.undurable.push_back(entry);
        }
    }

    pub(super) fn has_refused(&self) -> bool {
        !self.state().refused.is_empty()
    }

    /// Keeps a record behind the others.
    pub(super) fn refuse(&self, record: ReadRecord) {
        self.state().refused.push_back(record);
    }

    /// Takes the first record out.
    pub(super) fn next_refused(&self) -> Option<ReadRecord> {
        self.state().refused.pop_front()
    }

    /// Puts the first record back.
    pub(super) fn refuse_again(&self, record: ReadRecord) {
        self.state().refused.push_front(record);
    }

    pub(super) fn is_paused(&self) -> bool {
        self.state().is_paused
    }

    pub(super) fn set_paused(&self, is_paused: bool) {
        self.state().is_paused = is_paused;
    }

    /// Commits the offsets behind all stored records, once these are durable.
    pub(super) fn commit(&self, consumer: &BaseConsumer<Self>, mode: CommitMode) {
        let is_idle = {
            let state = self.state();
            state.stored.is_empty() && state.undurable.is_empty()
        };
        let Some(ingest) = self.ingest.get().filter(|_| !is_idle) else {
            return;
        };
        let durable = match ingest.sync() {
            Ok(durable) => durable,
            Err(error) => {
                ingest.count_commit(false);
                tracing::warn!(%error, "offsets are not committed, because spans are not durable");
                return;
            }
        };
        let stored = self.state().take_durable(durable);
        if stored.is_empty() {
            return;
        }
        let mut offsets = TopicPartitionList::new();
        let added = stored.iter().try_for_each(|(partition, offset)| {
            offsets.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset))
        });
        let committed = added.and_then(|()| consumer.commit(&offsets, mode));
        match (committed, mode) {
            (Err(error), _) => {
                ingest.count_commit(false);
                self.events.note_error(&error.to_string());
                self.restore(stored);
            }
            (Ok(()), CommitMode::Sync) => ingest.count_commit(true),
            // The callback gets the answer.
            (Ok(()), CommitMode::Async) => {}
        }
    }

    /// Takes offsets back whose commit failed, unless later ones wait already.
    fn restore(&self, offsets: BTreeMap<i32, i64>) {
        let mut state = self.state();
        for (partition, offset) in offsets {
            if state.assigned.contains(&partition) {
                state.stored.entry(partition).or_insert(offset);
            }
        }
    }

    fn assign(&self, partitions: &TopicPartitionList) {
        let mut state = self.state();
        let added = partitions.elements();
        state.assigned.extend(added.iter().map(|it| it.partition()));
        self.report(&state);
    }

    /// Forgets partitions: what waits of them is read by their new owner.
    fn revoke(&self, partitions: &TopicPartitionList) {
        let mut state = self.state();
        for partition in partitions.elements() {
            let partition = partition.partition();
            state.assigned.remove(&partition);
            state.stored.remove(&partition);
            state.undurable.retain(|(_, other, _)| *other != partition);
            state.refused.retain(|record| record.partition != partition);
        }
        self.report(&state);
    }

    fn report(&self, state: &MemberState) {
        if let Some(ingest) = self.ingest.get() {
            ingest.set_partitions(state.assigned.len() as u64);
            if state.assigned.is_empty() {
                ingest.set_lag(0);
            }
        }
        let partitions: Vec<i32> = state.assigned.iter().copied().collect();
        tracing::info!(topic = self.topic, ?partitions, "partitions assigned");
    }

    fn state(&self) -> MutexGuard<'_, MemberState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl MemberState ===

impl MemberState {
    /// Takes the offsets behind the records that are durable: those with numbers below this one.
    fn take_durable(&mut self, below: u64) -> BTreeMap<i32, i64> {
        while let Some((number, partition, offset)) = self.undurable.front().copied()
            && number < below
        {
            self.undurable.pop_front();
            self.stored.insert(partition, offset);
        }
        std::mem::take(&mut self.stored)
    }
}

impl ClientContext for MemberContext {
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(facility, line);
    }

    fn error(&self, _error: KafkaError, reason: &str) {
        self.events.note_error(reason);
    }

    fn stats(&self, statistics: Statistics) {
        let Some(ingest) = self.ingest.get() else {
            return;
        };
        let state = self.state();
        if state.is_paused {
            return;
        }
        let topic = statistics.topics.get(&self.topic);
        let partitions = topic.into_iter().flat_map(|topic| &topic.partitions);
        let assigned = partitions.filter(|(id, _)| state.assigned.contains(id));
        let lags = assigned.map(|(_, it)| {
            // Negative where nothing was committed yet: librdkafka's own lag is unknown then.
            let committed = it.committed_offset.max(it.lo_offset).max(0);
            u64::try_from(it.hi_offset - committed).unwrap_or_default()
        });
        ingest.set_lag(lags.sum());
    }
}

impl ConsumerContext for MemberContext {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => self.assign(partitions),
            Rebalance::Revoke(partitions) => {
                // A member that was thrown out has nothing to commit: its records are read again.
                if !consumer.assignment_lost() {
                    self.commit(consumer, CommitMode::Sync);
                }
                self.revoke(partitions);
            }
            Rebalance::Error(error) => self.events.note_error(&error.to_string()),
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        let Some(ingest) = self.ingest.get() else {
            return;
        };
        ingest.count_commit(result.is_ok());
        match result {
            Ok(()) => self.events.note_success(),
            Err(error) => {
                self.events.note_error(&error.to_string());
                let offsets = offsets.elements().into_iter();
                let failed =
                    offsets.filter_map(|it| Some((it.partition(), absolute(it.offset())?)));
                self.restore(failed.collect());
            }
        }
    }
}

/// Returns the number of an offset that is one.
pub(super) const fn absolute(offset: Offset) -> Option<i64> {
    if let Offset::Offset(offset) = offset {
        Some(offset)
    } else {
        None
    }
}
