//! Share groups (KIP-932): records that are fetched for a while, and may be delivered again.

use super::ApiMessage;
use super::endpoint::NodeEndpoints;
use crate::api::ApiKey;
use crate::types::{Offset, PartitionIndex, TopicId};
use crate::wire::{Decode, Error, WireArray, WireField, WireReader};

/// `ShareFetchRequest`; of it, whose it is, and what it acknowledges.
#[derive(Debug, Clone, Copy)]
pub struct ShareFetchRequest<'a> {
    pub group_id: Option<WireField<'a>>,
    pub member_id: Option<WireField<'a>>,
    pub share_session_epoch: i32,
    pub topics: WireArray<'a, ShareTopic<'a>>,
}

/// `ShareAcknowledgeRequest`.
#[derive(Debug, Clone, Copy)]
pub struct ShareAcknowledgeRequest<'a> {
    pub group_id: Option<WireField<'a>>,
    pub member_id: Option<WireField<'a>>,
    pub share_session_epoch: i32,
    pub topics: WireArray<'a, ShareTopic<'a>>,
}

/// `FetchTopic`, `AcknowledgeTopic`.
#[derive(Debug, Clone, Copy)]
pub struct ShareTopic<'a> {
    pub topic_id: TopicId,
    pub partitions: WireArray<'a, SharePartition<'a>>,
}

/// `FetchPartition`, `AcknowledgePartition`.
#[derive(Debug, Clone, Copy)]
pub struct SharePartition<'a> {
    pub partition_index: PartitionIndex,
    pub acknowledgement_batches: WireArray<'a, AcknowledgementBatch<'a>>,
}

/// `AcknowledgementBatch`: what became of records.
#[derive(Debug, Clone, Copy)]
pub struct AcknowledgementBatch<'a> {
    pub first_offset: Offset,
    /// The last of them, not the one behind.
    pub last_offset: Offset,
    /// One for all of them, or one for each: 0 gap, 1 accept, 2 release, 3 reject, 4 renew.
    pub acknowledge_types: WireArray<'a, i8>,
}

/// `ShareFetchResponse`.
#[derive(Debug, Clone)]
pub struct ShareFetchResponse<'a> {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub topics: WireArray<'a, ShareFetchableTopicResponse<'a>>,
    pub node_endpoints: NodeEndpoints<'a>,
}

/// `ShareFetchableTopicResponse`.
#[derive(Debug, Clone, Copy)]
pub struct ShareFetchableTopicResponse<'a> {
    pub topic_id: TopicId,
    pub partitions: WireArray<'a, ShareFetchPartitionData<'a>>,
}

/// `PartitionData`.
#[derive(Debug, Clone, Copy)]
pub struct ShareFetchPartitionData<'a> {
    pub partition_index: PartitionIndex,
    pub error_code: i16,
    pub acknowledge_error_code: i16,
    /// The record set; of it, only the acquired records are for this client.
    pub records: Option<WireField<'a>>,
    pub acquired_records: WireArray<'a, AcquiredRecords>,
}

/// `AcquiredRecords`: offsets that this client is to handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcquiredRecords {
    pub first_offset: Offset,
    /// The last of them, not the one behind.
    pub last_offset: Offset,
    /// 1 for the first time.
    pub delivery_count: i16,
}

/// `ShareAcknowledgeResponse`.
#[derive(Debug, Clone)]
pub struct ShareAcknowledgeResponse<'a> {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub topics: WireArray<'a, ShareAcknowledgeTopicResponse<'a>>,
    pub node_endpoints: NodeEndpoints<'a>,
}

/// `ShareAcknowledgeTopicResponse`.
#[derive(Debug, Clone, Copy)]
pub struct ShareAcknowledgeTopicResponse<'a> {
    pub topic_id: TopicId,
    pub partitions: WireArray<'a, ShareAcknowledgePartitionData>,
}

/// Its `PartitionData`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareAcknowledgePartitionData {
    pub partition_index: PartitionIndex,
    pub error_code: i16,
}

// === impl ApiMessage ===

impl<'a> ApiMessage<'a> for ShareFetchRequest<'a> {
    const API: ApiKey = ApiKey::SHARE_FETCH;
}

impl<'a> ApiMessage<'a> for ShareAcknowledgeRequest<'a> {
    const API: ApiKey = ApiKey::SHARE_ACKNOWLEDGE;
}

impl<'a> ApiMessage<'a> for ShareFetchResponse<'a> {
    const API: ApiKey = ApiKey::SHARE_FETCH;
}

impl<'a> ApiMessage<'a> for ShareAcknowledgeResponse<'a> {
    const API: ApiKey = ApiKey::SHARE_ACKNOWLEDGE;
}

