//! CreateTopics, DescribeConfigs, AlterConfigs and IncrementalAlterConfigs: the configuration of
//! topics and brokers.

use super::ApiMessage;
use crate::api::ApiKey;
use crate::wire::{Decode, Error, WireArray, WireField, WireReader};

/// `CreateTopicsResponse`.
#[derive(Debug, Clone, Copy)]
pub struct CreateTopicsResponse<'a> {
    pub topics: WireArray<'a, CreatableTopicResult<'a>>,
}

/// `CreatableTopicResult`.
#[derive(Debug, Clone, Copy)]
pub struct CreatableTopicResult<'a> {
    pub name: WireField<'a>,
    pub error_code: i16,
    /// The configuration of the topic, since version 5 (KIP-525).
    pub configs: Option<WireArray<'a, CreatedTopicConfig<'a>>>,
}

/// `CreatableTopicConfigs`.
#[derive(Debug, Clone, Copy)]
pub struct CreatedTopicConfig<'a> {
    pub name: WireField<'a>,
    pub value: Option<WireField<'a>>,
}

/// `DescribeConfigsResponse`.
#[derive(Debug, Clone, Copy)]
pub struct DescribeConfigsResponse<'a> {
    pub results: WireArray<'a, DescribeConfigsResult<'a>>,
}

/// `DescribeConfigsResult`.
#[derive(Debug, Clone, Copy)]
pub struct DescribeConfigsResult<'a> {
    pub error_code: i16,
    pub resource_type: i8,
    pub resource_name: WireField<'a>,
    pub configs: WireArray<'a, DescribedConfig<'a>>,
}

/// `DescribeConfigsResourceResult`.
#[derive(Debug, Clone, Copy)]
pub struct DescribedConfig<'a> {
    pub name: WireField<'a>,
    pub value: Option<WireField<'a>>,
}

/// `DescribeConfigsSynonym`, which is skipped.
struct ConfigSynonym;

/// `AlterConfigsRequest`.
#[derive(Debug, Clone, Copy)]
pub struct AlterConfigsRequest<'a> {
    pub resources: WireArray<'a, AlterConfigsResource<'a>>,
    pub validate_only: bool,
}

/// `AlterConfigsResource`: the whole configuration of a resource.
#[derive(Debug, Clone, Copy)]
pub struct AlterConfigsResource<'a> {
    pub resource_type: i8,
    pub resource_name: WireField<'a>,
    pub configs: WireArray<'a, AlterableConfig<'a>>,
}

/// `AlterableConfig` of AlterConfigs.
#[derive(Debug, Clone, Copy)]
pub struct AlterableConfig<'a> {
    pub name: WireField<'a>,
    pub value: Option<WireField<'a>>,
}

/// `IncrementalAlterConfigsRequest`.
#[derive(Debug, Clone, Copy)]
pub struct IncrementalAlterConfigsRequest<'a> {
    pub resources: WireArray<'a, IncrementalConfigsResource<'a>>,
    pub validate_only: bool,
}

/// `AlterConfigsResource` of IncrementalAlterConfigs: changes of a configuration.
#[derive(Debug, Clone, Copy)]
pub struct IncrementalConfigsResource<'a> {
    pub resource_type: i8,
    pub resource_name: WireField<'a>,
    pub configs: WireArray<'a, IncrementalConfig<'a>>,
}

/// `AlterableConfig` of IncrementalAlterConfigs.
#[derive(Debug, Clone, Copy)]
pub struct IncrementalConfig<'a> {
    pub name: WireField<'a>,
    pub config_operation: i8,
    pub value: Option<WireField<'a>>,
}

/// The response of AlterConfigs.
#[derive(Debug, Clone, Copy)]
pub struct AlterConfigsResponse<'a> {
    pub responses: WireArray<'a, AlteredResource<'a>>,
}

/// The response of IncrementalAlterConfigs, which has the same fields.
#[derive(Debug, Clone, Copy)]
pub struct IncrementalAlterConfigsResponse<'a> {
    pub responses: WireArray<'a, AlteredResource<'a>>,
}

/// `AlterConfigsResourceResponse`.
#[derive(Debug, Clone, Copy)]
pub struct AlteredResource<'a> {
    pub error_code: i16,
    pub resource_type: i8,
    pub resource_name: WireField<'a>,
}

// === impl CreateTopicsResponse ===

impl<'a> ApiMessage<'a> for CreateTopicsResponse<'a> {
    const API: ApiKey = ApiKey::CREATE_TOPICS;
}

impl<'a> Decode<'a> for CreateTopicsResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        // throttle_time_ms
        reader.i32()?;
        let topics = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self { topics })
    }
}

impl<'a> Decode<'a> for CreatableTopicResult<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let name = reader.string()?;
        if reader.version() >= 7 {
            // topic_id
            reader.uuid()?;
        }
        let error_code = reader.i16()?;
        // error_message
        reader.nullable_string()?;
        let mut configs = None;
        if reader.version() >= 5 {
            // num_partitions, replication_factor
            reader.i32()?;
            reader.i16()?;
            configs = Some(reader.array()?);
        }
        reader.tagged_fields()?;
        Ok(Self {
            name,
            error_code,
            configs,
        })
    }
}

