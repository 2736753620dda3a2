//! Metadata, FindCoordinator and DescribeCluster: the brokers, coordinators and topics of a
//! cluster.

use super::ApiMessage;
use super::endpoint::NodeEndpoint;
use crate::api::ApiKey;
use crate::types::TopicId;
use crate::wire::{Decode, Error, WireArray, WireField, WireReader};

/// `MetadataResponse`.
#[derive(Debug, Clone, Copy)]
pub struct MetadataResponse<'a> {
    pub brokers: WireArray<'a, MetadataBroker<'a>>,
    pub cluster_id: Option<WireField<'a>>,
    pub topics: WireArray<'a, MetadataTopic<'a>>,
}

/// `MetadataResponseBroker`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataBroker<'a> {
    pub endpoint: NodeEndpoint<'a>,
}

/// `MetadataResponseTopic`: the name and the id of a topic.
#[derive(Debug, Clone, Copy)]
pub struct MetadataTopic<'a> {
    pub error_code: i16,
    /// Null when the request had an id that the broker does not know.
    pub name: Option<WireField<'a>>,
    /// [`TopicId::ZERO`] before version 10.
    pub topic_id: TopicId,
}

/// `MetadataResponsePartition`, which is skipped.
struct MetadataPartition;

/// `FindCoordinatorResponse`.
#[derive(Debug, Clone, Copy)]
pub struct FindCoordinatorResponse<'a> {
    /// The only coordinator, before version 4.
    single: Option<NodeEndpoint<'a>>,
    coordinators: WireArray<'a, CoordinatorEndpoint<'a>>,
}

/// `Coordinator`.
#[derive(Debug, Clone, Copy)]
struct CoordinatorEndpoint<'a>(NodeEndpoint<'a>);

/// `DescribeClusterResponse`.
#[derive(Debug, Clone, Copy)]
pub struct DescribeClusterResponse<'a> {
    pub cluster_id: Option<WireField<'a>>,
    pub brokers: WireArray<'a, DescribeClusterBroker<'a>>,
}

/// `DescribeClusterBroker`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescribeClusterBroker<'a> {
    pub endpoint: NodeEndpoint<'a>,
}

// === impl MetadataResponse ===

impl<'a> ApiMessage<'a> for MetadataResponse<'a> {
    const API: ApiKey = ApiKey::METADATA;
}

impl<'a> Decode<'a> for MetadataResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        if reader.version() >= 3 {
            // throttle_time_ms
            reader.i32()?;
        }
        let brokers = reader.array()?;
        let cluster_id = if reader.version() >= 2 {
            reader.nullable_string()?
        } else {
            None
        };
        if reader.version() >= 1 {
            // controller_id
            reader.i32()?;
        }
        let topics = reader.array()?;
        // KIP-700 moved it to DescribeCluster.
        if (8..=10).contains(&reader.version()) {
            // cluster_authorized_operations
            reader.i32()?;
        }
        if reader.version() >= 13 {
            // error_code
            reader.i16()?;
        }
        reader.tagged_fields()?;
        Ok(Self {
            brokers,
            cluster_id,
            topics,
        })
    }
}

impl<'a> Decode<'a> for MetadataBroker<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let endpoint = NodeEndpoint::decode(reader)?;
        if reader.version() >= 1 {
            // rack
            reader.nullable_string()?;
        }
        reader.tagged_fields()?;
        Ok(Self { endpoint })
    }
}

impl<'a> Decode<'a> for MetadataTopic<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (error_code, name) = (reader.i16()?, reader.nullable_string()?);
        let topic_id = if reader.version() >= 10 {
            reader.decode()?
        } else {
            TopicId::ZERO
        };
        if reader.version() >= 1 {
            // is_internal
            reader.bool()?;
        }
        reader.array::<MetadataPartition>()?;
        if reader.version() >= 8 {
            // topic_authorized_operations
            reader.i32()?;
        }
        reader.tagged_fields()?;
        Ok(Self {
            error_code,
            name,
            topic_id,
        })
    }
}

impl<'a> Decode<'a> for MetadataPartition {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        // error_code, partition_index, leader_id
        reader.i16()?;
        reader.i32()?;
        reader.i32()?;
        if reader.version() >= 7 {
            // leader_epoch
            reader.i32()?;
        }
        // replica_nodes, isr_nodes
        reader.array::<i32>()?;
        reader.array::<i32>()?;
        if reader.version() >= 5 {
            // offline_replicas
            reader.array::<i32>()?;
        }
        reader.tagged_fields()?;
        Ok(Self)
    }
}

// === impl FindCoordinatorResponse ===

impl<'a> ApiMessage<'a> for FindCoordinatorResponse<'a> {
    const API: ApiKey = ApiKey::FIND_COORDINATOR;
}

impl<'a> FindCoordinatorResponse<'a> {
    /// Returns the coordinators: exactly one before version 4.
    pub fn coordinators(&self) -> impl Iterator<Item = NodeEndpoint<'a>> + use<'a> {
        let several = self.coordinators.iter().map(|coordinator| coordinator.0);
        self.single.into_iter().chain(several)
    }
}

impl<'a> Decode<'a> for FindCoordinatorResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        if reader.version() >= 1 {
            // throttle_time_ms
            reader.i32()?;
        }
        // Version 4 answers for several groups at once (KIP-699).
        let (single, coordinators) = if reader.version() >= 4 {
            (None, reader.array()?)
        } else {
            (Some(decode_single(reader)?), WireArray::default())
        };
        reader.tagged_fields()?;
        Ok(Self {
            single,
            coordinators,
        })
    }
}

fn decode_single<'a>(reader: &mut WireReader<'a>) -> Result<NodeEndpoint<'a>, Error> {
    // error_code
    reader.i16()?;
    if reader.version() >= 1 {
        // error_message
        reader.nullable_string()?;
    }
    NodeEndpoint::decode(reader)
}

impl<'a> Decode<'a> for CoordinatorEndpoint<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        // key
        reader.nullable_string()?;
        let endpoint = NodeEndpoint::decode(reader)?;
        // error_code, error_message
        reader.i16()?;
        reader.nullable_string()?;
        reader.tagged_fields()?;
        Ok(Self(endpoint))
    }
}

// === impl DescribeClusterResponse ===

impl<'a> ApiMessage<'a> for DescribeClusterResponse<'a> {
    const API: ApiKey = ApiKey::DESCRIBE_CLUSTER;
}

impl<'a> Decode<'a> for DescribeClusterResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        // throttle_time_ms, error_code, error_message
        reader.i32()?;
        reader.i16()?;
        reader.nullable_string()?;
        if reader.version() >= 1 {
            // endpoint_type (KIP-919)
            reader.i8()?;
        }
        let cluster_id = reader.nullable_string()?;
        // controller_id
        reader.i32()?;
        let brokers = reader.array()?;
        // cluster_authorized_operations
        reader.i32()?;
        reader.tagged_fields()?;
        Ok(Self {
            cluster_id,
            brokers,
        })
    }
}

impl<'a> Decode<'a> for DescribeClusterBroker<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let endpoint = NodeEndpoint::decode(reader)?;
        // rack
        reader.nullable_string()?;
        if reader.version() >= 2 {
            // is_fenced (KIP-1073)
            reader.bool()?;
        }
        reader.tagged_fields()?;
        Ok(Self { endpoint })
    }
}
