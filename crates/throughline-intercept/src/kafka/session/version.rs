//! API versions: which ones are read here, and how ApiVersions is narrowed to them.

use bytes::Bytes;
use throughline_kafka::api::ApiKey;
use throughline_kafka::message::{BodySplice, api_versions};
use throughline_kafka::wire::Error;

use crate::kafka::handler::{ApiFrame, HandlerContext};
use crate::kafka::{ClusterHandle, SkipReason};

/// First version of Fetch whose response has node endpoints behind all records (KIP-951): to change
/// them means to buffer everything.
pub(super) const FETCH_ENDPOINTS_SINCE: i16 = 16;

/// First version of Produce whose response has node endpoints. These responses are short.
pub(super) const PRODUCE_ENDPOINTS_SINCE: i16 = 10;

/// Returns whether a message of this version passes unread although its API is read otherwise.
pub(super) fn is_unsupported(api: ApiKey, version: i16, is_addressed: bool) -> bool {
    let is_read = match api {
        // Its response is changed only where brokers have local addresses.
        ApiKey::FIND_COORDINATOR => is_addressed,
        // Only its version matters, not its body.
        ApiKey::SASL_HANDSHAKE => false,
        _ => api.supported_versions().is_some(),
    };
    is_read && !api.supports(version)
}

/// Returns the highest version that clients may use.
fn max_version(api: ApiKey, is_addressed: bool) -> i16 {
    match api.supported_versions() {
        None => i16::MAX,
        // From there on whole responses would be buffered for an address that is hardly ever in
        // them; clients ask for Metadata instead.
        Some(_) if api == ApiKey::FETCH && is_addressed => FETCH_ENDPOINTS_SINCE - 1,
        Some(versions) => *versions.end(),
    }
}

/// Narrows the versions in an ApiVersions response to those that are read here. Returns the frame
/// to forward in its place, if it changes.
pub(super) fn narrow<C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    response: &ApiFrame<'_>,
) -> Option<Bytes> {
    if !response.is_buffered {
        return None;
    }
    let is_addressed = context.cluster.is_addressed();
    narrow_body(response, is_addressed).unwrap_or_else(|_| {
        context.out.skip(SkipReason::Malformed, 0);
        None
    })
}

fn narrow_body(response: &ApiFrame<'_>, is_addressed: bool) -> Result<Option<Bytes>, Error> {
    let mut splice = BodySplice::default();
    let body = response.body();
    let _ = api_versions::clamp(response.version, body, &mut splice, |api, low, high| {
        (low, high.min(max_version(api, is_addressed)))
    })?;
    if splice.is_empty() {
        return Ok(None);
    }
    let mut out = Vec::with_capacity(response.bytes.len());
    splice.reseal(response.bytes, response.body_start, &mut out)?;
    Ok(Some(out.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apis_that_are_never_read_have_no_unsupported_version() {
        assert!(is_unsupported(ApiKey::PRODUCE, 99, false));
        assert!(!is_unsupported(ApiKey::PRODUCE, 9, false));
        assert!(!is_unsupported(ApiKey::LIST_OFFSETS, 99, false));
        assert!(!is_unsupported(ApiKey::SASL_HANDSHAKE, 99, false));
        assert!(!is_unsupported(ApiKey::FIND_COORDINATOR, 99, false));
        assert!(is_unsupported(ApiKey::FIND_COORDINATOR, 99, true));
    }

    #[test]
    fn fetch_is_narrowed_further_where_brokers_have_local_addresses() {
        assert_eq!(max_version(ApiKey::FETCH, true), FETCH_ENDPOINTS_SINCE - 1);
        assert!(max_version(ApiKey::FETCH, false) >= FETCH_ENDPOINTS_SINCE);
        assert_eq!(max_version(ApiKey::LIST_OFFSETS, true), i16::MAX);
    }
}
