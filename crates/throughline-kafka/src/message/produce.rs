//! Produce: what is sent to the partitions, and where it came to lie.

use std::ops::RangeInclusive;

use super::address::Endpoints;
use super::{Message, Topic};
use crate::api::ApiKey;
use crate::wire::{Array, Error, Field, Read, Reader};

/// `ProduceRequest`.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    pub transactional_id: Option<Field<'a>>,
    /// With 0 there is no answer.
    pub acks: i16,
    pub timeout_ms: i32,
    pub topics: Array<'a, RequestTopic<'a>>,
}

/// `TopicProduceData`.
#[derive(Debug, Clone, Copy)]
pub struct RequestTopic<'a> {
    pub topic: Topic<'a>,
    pub partitions: Array<'a, RequestPartition<'a>>,
}

/// `PartitionProduceData`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestPartition<'a> {
    pub index: i32,
    /// The record set.
    pub records: Option<Field<'a>>,
}

/// `ProduceResponse`.
#[derive(Debug, Clone)]
pub struct Response<'a> {
    pub topics: Array<'a, ResponseTopic<'a>>,
    pub throttle_time_ms: i32,
    pub node_endpoints: Endpoints<'a>,
}

/// `TopicProduceResponse`.
#[derive(Debug, Clone, Copy)]
pub struct ResponseTopic<'a> {
    pub topic: Topic<'a>,
    pub partitions: Array<'a, ResponsePartition>,
}

/// `PartitionProduceResponse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResponsePartition {
    pub index: i32,
    pub error_code: i16,
    /// The offset of the first record, -1 with an error.
    pub base_offset: i64,
    /// Milliseconds since 1970, -1 unless the topic has the broker's timestamps.
    pub log_append_time_ms: i64,
}

/// `BatchIndexAndErrorMessage`, stepped over.
struct RecordError;

const VERSIONS: RangeInclusive<i16> = 3..=13;
const TOPIC_IDS: i16 = 13;
const NODE_ENDPOINTS: i16 = 10;

// === impl Message ===

impl<'a> Message<'a> for Request<'a> {
    const API: ApiKey = ApiKey::PRODUCE;
    const VERSIONS: RangeInclusive<i16> = VERSIONS;
}

impl<'a> Message<'a> for Response<'a> {
    const API: ApiKey = ApiKey::PRODUCE;
    const VERSIONS: RangeInclusive<i16> = VERSIONS;
}

// === impl Read ===

impl<'a> Read<'a> for Request<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let transactional_id = reader.string()?;
        let (acks, timeout_ms) = (reader.i16()?, reader.i32()?);
        let topics = reader.array()?;
        reader.tags()?;
        Ok(Self {
            transactional_id,
            acks,
            timeout_ms,
            topics,
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

impl<'a> Read<'a> for RequestPartition<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let index = reader.i32()?;
        let records = reader.blob()?;
        reader.tags()?;
        Ok(Self { index, records })
    }
}

impl<'a> Read<'a> for Response<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let topics = reader.array()?;
        let throttle_time_ms = reader.i32()?;
        let tags = reader.tags()?;
        Ok(Self {
            topics,
            throttle_time_ms,
            node_endpoints: Endpoints::read_tagged(reader, &tags, NODE_ENDPOINTS)?,
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

impl<'a> Read<'a> for ResponsePartition {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let (index, error_code) = (reader.i32()?, reader.i16()?);
        let (base_offset, log_append_time_ms) = (reader.i64()?, reader.i64()?);
        if reader.version() >= 5 {
            // log_start_offset
            reader.i64()?;
        }
        if reader.version() >= 8 {
            reader.array::<RecordError>()?;
            // error_message
            reader.string()?;
        }
        reader.tags()?;
        Ok(Self {
            index,
            error_code,
            base_offset,
            log_append_time_ms,
        })
    }
}

impl<'a> Read<'a> for RecordError {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        reader.i32()?;
        reader.string()?;
        reader.tags()?;
        Ok(Self)
    }
}
