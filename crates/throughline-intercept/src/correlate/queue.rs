//! Delivered records by their partitions, in order, until they are known to be handled.

use std::collections::{HashMap, VecDeque};
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::work::Id;
use crate::kafka::ClientKey;

/// A partition as one client consumes it.
#[derive(Debug, Clone, Copy)]
pub struct Partition<'a> {
    pub client: &'a ClientKey,
    pub topic: &'a Arc<str>,
    pub partition: i32,
    pub fetching: Fetching,
}

/// When a client asks for more records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fetching {
    /// Whenever it has room, whatever the application does (librdkafka). Its requests tell nothing.
    #[default]
    Ahead,
    /// Only while the application polls, and for a partition only when the application has been given all that came of it
    /// (kafka-clients, kafka-python). A request from an offset tells that what was delivered before the request before it
    /// has been handled.
    OnPoll,
}

/// All partitions.
#[derive(Debug, Default)]
pub(super) struct Queues {
    queues: HashMap<Key, Queue>,
    /// Which queue a record is in.
    of: HashMap<Id, Key>,
}

type Key = (ClientKey, Arc<str>, i32);

#[derive(Debug, Default)]
struct Queue {
    records: VecDeque<(i64, Id)>,
    /// The offset that was asked for last.
    fetched: Option<i64>,
}

/// Partitions without records of which the last request is remembered.
const MOST_QUIET: usize = 4096;

// === impl Queues ===

impl Queues {
    /// A record waits. At most so many do; past that the oldest of its partition is forgotten. A record that is delivered again
    /// takes its own place; gives what was there.
    pub(super) fn push(
        &mut self,
        place: &Partition<'_>,
        offset: i64,
        id: Id,
        most: usize,
    ) -> Vec<Id> {
        let again = self.settled(place, &(offset..=offset));
        let key = place.key();
        let is_full = self.of.len() >= most;
        let records = &mut self.queues.entry(key.clone()).or_default().records;
        if is_full {
            match records.pop_front() {
                Some((_, oldest)) => drop(self.of.remove(&oldest)),
                None => return again,
            }
        }
        records.push_back((offset, id));
        self.of.insert(id, key);
        again
    }

    /// How many records wait.
    pub(super) fn len(&self) -> usize {
        self.of.len()
    }

    /// Takes out the records that are over for other reasons than a commit.
    pub(super) fn retain(&mut self, is_wanted: impl Fn(Id) -> bool) {
        self.of.retain(|id, _| is_wanted(*id));
        self.queues.retain(|_, queue| {
            queue.records.retain(|(_, id)| is_wanted(*id));
            !queue.records.is_empty() || queue.fetched.is_some()
        });
    }

    /// Takes out what a request for more tells to be handled.
    pub(super) fn fetched(&mut self, place: &Partition<'_>, offset: i64) -> Vec<Id> {
        if place.fetching == Fetching::Ahead {
            return Vec::new();
        }
        let Some(queue) = self.queues.get_mut(&place.key()) else {
            return Vec::new();
        };
        match queue.fetched.replace(offset) {
            Some(before) if before <= offset => {
                self.settled(place, &(i64::MIN..=before.saturating_sub(1)))
            }
            _ => Vec::new(),
        }
    }

    /// Takes out the records of these offsets.
    pub(super) fn settled(
        &mut self,
        place: &Partition<'_>,
        offsets: &RangeInclusive<i64>,
    ) -> Vec<Id> {
        let key = place.key();
        let Some(queue) = self.queues.get_mut(&key) else {
            return Vec::new();
        };
        let mut settled = Vec::new();
        queue.records.retain(|(offset, id)| {
            let is_settled = offsets.contains(offset);
            if is_settled {
                settled.push(*id);
            }
            !is_settled
        });
        if queue.records.is_empty() && (queue.fetched.is_none() || self.queues.len() > MOST_QUIET) {
            self.queues.remove(&key);
        }
        settled.iter().for_each(|id| drop(self.of.remove(id)));
        settled
    }

    /// This record is being handled for certain: takes out those before it in its partition.
    pub(super) fn reached(&mut self, id: Id) -> Vec<Id> {
        let Some(queue) = self.of.get(&id).and_then(|key| self.queues.get_mut(key)) else {
            return Vec::new();
        };
        let place = queue
            .records
            .iter()
            .position(|(_, other)| *other == id)
            .unwrap_or_default();
        let before: Vec<Id> = queue.records.drain(..place).map(|(_, id)| id).collect();
        before.iter().for_each(|id| drop(self.of.remove(id)));
        before
    }

    /// Whether all of these are records of one partition.
    pub(super) fn are_of_one(&self, ids: &[Id]) -> bool {
        let mut keys = ids.iter().map(|id| self.of.get(id));
        let Some(Some(first)) = keys.next() else {
            return false;
        };
        keys.all(|key| key == Some(first))
    }
}

// === impl Partition ===

impl Partition<'_> {
    fn key(&self) -> Key {
        (self.client.clone(), Arc::clone(self.topic), self.partition)
    }
}
