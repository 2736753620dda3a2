//! The knowledge of a member of a group about its partitions, and its answers to the events of the
//! group.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::statistics::Statistics;
use rdkafka::{Offset, TopicPartitionList};
use throughline_collector::RecordIngest;

use crate::client_events::{ClientEvents, log_line};

/// Statistics without an offset after which its commit has failed; there are some each second.
const MAX_COMMIT_ROUNDS: u8 = 5;

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
    /// [`None`] before the reader runs, and after.
    ingest: Mutex<Option<RecordIngest>>,
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
    /// Offsets that are being committed, and how often the statistics did not have them.
    in_doubt: BTreeMap<i32, (i64, u8)>,
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
            ingest: Mutex::default(),
            state: Mutex::default(),
            events: ClientEvents::default(),
        }
    }

    /// Begins to report to the pipeline.
    pub(super) fn begin(&self, ingest: RecordIngest) {
        ingest.set_partitions(0);
        *self.ingest.lock().unwrap_or_else(PoisonError::into_inner) = Some(ingest);
    }

    /// Ends to report: the store is closed, although the client may not be.
    pub(super) fn end(&self) {
        *self.ingest.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn ingest(&self) -> Option<RecordIngest> {
        let ingest = self.ingest.lock().unwrap_or_else(PoisonError::into_inner);
        ingest.clone()
    }

    fn count_commit(&self, is_done: bool) {
        if let Some(ingest) = self.ingest() {
            ingest.count_commit(is_done);
        }
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
        // Not held while Kafka is waited for, so that the store can be closed.
        let synced = self.ingest().filter(|_| !is_idle).map(|it| it.sync());
        let durable = match synced {
            None => return,
            Some(Ok(durable)) => durable,
            Some(Err(error)) => {
                self.count_commit(false);
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
                self.count_commit(false);
                self.events.note_error(&error.to_string());
                self.restore(stored);
            }
            (Ok(()), CommitMode::Sync) => self.count_commit(true),
            // The statistics have the answer: librdkafka reports results of asynchronous commits to
            // a callback only, and rdkafka sets none.
            (Ok(()), CommitMode::Async) => {
                let sent = stored.into_iter();
                let sent = sent.map(|(partition, offset)| (partition, (offset, 0)));
                self.state().in_doubt.extend(sent);
            }
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
            state.in_doubt.remove(&partition);
            state.undurable.retain(|(_, other, _)| *other != partition);
            state.refused.retain(|record| record.partition != partition);
        }
        self.report(&state);
    }

    fn report(&self, state: &MemberState) {
        if let Some(ingest) = self.ingest() {
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

    /// Compares the offsets that are being committed with those that the group has. Returns whether
    /// some have arrived, and the offsets that have not for long.
    fn confirm(&mut self, committed: impl Fn(i32) -> Option<i64>) -> (bool, BTreeMap<i32, i64>) {
        let before = self.in_doubt.len();
        self.in_doubt
            .retain(|partition, (offset, _)| committed(*partition) < Some(*offset));
        let has_arrived = self.in_doubt.len() < before;
        let mut lost = BTreeMap::new();
        self.in_doubt.retain(|partition, (offset, rounds)| {
            *rounds += 1;
            if *rounds >= MAX_COMMIT_ROUNDS {
                lost.insert(*partition, *offset);
            }
            *rounds < MAX_COMMIT_ROUNDS
        });
        (has_arrived, lost)
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
        let Some(ingest) = self.ingest() else {
            return;
        };
        let topic = statistics.topics.get(&self.topic);
        let committed = |partition| Some(topic?.partitions.get(&partition)?.committed_offset);
        let (has_arrived, lost) = self.state().confirm(committed);
        if has_arrived {
            ingest.count_commit(true);
            self.events.note_success();
        }
        if !lost.is_empty() {
            ingest.count_commit(false);
            self.restore(lost);
        }
        let state = self.state();
        if state.is_paused {
            return;
        }
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
                    // A synchronous commit waits until Kafka is back.
                    let mode = if self.events.is_failing() {
                        CommitMode::Async
                    } else {
                        CommitMode::Sync
                    };
                    self.commit(consumer, mode);
                }
                self.revoke(partitions);
            }
            Rebalance::Error(error) => self.events.note_error(&error.to_string()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_committed_again_when_the_group_does_not_get_them() {
        let mut state = MemberState {
            in_doubt: BTreeMap::from([(0, (10, 0)), (1, (20, 0))]),
            ..MemberState::default()
        };
        let committed = |partition| Some(if partition == 0 { 10 } else { 19 });
        assert_eq!(state.confirm(committed), (true, BTreeMap::new()));
        for _ in 2..MAX_COMMIT_ROUNDS {
            assert_eq!(state.confirm(committed), (false, BTreeMap::new()));
        }
        assert_eq!(state.confirm(committed), (false, BTreeMap::from([(1, 20)])));
        assert!(state.in_doubt.is_empty());
    }

    #[test]
    fn only_offsets_of_durable_records_are_committed() {
        let mut state = MemberState {
            undurable: VecDeque::from([(0, 7, 1), (1, 8, 5), (2, 7, 2)]),
            ..MemberState::default()
        };
        assert_eq!(state.take_durable(2), BTreeMap::from([(7, 1), (8, 5)]));
        assert_eq!(state.take_durable(2), BTreeMap::new());
        assert_eq!(state.take_durable(u64::MAX), BTreeMap::from([(7, 2)]));
    }
}
