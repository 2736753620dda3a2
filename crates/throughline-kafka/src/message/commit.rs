//! Offsets that a consumer group commits, alone or in a transaction.

use super::{ApiMessage, TopicRef};
use crate::api::ApiKey;
use crate::types::{Offset, PartitionIndex};
use crate::wire::{Decode, Error, WireArray, WireField, WireReader};

/// The first version of OffsetCommit that refers to topics by id (KIP-848).
const COMMIT_TOPIC_IDS_SINCE: i16 = 10;

/// The first version of TxnOffsetCommit that refers to topics by id.
const TXN_COMMIT_TOPIC_IDS_SINCE: i16 = 6;

/// `OffsetCommitRequest`.
#[derive(Debug, Clone, Copy)]
pub struct OffsetCommitRequest<'a> {
    pub group_id: WireField<'a>,
    /// Empty for a consumer that assigns partitions to itself.
    pub member_id: WireField<'a>,
    pub topics: WireArray<'a, OffsetCommitRequestTopic<'a>>,
}

/// `OffsetCommitRequestTopic`.
#[derive(Debug, Clone, Copy)]
pub struct OffsetCommitRequestTopic<'a> {
    pub topic: TopicRef<'a>,
    pub partitions: WireArray<'a, OffsetCommitRequestPartition>,
}

/// `OffsetCommitRequestPartition`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetCommitRequestPartition {
    pub partition_index: PartitionIndex,
    /// The offset after the last processed record.
    pub committed_offset: Offset,
}

/// `OffsetCommitResponse`.
#[derive(Debug, Clone, Copy)]
pub struct OffsetCommitResponse<'a> {
    pub topics: WireArray<'a, OffsetCommitResponseTopic<'a>>,
}

/// `OffsetCommitResponseTopic`.
#[derive(Debug, Clone, Copy)]
pub struct OffsetCommitResponseTopic<'a> {
    pub topic: TopicRef<'a>,
    pub partitions: WireArray<'a, OffsetCommitResponsePartition>,
}

/// `OffsetCommitResponsePartition` and `TxnOffsetCommitResponsePartition`, which have the same
/// layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffsetCommitResponsePartition {
    pub partition_index: PartitionIndex,
    pub error_code: i16,
}

/// `TxnOffsetCommitRequest`: offsets that take effect when the transaction commits.
#[derive(Debug, Clone, Copy)]
pub struct TxnOffsetCommitRequest<'a> {
    pub group_id: WireField<'a>,
    pub topics: WireArray<'a, TxnOffsetCommitRequestTopic<'a>>,
}

/// `TxnOffsetCommitRequestTopic`.
#[derive(Debug, Clone, Copy)]
pub struct TxnOffsetCommitRequestTopic<'a> {
    pub topic: TopicRef<'a>,
    pub partitions: WireArray<'a, TxnOffsetCommitRequestPartition>,
}

/// `TxnOffsetCommitRequestPartition`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxnOffsetCommitRequestPartition {
    pub partition_index: PartitionIndex,
    /// The offset after the last processed record.
    pub committed_offset: Offset,
}

/// `TxnOffsetCommitResponse`.
#[derive(Debug, Clone, Copy)]
pub struct TxnOffsetCommitResponse<'a> {
    pub topics: WireArray<'a, TxnOffsetCommitResponseTopic<'a>>,
}

/// `TxnOffsetCommitResponseTopic`.
#[derive(Debug, Clone, Copy)]
pub struct TxnOffsetCommitResponseTopic<'a> {
    pub topic: TopicRef<'a>,
    pub partitions: WireArray<'a, OffsetCommitResponsePartition>,
}

// === impl OffsetCommitRequest ===

impl<'a> ApiMessage<'a> for OffsetCommitRequest<'a> {
    const API: ApiKey = ApiKey::OFFSET_COMMIT;
}

