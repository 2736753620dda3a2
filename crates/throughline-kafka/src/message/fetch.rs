//! Fetch: which partitions are asked for, and the records that come.

use std::ops::RangeInclusive;

use super::address::Endpoints;
use super::{Message, Topic};
use crate::api::ApiKey;
use crate::wire::{Array, Error, Field, Read, Reader};

/// `FetchRequest`. In a fetch session (KIP-227) it lists the partitions that are new or changed, not all.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    /// 0: all records, 1: those of committed transactions.
    pub isolation_level: i8,
    /// 0 before version 7.
    pub session_id: i32,
    /// -1 before version 7.
    pub session_epoch: i32,
    pub topics: Array<'a, RequestTopic<'a>>,
    /// Partitions that leave the session.
    pub forgotten_topics: Array<'a, ForgottenTopic<'a>>,
}

/// `FetchTopic`.
#[derive(Debug, Clone, Copy)]
pub struct RequestTopic<'a> {
    pub topic: Topic<'a>,
    pub partitions: Array<'a, RequestPartition>,
}

/// `FetchPartition`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestPartition {
    pub partition: i32,
    pub fetch_offset: i64,
}

/// `FetchResponse`. In a fetch session it has the partitions with news, not all.
#[derive(Debug, Clone)]
pub struct Response<'a> {
    pub throttle_time_ms: i32,
    /// 0 before version 7.
    pub error_code: i16,
    /// 0 before version 7.
    pub session_id: i32,
    pub topics: Array<'a, ResponseTopic<'a>>,
    pub node_endpoints: Endpoints<'a>,
}

/// `FetchableTopicResponse`.
#[derive(Debug, Clone, Copy)]
pub struct ResponseTopic<'a> {
    pub topic: Topic<'a>,
    pub partitions: Array<'a, ResponsePartition<'a>>,
}

/// `PartitionData`.
#[derive(Debug, Clone, Copy)]
pub struct ResponsePartition<'a> {
    pub partition_index: i32,
    pub error_code: i16,
    /// The offset behind the last record that all replicas have.
    pub high_watermark: i64,
    pub last_stable_offset: i64,
    /// -1 before version 5.
    pub log_start_offset: i64,
    /// Of these producers, a reader of committed records leaves out what lies from the offset to the abort marker.
    pub aborted_transactions: Array<'a, AbortedTransaction>,
    /// The record set; its last batch may be cut.
    pub records: Option<Field<'a>>,
}

/// `AbortedTransaction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: i64,
}

/// `ForgottenTopic`.
#[derive(Debug, Clone, Copy)]
pub struct ForgottenTopic<'a> {
    pub topic: Topic<'a>,
    pub partitions: Array<'a, i32>,
}

const VERSIONS: RangeInclusive<i16> = 4..=18;
const TOPIC_IDS: i16 = 13;
const NODE_ENDPOINTS: i16 = 16;

// === impl Message ===

impl<'a> Message<'a> for Request<'a> {
    const API: ApiKey = ApiKey::FETCH;
    const VERSIONS: RangeInclusive<i16> = VERSIONS;
}

impl<'a> Message<'a> for Response<'a> {
    const API: ApiKey = ApiKey::FETCH;
    const VERSIONS: RangeInclusive<i16> = VERSIONS;
}

// === impl Read ===

impl<'a> Read<'a> for Request<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        if reader.version() <= 14 {
            // replica_id
            reader.i32()?;
        }
        let (max_wait_ms, min_bytes) = (reader.i32()?, reader.i32()?);
        // max_bytes
        reader.i32()?;
        let isolation_level = reader.i8()?;
        let (session_id, session_epoch) = if reader.version() >= 7 {
            (reader.i32()?, reader.i32()?)
        } else {
            (0, -1)
        };
        let topics = reader.array()?;
        let forgotten_topics = if reader.version() >= 7 {
            reader.array()?
        } else {
            Array::default()
        };
        if reader.version() >= 11 {
            // rack_id
            reader.string()?;
        }
        reader.tags()?;
        Ok(Self {
            max_wait_ms,
            min_bytes,
            isolation_level,
            session_id,
            session_epoch,
            topics,
            forgotten_topics,
        })
    }
}

impl<'a> Read<'a> for RequestTopic<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let topic = Topic::read(reader, TOPIC_IDS)?;
        let partitions = reader.array()?;
        reader.tags()?;
        Ok(Self { topic, partitions })
    }
}

impl<'a> Read<'a> for RequestPartition {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let partition = reader.i32()?;
        if reader.version() >= 9 {
            // current_leader_epoch
            reader.i32()?;
        }
        let fetch_offset = reader.i64()?;
        if reader.version() >= 12 {
            // last_fetched_epoch
            reader.i32()?;
        }
        if reader.version() >= 5 {
            // log_start_offset, of a follower
            reader.i64()?;
        }
        // partition_max_bytes
        reader.i32()?;
        reader.tags()?;
        Ok(Self {
            partition,
            fetch_offset,
        })
    }
}

impl<'a> Read<'a> for ForgottenTopic<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let topic = Topic::read(reader, TOPIC_IDS)?;
        let partitions = reader.array()?;
        reader.tags()?;
        Ok(Self { topic, partitions })
    }
}

impl<'a> Read<'a> for Response<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let throttle_time_ms = reader.i32()?;
        let (error_code, session_id) = if reader.version() >= 7 {
            (reader.i16()?, reader.i32()?)
        } else {
            (0, 0)
        };
        let topics = reader.array()?;
        let tags = reader.tags()?;
        let node_endpoints = Endpoints::read_tagged(reader, &tags, NODE_ENDPOINTS)?;
        Ok(Self {
            throttle_time_ms,
            error_code,
            session_id,
            topics,
            node_endpoints,
        })
    }
}

impl<'a> Read<'a> for ResponseTopic<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let topic = Topic::read(reader, TOPIC_IDS)?;
        let partitions = reader.array()?;
        reader.tags()?;
        Ok(Self { topic, partitions })
    }
}

impl<'a> Read<'a> for ResponsePartition<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let (partition_index, error_code) = (reader.i32()?, reader.i16()?);
        let (high_watermark, last_stable_offset) = (reader.i64()?, reader.i64()?);
        let log_start_offset = if reader.version() >= 5 {
            reader.i64()?
        } else {
            -1
        };
        let aborted_transactions = reader.array()?;
        if reader.version() >= 11 {
            // preferred_read_replica
            reader.i32()?;
        }
        let records = reader.blob()?;
        reader.tags()?;
        Ok(Self {
            partition_index,
            error_code,
            high_watermark,
            last_stable_offset,
            log_start_offset,
            aborted_transactions,
            records,
        })
    }
}

impl<'a> Read<'a> for AbortedTransaction {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let (producer_id, first_offset) = (reader.i64()?, reader.i64()?);
        reader.tags()?;
        Ok(Self {
            producer_id,
            first_offset,
        })
    }
}
