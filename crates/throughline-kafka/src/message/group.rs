//! Groups and producers: who a client is, and how far it has come.

use std::ops::RangeInclusive;

use super::{Message, Topic};
use crate::api::ApiKey;
use crate::wire::{Array, Error, Field, Read, Reader};

/// `JoinGroupRequest`; of it, who joins which group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinGroupRequest<'a> {
    pub group_id: Field<'a>,
    /// Empty when the broker has not given one yet.
    pub member_id: Field<'a>,
}

/// `SyncGroupRequest`; of it, who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncGroupRequest<'a> {
    pub group_id: Field<'a>,
    pub generation_id: i32,
    pub member_id: Field<'a>,
}

/// `ConsumerGroupHeartbeatRequest` (KIP-848); of it, who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerGroupHeartbeatRequest<'a> {
    pub group_id: Field<'a>,
    pub member_id: Field<'a>,
    /// -1 when it leaves.
    pub member_epoch: i32,
}

/// `OffsetCommitRequest`.
#[derive(Debug, Clone, Copy)]
pub struct OffsetCommitRequest<'a> {
    pub group_id: Field<'a>,
    pub generation_id_or_member_epoch: i32,
    pub member_id: Field<'a>,
    pub topics: Array<'a, CommitTopic<'a>>,
}

/// `TxnOffsetCommitRequest`: progress that counts when its transaction is committed.
#[derive(Debug, Clone, Copy)]
pub struct TxnOffsetCommitRequest<'a> {
    pub transactional_id: Field<'a>,
    pub group_id: Field<'a>,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub topics: Array<'a, TxnCommitTopic<'a>>,
}

/// `TxnOffsetCommitRequestTopic`.
#[derive(Debug, Clone, Copy)]
pub struct TxnCommitTopic<'a> {
    pub topic: Topic<'a>,
    pub partitions: Array<'a, TxnCommitPartition>,
}

/// `TxnOffsetCommitRequestPartition`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TxnCommitPartition {
    pub partition_index: i32,
    /// The offset behind the last record that was handled.
    pub committed_offset: i64,
}

/// `TxnOffsetCommitResponse`.
#[derive(Debug, Clone, Copy)]
pub struct TxnOffsetCommitResponse<'a> {
    pub topics: Array<'a, TxnCommittedTopic<'a>>,
}

/// `TxnOffsetCommitResponseTopic`.
#[derive(Debug, Clone, Copy)]
pub struct TxnCommittedTopic<'a> {
    pub topic: Topic<'a>,
    pub partitions: Array<'a, CommittedPartition>,
}

/// `OffsetCommitRequestTopic`.
#[derive(Debug, Clone, Copy)]
pub struct CommitTopic<'a> {
    pub topic: Topic<'a>,
    pub partitions: Array<'a, CommitPartition>,
}

/// `OffsetCommitRequestPartition`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommitPartition {
    pub partition_index: i32,
    /// The offset behind the last record that was handled.
    pub committed_offset: i64,
}

/// `OffsetCommitResponse`.
#[derive(Debug, Clone, Copy)]
pub struct OffsetCommitResponse<'a> {
    pub topics: Array<'a, CommittedTopic<'a>>,
}

/// `OffsetCommitResponseTopic`.
#[derive(Debug, Clone, Copy)]
pub struct CommittedTopic<'a> {
    pub topic: Topic<'a>,
    pub partitions: Array<'a, CommittedPartition>,
}

/// `OffsetCommitResponsePartition`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommittedPartition {
    pub partition_index: i32,
    pub error_code: i16,
}

/// `InitProducerIdRequest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitProducerIdRequest<'a> {
    pub transactional_id: Option<Field<'a>>,
}

/// `InitProducerIdResponse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InitProducerIdResponse {
    pub error_code: i16,
    pub producer_id: i64,
    pub producer_epoch: i16,
}

const COMMIT_TOPIC_IDS: i16 = 10;
const TXN_COMMIT_TOPIC_IDS: i16 = 6;

// === impl Message ===

impl<'a> Message<'a> for JoinGroupRequest<'a> {
    const API: ApiKey = ApiKey::JOIN_GROUP;
    const VERSIONS: RangeInclusive<i16> = 0..=9;
}

impl<'a> Message<'a> for SyncGroupRequest<'a> {
    const API: ApiKey = ApiKey::SYNC_GROUP;
    const VERSIONS: RangeInclusive<i16> = 0..=5;
}

impl<'a> Message<'a> for ConsumerGroupHeartbeatRequest<'a> {
    const API: ApiKey = ApiKey::CONSUMER_GROUP_HEARTBEAT;
    const VERSIONS: RangeInclusive<i16> = 0..=1;
}

impl<'a> Message<'a> for OffsetCommitRequest<'a> {
    const API: ApiKey = ApiKey::OFFSET_COMMIT;
    const VERSIONS: RangeInclusive<i16> = 2..=10;
}

impl<'a> Message<'a> for OffsetCommitResponse<'a> {
    const API: ApiKey = ApiKey::OFFSET_COMMIT;
    const VERSIONS: RangeInclusive<i16> = 2..=10;
}

impl<'a> Message<'a> for TxnOffsetCommitRequest<'a> {
    const API: ApiKey = ApiKey::TXN_OFFSET_COMMIT;
    const VERSIONS: RangeInclusive<i16> = 0..=6;
}

