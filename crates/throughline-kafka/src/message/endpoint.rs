//! Broker addresses, as fields of responses.

use std::ops::Range;

use crate::types::NodeId;
use crate::wire::{Decode, Error, TaggedField, TaggedFields, WireArray, WireField, WireReader};

/// The number of the tagged field with the node endpoints.
const NODE_ENDPOINTS_TAG: u32 = 0;

/// A broker's id and address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeEndpoint<'a> {
    pub node_id: NodeId,
    pub host: WireField<'a>,
    pub port: i32,
    port_at: usize,
}

/// `NodeEndpoints`: the addresses of new partition leaders, sent along with an error (KIP-951).
#[derive(Debug, Clone, Default)]
pub struct NodeEndpoints<'a> {
    nodes: WireArray<'a, NodeEndpointEntry<'a>>,
    tag: Option<TaggedField<'a>>,
}

/// An element of `NodeEndpoints`.
#[derive(Debug, Clone, Copy)]
struct NodeEndpointEntry<'a>(NodeEndpoint<'a>);

// === impl NodeEndpoint ===

impl NodeEndpoint<'_> {
    /// Returns the position of the port, four bytes, in the body.
    #[must_use]
    pub const fn port_range(&self) -> Range<usize> {
        self.port_at..self.port_at + 4
    }
}

impl<'a> Decode<'a> for NodeEndpoint<'a> {
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
    /// Returns the endpoints, in order.
    pub fn iter(&self) -> impl Iterator<Item = NodeEndpoint<'a>> + use<'a> {
        self.nodes.iter().map(|node| node.0)
    }

    /// Returns the tagged field that contains the endpoints, if they are in one.
    pub(super) const fn tag(&self) -> Option<&TaggedField<'a>> {
        self.tag.as_ref()
    }

    /// Reads endpoints that are an ordinary field.
    pub(super) fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        Ok(Self {
            nodes: reader.array()?,
            tag: None,
        })
    }

    /// Reads endpoints that are a tagged field, from version `since` on.
    pub(super) fn decode_tagged(
        reader: &WireReader<'a>,
        fields: &TaggedFields<'a>,
        since: i16,
    ) -> Result<Self, Error> {
        // Before `since` the same tag number may have another meaning.
        let tag = fields
            .find(NODE_ENDPOINTS_TAG)
            .filter(|_| reader.version() >= since);
        match tag {
            Some(mut tag) => Ok(Self {
                nodes: tag.reader.array()?,
                tag: Some(tag),
            }),
            None => Ok(Self::default()),
        }
    }
}

// === impl NodeEndpointEntry ===

impl<'a> Decode<'a> for NodeEndpointEntry<'a> {
    fn decode(reader: &mut WireReader<'a>) -> Result<Self, Error> {
        let endpoint = NodeEndpoint::decode(reader)?;
        // rack
        reader.nullable_string()?;
        reader.tagged_fields()?;
        Ok(Self(endpoint))
    }
}
