//! Addresses of brokers in responses, and what responses say about the cluster.
//!
//! A driver in addressed mode has local ports for the brokers: clients receive these in place of
//! the brokers' own addresses.

use bytes::Bytes;
use throughline_kafka::api::ApiKey;
use throughline_kafka::message::cluster::{DescribeClusterResponse, MetadataResponse};
use throughline_kafka::message::endpoint::NodeEndpoint;
use throughline_kafka::message::{ApiMessage, BodySplice, ParseOutcome, address};
use throughline_kafka::wire::Error;

use super::configs;
use super::context::HandlerContext;
use super::message::{ApiFrame, Handler, RequestDecision};
use crate::kafka::{ClusterHandle, SkipReason};

/// Handler of Metadata, FindCoordinator and DescribeCluster, and of the node endpoints in other
/// responses (KIP-951).
#[derive(Debug, Default)]
pub(super) struct AddressHandler;

/// Number of topic names that are recorded under one lock: all connections wait for it, and
/// Metadata may list many topics.
const NAMES_CHUNK: usize = 256;

/// Returns whether the responses of an API consist of addresses of brokers, or begin with them.
const fn lists_brokers(api: ApiKey) -> bool {
    matches!(
        api,
        ApiKey::METADATA | ApiKey::FIND_COORDINATOR | ApiKey::DESCRIBE_CLUSTER
    )
}

/// Records what a response says about the cluster. Returns the cluster id, if the response has one.
fn learn<'a, C: ClusterHandle>(
    context: &HandlerContext<C>,
    response: &ApiFrame<'a>,
) -> Result<Option<&'a str>, Error> {
    let (body, version) = (response.body(), response.version);
    let id = match response.api {
        ApiKey::METADATA => {
            let metadata = MetadataResponse::parse(body, version)?.parsed();
            if let Some(metadata) = &metadata {
                learn_topics(&context.cluster, metadata);
            }
            metadata.and_then(|it| it.cluster_id)
        }
        ApiKey::DESCRIBE_CLUSTER => {
            let cluster = DescribeClusterResponse::parse(body, version)?.parsed();
            cluster.and_then(|it| it.cluster_id)
        }
        ApiKey::CREATE_TOPICS => {
            configs::learn_created(context, response)?;
            None
        }
        ApiKey::DESCRIBE_CONFIGS => {
            configs::learn_described(context, response)?;
            None
        }
        _ => None,
    };
    let id = id.and_then(|id| id.text());
    if let Some(id) = id {
        context
            .cluster
            .with_state(|state| state.learn_cluster_id(id));
    }
    Ok(id)
}

fn learn_topics(cluster: &impl ClusterHandle, metadata: &MetadataResponse<'_>) {
    // A topic with an error may lack its name or its id.
    let topics = metadata.topics.iter().filter(|it| it.error_code == 0);
    // Collected first: the response is not parsed under the lock.
    let names: Vec<_> = topics
        .filter_map(|topic| Some((topic.topic_id, topic.name?.text()?)))
        .collect();
    for chunk in names.chunks(NAMES_CHUNK) {
        cluster.with_state(|state| {
            for (id, name) in chunk {
                state.learn_topic(*id, name);
            }
        });
    }
}

/// Replaces the addresses of brokers in a response. Returns the changed frame.
fn rewrite(
    cluster: &impl ClusterHandle,
    splice: &mut BodySplice,
    response: &ApiFrame<'_>,
) -> Result<Option<Bytes>, Error> {
    splice.clear();
    let local_address = |broker: &NodeEndpoint<'_>| {
        cluster.local_address(broker.node_id, broker.host.text()?, broker.port)
    };
    let (api, version) = (response.api, response.version);
    let _ = address::rewrite(api, version, response.body(), splice, local_address)?;
    if splice.is_empty() {
        return Ok(None);
    }
    // Sized by the frame that is here, not by a length in it.
    let mut out = Vec::with_capacity(response.bytes.len());
    splice.reseal(response.bytes, response.body_start, &mut out)?;
    Ok(Some(out.into()))
}

/// Reports the addresses of brokers in a response that does not change.
fn observe(
    cluster: &impl ClusterHandle,
    splice: &mut BodySplice,
    response: &ApiFrame<'_>,
    cluster_id: Option<&str>,
) -> Result<(), Error> {
    splice.clear();
    let observe = |broker: &NodeEndpoint<'_>| {
        let host = broker.host.text()?;
        cluster.observe_address(cluster_id, broker.node_id, host, broker.port);
        None::<(&str, i32)>
    };
    let (api, version) = (response.api, response.version);
    let _ = address::rewrite(api, version, response.body(), splice, observe)?;
    Ok(())
}

// === impl AddressHandler ===

impl<C: ClusterHandle> Handler<C> for AddressHandler {
    type Pending = ();

    fn on_request(
        &mut self,
        _: &mut HandlerContext<C>,
        _: &ApiFrame<'_>,
    ) -> Result<ParseOutcome<RequestDecision<()>>, Error> {
        Ok(ParseOutcome::Parsed(RequestDecision::forward(())))
    }

    fn on_response(
        &mut self,
        context: &mut HandlerContext<C>,
        _pending: (),
        response: &ApiFrame<'_>,
    ) -> Option<Bytes> {
        let result = Self::read_response(context, response);
        result.unwrap_or_else(|_| {
            context.out.skip(SkipReason::Malformed, 0);
            None
        })
    }
}

impl AddressHandler {
    /// Learns from a response. Returns the frame to forward in its place, if it changes.
    fn read_response<C: ClusterHandle>(
        context: &HandlerContext<C>,
        response: &ApiFrame<'_>,
    ) -> Result<Option<Bytes>, Error> {
        let cluster_id = learn(context, response)?;
        let is_addressed = context.cluster.is_addressed();
        // A frame over the size limit has been forwarded, whatever is in it. Only responses that
        // list brokers are read for their addresses where none is replaced.
        let is_read = if is_addressed {
            response.is_buffered
        } else {
            lists_brokers(response.api)
        };
        if !is_read {
            return Ok(None);
        }
        let mut scratch = context.take_scratch();
        let (cluster, splice) = (&context.cluster, &mut scratch.splice);
        let rewritten = if is_addressed {
            rewrite(cluster, splice, response)
        } else {
            observe(cluster, splice, response, cluster_id).map(|()| None)
        };
        context.return_scratch(scratch);
        rewritten
    }
}
