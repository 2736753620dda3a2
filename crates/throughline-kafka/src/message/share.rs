//! Share groups (KIP-932): records that are fetched for a while, and may be delivered again.

use std::ops::RangeInclusive;

use super::Message;
use super::address::Endpoints;
use crate::api::ApiKey;
use crate::wire::{Array, Error, Field, Read, Reader};

/// `ShareFetchRequest`; of it, whose it is, and what it acknowledges.
#[derive(Debug, Clone, Copy)]
pub struct FetchRequest<'a> {
    pub group_id: Option<Field<'a>>,
    pub member_id: Option<Field<'a>>,
    pub share_session_epoch: i32,
    pub topics: Array<'a, RequestTopic<'a>>,
}

/// `ShareAcknowledgeRequest`.
#[derive(Debug, Clone, Copy)]
pub struct AcknowledgeRequest<'a> {
    pub group_id: Option<Field<'a>>,
    pub member_id: Option<Field<'a>>,
    pub share_session_epoch: i32,
    pub topics: Array<'a, RequestTopic<'a>>,
}

/// `FetchTopic`, `AcknowledgeTopic`.
#[derive(Debug, Clone, Copy)]
pub struct RequestTopic<'a> {
    pub topic_id: [u8; 16],
    pub partitions: Array<'a, RequestPartition<'a>>,
}

/// `FetchPartition`, `AcknowledgePartition`.
#[derive(Debug, Clone, Copy)]
pub struct RequestPartition<'a> {
    pub partition_index: i32,
    pub acknowledgement_batches: Array<'a, AcknowledgementBatch<'a>>,
}

/// `AcknowledgementBatch`: what became of records.
#[derive(Debug, Clone, Copy)]
pub struct AcknowledgementBatch<'a> {
    pub first_offset: i64,
    /// The last of them, not the one behind.
    pub last_offset: i64,
    /// One for all of them, or one for each: 0 gap, 1 accept, 2 release, 3 reject, 4 renew.
    pub acknowledge_types: Array<'a, i8>,
}

/// `ShareFetchResponse`.
#[derive(Debug, Clone)]
pub struct FetchResponse<'a> {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub topics: Array<'a, Topic<'a>>,
    pub node_endpoints: Endpoints<'a>,
}

/// `ShareFetchableTopicResponse`.
#[derive(Debug, Clone, Copy)]
pub struct Topic<'a> {
    pub topic_id: [u8; 16],
    pub partitions: Array<'a, Partition<'a>>,
}

/// `PartitionData`.
#[derive(Debug, Clone, Copy)]
pub struct Partition<'a> {
    pub partition_index: i32,
    pub error_code: i16,
    pub acknowledge_error_code: i16,
    /// The record set; of it, only the acquired records are for this client.
    pub records: Option<Field<'a>>,
    pub acquired_records: Array<'a, AcquiredRecords>,
}

/// `AcquiredRecords`: offsets that this client is to handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcquiredRecords {
    pub first_offset: i64,
    /// The last of them, not the one behind.
    pub last_offset: i64,
    /// 1 for the first time.
    pub delivery_count: i16,
}

/// `ShareAcknowledgeResponse`.
#[derive(Debug, Clone)]
pub struct AcknowledgeResponse<'a> {
    pub throttle_time_ms: i32,
    pub error_code: i16,
    pub topics: Array<'a, AcknowledgedTopic<'a>>,
    pub node_endpoints: Endpoints<'a>,
}

/// `ShareAcknowledgeTopicResponse`.
#[derive(Debug, Clone, Copy)]
pub struct AcknowledgedTopic<'a> {
    pub topic_id: [u8; 16],
    pub partitions: Array<'a, AcknowledgedPartition>,
}

/// Its `PartitionData`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AcknowledgedPartition {
    pub partition_index: i32,
    pub error_code: i16,
}

// === impl Message ===

impl<'a> Message<'a> for FetchRequest<'a> {
    const API: ApiKey = ApiKey::SHARE_FETCH;
    const VERSIONS: RangeInclusive<i16> = 1..=2;
}

impl<'a> Message<'a> for AcknowledgeRequest<'a> {
    const API: ApiKey = ApiKey::SHARE_ACKNOWLEDGE;
    const VERSIONS: RangeInclusive<i16> = 1..=2;
}

