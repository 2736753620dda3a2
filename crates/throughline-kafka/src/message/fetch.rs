//! Fetch: the partitions and offsets that a consumer requests, and the records that it receives.

use super::endpoint::NodeEndpoints;
use super::{ApiMessage, TopicRef};
use crate::api::ApiKey;
use crate::types::{Offset, PartitionIndex};
use crate::wire::{Decode, Error, WireArray, WireField, WireReader};

/// The first version that refers to topics by id (KIP-516).
const TOPIC_IDS_SINCE: i16 = 13;

/// The first version whose response has the endpoints of new leaders (KIP-951).
const NODE_ENDPOINTS_SINCE: i16 = 16;

/// The first version with fetch sessions (KIP-227).
const SESSIONS_SINCE: i16 = 7;

/// `FetchRequest`. In a fetch session it lists only the partitions that are new or have changed.
#[derive(Debug, Clone, Copy)]
pub struct FetchRequest<'a> {
    /// 0: all records, 1: records of committed transactions only.
    pub isolation_level: i8,
    /// 0 for none.
    pub session_id: i32,
    /// -1 before version 7.
    pub session_epoch: i32,
    pub topics: WireArray<'a, FetchTopic<'a>>,
    /// The partitions to remove from the session.
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

/// `ForgottenTopic`.
#[derive(Debug, Clone, Copy)]
pub struct ForgottenTopic<'a> {
    pub topic: TopicRef<'a>,
    pub partitions: WireArray<'a, PartitionIndex>,
}

/// `FetchResponse`. In a fetch session it lists only the partitions with changes.
#[derive(Debug, Clone)]
pub struct FetchResponse<'a> {
    /// The session that the broker keeps for the client; 0 for none.
    pub session_id: i32,
    pub topics: WireArray<'a, FetchableTopicResponse<'a>>,
    pub node_endpoints: NodeEndpoints<'a>,
}

/// `FetchableTopicResponse`.
#[derive(Debug, Clone, Copy)]
pub struct FetchableTopicResponse<'a> {
    pub topic: TopicRef<'a>,
    pub partitions: WireArray<'a, FetchResponsePartition<'a>>,
}

/// `PartitionData`.
#[derive(Debug, Clone, Copy)]
pub struct FetchResponsePartition<'a> {
    pub partition_index: PartitionIndex,
    pub error_code: i16,
    /// The offset after the last record that all in-sync replicas have.
    pub high_watermark: Offset,
    /// The aborted transactions in the record set. A consumer of committed records skips the
    /// records of each producer from the given offset to the abort marker.
    pub aborted_transactions: WireArray<'a, AbortedTransaction>,
    /// The record set; its last batch may be truncated.
    pub records: Option<WireField<'a>>,
}

/// `AbortedTransaction`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: i64,
    pub first_offset: Offset,
}

// === impl FetchRequest ===

impl<'a> ApiMessage<'a> for FetchRequest<'a> {
    const API: ApiKey = ApiKey::FETCH;
}

impl<'a> Decode<'a> for FetchRequest<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        if reader.version() <= 14 {
            // replica_id, which KIP-903 moved to a tagged field
            reader.i32()?;
        }
        // max_wait_ms, min_bytes, max_bytes
        reader.i32()?;
        reader.i32()?;
        reader.i32()?;
        let isolation_level = reader.i8()?;
        let has_session = reader.version() >= SESSIONS_SINCE;
        let (session_id, session_epoch) = if has_session {
            (reader.i32()?, reader.i32()?)
        } else {
            (0, -1)
        };
        let topics = reader.array()?;
        let forgotten_topics = if has_session {
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
        let topic = TopicRef::decode(reader, TOPIC_IDS_SINCE)?;
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
            // log_start_offset, which only a follower sets
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
        let topic = TopicRef::decode(reader, TOPIC_IDS_SINCE)?;
        let partitions = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self { topic, partitions })
    }
}

// === impl FetchResponse ===

impl<'a> ApiMessage<'a> for FetchResponse<'a> {
    const API: ApiKey = ApiKey::FETCH;
}

impl<'a> Decode<'a> for FetchResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        // throttle_time_ms
        reader.i32()?;
        let session_id = if reader.version() >= SESSIONS_SINCE {
            // error_code
            reader.i16()?;
            reader.i32()?
        } else {
            0
        };
        let topics = reader.array()?;
        let fields = reader.tagged_fields()?;
        Ok(Self {
            session_id,
            topics,
            node_endpoints: NodeEndpoints::decode_tagged(reader, &fields, NODE_ENDPOINTS_SINCE)?,
        })
    }
}

impl<'a> Decode<'a> for FetchableTopicResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let topic = TopicRef::decode(reader, TOPIC_IDS_SINCE)?;
        let partitions = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self { topic, partitions })
    }
}

impl<'a> Decode<'a> for FetchResponsePartition<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (partition_index, error_code) = (reader.decode()?, reader.i16()?);
        let high_watermark = reader.decode()?;
        // last_stable_offset
        reader.i64()?;
        if reader.version() >= 5 {
            // log_start_offset
            reader.i64()?;
        }
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
