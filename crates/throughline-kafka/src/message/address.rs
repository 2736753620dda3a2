//! Addresses of brokers, in every response that tells a client where to connect, and how they are changed there.

use std::ops::Range;

use super::{Message, Opened, Splice, cluster, fetch, produce, share};
use crate::api::ApiKey;
use crate::wire::{Array, Error, Field, Read, Reader, Tag, Tags};

/// A broker, and where it is to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint<'a> {
    pub node_id: i32,
    pub host: Field<'a>,
    pub port: i32,
    /// Where the port stands, four bytes.
    port_at: usize,
}

/// `NodeEndpoints`: the leaders that a client is told of with an error (KIP-951).
#[derive(Debug, Clone, Default)]
pub struct Endpoints<'a> {
    nodes: Array<'a, NodeEndpoint<'a>>,
    tag: Option<Tag<'a>>,
}

/// An element of `NodeEndpoints`.
#[derive(Debug, Clone, Copy)]
struct NodeEndpoint<'a>(Endpoint<'a>);

/// Changes the addresses in the body of a response. `map` gives a broker's new host and port; [`None`] leaves it. An
/// endpoint without a host, which brokers send with an error, is not asked about. Gives the number of changes.
///
/// # Errors
/// When the body is not well-formed, or the splice has changes behind the addresses already.
pub fn rewrite<H: AsRef<str>>(
    api: ApiKey,
    version: i16,
    body: &[u8],
    splice: &mut Splice,
    mut map: impl FnMut(&Endpoint<'_>) -> Option<(H, i32)>,
) -> Result<Opened<u32>, Error> {
    let mut rewriting = Rewriting {
        splice,
        map: &mut map,
        count: 0,
    };
    let opened = match api {
        ApiKey::METADATA => cluster::MetadataResponse::open(body, version)?
            .map(|response| rewriting.all(response.brokers.iter().map(|broker| broker.endpoint))),
        ApiKey::FIND_COORDINATOR => {
            cluster::FindCoordinatorResponse::open(body, version)?.map(|response| {
                rewriting.all(
                    response
                        .coordinators()
                        .map(|coordinator| coordinator.endpoint),
                )
            })
        }
        ApiKey::DESCRIBE_CLUSTER => cluster::DescribeClusterResponse::open(body, version)?
            .map(|response| rewriting.all(response.brokers.iter().map(|broker| broker.endpoint))),
        ApiKey::PRODUCE => produce::Response::open(body, version)?
            .map(|response| rewriting.tagged(&response.node_endpoints)),
        ApiKey::FETCH => fetch::Response::open(body, version)?
            .map(|response| rewriting.tagged(&response.node_endpoints)),
        ApiKey::SHARE_FETCH => share::FetchResponse::open(body, version)?
            .map(|response| rewriting.tagged(&response.node_endpoints)),
        ApiKey::SHARE_ACKNOWLEDGE => share::AcknowledgeResponse::open(body, version)?
            .map(|response| rewriting.tagged(&response.node_endpoints)),
        _ => Opened::Unopened,
    };
    match opened {
        Opened::Opened(done) => done.map(|()| Opened::Opened(rewriting.count)),
        Opened::Unopened => Ok(Opened::Unopened),
    }
}

struct Rewriting<'s, M> {
    splice: &'s mut Splice,
    map: &'s mut M,
    count: u32,
}

// === impl Rewriting ===

impl<H: AsRef<str>, M: FnMut(&Endpoint<'_>) -> Option<(H, i32)>> Rewriting<'_, M> {
    fn all<'a>(&mut self, endpoints: impl Iterator<Item = Endpoint<'a>>) -> Result<(), Error> {
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

    fn tagged(&mut self, endpoints: &Endpoints<'_>) -> Result<(), Error> {
        let before = self.count;
        self.all(endpoints.iter())?;
        match &endpoints.tag {
            Some(tag) if self.count > before => self.splice.resize_tag(tag),
            _ => Ok(()),
        }
    }
}

// === impl Endpoint ===

impl<'a> Endpoint<'a> {
    /// Where the port stands, in the bytes that were opened.
    #[must_use]
    pub const fn port_at(&self) -> Range<usize> {
        self.port_at..self.port_at + 4
    }
}

impl<'a> Read<'a> for Endpoint<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let (node_id, host) = (reader.i32()?, reader.required()?);
        let port_at = reader.at();
        Ok(Self {
            node_id,
            host,
            port: reader.i32()?,
            port_at,
        })
    }
}

// === impl Endpoints ===

impl<'a> Endpoints<'a> {
    /// The endpoints, in order.
    pub fn iter(&self) -> impl Iterator<Item = Endpoint<'a>> + use<'a> {
        self.nodes.iter().map(|node| node.0)
    }

    /// Reads them where they are a field like others.
    pub(super) fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        Ok(Self {
            nodes: reader.array()?,
            tag: None,
        })
    }

    /// Reads them where they are the tagged field 0, from version `since` on.
    pub(super) fn read_tagged(
        reader: &Reader<'a>,
        tags: &Tags<'a>,
        since: i16,
    ) -> Result<Self, Error> {
        match tags.find(0).filter(|_| reader.version() >= since) {
            Some(mut tag) => Ok(Self {
                nodes: tag.reader.array()?,
                tag: Some(tag),
            }),
            None => Ok(Self::default()),
        }
    }
}

impl<'a> Read<'a> for NodeEndpoint<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Error> {
        let endpoint = Endpoint::read(reader)?;
        reader.string()?;
        reader.tags()?;
        Ok(Self(endpoint))
    }
}
