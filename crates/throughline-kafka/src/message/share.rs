//! ShareFetch and ShareAcknowledge (KIP-932): records that a share group acquires, acknowledges and
//! may receive again.

use super::ApiMessage;
use super::endpoint::NodeEndpoints;
use crate::api::ApiKey;
use crate::types::{Offset, PartitionIndex, TopicId};
use crate::wire::{Decode, Error, WireArray, WireField, WireReader};

/// `ShareFetchRequest`: the group and its acknowledgements.
#[derive(Debug, Clone, Copy)]
pub struct ShareFetchRequest<'a> {
    pub group_id: Option<WireField<'a>>,
    pub topics: WireArray<'a, ShareTopic<'a>>,
}

/// `ShareAcknowledgeRequest`.
#[derive(Debug, Clone, Copy)]
pub struct ShareAcknowledgeRequest<'a> {
    pub group_id: Option<WireField<'a>>,
    pub topics: WireArray<'a, ShareTopic<'a>>,
}

/// `FetchTopic` and `AcknowledgeTopic`, which have the same layout.
#[derive(Debug, Clone, Copy)]
pub struct ShareTopic<'a> {
    pub topic_id: TopicId,
    pub partitions: WireArray<'a, SharePartition<'a>>,
}

/// `FetchPartition` and `AcknowledgePartition`, which have the same layout.
#[derive(Debug, Clone, Copy)]
pub struct SharePartition<'a> {
    pub partition_index: PartitionIndex,
    pub acknowledgement_batches: WireArray<'a, AcknowledgementBatch<'a>>,
}

/// `AcknowledgementBatch`: a range of records and how they are acknowledged.
#[derive(Debug, Clone, Copy)]
pub struct AcknowledgementBatch<'a> {
    pub first_offset: Offset,
    /// The last record of the range, inclusive.
    pub last_offset: Offset,
    /// One type for all records, or one for each: 0 gap, 1 accept, 2 release, 3 reject, 4 renew.
    pub acknowledge_types: WireArray<'a, i8>,
}

/// `ShareFetchResponse`.
#[derive(Debug, Clone)]
pub struct ShareFetchResponse<'a> {
    pub error_code: i16,
    pub topics: WireArray<'a, ShareFetchableTopicResponse<'a>>,
    pub node_endpoints: NodeEndpoints<'a>,
}

/// `ShareFetchableTopicResponse`.
#[derive(Debug, Clone, Copy)]
pub struct ShareFetchableTopicResponse<'a> {
    pub topic_id: TopicId,
    pub partitions: WireArray<'a, ShareFetchResponsePartition<'a>>,
}

/// `PartitionData` of a `ShareFetchResponse`.
#[derive(Debug, Clone, Copy)]
pub struct ShareFetchResponsePartition<'a> {
    pub partition_index: PartitionIndex,
    pub error_code: i16,
    pub acknowledge_error_code: i16,
    /// The record set; only its acquired records are for this client.
    pub records: Option<WireField<'a>>,
    pub acquired_records: WireArray<'a, AcquiredRecords>,
}

/// `AcquiredRecords`: a range of records that this client has to process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcquiredRecords {
    pub first_offset: Offset,
    /// The last record of the range, inclusive.
    pub last_offset: Offset,
    /// 1 for the first delivery.
    pub delivery_count: i16,
}

/// `ShareAcknowledgeResponse`.
#[derive(Debug, Clone)]
pub struct ShareAcknowledgeResponse<'a> {
    pub error_code: i16,
    pub topics: WireArray<'a, ShareAcknowledgeTopicResponse<'a>>,
    pub node_endpoints: NodeEndpoints<'a>,
}

/// `ShareAcknowledgeTopicResponse`.
#[derive(Debug, Clone, Copy)]
pub struct ShareAcknowledgeTopicResponse<'a> {
    pub topic_id: TopicId,
    pub partitions: WireArray<'a, ShareAcknowledgeResponsePartition>,
}

/// `PartitionData` of a `ShareAcknowledgeResponse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareAcknowledgeResponsePartition {
    pub partition_index: PartitionIndex,
    pub error_code: i16,
}

/// `LeaderIdAndEpoch`, which is skipped.
struct LeaderIdAndEpoch;

// === impl ShareFetchRequest ===

impl<'a> ApiMessage<'a> for ShareFetchRequest<'a> {
    const API: ApiKey = ApiKey::SHARE_FETCH;
}

impl<'a> Decode<'a> for ShareFetchRequest<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let group_id = reader.nullable_string()?;
        // member_id, share_session_epoch
        reader.nullable_string()?;
        reader.i32()?;
        // max_wait_ms, min_bytes, max_bytes, max_records, batch_size
        for _ in 0..5 {
            reader.i32()?;
        }
        if reader.version() >= 2 {
            // share_acquire_mode (KIP-1206), is_renew_ack (KIP-1222)
            reader.i8()?;
            reader.bool()?;
        }
        // The last field, forgotten_topics_data, is not needed.
        Ok(Self {
            group_id,
            topics: reader.array()?,
        })
    }
}

// === impl ShareAcknowledgeRequest ===

impl<'a> ApiMessage<'a> for ShareAcknowledgeRequest<'a> {
    const API: ApiKey = ApiKey::SHARE_ACKNOWLEDGE;
}

impl<'a> Decode<'a> for ShareAcknowledgeRequest<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let group_id = reader.nullable_string()?;
        // member_id, share_session_epoch
        reader.nullable_string()?;
        reader.i32()?;
        if reader.version() >= 2 {
            // is_renew_ack (KIP-1222)
            reader.bool()?;
        }
        Ok(Self {
            group_id,
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

// === impl ShareFetchResponse ===

impl<'a> ApiMessage<'a> for ShareFetchResponse<'a> {
    const API: ApiKey = ApiKey::SHARE_FETCH;
}

impl<'a> Decode<'a> for ShareFetchResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        // throttle_time_ms
        reader.i32()?;
        let error_code = reader.i16()?;
        // error_message, acquisition_lock_timeout_ms
        reader.nullable_string()?;
        reader.i32()?;
        let topics = reader.array()?;
        let node_endpoints = NodeEndpoints::decode(reader)?;
        reader.tagged_fields()?;
        Ok(Self {
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

impl<'a> Decode<'a> for ShareFetchResponsePartition<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (partition_index, error_code) = (reader.decode()?, reader.i16()?);
        // error_message
        reader.nullable_string()?;
        let acknowledge_error_code = reader.i16()?;
        // acknowledge_error_message
        reader.nullable_string()?;
        LeaderIdAndEpoch::decode(reader)?;
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

// === impl ShareAcknowledgeResponse ===

impl<'a> ApiMessage<'a> for ShareAcknowledgeResponse<'a> {
    const API: ApiKey = ApiKey::SHARE_ACKNOWLEDGE;
}

impl<'a> Decode<'a> for ShareAcknowledgeResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        // throttle_time_ms
        reader.i32()?;
        let error_code = reader.i16()?;
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

impl<'a> Decode<'a> for ShareAcknowledgeResponsePartition {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (partition_index, error_code) = (reader.decode()?, reader.i16()?);
        // error_message
        reader.nullable_string()?;
        LeaderIdAndEpoch::decode(reader)?;
        reader.tagged_fields()?;
        Ok(Self {
            partition_index,
            error_code,
        })
    }
}

// === impl LeaderIdAndEpoch ===

impl<'a> Decode<'a> for LeaderIdAndEpoch {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        // leader_id, leader_epoch
        reader.i32()?;
        reader.i32()?;
        reader.tagged_fields()?;
        Ok(Self)
    }
}
