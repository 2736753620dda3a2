//! Produce: what is sent to the partitions, and where it came to lie.

use super::endpoint::NodeEndpoints;
use super::{ApiMessage, TopicRef};
use crate::api::ApiKey;
use crate::types::{Offset, PartitionIndex, TimestampMs};
use crate::wire::{Decode, Error, WireArray, WireField, WireReader};

/// `ProduceRequest`.
#[derive(Debug, Clone, Copy)]
pub struct ProduceRequest<'a> {
    pub transactional_id: Option<WireField<'a>>,
    /// With 0 there is no answer.
    pub acks: i16,
    pub timeout_ms: i32,
    pub topics: WireArray<'a, TopicProduceData<'a>>,
}

/// `TopicProduceData`.
#[derive(Debug, Clone, Copy)]
pub struct TopicProduceData<'a> {
    pub topic: TopicRef<'a>,
    pub partitions: WireArray<'a, PartitionProduceData<'a>>,
}

/// `PartitionProduceData`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionProduceData<'a> {
    pub index: PartitionIndex,
    /// The record set.
    pub records: Option<WireField<'a>>,
}

/// `ProduceResponse`.
#[derive(Debug, Clone)]
pub struct ProduceResponse<'a> {
    pub topics: WireArray<'a, TopicProduceResponse<'a>>,
    pub throttle_time_ms: i32,
    pub node_endpoints: NodeEndpoints<'a>,
}

/// `TopicProduceResponse`.
#[derive(Debug, Clone, Copy)]
pub struct TopicProduceResponse<'a> {
    pub topic: TopicRef<'a>,
    pub partitions: WireArray<'a, PartitionProduceResponse>,
}

/// `PartitionProduceResponse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionProduceResponse {
    pub index: PartitionIndex,
    pub error_code: i16,
    /// The offset of the first record, -1 with an error.
    pub base_offset: Offset,
    /// Milliseconds since 1970, -1 unless the topic has the broker's timestamps.
    pub log_append_time_ms: TimestampMs,
}

/// `BatchIndexAndErrorMessage`, stepped over.
struct BatchIndexAndErrorMessage;

const TOPIC_IDS: i16 = 13;
const NODE_ENDPOINTS: i16 = 10;

// === impl ApiMessage ===

impl<'a> ApiMessage<'a> for ProduceRequest<'a> {
    const API: ApiKey = ApiKey::PRODUCE;
}

impl<'a> ApiMessage<'a> for ProduceResponse<'a> {
    const API: ApiKey = ApiKey::PRODUCE;
}

// === impl Decode ===

impl<'a> Decode<'a> for ProduceRequest<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let transactional_id = reader.nullable_string()?;
        let (acks, timeout_ms) = (reader.i16()?, reader.i32()?);
        let topics = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self {
            transactional_id,
            acks,
            timeout_ms,
            topics,
        })
    }
}

impl<'a> Decode<'a> for TopicProduceData<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let topic = TopicRef::decode(reader, TOPIC_IDS)?;
        let partitions = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self { topic, partitions })
    }
}

impl<'a> Decode<'a> for PartitionProduceData<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let index = reader.decode()?;
        let records = reader.nullable_bytes()?;
        reader.tagged_fields()?;
        Ok(Self { index, records })
    }
}

impl<'a> Decode<'a> for ProduceResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let topics = reader.array()?;
        let throttle_time_ms = reader.i32()?;
        let tags = reader.tagged_fields()?;
        Ok(Self {
            topics,
            throttle_time_ms,
            node_endpoints: NodeEndpoints::read_tagged(reader, &tags, NODE_ENDPOINTS)?,
        })
    }
}

impl<'a> Decode<'a> for TopicProduceResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let topic = TopicRef::decode(reader, TOPIC_IDS)?;
        let partitions = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self { topic, partitions })
    }
}

impl<'a> Decode<'a> for PartitionProduceResponse {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (index, error_code) = (reader.decode()?, reader.i16()?);
        let (base_offset, log_append_time_ms) = (reader.decode()?, reader.decode()?);
        if reader.version() >= 5 {
            // log_start_offset
            reader.i64()?;
        }
        if reader.version() >= 8 {
            reader.array::<BatchIndexAndErrorMessage>()?;
            // error_message
            reader.nullable_string()?;
        }
        reader.tagged_fields()?;
        Ok(Self {
            index,
            error_code,
            base_offset,
            log_append_time_ms,
        })
    }
}

impl<'a> Decode<'a> for BatchIndexAndErrorMessage {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        reader.i32()?;
        reader.nullable_string()?;
        reader.tagged_fields()?;
        Ok(Self)
    }
}