impl<'a> Message<'a> for FetchResponse<'a> {
    const API: ApiKey = ApiKey::SHARE_FETCH;
    const VERSIONS: RangeInclusive<i16> = 1..=2;
}

impl<'a> Message<'a> for AcknowledgeResponse<'a> {
    const API: ApiKey = ApiKey::SHARE_ACKNOWLEDGE;
    const VERSIONS: RangeInclusive<i16> = 1..=2;
}

// === impl Read ===

impl<'a> Read<'a> for FetchRequest<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let (group_id, member_id) = (reader.string()?, reader.string()?);
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

impl<'a> Read<'a> for AcknowledgeRequest<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let (group_id, member_id) = (reader.string()?, reader.string()?);
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

impl<'a> Read<'a> for RequestTopic<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let topic_id = reader.uuid()?;
        let partitions = reader.array()?;
        reader.tags()?;
        Ok(Self {
            topic_id,
            partitions,
        })
    }
}

impl<'a> Read<'a> for RequestPartition<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let partition_index = reader.i32()?;
        let acknowledgement_batches = reader.array()?;
        reader.tags()?;
        Ok(Self {
            partition_index,
            acknowledgement_batches,
        })
    }
}

impl<'a> Read<'a> for AcknowledgementBatch<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let (first_offset, last_offset) = (reader.i64()?, reader.i64()?);
        let acknowledge_types = reader.array()?;
        reader.tags()?;
        Ok(Self {
            first_offset,
            last_offset,
            acknowledge_types,
        })
    }
}

impl<'a> Read<'a> for FetchResponse<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let (throttle_time_ms, error_code) = (reader.i32()?, reader.i16()?);
        // error_message, acquisition_lock_timeout_ms
        reader.string()?;
        reader.i32()?;
        let topics = reader.array()?;
        let node_endpoints = Endpoints::read(reader)?;
        reader.tags()?;
        Ok(Self {
            throttle_time_ms,
            error_code,
            topics,
            node_endpoints,
        })
    }
}

impl<'a> Read<'a> for Topic<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let topic_id = reader.uuid()?;
        let partitions = reader.array()?;
        reader.tags()?;
        Ok(Self {
            topic_id,
            partitions,
        })
    }
}

impl<'a> Read<'a> for Partition<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let (partition_index, error_code) = (reader.i32()?, reader.i16()?);
        // error_message
        reader.string()?;
        let acknowledge_error_code = reader.i16()?;
        // acknowledge_error_message
        reader.string()?;
        step_over_leader(reader)?;
        let records = reader.blob()?;
        let acquired_records = reader.array()?;
        reader.tags()?;
        Ok(Self {
            partition_index,
            error_code,
            acknowledge_error_code,
            records,
            acquired_records,
        })
    }
}

impl<'a> Read<'a> for AcquiredRecords {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let (first_offset, last_offset) = (reader.i64()?, reader.i64()?);
        let delivery_count = reader.i16()?;
        reader.tags()?;
        Ok(Self {
            first_offset,
            last_offset,
            delivery_count,
        })
    }
}

impl<'a> Read<'a> for AcknowledgeResponse<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let (throttle_time_ms, error_code) = (reader.i32()?, reader.i16()?);
        // error_message
        reader.string()?;
        if reader.version() >= 2 {
            // acquisition_lock_timeout_ms (KIP-1222)
            reader.i32()?;
        }
        let topics = reader.array()?;
        let node_endpoints = Endpoints::read(reader)?;
        reader.tags()?;
        Ok(Self {
            throttle_time_ms,
            error_code,
            topics,
            node_endpoints,
        })
    }
}

impl<'a> Read<'a> for AcknowledgedTopic<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let topic_id = reader.uuid()?;
        let partitions = reader.array()?;
        reader.tags()?;
        Ok(Self {
            topic_id,
            partitions,
        })
    }
}

impl<'a> Read<'a> for AcknowledgedPartition {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let (partition_index, error_code) = (reader.i32()?, reader.i16()?);
        // error_message
        reader.string()?;
        step_over_leader(reader)?;
        reader.tags()?;
        Ok(Self {
            partition_index,
            error_code,
        })
    }
}

/// `LeaderIdAndEpoch`.
fn step_over_leader(reader: &mut Reader<'_>) -> Result<(), Error> {
    reader.i32()?;
    reader.i32()?;
    reader.tags().map(|_| ())
}
