//! Addresses of brokers, in every response that tells a client where to connect, and how they are changed there.

use super::endpoint::{BrokerEndpoint, NodeEndpoints};
use super::{ApiMessage, BodySplice, ParseOutcome, cluster, fetch, produce, share};
use crate::api::ApiKey;
use crate::wire::Error;

/// Changes the addresses in the body of a response. `map` gives a broker's new host and port; [`None`] leaves it. An
/// endpoint without a host, which brokers send with an error, is not asked about. Gives the number of changes.
///
/// # Errors
/// When the body is not well-formed, or the splice has changes behind the addresses already.
pub fn rewrite<H: AsRef<str>>(
    api: ApiKey,
    version: i16,
    body: &[u8],
    splice: &mut BodySplice,
    mut map: impl FnMut(&BrokerEndpoint<'_>) -> Option<(H, i32)>,
) -> Result<ParseOutcome<u32>, Error> {
    let mut rewriting = Rewriting {
        splice,
        map: &mut map,
        count: 0,
    };
    let opened = match api {
        ApiKey::METADATA => cluster::MetadataResponse::parse(body, version)?
            .map(|response| rewriting.all(response.brokers.iter().map(|broker| broker.endpoint))),
        ApiKey::FIND_COORDINATOR => {
            cluster::FindCoordinatorResponse::parse(body, version)?.map(|response| {
                rewriting.all(
                    response
                        .coordinators()
                        .map(|coordinator| coordinator.endpoint),
                )
            })
        }
        ApiKey::DESCRIBE_CLUSTER => cluster::DescribeClusterResponse::parse(body, version)?
            .map(|response| rewriting.all(response.brokers.iter().map(|broker| broker.endpoint))),
        ApiKey::PRODUCE => produce::ProduceResponse::parse(body, version)?
            .map(|response| rewriting.tagged(&response.node_endpoints)),
        ApiKey::FETCH => fetch::FetchResponse::parse(body, version)?
            .map(|response| rewriting.tagged(&response.node_endpoints)),
        ApiKey::SHARE_FETCH => share::ShareFetchResponse::parse(body, version)?
            .map(|response| rewriting.tagged(&response.node_endpoints)),
        ApiKey::SHARE_ACKNOWLEDGE => share::ShareAcknowledgeResponse::parse(body, version)?
            .map(|response| rewriting.tagged(&response.node_endpoints)),
        _ => ParseOutcome::UnsupportedVersion,
    };
    match opened {
        ParseOutcome::Parsed(done) => done.map(|()| ParseOutcome::Parsed(rewriting.count)),
        ParseOutcome::UnsupportedVersion => Ok(ParseOutcome::UnsupportedVersion),
    }
}

struct Rewriting<'s, M> {
    splice: &'s mut BodySplice,
    map: &'s mut M,
    count: u32,
}

// === impl Rewriting ===

impl<H: AsRef<str>, M: FnMut(&BrokerEndpoint<'_>) -> Option<(H, i32)>> Rewriting<'_, M> {
    fn all<'a>(
        &mut self,
        endpoints: impl Iterator<Item = BrokerEndpoint<'a>>,
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
                .replace(endpoint.port_at(), &port.to_be_bytes())?;
            self.count += 1;
        }
        Ok(())
    }

    fn tagged(&mut self, endpoints: &NodeEndpoints<'_>) -> Result<(), Error> {
        let before = self.count;
        self.all(endpoints.iter())?;
        match &endpoints.tag {
            Some(tag) if self.count > before => self.splice.resize_tag(tag),
            _ => Ok(()),
        }
    }
}