// === impl Decode ===

impl<'a> Decode<'a> for ShareFetchRequest<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (group_id, member_id) = (reader.nullable_string()?, reader.nullable_string()?);
        let share_session_epoch = reader.i32()?;
        // max_wait_ms, min_bytes, max_bytes, max_records, batch_size
        for _ in 0..5 {
            reader.i32()?;
        }
        if reader.version() >= 2 {
            // share_acquire_mode (KIP-1206), is_renew_ack (KIP-1222)
            reader.i8()?;
            reader.bool()?;
        }
        Ok(Self {
            group_id,
            member_id,
            share_session_epoch,
            topics: reader.array()?,
        })
    }
}

impl<'a> Decode<'a> for ShareAcknowledgeRequest<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (group_id, member_id) = (reader.nullable_string()?, reader.nullable_string()?);
        let share_session_epoch = reader.i32()?;
        if reader.version() >= 2 {
            // is_renew_ack (KIP-1222)
            reader.bool()?;
        }
        Ok(Self {
            group_id,
            member_id,
            share_session_epoch,
            topics: reader.array()?,
        })
    }
}

impl<'a> Decode<'a> for ShareTopic<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let topic_id = reader.decode()?;
        let partitions = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self {
            topic_id,
            partitions,
        })
    }
}

impl<'a> Decode<'a> for SharePartition<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let partition_index = reader.decode()?;
        let acknowledgement_batches = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self {
            partition_index,
            acknowledgement_batches,
        })
    }
}

impl<'a> Decode<'a> for AcknowledgementBatch<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (first_offset, last_offset) = (reader.decode()?, reader.decode()?);
        let acknowledge_types = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self {
            first_offset,
            last_offset,
            acknowledge_types,
        })
    }
}

impl<'a> Decode<'a> for ShareFetchResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (throttle_time_ms, error_code) = (reader.i32()?, reader.i16()?);
        // error_message, acquisition_lock_timeout_ms
        reader.nullable_string()?;
        reader.i32()?;
        let topics = reader.array()?;
        let node_endpoints = NodeEndpoints::decode(reader)?;
        reader.tagged_fields()?;
        Ok(Self {
            throttle_time_ms,
            error_code,
            topics,
            node_endpoints,
        })
    }
}

impl<'a> Decode<'a> for ShareFetchableTopicResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let topic_id = reader.decode()?;
        let partitions = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self {
            topic_id,
            partitions,
        })
    }
}

impl<'a> Decode<'a> for ShareFetchPartitionData<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (partition_index, error_code) = (reader.decode()?, reader.i16()?);
        // error_message
        reader.nullable_string()?;
        let acknowledge_error_code = reader.i16()?;
        // acknowledge_error_message
        reader.nullable_string()?;
        step_over_leader(reader)?;
        let records = reader.nullable_bytes()?;
        let acquired_records = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self {
            partition_index,
            error_code,
            acknowledge_error_code,
            records,
            acquired_records,
        })
    }
}

impl<'a> Decode<'a> for AcquiredRecords {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (first_offset, last_offset) = (reader.decode()?, reader.decode()?);
        let delivery_count = reader.i16()?;
        reader.tagged_fields()?;
        Ok(Self {
            first_offset,
            last_offset,
            delivery_count,
        })
    }
}

impl<'a> Decode<'a> for ShareAcknowledgeResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (throttle_time_ms, error_code) = (reader.i32()?, reader.i16()?);
        // error_message
        reader.nullable_string()?;
        if reader.version() >= 2 {
            // acquisition_lock_timeout_ms (KIP-1222)
            reader.i32()?;
        }
        let topics = reader.array()?;
        let node_endpoints = NodeEndpoints::decode(reader)?;
        reader.tagged_fields()?;
        Ok(Self {
            throttle_time_ms,
            error_code,
            topics,
            node_endpoints,
        })
    }
}

impl<'a> Decode<'a> for ShareAcknowledgeTopicResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let topic_id = reader.decode()?;
        let partitions = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self {
            topic_id,
            partitions,
        })
    }
}

impl<'a> Decode<'a> for ShareAcknowledgePartitionData {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (partition_index, error_code) = (reader.decode()?, reader.i16()?);
        // error_message
        reader.nullable_string()?;
        step_over_leader(reader)?;
        reader.tagged_fields()?;
        Ok(Self {
            partition_index,
            error_code,
        })
    }
}

/// `LeaderIdAndEpoch`.
fn step_over_leader(reader: &mut WireReader<'_>) -> Result<(), Error> {
    reader.i32()?;
    reader.i32()?;
    reader.tagged_fields().map(|_| ())
}