impl<'a> Message<'a> for TxnOffsetCommitResponse<'a> {
    const API: ApiKey = ApiKey::TXN_OFFSET_COMMIT;
    const VERSIONS: RangeInclusive<i16> = 0..=6;
}

impl<'a> Message<'a> for InitProducerIdRequest<'a> {
    const API: ApiKey = ApiKey::INIT_PRODUCER_ID;
    const VERSIONS: RangeInclusive<i16> = 0..=5;
}

impl<'a> Message<'a> for InitProducerIdResponse {
    const API: ApiKey = ApiKey::INIT_PRODUCER_ID;
    const VERSIONS: RangeInclusive<i16> = 0..=5;
}

// === impl Read ===

impl<'a> Read<'a> for JoinGroupRequest<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let group_id = reader.required()?;
        // session_timeout_ms
        reader.i32()?;
        if reader.version() >= 1 {
            // rebalance_timeout_ms
            reader.i32()?;
        }
        Ok(Self {
            group_id,
            member_id: reader.required()?,
        })
    }
}

impl<'a> Read<'a> for SyncGroupRequest<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        Ok(Self {
            group_id: reader.required()?,
            generation_id: reader.i32()?,
            member_id: reader.required()?,
        })
    }
}

impl<'a> Read<'a> for ConsumerGroupHeartbeatRequest<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        Ok(Self {
            group_id: reader.required()?,
            member_id: reader.required()?,
            member_epoch: reader.i32()?,
        })
    }
}

impl<'a> Read<'a> for OffsetCommitRequest<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let group_id = reader.required()?;
        let generation_id_or_member_epoch = reader.i32()?;
        let member_id = reader.required()?;
        if reader.version() >= 7 {
            // group_instance_id
            reader.string()?;
        }
        if reader.version() <= 4 {
            // retention_time_ms
            reader.i64()?;
        }
        let topics = reader.array()?;
        reader.tags()?;
        Ok(Self {
            group_id,
            generation_id_or_member_epoch,
            member_id,
            topics,
        })
    }
}

impl<'a> Read<'a> for CommitTopic<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let topic = Topic::read(reader, COMMIT_TOPIC_IDS)?;
        let partitions = reader.array()?;
        reader.tags()?;
        Ok(Self { topic, partitions })
    }
}

impl<'a> Read<'a> for CommitPartition {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let (partition_index, committed_offset) = (reader.i32()?, reader.i64()?);
        if reader.version() >= 6 {
            // committed_leader_epoch
            reader.i32()?;
        }
        // committed_metadata
        reader.string()?;
        reader.tags()?;
        Ok(Self {
            partition_index,
            committed_offset,
        })
    }
}

impl<'a> Read<'a> for OffsetCommitResponse<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        if reader.version() >= 3 {
            // throttle_time_ms
            reader.i32()?;
        }
        let topics = reader.array()?;
        reader.tags()?;
        Ok(Self { topics })
    }
}

impl<'a> Read<'a> for CommittedTopic<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let topic = Topic::read(reader, COMMIT_TOPIC_IDS)?;
        let partitions = reader.array()?;
        reader.tags()?;
        Ok(Self { topic, partitions })
    }
}

impl<'a> Read<'a> for CommittedPartition {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let (partition_index, error_code) = (reader.i32()?, reader.i16()?);
        reader.tags()?;
        Ok(Self {
            partition_index,
            error_code,
        })
    }
}

impl<'a> Read<'a> for TxnOffsetCommitRequest<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let (transactional_id, group_id) = (reader.required()?, reader.required()?);
        let (producer_id, producer_epoch) = (reader.i64()?, reader.i16()?);
        if reader.version() >= 3 {
            // generation_id_or_member_epoch, member_id, group_instance_id
            reader.i32()?;
            reader.required()?;
            reader.string()?;
        }
        let topics = reader.array()?;
        reader.tags()?;
        Ok(Self {
            transactional_id,
            group_id,
            producer_id,
            producer_epoch,
            topics,
        })
    }
}

impl<'a> Read<'a> for TxnCommitTopic<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let topic = Topic::read(reader, TXN_COMMIT_TOPIC_IDS)?;
        let partitions = reader.array()?;
        reader.tags()?;
        Ok(Self { topic, partitions })
    }
}

impl<'a> Read<'a> for TxnCommitPartition {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let (partition_index, committed_offset) = (reader.i32()?, reader.i64()?);
        if reader.version() >= 2 {
            // committed_leader_epoch
            reader.i32()?;
        }
        // committed_metadata
        reader.string()?;
        reader.tags()?;
        Ok(Self {
            partition_index,
            committed_offset,
        })
    }
}

impl<'a> Read<'a> for TxnOffsetCommitResponse<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        // throttle_time_ms
        reader.i32()?;
        let topics = reader.array()?;
        reader.tags()?;
        Ok(Self { topics })
    }
}

impl<'a> Read<'a> for TxnCommittedTopic<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let topic = Topic::read(reader, TXN_COMMIT_TOPIC_IDS)?;
        let partitions = reader.array()?;
        reader.tags()?;
        Ok(Self { topic, partitions })
    }
}

impl<'a> Read<'a> for InitProducerIdRequest<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        Ok(Self {
            transactional_id: reader.string()?,
        })
    }
}

impl<'a> Read<'a> for InitProducerIdResponse {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        // throttle_time_ms
        reader.i32()?;
        Ok(Self {
            error_code: reader.i16()?,
            producer_id: reader.i64()?,
            producer_epoch: reader.i16()?,
        })
    }
}
