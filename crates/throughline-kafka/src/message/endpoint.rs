//! The addresses of brokers, as fields of responses.

use std::ops::Range;

use crate::types::NodeId;
use crate::wire::{Decode, Error, TaggedField, TaggedFields, WireArray, WireField, WireReader};

/// A broker, and where it is to be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokerEndpoint<'a> {
    pub node_id: NodeId,
    pub host: WireField<'a>,
    pub port: i32,
    /// Where the port stands, four bytes.
    port_at: usize,
}

/// `NodeEndpoints`: the leaders that a client is told of with an error (KIP-951).
#[derive(Debug, Clone, Default)]
pub struct NodeEndpoints<'a> {
    nodes: WireArray<'a, NodeEndpoint<'a>>,
    pub(super) tag: Option<TaggedField<'a>>,
}

/// An element of `NodeEndpoints`.
#[derive(Debug, Clone, Copy)]
struct NodeEndpoint<'a>(BrokerEndpoint<'a>);

// === impl BrokerEndpoint ===

impl<'a> BrokerEndpoint<'a> {
    /// Where the port stands, in the bytes that were opened.
    #[must_use]
    pub const fn port_at(&self) -> Range<usize> {
        self.port_at..self.port_at + 4
    }
}

impl<'a> Decode<'a> for BrokerEndpoint<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let (node_id, host) = (reader.decode()?, reader.string()?);
        let port_at = reader.position();
        Ok(Self {
            node_id,
            host,
            port: reader.i32()?,
            port_at,
        })
    }
}

// === impl NodeEndpoints ===

impl<'a> NodeEndpoints<'a> {
    /// The endpoints, in order.
    pub fn iter(&self) -> impl Iterator<Item = BrokerEndpoint<'a>> + use<'a> {
        self.nodes.iter().map(|node| node.0)
    }

    /// Reads them where they are a field like others.
    pub(super) fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        Ok(Self {
            nodes: reader.array()?,
            tag: None,
        })
    }

    /// Reads them where they are the tagged field 0, from version `since` on.
    pub(super) fn read_tagged(
        reader: &WireReader<'a>,
        tags: &TaggedFields<'a>,
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

impl<'a> Decode<'a> for NodeEndpoint<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let endpoint = BrokerEndpoint::decode(reader)?;
        reader.nullable_string()?;
        reader.tagged_fields()?;
        Ok(Self(endpoint))
    }
}
