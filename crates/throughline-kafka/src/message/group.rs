//! Consumer groups: members, assignments and heartbeats.

use super::ApiMessage;
use crate::api::ApiKey;
use crate::types::{PartitionIndex, TopicId};
use crate::wire::{Decode, Error, WireArray, WireField, WireReader};

/// The first version of LeaveGroup that names several members (KIP-345).
const LEAVING_MEMBERS_SINCE: i16 = 3;

/// The beginning of a `JoinGroupRequest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JoinGroupRequest<'a> {
    pub group_id: WireField<'a>,
    pub member_id: WireField<'a>,
    /// `consumer` for consumers; Kafka Connect and others have types of their own.
    pub protocol_type: WireField<'a>,
}

/// The beginning of a `SyncGroupRequest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncGroupRequest<'a> {
    pub group_id: WireField<'a>,
    pub member_id: WireField<'a>,
}

/// `SyncGroupResponse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncGroupResponse<'a> {
    pub error_code: i16,
    /// In a group of consumers, a [`ConsumerProtocolAssignment`].
    pub assignment: Option<WireField<'a>>,
}

/// The beginning of a `ConsumerProtocolAssignment`: the partitions of one member.
#[derive(Debug, Clone, Copy)]
pub struct ConsumerProtocolAssignment<'a> {
    pub assigned_partitions: WireArray<'a, AssignedTopic<'a>>,
}

/// `TopicPartition` of a `ConsumerProtocolAssignment`.
#[derive(Debug, Clone, Copy)]
pub struct AssignedTopic<'a> {
    pub topic: WireField<'a>,
    pub partitions: WireArray<'a, PartitionIndex>,
}

/// The beginning of a `HeartbeatRequest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeartbeatRequest<'a> {
    pub group_id: WireField<'a>,
    pub member_id: WireField<'a>,
}

/// `LeaveGroupRequest`.
#[derive(Debug, Clone, Copy)]
pub struct LeaveGroupRequest<'a> {
    pub group_id: WireField<'a>,
    /// The member that leaves, before version 3.
    pub member_id: Option<WireField<'a>>,
    /// The members that leave, from version 3 on.
    pub members: WireArray<'a, LeavingMember<'a>>,
}

/// `MemberIdentity` of a `LeaveGroupRequest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeavingMember<'a> {
    pub member_id: WireField<'a>,
}

/// The beginning of a `ConsumerGroupHeartbeatRequest` (KIP-848).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConsumerGroupHeartbeatRequest<'a> {
    pub group_id: WireField<'a>,
    pub member_id: WireField<'a>,
    /// Negative for a member that leaves.
    pub member_epoch: i32,
}

/// `ConsumerGroupHeartbeatResponse`.
#[derive(Debug, Clone, Copy)]
pub struct ConsumerGroupHeartbeatResponse<'a> {
    pub error_code: i16,
    pub member_id: Option<WireField<'a>>,
    /// All partitions of the member; [`None`] when they have not changed.
    pub assignment: Option<ConsumerGroupAssignment<'a>>,
}

/// `Assignment` of a `ConsumerGroupHeartbeatResponse`.
#[derive(Debug, Clone, Copy)]
pub struct ConsumerGroupAssignment<'a> {
    pub topic_partitions: WireArray<'a, AssignedTopicId<'a>>,
}

/// `TopicPartitions` of a `ConsumerGroupHeartbeatResponse`.
#[derive(Debug, Clone, Copy)]
pub struct AssignedTopicId<'a> {
    pub topic_id: TopicId,
    pub partitions: WireArray<'a, PartitionIndex>,
}

/// The beginning of a `StreamsGroupHeartbeatRequest` (KIP-1071).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamsGroupHeartbeatRequest<'a> {
    pub group_id: WireField<'a>,
    pub member_id: WireField<'a>,
    /// Negative for a member that leaves.
    pub member_epoch: i32,
}

// === impl JoinGroupRequest ===

impl<'a> ApiMessage<'a> for JoinGroupRequest<'a> {
    const API: ApiKey = ApiKey::JOIN_GROUP;
}

impl<'a> Decode<'a> for JoinGroupRequest<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let group_id = reader.string()?;
        // session_timeout_ms
        reader.i32()?;
        if reader.version() >= 1 {
            // rebalance_timeout_ms
            reader.i32()?;
        }
        let member_id = reader.string()?;
        if reader.version() >= 5 {
            // group_instance_id
            reader.nullable_string()?;
        }
        Ok(Self {
            group_id,
            member_id,
            protocol_type: reader.string()?,
        })
    }
}

// === impl SyncGroupRequest ===

impl<'a> ApiMessage<'a> for SyncGroupRequest<'a> {
    const API: ApiKey = ApiKey::SYNC_GROUP;
}

impl<'a> Decode<'a> for SyncGroupRequest<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let group_id = reader.string()?;
        // generation_id
        reader.i32()?;
        Ok(Self {
            group_id,
            member_id: reader.string()?,
        })
    }
}

// === impl SyncGroupResponse ===

