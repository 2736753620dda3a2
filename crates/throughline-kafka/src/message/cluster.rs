//! Who is in the cluster: Metadata, FindCoordinator, DescribeCluster.

use std::ops::RangeInclusive;

use super::Message;
use super::address::Endpoint;
use crate::api::ApiKey;
use crate::wire::{Array, Error, Field, Read, Reader};

/// `MetadataResponse`.
#[derive(Debug, Clone, Copy)]
pub struct MetadataResponse<'a> {
    pub brokers: Array<'a, Broker<'a>>,
    pub cluster_id: Option<Field<'a>>,
    pub topics: Array<'a, Topic<'a>>,
}

/// `MetadataResponseBroker`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broker<'a> {
    pub endpoint: Endpoint<'a>,
}

/// `MetadataResponseTopic`: a topic's name and its id, which is another one when the topic is made anew.
#[derive(Debug, Clone, Copy)]
pub struct Topic<'a> {
    pub error_code: i16,
    /// Null when it was asked for by an id that the broker does not know.
    pub name: Option<Field<'a>>,
    /// Zero before version 10.
    pub topic_id: [u8; 16],
    pub partition_count: u32,
}

/// `FindCoordinatorResponse`.
#[derive(Debug, Clone, Copy)]
pub struct FindCoordinatorResponse<'a> {
    /// The only one, before version 4.
    sole: Option<Coordinator<'a>>,
    coordinators: Array<'a, Coordinator<'a>>,
}

/// `Coordinator`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coordinator<'a> {
    /// The group or transactional id; not told before version 4.
    pub key: Option<Field<'a>>,
    pub endpoint: Endpoint<'a>,
    pub error_code: i16,
}

/// `DescribeClusterResponse`.
#[derive(Debug, Clone, Copy)]
pub struct DescribeClusterResponse<'a> {
    pub cluster_id: Option<Field<'a>>,
    pub brokers: Array<'a, DescribedBroker<'a>>,
}

/// `DescribeClusterBroker`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescribedBroker<'a> {
    pub endpoint: Endpoint<'a>,
}

/// `MetadataResponsePartition`, stepped over.
struct Partition;

// === impl Message ===

impl<'a> Message<'a> for MetadataResponse<'a> {
    const API: ApiKey = ApiKey::METADATA;
    const VERSIONS: RangeInclusive<i16> = 0..=13;
}

impl<'a> Message<'a> for FindCoordinatorResponse<'a> {
    const API: ApiKey = ApiKey::FIND_COORDINATOR;
    const VERSIONS: RangeInclusive<i16> = 0..=6;
}

impl<'a> Message<'a> for DescribeClusterResponse<'a> {
    const API: ApiKey = ApiKey::DESCRIBE_CLUSTER;
    const VERSIONS: RangeInclusive<i16> = 0..=2;
}

// === impl FindCoordinatorResponse ===

impl<'a> FindCoordinatorResponse<'a> {
    /// The coordinators, one before version 4.
    pub fn coordinators(&self) -> impl Iterator<Item = Coordinator<'a>> + use<'a> {
        self.sole.into_iter().chain(self.coordinators)
    }
}

// === impl Read ===

impl<'a> Read<'a> for MetadataResponse<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        if reader.version() >= 3 {
            // throttle_time_ms
            reader.i32()?;
        }
        let brokers = reader.array()?;
        let cluster_id = if reader.version() >= 2 {
            reader.string()?
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
        reader.tags()?;
        Ok(Self {
            brokers,
            cluster_id,
            topics,
        })
    }
}

impl<'a> Read<'a> for Broker<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let endpoint = Endpoint::read(reader)?;
        if reader.version() >= 1 {
            // rack
            reader.string()?;
        }
        reader.tags()?;
        Ok(Self { endpoint })
    }
}

impl<'a> Read<'a> for Topic<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let (error_code, name) = (reader.i16()?, reader.string()?);
        let topic_id = if reader.version() >= 10 {
            reader.uuid()?
        } else {
            [0; 16]
        };
        if reader.version() >= 1 {
            // is_internal
            reader.bool()?;
        }
        let partition_count = reader.array::<Partition>()?.len();
        if reader.version() >= 8 {
            // topic_authorized_operations
            reader.i32()?;
        }
        reader.tags()?;
        Ok(Self {
            error_code,
            name,
            topic_id,
            partition_count,
        })
    }
}

impl<'a> Read<'a> for Partition {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
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
        reader.tags()?;
        Ok(Self)
    }
}

impl<'a> Read<'a> for FindCoordinatorResponse<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        if reader.version() >= 1 {
            // throttle_time_ms
            reader.i32()?;
        }
        let (sole, coordinators) = if reader.version() >= 4 {
            (None, reader.array()?)
        } else {
            (Some(read_sole(reader)?), Array::default())
        };
        reader.tags()?;
        Ok(Self { sole, coordinators })
    }
}

fn read_sole<'a>(reader: &mut Reader<'a>) -> Result<Coordinator<'a>, Error> {
    let error_code = reader.i16()?;
    if reader.version() >= 1 {
        // error_message
        reader.string()?;
    }
    Ok(Coordinator {
        key: None,
        endpoint: Endpoint::read(reader)?,
        error_code,
    })
}

impl<'a> Read<'a> for Coordinator<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let (key, endpoint) = (reader.string()?, Endpoint::read(reader)?);
        let error_code = reader.i16()?;
        // error_message
        reader.string()?;
        reader.tags()?;
        Ok(Self {
            key,
            endpoint,
            error_code,
        })
    }
}

impl<'a> Read<'a> for DescribeClusterResponse<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        // throttle_time_ms, error_code, error_message
        reader.i32()?;
        reader.i16()?;
        reader.string()?;
        if reader.version() >= 1 {
            // endpoint_type
            reader.i8()?;
        }
        let cluster_id = reader.string()?;
        // controller_id
        reader.i32()?;
        let brokers = reader.array()?;
        // cluster_authorized_operations
        reader.i32()?;
        reader.tags()?;
        Ok(Self {
            cluster_id,
            brokers,
        })
    }
}

impl<'a> Read<'a> for DescribedBroker<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let endpoint = Endpoint::read(reader)?;
        // rack
        reader.string()?;
        if reader.version() >= 2 {
            // is_fenced
            reader.bool()?;
        }
        reader.tags()?;
        Ok(Self { endpoint })
    }
}
