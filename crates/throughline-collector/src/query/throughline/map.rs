//! The system as its spans show it: services, topics, and what goes between them.

use serde::{Deserialize, Serialize};
use throughline_store::{Edge, EdgeKind, Store, System};
use utoipa::{IntoParams, ToSchema};

use super::micros::Micros;
use super::parameter;
use super::{Failure, Refusal, to_json};
use crate::query::params::now;

/// Of which time.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct MapParams {
    /// Spans that started then or later: microseconds since the Unix epoch; one hour before `end` when not said.
    #[param(value_type = Option<u64>)]
    pub(crate) start: Option<String>,
    /// Spans that started then or earlier; now when not said.
    #[param(value_type = Option<u64>)]
    pub(crate) end: Option<String>,
}

/// The system.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MapAnswer {
    /// The time looked at: from here
    pub(crate) start: Micros,
    /// to here.
    pub(crate) end: Micros,
    /// How long that is, in seconds: what rates are counted over. From the first span that started in it where that is later than
    /// `start`; 1 at least.
    pub(crate) seconds: f64,
    /// Spans looked at.
    pub(crate) spans: u64,
    /// The services, by name.
    pub(crate) services: Vec<MapService>,
    /// The topics, by name.
    pub(crate) topics: Vec<MapTopic>,
    /// What goes between them, by name.
    pub(crate) edges: Vec<MapEdge>,
    /// Whether services, topics or edges are missing, because there are more than 2000.
    pub(crate) more: bool,
}

/// A service.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MapService {
    /// Its name.
    pub(crate) name: String,
    /// Its spans.
    pub(crate) spans: u64,
    /// Those that failed.
    pub(crate) errors: u64,
}

/// A topic.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MapTopic {
    /// Its name.
    pub(crate) name: String,
    /// Messages (or batches) sent to it.
    pub(crate) sent: u64,
    /// Messages (or batches) got from it.
    pub(crate) received: u64,
}

/// What goes from one to another.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MapEdge {
    /// What it is.
    pub(crate) kind: MapEdgeKind,
    /// A service; for `receive` a topic.
    pub(crate) from: String,
    /// A service; for `send` a topic.
    pub(crate) to: String,
    /// For `receive`: the consumer group, empty when not said.
    pub(crate) group: String,
    /// How often.
    pub(crate) count: u64,
    /// How often a second.
    pub(crate) rate: f64,
    /// How often it failed.
    pub(crate) errors: u64,
    /// How long it took the callee, the sender or the receiver, in microseconds: half of them took at most so long (to 5%).
    pub(crate) p50: Micros,
    /// 95 of 100 took at most so long.
    pub(crate) p95: Micros,
    /// For `receive`: how long messages waited in the topic; null when not known.
    pub(crate) queue_p50: Option<Micros>,
    /// 95 of 100 waited at most so long.
    pub(crate) queue_p95: Option<Micros>,
    /// For `receive`: the most messages that were behind one in its partition; null when not known.
    pub(crate) lag_max: Option<i64>,
}

/// What an edge is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum MapEdgeKind {
    /// A service calls a service.
    Call,
    /// A service sends to a topic.
    Send,
    /// A service gets from a topic.
    Receive,
}

/// What is asked of the store.
pub(super) fn question(
    params: &MapParams,
) -> Result<impl FnOnce(&dyn Store) -> Result<Vec<u8>, Failure> + use<>, Refusal> {
    let end = parameter::time_until("end", params.end.as_deref())?.unwrap_or_else(now);
    let start = parameter::time("start", params.start.as_deref())?
        .unwrap_or_else(|| end.saturating_sub(HOUR));
    if end < start {
        return Err(Refusal::of("end", "end is before start: exchange them"));
    }
    Ok(move |store: &dyn Store| to_json(&map(&store.system(start, end), start, end)))
}

fn map(system: &System, start: u64, end: u64) -> MapAnswer {
    let from = system.first.unwrap_or(start);
    #[expect(clippy::cast_precision_loss, reason = "a rate need not be exact")]
    let seconds = ((end / 1000).saturating_sub(from / 1000) as f64 / 1e6).max(1.0);
    MapAnswer {
        start: Micros::moment(start),
        end: Micros::moment(end),
        seconds,
        spans: system.spans,
        services: system
            .services
            .iter()
            .map(|node| MapService {
                name: node.name.to_string(),
                spans: node.spans,
                errors: node.errors,
            })
            .collect(),
        topics: system
            .topics
            .iter()
            .map(|node| MapTopic {
                name: node.name.to_string(),
                sent: node.sent,
                received: node.received,
            })
            .collect(),
        edges: system
            .edges
            .iter()
            .map(|edge| map_edge(edge, seconds))
            .collect(),
        more: system.more,
    }
}

fn map_edge(edge: &Edge, seconds: f64) -> MapEdge {
    let time = |percent| Micros::of(edge.time.quantile(percent).unwrap_or_default());
    let queue = |percent| edge.queue.quantile(percent).map(Micros::of);
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
        p50: time(50),
        p95: time(95),
        queue_p50: queue(50),
        queue_p95: queue(95),
        lag_max: edge.lag_max,
    }
}

/// Nanoseconds of the time that is looked at when nobody says.
const HOUR: u64 = 3600 * 1_000_000_000;
