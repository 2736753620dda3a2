//! Who is in the cluster: Metadata, FindCoordinator, DescribeCluster.

use super::ApiMessage;
use super::endpoint::BrokerEndpoint;
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
    pub endpoint: BrokerEndpoint<'a>,
}

/// `MetadataResponseTopic`: a topic's name and its id, which is another one when the topic is made anew.
#[derive(Debug, Clone, Copy)]
pub struct MetadataTopic<'a> {
    pub error_code: i16,
    /// Null when it was asked for by an id that the broker does not know.
    pub name: Option<WireField<'a>>,
    /// Zero before version 10.
    pub topic_id: TopicId,
    pub partition_count: u32,
}

/// `FindCoordinatorResponse`.
#[derive(Debug, Clone, Copy)]
pub struct FindCoordinatorResponse<'a> {
    /// The only one, before version 4.
    sole: Option<Coordinator<'a>>,
    coordinators: WireArray<'a, Coordinator<'a>>,
}

/// `Coordinator`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coordinator<'a> {
    /// The group or transactional id; not told before version 4.
    pub key: Option<WireField<'a>>,
    pub endpoint: BrokerEndpoint<'a>,
    pub error_code: i16,
}

/// `DescribeClusterResponse`.
#[derive(Debug, Clone, Copy)]
pub struct DescribeClusterResponse<'a> {
    pub cluster_id: Option<WireField<'a>>,
    pub brokers: WireArray<'a, DescribeClusterBroker<'a>>,
}

/// `DescribeClusterBroker`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescribeClusterBroker<'a> {
    pub endpoint: BrokerEndpoint<'a>,
}

/// `MetadataResponsePartition`, stepped over.
struct MetadataPartition;

// === impl ApiMessage ===

impl<'a> ApiMessage<'a> for MetadataResponse<'a> {
    const API: ApiKey = ApiKey::METADATA;
}

impl<'a> ApiMessage<'a> for FindCoordinatorResponse<'a> {
    const API: ApiKey = ApiKey::FIND_COORDINATOR;
}

impl<'a> ApiMessage<'a> for DescribeClusterResponse<'a> {
    const API: ApiKey = ApiKey::DESCRIBE_CLUSTER;
}

// === impl FindCoordinatorResponse ===

impl<'a> FindCoordinatorResponse<'a> {
    /// The coordinators, one before version 4.
    pub fn coordinators(&self) -> impl Iterator<Item = Coordinator<'a>> + use<'a> {
        self.sole.into_iter().chain(self.coordinators)
    }
}

// === impl Decode ===

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
        let endpoint = BrokerEndpoint::decode(reader)?;
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
        let partition_count = reader.array::<MetadataPartition>()?.len();
        if reader.version() >= 8 {
            // topic_authorized_operations
            reader.i32()?;
        }
        reader.tagged_fields()?;
        Ok(Self {
            error_code,
            name,
            topic_id,
            partition_count,
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

impl<'a> Decode<'a> for FindCoordinatorResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        if reader.version() >= 1 {
            // throttle_time_ms
            reader.i32()?;
        }
        let (sole, coordinators) = if reader.version() >= 4 {
            (None, reader.array()?)
        } else {
            (Some(read_sole(reader)?), WireArray::default())
        };
        reader.tagged_fields()?;
        Ok(Self { sole, coordinators })
    }
}

fn read_sole<'a>(reader: &mut WireReader<'a>) -> Result<Coordinator<'a>, Error> {
    let error_code = reader.i16()?;
    if reader.version() >= 1 {
        // error_message
        reader.nullable_string()?;
    }
    Ok(Coordinator {
        key: None,
        endpoint: BrokerEndpoint::decode(reader)?,
        error_code,
    })
}

impl<'a> Decode<'a> for Coordinator<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (key, endpoint) = (reader.nullable_string()?, BrokerEndpoint::decode(reader)?);
        let error_code = reader.i16()?;
        // error_message
        reader.nullable_string()?;
        reader.tagged_fields()?;
        Ok(Self {
            key,
            endpoint,
            error_code,
        })
    }
}

impl<'a> Decode<'a> for DescribeClusterResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        // throttle_time_ms, error_code, error_message
        reader.i32()?;
        reader.i16()?;
        reader.nullable_string()?;
        if reader.version() >= 1 {
            // endpoint_type
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
        let endpoint = BrokerEndpoint::decode(reader)?;
        // rack
        reader.nullable_string()?;
        if reader.version() >= 2 {
            // is_fenced
            reader.bool()?;
        }
        reader.tagged_fields()?;
        Ok(Self { endpoint })
    }
}
