//! The service map: services, topics and the edges between them.

use serde::{Deserialize, Serialize};
use throughline_store::{EdgeKind, GraphEdge, ServiceGraph, Store};
use utoipa::{IntoParams, ToSchema};

use super::api_error::ApiError;
use super::microseconds::Microseconds;
use super::parameter;
use crate::clock;
use crate::query::state::{QueryError, to_json};

/// Default length of the time range, in nanoseconds.
const DEFAULT_RANGE: u64 = 3600 * 1_000_000_000;

/// The time range of the map.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MapParams {
    /// Earliest start of a span, in microseconds since the Unix epoch; one hour before `end` by
    /// default.
    #[param(value_type = Option<u64>)]
    pub(crate) start: Option<String>,
    /// Latest start of a span, in microseconds since the Unix epoch; now by default.
    #[param(value_type = Option<u64>)]
    pub(crate) end: Option<String>,
}

/// The service map of a time range.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MapResponse {
    /// Start of the time range.
    pub(crate) start: Microseconds,
    /// End of the time range.
    pub(crate) end: Microseconds,
    /// Period that rates refer to, in seconds: from the first span in the range to its end; at
    /// least 1.
    pub(crate) seconds: f64,
    /// Number of spans in the range.
    pub(crate) spans: u64,
    /// Services, by name.
    pub(crate) services: Vec<MapService>,
    /// Topics, by name.
    pub(crate) topics: Vec<MapTopic>,
    /// Edges between them, by kind and names.
    pub(crate) edges: Vec<MapEdge>,
    /// True when services, topics or edges are missing, because there are more than 2000.
    pub(crate) more: bool,
}

/// A service.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MapService {
    /// Service name.
    pub(crate) name: String,
    /// Number of spans.
    pub(crate) spans: u64,
    /// Number of failed spans.
    pub(crate) errors: u64,
}

/// A topic.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MapTopic {
    /// Topic name.
    pub(crate) name: String,
    /// Messages (or batches) sent to the topic.
    pub(crate) sent: u64,
    /// Messages (or batches) received from the topic.
    pub(crate) received: u64,
}

/// An edge between services and topics.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MapEdge {
    /// Kind of the edge.
    pub(crate) kind: MapEdgeKind,
    /// Service; for `receive` the topic.
    pub(crate) from: String,
    /// Service; for `send` the topic.
    pub(crate) to: String,
    /// For `receive`: the consumer group; empty when unknown.
    pub(crate) group: String,
    /// Number of calls or messages.
    pub(crate) count: u64,
    /// Number per second.
    pub(crate) rate: f64,
    /// Number of failures.
    pub(crate) errors: u64,
    /// Median time that the callee, the sender or the receiver took, in microseconds (to 5 %).
    pub(crate) p50: Microseconds,
    /// 95th percentile of that time.
    pub(crate) p95: Microseconds,
    /// For `receive`: median time that messages waited in the topic; null when unknown.
    pub(crate) queue_p50: Option<Microseconds>,
    /// 95th percentile of that time.
    pub(crate) queue_p95: Option<Microseconds>,
    /// For `receive`: greatest consumer lag in messages; null when unknown.
    pub(crate) lag_max: Option<i64>,
}

/// The kind of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MapEdgeKind {
    /// A service calls a service.
    Call,
    /// A service sends to a topic.
    Send,
    /// A service receives from a topic.
    Receive,
}

/// Plans the query of a request.
pub(super) fn plan(
    params: &MapParams,
) -> Result<impl FnOnce(&dyn Store) -> Result<Vec<u8>, QueryError> + use<>, ApiError> {
    let end = parameter::time_until("end", params.end.as_deref())?.unwrap_or_else(clock::now);
    let start = parameter::time("start", params.start.as_deref())?
        .unwrap_or_else(|| end.saturating_sub(DEFAULT_RANGE));
    if end < start {
        let message = "end is before start: swap them";
        return Err(ApiError::invalid("end", message));
    }
    Ok(move |store: &dyn Store| {
        let graph = store.service_graph(start, end);
        to_json(&map_response(&graph, start, end))
    })
}

fn map_response(graph: &ServiceGraph, start: u64, end: u64) -> MapResponse {
    // A collector that just started would show tiny rates over the whole range.
    let from = graph.first_start.unwrap_or(start);
    #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
    let seconds = ((end / 1000).saturating_sub(from / 1000) as f64 / 1e6).max(1.0);
    let services = graph.services.iter().map(|node| MapService {
        name: node.name.to_string(),
        spans: node.spans,
        errors: node.errors,
    });
    let topics = graph.topics.iter().map(|node| MapTopic {
        name: node.name.to_string(),
        sent: node.sent,
        received: node.received,
    });
    let edges = graph.edges.iter().map(|edge| map_edge(edge, seconds));
    MapResponse {
        start: Microseconds::since_epoch(start),
        end: Microseconds::since_epoch(end),
        seconds,
        spans: graph.spans,
        services: services.collect(),
        topics: topics.collect(),
        edges: edges.collect(),
        more: graph.more,
    }
}

fn map_edge(edge: &GraphEdge, seconds: f64) -> MapEdge {
    // An edge has at least one span, so a percentile always exists.
    let latency = |percent| Microseconds::of(edge.latency.quantile(percent).unwrap_or_default());
    let queue = |percent| edge.queue_time.quantile(percent).map(Microseconds::of);
    MapEdge {
        kind: match edge.kind {
            EdgeKind::Call => MapEdgeKind::Call,
            EdgeKind::Send => MapEdgeKind::Send,
            EdgeKind::Receive => MapEdgeKind::Receive,
        },
        from: edge.from.to_string(),
        to: edge.to.to_string(),
        group: edge.group.to_string(),
        count: edge.count,
        #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
        rate: edge.count as f64 / seconds,
        errors: edge.errors,
        p50: latency(50),
        p95: latency(95),
        queue_p50: queue(50),
        queue_p95: queue(95),
        lag_max: edge.max_lag,
    }
}