impl<'a> Decode<'a> for OffsetCommitRequest<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let group_id = reader.string()?;
        // generation_id_or_member_epoch
        reader.i32()?;
        let member_id = reader.string()?;
        if reader.version() >= 7 {
            // group_instance_id
            reader.nullable_string()?;
        }
        if reader.version() <= 4 {
            // retention_time_ms
            reader.i64()?;
        }
        let topics = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self {
            group_id,
            member_id,
            topics,
        })
    }
}

impl<'a> Decode<'a> for OffsetCommitRequestTopic<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let topic = TopicRef::decode(reader, COMMIT_TOPIC_IDS_SINCE)?;
        let partitions = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self { topic, partitions })
    }
}

impl<'a> Decode<'a> for OffsetCommitRequestPartition {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (partition_index, committed_offset) = (reader.decode()?, reader.decode()?);
        if reader.version() >= 6 {
            // committed_leader_epoch
            reader.i32()?;
        }
        // committed_metadata
        reader.nullable_string()?;
        reader.tagged_fields()?;
        Ok(Self {
            partition_index,
            committed_offset,
        })
    }
}

// === impl OffsetCommitResponse ===

impl<'a> ApiMessage<'a> for OffsetCommitResponse<'a> {
    const API: ApiKey = ApiKey::OFFSET_COMMIT;
}

impl<'a> Decode<'a> for OffsetCommitResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        if reader.version() >= 3 {
            // throttle_time_ms
            reader.i32()?;
        }
        let topics = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self { topics })
    }
}

impl<'a> Decode<'a> for OffsetCommitResponseTopic<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let topic = TopicRef::decode(reader, COMMIT_TOPIC_IDS_SINCE)?;
        let partitions = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self { topic, partitions })
    }
}

impl<'a> Decode<'a> for OffsetCommitResponsePartition {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (partition_index, error_code) = (reader.decode()?, reader.i16()?);
        reader.tagged_fields()?;
        Ok(Self {
            partition_index,
            error_code,
        })
    }
}

// === impl TxnOffsetCommitRequest ===

impl<'a> ApiMessage<'a> for TxnOffsetCommitRequest<'a> {
    const API: ApiKey = ApiKey::TXN_OFFSET_COMMIT;
}

impl<'a> Decode<'a> for TxnOffsetCommitRequest<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        // transactional_id
        reader.string()?;
        let group_id = reader.string()?;
        // producer_id, producer_epoch
        reader.i64()?;
        reader.i16()?;
        if reader.version() >= 3 {
            // generation_id_or_member_epoch, member_id, group_instance_id (KIP-447)
            reader.i32()?;
            reader.string()?;
            reader.nullable_string()?;
        }
        let topics = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self { group_id, topics })
    }
}

impl<'a> Decode<'a> for TxnOffsetCommitRequestTopic<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let topic = TopicRef::decode(reader, TXN_COMMIT_TOPIC_IDS_SINCE)?;
        let partitions = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self { topic, partitions })
    }
}

impl<'a> Decode<'a> for TxnOffsetCommitRequestPartition {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (partition_index, committed_offset) = (reader.decode()?, reader.decode()?);
        if reader.version() >= 2 {
            // committed_leader_epoch
            reader.i32()?;
        }
        // committed_metadata
        reader.nullable_string()?;
        reader.tagged_fields()?;
        Ok(Self {
            partition_index,
            committed_offset,
        })
    }
}

// === impl TxnOffsetCommitResponse ===

impl<'a> ApiMessage<'a> for TxnOffsetCommitResponse<'a> {
    const API: ApiKey = ApiKey::TXN_OFFSET_COMMIT;
}

impl<'a> Decode<'a> for TxnOffsetCommitResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        // throttle_time_ms
        reader.i32()?;
        let topics = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self { topics })
    }
}

impl<'a> Decode<'a> for TxnOffsetCommitResponseTopic<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let topic = TopicRef::decode(reader, TXN_COMMIT_TOPIC_IDS_SINCE)?;
        let partitions = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self { topic, partitions })
    }
}