impl<'a> Decode<'a> for CreatedTopicConfig<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (name, value) = (reader.string()?, reader.nullable_string()?);
        // read_only, config_source, is_sensitive
        reader.bool()?;
        reader.i8()?;
        reader.bool()?;
        reader.tagged_fields()?;
        Ok(Self { name, value })
    }
}

// === impl DescribeConfigsResponse ===

impl<'a> ApiMessage<'a> for DescribeConfigsResponse<'a> {
    const API: ApiKey = ApiKey::DESCRIBE_CONFIGS;
}

impl<'a> Decode<'a> for DescribeConfigsResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        // throttle_time_ms
        reader.i32()?;
        let results = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self { results })
    }
}

impl<'a> Decode<'a> for DescribeConfigsResult<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let error_code = reader.i16()?;
        // error_message
        reader.nullable_string()?;
        let (resource_type, resource_name) = (reader.i8()?, reader.string()?);
        let configs = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self {
            error_code,
            resource_type,
            resource_name,
            configs,
        })
    }
}

impl<'a> Decode<'a> for DescribedConfig<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (name, value) = (reader.string()?, reader.nullable_string()?);
        // read_only, config_source, is_sensitive
        reader.bool()?;
        reader.i8()?;
        reader.bool()?;
        let _: WireArray<'a, ConfigSynonym> = reader.array()?;
        if reader.version() >= 3 {
            // config_type, documentation
            reader.i8()?;
            reader.nullable_string()?;
        }
        reader.tagged_fields()?;
        Ok(Self { name, value })
    }
}

impl<'a> Decode<'a> for ConfigSynonym {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        // name, value, source
        reader.string()?;
        reader.nullable_string()?;
        reader.i8()?;
        reader.tagged_fields()?;
        Ok(Self)
    }
}

// === impl AlterConfigsRequest ===

impl<'a> ApiMessage<'a> for AlterConfigsRequest<'a> {
    const API: ApiKey = ApiKey::ALTER_CONFIGS;
}

impl<'a> Decode<'a> for AlterConfigsRequest<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (resources, validate_only) = (reader.array()?, reader.bool()?);
        reader.tagged_fields()?;
        Ok(Self {
            resources,
            validate_only,
        })
    }
}

impl<'a> Decode<'a> for AlterConfigsResource<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (resource_type, resource_name) = (reader.i8()?, reader.string()?);
        let configs = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self {
            resource_type,
            resource_name,
            configs,
        })
    }
}

impl<'a> Decode<'a> for AlterableConfig<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (name, value) = (reader.string()?, reader.nullable_string()?);
        reader.tagged_fields()?;
        Ok(Self { name, value })
    }
}

// === impl IncrementalAlterConfigsRequest ===

impl<'a> ApiMessage<'a> for IncrementalAlterConfigsRequest<'a> {
    const API: ApiKey = ApiKey::INCREMENTAL_ALTER_CONFIGS;
}

impl<'a> Decode<'a> for IncrementalAlterConfigsRequest<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (resources, validate_only) = (reader.array()?, reader.bool()?);
        reader.tagged_fields()?;
        Ok(Self {
            resources,
            validate_only,
        })
    }
}

impl<'a> Decode<'a> for IncrementalConfigsResource<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (resource_type, resource_name) = (reader.i8()?, reader.string()?);
        let configs = reader.array()?;
        reader.tagged_fields()?;
        Ok(Self {
            resource_type,
            resource_name,
            configs,
        })
    }
}

impl<'a> Decode<'a> for IncrementalConfig<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (name, config_operation) = (reader.string()?, reader.i8()?);
        let value = reader.nullable_string()?;
        reader.tagged_fields()?;
        Ok(Self {
            name,
            config_operation,
            value,
        })
    }
}

// === impl AlterConfigsResponse ===

impl<'a> ApiMessage<'a> for AlterConfigsResponse<'a> {
    const API: ApiKey = ApiKey::ALTER_CONFIGS;
}

impl<'a> ApiMessage<'a> for IncrementalAlterConfigsResponse<'a> {
    const API: ApiKey = ApiKey::INCREMENTAL_ALTER_CONFIGS;
}

impl<'a> Decode<'a> for AlterConfigsResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let responses = read_responses(reader)?;
        Ok(Self { responses })
    }
}

impl<'a> Decode<'a> for IncrementalAlterConfigsResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let responses = read_responses(reader)?;
        Ok(Self { responses })
    }
}

fn read_responses<'a>(
    reader: &mut WireReader<'a>,
) -> Result<WireArray<'a, AlteredResource<'a>>, Error> {
    // throttle_time_ms
    reader.i32()?;
    let responses = reader.array()?;
    reader.tagged_fields()?;
    Ok(responses)
}

impl<'a> Decode<'a> for AlteredResource<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let error_code = reader.i16()?;
        // error_message
        reader.nullable_string()?;
        let (resource_type, resource_name) = (reader.i8()?, reader.string()?);
        reader.tagged_fields()?;
        Ok(Self {
            error_code,
            resource_type,
            resource_name,
        })
    }
}
