//! Rewrites the broker addresses in every response that contains some.

use super::cluster::{DescribeClusterResponse, FindCoordinatorResponse, MetadataResponse};
use super::endpoint::{NodeEndpoint, NodeEndpoints};
use super::fetch::FetchResponse;
use super::produce::ProduceResponse;
use super::share::{ShareAcknowledgeResponse, ShareFetchResponse};
use super::{ApiMessage, BodySplice, ParseOutcome};
use crate::api::ApiKey;
use crate::wire::Error;

/// Replaces the addresses in the body of a response and returns the number of replacements. `map`
/// returns the new host and port of a broker, or [`None`] to keep the address. It is not called for
/// an endpoint without a host, which brokers send along with an error.
///
/// # Errors
/// When the body is not well-formed, or `splice` has an edit after the first address.
pub fn rewrite<H: AsRef<str>>(
    api: ApiKey,
    version: i16,
    body: &[u8],
    splice: &mut BodySplice,
    map: impl FnMut(&NodeEndpoint<'_>) -> Option<(H, i32)>,
) -> Result<ParseOutcome<u32>, Error> {
    let mut rewriter = AddressRewriter {
        splice,
        map,
        count: 0,
    };
    let outcome = match api {
        ApiKey::METADATA => MetadataResponse::parse(body, version)?.map(|response| {
            rewriter.rewrite_all(response.brokers.iter().map(|broker| broker.endpoint))
        }),
        ApiKey::FIND_COORDINATOR => FindCoordinatorResponse::parse(body, version)?
            .map(|response| rewriter.rewrite_all(response.coordinators())),
        ApiKey::DESCRIBE_CLUSTER => {
            DescribeClusterResponse::parse(body, version)?.map(|response| {
                rewriter.rewrite_all(response.brokers.iter().map(|broker| broker.endpoint))
            })
        }
        ApiKey::PRODUCE => ProduceResponse::parse(body, version)?
            .map(|response| rewriter.rewrite_nodes(&response.node_endpoints)),
        ApiKey::FETCH => FetchResponse::parse(body, version)?
            .map(|response| rewriter.rewrite_nodes(&response.node_endpoints)),
        ApiKey::SHARE_FETCH => ShareFetchResponse::parse(body, version)?
            .map(|response| rewriter.rewrite_nodes(&response.node_endpoints)),
        ApiKey::SHARE_ACKNOWLEDGE => ShareAcknowledgeResponse::parse(body, version)?
            .map(|response| rewriter.rewrite_nodes(&response.node_endpoints)),
        _ => ParseOutcome::UnsupportedVersion,
    };
    match outcome {
        ParseOutcome::Parsed(done) => done.map(|()| ParseOutcome::Parsed(rewriter.count)),
        ParseOutcome::UnsupportedVersion => Ok(ParseOutcome::UnsupportedVersion),
    }
}

struct AddressRewriter<'s, M> {
    splice: &'s mut BodySplice,
    map: M,
    count: u32,
}

// === impl AddressRewriter ===

impl<H: AsRef<str>, M: FnMut(&NodeEndpoint<'_>) -> Option<(H, i32)>> AddressRewriter<'_, M> {
    fn rewrite_all<'a>(
        &mut self,
        endpoints: impl Iterator<Item = NodeEndpoint<'a>>,
    ) -> Result<(), Error> {
        for endpoint in endpoints.filter(|endpoint| !endpoint.host.bytes().is_empty()) {
            let Some((host, port)) = (self.map)(&endpoint) else {
                continue;
            };
            let write = |out: &mut Vec<u8>| {
                out.extend_from_slice(host.as_ref().as_bytes());
                Some(())
            };
            self.splice.replace_field(&endpoint.host, write)?;
            self.splice
                .replace(endpoint.port_range(), &port.to_be_bytes())?;
            self.count += 1;
        }
        Ok(())
    }

    fn rewrite_nodes(&mut self, endpoints: &NodeEndpoints<'_>) -> Result<(), Error> {
        let before = self.count;
        self.rewrite_all(endpoints.iter())?;
        match endpoints.tag() {
            // A tagged field states its size, which a longer or shorter host changes.
            Some(tag) if self.count > before => self.splice.resize_tagged_field(tag),
            _ => Ok(()),
        }
    }
}
