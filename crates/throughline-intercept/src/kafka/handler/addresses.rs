//! Addresses of brokers in responses, and what responses say about the cluster.
//!
//! A driver in addressed mode has local ports for the brokers: clients receive these in place of
//! the brokers' own addresses.

use bytes::Bytes;
use throughline_kafka::api::ApiKey;
use throughline_kafka::message::cluster::{DescribeClusterResponse, MetadataResponse};
use throughline_kafka::message::endpoint::NodeEndpoint;
use throughline_kafka::message::{ApiMessage, BodySplice, ParseOutcome, address};
use throughline_kafka::wire::{Error, WireField};

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

/// Records what a response says about the cluster.
fn learn<C: ClusterHandle>(
    context: &HandlerContext<C>,
    response: &ApiFrame<'_>,
) -> Result<(), Error> {
    let (body, version) = (response.body(), response.version);
    match response.api {
        ApiKey::METADATA => {
            if let Some(metadata) = MetadataResponse::parse(body, version)?.parsed() {
                learn_cluster_id(&context.cluster, metadata.cluster_id);
                learn_topics(&context.cluster, &metadata);
            }
        }
        ApiKey::DESCRIBE_CLUSTER => {
            if let Some(cluster) = DescribeClusterResponse::parse(body, version)?.parsed() {
                learn_cluster_id(&context.cluster, cluster.cluster_id);
            }
        }
        ApiKey::CREATE_TOPICS => configs::learn_created(context, response)?,
        ApiKey::DESCRIBE_CONFIGS => configs::learn_described(context, response)?,
        _ => {}
    }
    Ok(())
}

fn learn_cluster_id(cluster: &impl ClusterHandle, id: Option<WireField<'_>>) {
    if let Some(id) = id.and_then(|id| id.text()) {
        cluster.with_state(|state| state.learn_cluster_id(id));
    }
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
        if learn(context, response).is_err() {
            context.out.skip(SkipReason::Malformed, 0);
        }
        // A frame over the size limit has been forwarded, whatever is in it.
        if !response.is_buffered || !context.cluster.is_addressed() {
            return None;
        }
        let mut scratch = context.take_scratch();
        let rewritten = rewrite(&context.cluster, &mut scratch.splice, response);
        context.return_scratch(scratch);
        rewritten.unwrap_or_else(|_| {
            context.out.skip(SkipReason::Malformed, 0);
            None
        })
    }
}
