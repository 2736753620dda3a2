//! Fetch: which partitions are asked for, and the records that come.

use super::endpoint::NodeEndpoints;
use super::{ApiMessage, TopicRef};
use crate::api::ApiKey;
use crate::types::{Offset, PartitionIndex};
use crate::wire::{Decode, Error, WireArray, WireField, WireReader};

/// `FetchRequest`. In a fetch session (KIP-227) it lists the partitions that are new or changed, not all.
#[derive(Debug, Clone, Copy)]
pub struct FetchRequest<'a> {
    pub max_wait_ms: i32,
    pub min_bytes: i32,
    /// 0: all records, 1: those of committed transactions.
    pub isolation_level: i8,
    /// 0 before version 7.
    pub session_id: i32,
    /// -1 before version 7.
    pub session_epoch: i32,
    pub topics: WireArray<'a, FetchTopic<'a>>,
    /// Partitions that leave the session.
    pub forgotten_topics: WireArray<'a, ForgottenTopic<'a>>,
}

/// `FetchTopic`.
#[derive(Debug, Clone, Copy)]
pub struct FetchTopic<'a> {
    pub topic: TopicRef<'a>,
    pub partitions: WireArray<'a, FetchPartition>,
}

/// `FetchPartition`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchPartition {
    pub partition: PartitionIndex,
    pub fetch_offset: Offset,
}

/// `FetchResponse`. In a fetch session it has the partitions with news, not all.
#[derive(Debug, Clone)]
pub struct FetchResponse<'a> {
    pub throttle_time_ms: i32,
    /// 0 before version 7.
    pub error_code: i16,
    /// 0 before version 7.
    pub session_id: i32,
    pub topics: WireArray<'a, FetchableTopicResponse<'a>>,
    pub node_endpoints: NodeEndpoints<'a>,
}

/// `FetchableTopicResponse`.
#[derive(Debug, Clone, Copy)]
pub struct FetchableTopicResponse<'a> {
    pub topic: TopicRef<'a>,
    pub partitions: WireArray<'a, FetchPartitionData<'a>>,
}

/// `PartitionData`.
#[derive(Debug, Clone, Copy)]
pub struct FetchPartitionData<'a> {
    pub partition_index: PartitionIndex,
    pub error_code: i16,
    /// The offset behind the last record that all replicas have.
    pub high_watermark: Offset,
    pub last_stable_offset: Offset,
    /// -1 before version 5.
    pub log_start_offset: Offset,
    /// Of these producers, a reader of committed records leaves out what lies from the offset to the abort marker.
    pub aborted_transactions: WireArray<'a, AbortedTransaction>,
    /// The record set; its last batch may be cut.
    pub records: Option<WireField<'a>>,
}

/// `AbortedTransaction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: Offset,
}

/// `ForgottenTopic`.
#[derive(Debug, Clone, Copy)]
pub struct ForgottenTopic<'a> {
    pub topic: TopicRef<'a>,
    pub partitions: WireArray<'a, PartitionIndex>,
}

const TOPIC_IDS: i16 = 13;
const NODE_ENDPOINTS: i16 = 16;

// === impl ApiMessage ===

impl<'a> ApiMessage<'a> for FetchRequest<'a> {
    const API: ApiKey = ApiKey::FETCH;
}

impl<'a> ApiMessage<'a> for FetchResponse<'a> {
    const API: ApiKey = ApiKey::FETCH;
}

// === impl Decode ===

impl<'a> Decode<'a> for FetchRequest<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
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
            WireArray::default()
        };
        if reader.version() >= 11 {
            // rack_id
            reader.nullable_string()?;
        }
        reader.tagged_fields()?;
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

impl<'a> Decode<'a> for FetchTopic<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let topic = TopicRef::decode(reader, TOPIC_IDS)?;
        let partitions = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self { topic, partitions })
    }
}

impl<'a> Decode<'a> for FetchPartition {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let partition = reader.decode()?;
        if reader.version() >= 9 {
            // current_leader_epoch
            reader.i32()?;
        }
        let fetch_offset = reader.decode()?;
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
        reader.tagged_fields()?;
        Ok(Self {
            partition,
            fetch_offset,
        })
    }
}

impl<'a> Decode<'a> for ForgottenTopic<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let topic = TopicRef::decode(reader, TOPIC_IDS)?;
        let partitions = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self { topic, partitions })
    }
}

impl<'a> Decode<'a> for FetchResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let throttle_time_ms = reader.i32()?;
        let (error_code, session_id) = if reader.version() >= 7 {
            (reader.i16()?, reader.i32()?)
        } else {
            (0, 0)
        };
        let topics = reader.array()?;
        let tags = reader.tagged_fields()?;
        let node_endpoints = NodeEndpoints::read_tagged(reader, &tags, NODE_ENDPOINTS)?;
        Ok(Self {
            throttle_time_ms,
            error_code,
            session_id,
            topics,
            node_endpoints,
        })
    }
}

impl<'a> Decode<'a> for FetchableTopicResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let topic = TopicRef::decode(reader, TOPIC_IDS)?;
        let partitions = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self { topic, partitions })
    }
}

impl<'a> Decode<'a> for FetchPartitionData<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (partition_index, error_code) = (reader.decode()?, reader.i16()?);
        let (high_watermark, last_stable_offset) = (reader.decode()?, reader.decode()?);
        let log_start_offset = if reader.version() >= 5 {
            reader.decode()?
        } else {
            Offset(-1)
        };
        let aborted_transactions = reader.array()?;
        if reader.version() >= 11 {
            // preferred_read_replica
            reader.i32()?;
        }
        let records = reader.nullable_bytes()?;
        reader.tagged_fields()?;
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

impl<'a> Decode<'a> for AbortedTransaction {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (producer_id, first_offset) = (reader.i64()?, reader.decode()?);
        reader.tagged_fields()?;
        Ok(Self {
            producer_id,
            first_offset,
        })
    }
}
