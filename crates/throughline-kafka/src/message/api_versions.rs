//! ApiVersions: what a broker speaks, and how less of it is told.

use std::ops::Range;

use super::{ApiMessage, BodySplice, ParseOutcome};
use crate::api::ApiKey;
use crate::wire::{Decode, Error, TaggedField, WireArray, WireField, WireReader};

/// `ApiVersionsResponse`.
#[derive(Debug, Clone)]
pub struct ApiVersionsResponse<'a> {
    pub error_code: i16,
    pub api_keys: WireArray<'a, ApiVersion>,
    pub finalized_features: Option<FinalizedFeatures<'a>>,
}

/// `ApiVersion`: the versions of an API that the broker speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApiVersion {
    pub api_key: ApiKey,
    pub min_version: i16,
    pub max_version: i16,
    /// Where the versions stand, four bytes.
    versions_at: usize,
}

/// `FinalizedFeatures`: what the cluster has agreed on (KIP-584).
#[derive(Debug, Clone)]
pub struct FinalizedFeatures<'a> {
    pub features: WireArray<'a, FinalizedFeatureKey<'a>>,
    tag: TaggedField<'a>,
    /// Where the number of features stands.
    count_at: Range<usize>,
}

/// `FinalizedFeatureKey`.
#[derive(Debug, Clone)]
pub struct FinalizedFeatureKey<'a> {
    pub name: WireField<'a>,
    pub max_version_level: i16,
    pub min_version_level: i16,
    range: Range<usize>,
}

/// `UNSUPPORTED_VERSION`: the broker does not know the request's version, and answers in version 0.
const UNSUPPORTED_VERSION: i16 = 35;

/// The feature by which a Java client decides to leave AddPartitionsToTxn to the broker (KIP-890) ...
const TRANSACTION_VERSION: &[u8] = b"transaction.version";

/// ... which the broker only does for Produce from this version on.
const TRANSACTIONS_BY_PRODUCE: i16 = 12;

/// The tagged field of the finalized features.
const FINALIZED_FEATURES: u32 = 2;

/// Narrows the versions in the body of a response to what `clamp` allows of (key, lowest, highest). Versions are never
/// widened, the lowest of Produce is never raised (librdkafka stops compressing when it is, KAFKA-18659), and a range that
/// would be empty stays. When Produce now ends below version 12, `transaction.version` is no longer told. Gives the number of
/// keys that were narrowed.
///
/// # Errors
/// When the body is not well-formed, or the splice has changes already.
pub fn clamp(
    version: i16,
    body: &[u8],
    splice: &mut BodySplice,
    mut clamp: impl FnMut(ApiKey, i16, i16) -> (i16, i16),
) -> Result<ParseOutcome<u32>, Error> {
    let Some(response) = ApiVersionsResponse::parse(body, version)?.parsed() else {
        return Ok(ParseOutcome::UnsupportedVersion);
    };
    let (mut count, mut produce) = (0, TRANSACTIONS_BY_PRODUCE);
    for key in &response.api_keys {
        let (low, high) = clamp(key.api_key, key.min_version, key.max_version);
        let low = if key.api_key == ApiKey::PRODUCE {
            key.min_version
        } else {
            low.max(key.min_version)
        };
        let mut narrowed = (low, high.min(key.max_version));
        if narrowed.0 > narrowed.1 {
            narrowed = (key.min_version, key.max_version);
        }
        if narrowed != (key.min_version, key.max_version) {
            if key.api_key == ApiKey::PRODUCE {
                produce = narrowed.1;
            }
            let versions = [narrowed.0.to_be_bytes(), narrowed.1.to_be_bytes()].concat();
            splice.replace(key.versions_at..key.versions_at + 4, &versions)?;
            count += 1;
        }
    }
    if let Some(features) = response
        .finalized_features
        .filter(|_| produce < TRANSACTIONS_BY_PRODUCE)
    {
        features.drop(TRANSACTION_VERSION, splice)?;
    }
    Ok(ParseOutcome::Parsed(count))
}

// === impl FinalizedFeatures ===

impl FinalizedFeatures<'_> {
    /// Takes a feature out of the list.
    fn drop(&self, name: &[u8], splice: &mut BodySplice) -> Result<(), Error> {
        let Some(feature) = self
            .features
            .iter()
            .find(|feature| feature.name.bytes() == name)
        else {
            return Ok(());
        };
        let mut count = Vec::new();
        // Compact: one more than there are. One goes.
        crate::wire::varint::write_u32(self.features.len(), &mut count);
        splice.replace(self.count_at.clone(), &count)?;
        splice.replace(feature.range, &[])?;
        splice.resize_tag(&self.tag)
    }
}

// === impl ApiMessage ===

impl<'a> ApiMessage<'a> for ApiVersionsResponse<'a> {
    const API: ApiKey = ApiKey::API_VERSIONS;
}

// === impl Decode ===

impl<'a> Decode<'a> for ApiVersionsResponse<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let error_code = reader.i16()?;
        if error_code == UNSUPPORTED_VERSION {
            *reader = reader.downgraded();
        }
        let api_keys = reader.array()?;
        if reader.version() >= 1 {
            // throttle_time_ms
            reader.i32()?;
        }
        let finalized_features = reader
            .tagged_fields()?
            .find(FINALIZED_FEATURES)
            .map(FinalizedFeatures::read)
            .transpose()?;
        Ok(Self {
            error_code,
            api_keys,
            finalized_features,
        })
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

impl<'a> FinalizedFeatures<'a> {
    fn read(mut tag: TaggedField<'a>) -> Result<Self, Error> {
        let start = tag.reader.position();
        let mut behind_count = tag.reader;
        behind_count.unsigned_varint()?;
        let features = tag.reader.array()?;
        Ok(Self {
            features,
            tag,
            count_at: start..behind_count.position(),
        })
    }
}

impl<'a> Decode<'a> for FinalizedFeatureKey<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let start = reader.position();
        let name = reader.string()?;
        let (max_version_level, min_version_level) = (reader.i16()?, reader.i16()?);
        reader.tagged_fields()?;
        Ok(Self {
            name,
            max_version_level,
            min_version_level,
            range: start..reader.position(),
        })
    }
}
