//! Produce: the record sets that a producer sends, and the offsets that they were assigned.

mod partition_edit;

use std::ops::Range;

pub use partition_edit::{merge_results, retain_partitions};

use super::endpoint::NodeEndpoints;
use super::{ApiMessage, TopicRef};
use crate::api::ApiKey;
use crate::types::{Offset, PartitionIndex};
use crate::wire::{Decode, Error, WireArray, WireField, WireReader};

/// The first version that refers to topics by id (KIP-516).
const TOPIC_IDS_SINCE: i16 = 13;

/// The first version whose response has the endpoints of new leaders (KIP-951).
const NODE_ENDPOINTS_SINCE: i16 = 10;

/// `ProduceRequest`.
#[derive(Debug, Clone)]
pub struct ProduceRequest<'a> {
    /// The number of required acknowledgements; with 0 the broker sends no response.
    pub acks: i16,
    /// The position of `acks` in the body.
    pub acks_range: Range<usize>,
    pub topics: WireArray<'a, ProduceTopic<'a>>,
}

/// `TopicProduceData`.
#[derive(Debug, Clone, Copy)]
pub struct ProduceTopic<'a> {
    pub topic: TopicRef<'a>,
    pub partitions: WireArray<'a, ProducePartition<'a>>,
}

/// `PartitionProduceData`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProducePartition<'a> {
    pub index: PartitionIndex,
    /// The record set.
    pub records: Option<WireField<'a>>,
}

/// `ProduceResponse`.
#[derive(Debug, Clone)]
pub struct ProduceResponse<'a> {
    pub topics: WireArray<'a, TopicProduceResponse<'a>>,
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
}

/// `BatchIndexAndErrorMessage`, which is skipped.
struct BatchIndexAndErrorMessage;

// === impl ProduceRequest ===

impl<'a> ApiMessage<'a> for ProduceRequest<'a> {
    const API: ApiKey = ApiKey::PRODUCE;
}

impl<'a> Decode<'a> for ProduceRequest<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        // transactional_id
        reader.nullable_string()?;
        let acks_start = reader.position();
        let acks = reader.i16()?;
        let acks_range = acks_start..reader.position();
        // timeout_ms
        reader.i32()?;
        let topics = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self {
            acks,
            acks_range,
            topics,
        })
    }
}

impl<'a> Decode<'a> for ProduceTopic<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let topic = TopicRef::decode(reader, TOPIC_IDS_SINCE)?;
        let partitions = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self { topic, partitions })
    }
}

impl<'a> Decode<'a> for ProducePartition<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let index = reader.decode()?;
        let records = reader.nullable_bytes()?;
        reader.tagged_fields()?;
        Ok(Self { index, records })
    }
}

// === impl ProduceResponse ===

impl<'a> ApiMessage<'a> for ProduceResponse<'a> {
    const API: ApiKey = ApiKey::PRODUCE;
}

impl<'a> Decode<'a> for ProduceResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let topics = reader.array()?;
        // throttle_time_ms
        reader.i32()?;
        let fields = reader.tagged_fields()?;
        Ok(Self {
            topics,
            node_endpoints: NodeEndpoints::decode_tagged(reader, &fields, NODE_ENDPOINTS_SINCE)?,
        })
    }
}

impl<'a> Decode<'a> for TopicProduceResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let topic = TopicRef::decode(reader, TOPIC_IDS_SINCE)?;
        let partitions = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self { topic, partitions })
    }
}

impl<'a> Decode<'a> for PartitionProduceResponse {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (index, error_code) = (reader.decode()?, reader.i16()?);
        let base_offset = reader.decode()?;
        // log_append_time_ms
        reader.i64()?;
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
        })
    }
}

impl<'a> Decode<'a> for BatchIndexAndErrorMessage {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        // batch_index, batch_index_error_message
        reader.i32()?;
        reader.nullable_string()?;
        reader.tagged_fields()?;
        Ok(Self)
    }
}