impl<'a> ApiMessage<'a> for SyncGroupResponse<'a> {
    const API: ApiKey = ApiKey::SYNC_GROUP;
}

impl<'a> Decode<'a> for SyncGroupResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        if reader.version() >= 1 {
            // throttle_time_ms
            reader.i32()?;
        }
        let error_code = reader.i16()?;
        if reader.version() >= 5 {
            // protocol_type, protocol_name
            reader.nullable_string()?;
            reader.nullable_string()?;
        }
        let assignment = reader.nullable_bytes()?;
        reader.tagged_fields()?;
        Ok(Self {
            error_code,
            assignment,
        })
    }
}

// === impl ConsumerProtocolAssignment ===

impl<'a> ConsumerProtocolAssignment<'a> {
    /// Parses the assignment of a [`SyncGroupResponse`]. All versions begin alike.
    ///
    /// # Errors
    /// When the bytes do not follow the schema: the group is not one of consumers.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        // The schema has no flexible versions; members of any version read the fields that they
        // know.
        let mut reader = WireReader::new(bytes, 0, false);
        // version
        reader.i16()?;
        Ok(Self {
            assigned_partitions: reader.array()?,
        })
    }
}

impl<'a> Decode<'a> for AssignedTopic<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        Ok(Self {
            topic: reader.string()?,
            partitions: reader.array()?,
        })
    }
}

// === impl HeartbeatRequest ===

impl<'a> ApiMessage<'a> for HeartbeatRequest<'a> {
    const API: ApiKey = ApiKey::HEARTBEAT;
}

impl<'a> Decode<'a> for HeartbeatRequest<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let group_id = reader.string()?;
        // generation_id
        reader.i32()?;
        Ok(Self {
            group_id,
            member_id: reader.string()?,
        })
    }
}

// === impl LeaveGroupRequest ===

impl<'a> ApiMessage<'a> for LeaveGroupRequest<'a> {
    const API: ApiKey = ApiKey::LEAVE_GROUP;
}

impl<'a> Decode<'a> for LeaveGroupRequest<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let group_id = reader.string()?;
        let has_members = reader.version() >= LEAVING_MEMBERS_SINCE;
        let (member_id, members) = if has_members {
            (None, reader.array()?)
        } else {
            (Some(reader.string()?), WireArray::default())
        };
        reader.tagged_fields()?;
        Ok(Self {
            group_id,
            member_id,
            members,
        })
    }
}

impl<'a> Decode<'a> for LeavingMember<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let member_id = reader.string()?;
        // group_instance_id
        reader.nullable_string()?;
        if reader.version() >= 5 {
            // reason (KIP-800)
            reader.nullable_string()?;
        }
        reader.tagged_fields()?;
        Ok(Self { member_id })
    }
}

// === impl ConsumerGroupHeartbeatRequest ===

impl<'a> ApiMessage<'a> for ConsumerGroupHeartbeatRequest<'a> {
    const API: ApiKey = ApiKey::CONSUMER_GROUP_HEARTBEAT;
}

impl<'a> Decode<'a> for ConsumerGroupHeartbeatRequest<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        Ok(Self {
            group_id: reader.string()?,
            member_id: reader.string()?,
            member_epoch: reader.i32()?,
        })
    }
}

// === impl ConsumerGroupHeartbeatResponse ===

impl<'a> ApiMessage<'a> for ConsumerGroupHeartbeatResponse<'a> {
    const API: ApiKey = ApiKey::CONSUMER_GROUP_HEARTBEAT;
}

impl<'a> Decode<'a> for ConsumerGroupHeartbeatResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        // throttle_time_ms
        reader.i32()?;
        let error_code = reader.i16()?;
        // error_message
        reader.nullable_string()?;
        let member_id = reader.nullable_string()?;
        // member_epoch, heartbeat_interval_ms
        reader.i32()?;
        reader.i32()?;
        // A nullable structure begins with -1 where it is null, and with 1 where it is not.
        let assignment = (reader.i8()? >= 0).then(|| reader.decode()).transpose()?;
        reader.tagged_fields()?;
        Ok(Self {
            error_code,
            member_id,
            assignment,
        })
    }
}

impl<'a> Decode<'a> for ConsumerGroupAssignment<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let topic_partitions = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self { topic_partitions })
    }
}

impl<'a> Decode<'a> for AssignedTopicId<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (topic_id, partitions) = (reader.decode()?, reader.array()?);
        reader.tagged_fields()?;
        Ok(Self {
            topic_id,
            partitions,
        })
    }
}

// === impl StreamsGroupHeartbeatRequest ===

impl<'a> ApiMessage<'a> for StreamsGroupHeartbeatRequest<'a> {
    const API: ApiKey = ApiKey::STREAMS_GROUP_HEARTBEAT;
}

impl<'a> Decode<'a> for StreamsGroupHeartbeatRequest<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        Ok(Self {
            group_id: reader.string()?,
            member_id: reader.string()?,
            member_epoch: reader.i32()?,
        })
    }
}
