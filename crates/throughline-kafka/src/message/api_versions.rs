//! ApiVersions: the versions that a broker supports, and how to restrict them for the client.

use std::ops::Range;

use super::{ApiMessage, BodySplice, ParseOutcome};
use crate::api::ApiKey;
use crate::wire::{Decode, Error, TaggedField, WireArray, WireField, WireReader, varint};

/// Kafka's `UNSUPPORTED_VERSION`: the broker does not support the version of the request.
const UNSUPPORTED_VERSION: i16 = 35;

/// The feature that makes a Java client leave AddPartitionsToTxn to the broker (KIP-890).
const TRANSACTION_VERSION: &[u8] = b"transaction.version";

/// The first version of Produce with which a broker adds partitions to a transaction itself.
const TRANSACTIONS_BY_PRODUCE_SINCE: i16 = 12;

/// The number of the tagged field with the finalized features.
const FINALIZED_FEATURES_TAG: u32 = 2;

/// `ApiVersionsRequest`.
#[derive(Debug, Clone)]
pub struct ApiVersionsRequest<'a> {
    /// The name of the client library, since version 3 (KIP-511).
    pub client_software_name: Option<WireField<'a>>,
}

/// `ApiVersionsResponse`.
#[derive(Debug, Clone)]
pub struct ApiVersionsResponse<'a> {
    pub api_keys: WireArray<'a, ApiVersion>,
    pub finalized_features: Option<FinalizedFeatures<'a>>,
}

/// `ApiVersion`: the versions of an API that the broker supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiVersion {
    pub api_key: ApiKey,
    pub min_version: i16,
    pub max_version: i16,
    /// The position of both versions, four bytes.
    versions_at: usize,
}

/// `FinalizedFeatures`: the feature levels of the cluster (KIP-584).
#[derive(Debug, Clone)]
pub struct FinalizedFeatures<'a> {
    pub features: WireArray<'a, FinalizedFeatureKey<'a>>,
    tag: TaggedField<'a>,
    /// The position of the number of features.
    count_range: Range<usize>,
}

/// `FinalizedFeatureKey`.
#[derive(Debug, Clone)]
pub struct FinalizedFeatureKey<'a> {
    pub name: WireField<'a>,
    range: Range<usize>,
}

/// Restricts the versions in the body of a response to the range that `limit` returns for (key,
/// lowest version, highest version), and returns the number of restricted keys.
///
/// A range is never extended, the lowest version of Produce is never raised (librdkafka stops
/// compressing when it is, KAFKA-18659), and a range that would become empty is kept. If Produce
/// ends below version 12 as a result, the feature `transaction.version` is removed.
///
/// # Errors
/// When the body is not well-formed, or `splice` already has edits.
pub fn clamp(
    version: i16,
    body: &[u8],
    splice: &mut BodySplice,
    mut limit: impl FnMut(ApiKey, i16, i16) -> (i16, i16),
) -> Result<ParseOutcome<u32>, Error> {
    let Some(response) = ApiVersionsResponse::parse(body, version)?.parsed() else {
        return Ok(ParseOutcome::UnsupportedVersion);
    };
    let (mut count, mut max_produce) = (0, TRANSACTIONS_BY_PRODUCE_SINCE);
    for key in &response.api_keys {
        let (min, max) = key.restricted(limit(key.api_key, key.min_version, key.max_version));
        if (min, max) != (key.min_version, key.max_version) {
            if key.api_key == ApiKey::PRODUCE {
                max_produce = max;
            }
            let versions = [min.to_be_bytes(), max.to_be_bytes()].concat();
            splice.replace(key.versions_at..key.versions_at + 4, &versions)?;
            count += 1;
        }
    }
    // A client that sees the feature would omit AddPartitionsToTxn, and the broker would reject its
    // transactional Produce requests of an older version.
    if let Some(features) = response
        .finalized_features
        .filter(|_| max_produce < TRANSACTIONS_BY_PRODUCE_SINCE)
    {
        features.remove(TRANSACTION_VERSION, splice)?;
    }
    Ok(ParseOutcome::Parsed(count))
}

// === impl ApiVersionsRequest ===

impl<'a> ApiMessage<'a> for ApiVersionsRequest<'a> {
    const API: ApiKey = ApiKey::API_VERSIONS;
}

impl<'a> Decode<'a> for ApiVersionsRequest<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        if reader.version() < 3 {
            return Ok(Self {
                client_software_name: None,
            });
        }
        Ok(Self {
            client_software_name: Some(reader.string()?),
        })
    }
}

// === impl ApiVersionsResponse ===

impl<'a> ApiMessage<'a> for ApiVersionsResponse<'a> {
    const API: ApiKey = ApiKey::API_VERSIONS;
}

impl<'a> Decode<'a> for ApiVersionsResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let error_code = reader.i16()?;
        // A broker answers a version that it does not support in version 0 (KIP-511).
        if error_code == UNSUPPORTED_VERSION {
            *reader = reader.as_version_0();
        }
        let api_keys = reader.array()?;
        if reader.version() >= 1 {
            // throttle_time_ms
            reader.i32()?;
        }
        let finalized_features = reader
            .tagged_fields()?
            .find(FINALIZED_FEATURES_TAG)
            .map(FinalizedFeatures::decode)
            .transpose()?;
        Ok(Self {
            api_keys,
            finalized_features,
        })
    }
}

// === impl ApiVersion ===

impl ApiVersion {
    /// Intersects the range with `limit`, apart from the exceptions of [`clamp`].
    fn restricted(&self, (min, max): (i16, i16)) -> (i16, i16) {
        let min = if self.api_key == ApiKey::PRODUCE {
            self.min_version
        } else {
            min.max(self.min_version)
        };
        let max = max.min(self.max_version);
        if min <= max {
            (min, max)
        } else {
            (self.min_version, self.max_version)
        }
    }
}

impl<'a> Decode<'a> for ApiVersion {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let api_key = ApiKey(reader.i16()?);
        let versions_at = reader.position();
        let (min_version, max_version) = (reader.i16()?, reader.i16()?);
        reader.tagged_fields()?;
        Ok(Self {
            api_key,
            min_version,
            max_version,
            versions_at,
        })
    }
}

// === impl FinalizedFeatures ===

impl<'a> FinalizedFeatures<'a> {
    fn decode(mut tag: TaggedField<'a>) -> Result<Self, Error> {
        let start = tag.reader.position();
        let mut after_count = tag.reader;
        after_count.unsigned_varint()?;
        let features = tag.reader.array()?;
        Ok(Self {
            features,
            tag,
            count_range: start..after_count.position(),
        })
    }

    /// Removes a feature from the list.
    fn remove(&self, name: &[u8], splice: &mut BodySplice) -> Result<(), Error> {
        let Some(feature) = self
            .features
            .iter()
            .find(|feature| feature.name.bytes() == name)
        else {
            return Ok(());
        };
        let mut count = Vec::new();
        // A compact array states its length plus one, so the old length is the new value.
        varint::write_u32(self.features.len(), &mut count);
        splice.replace(self.count_range.clone(), &count)?;
        splice.replace(feature.range, &[])?;
        splice.resize_tagged_field(&self.tag)
    }
}

// === impl FinalizedFeatureKey ===

impl<'a> Decode<'a> for FinalizedFeatureKey<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let start = reader.position();
        let name = reader.string()?;
        // max_version_level, min_version_level
        reader.i16()?;
        reader.i16()?;
        reader.tagged_fields()?;
        Ok(Self {
            name,
            range: start..reader.position(),
        })
    }
}
