//! The service graph of all that is stored.

use std::collections::BTreeSet;

use throughline_model::TraceId;
use throughline_store::{ServiceGraph, Store as _, WeavingView};

use super::sources::StoreView;

/// Spans that are read for a graph; the latest traces count where there are more.
const MAX_SPANS: u64 = 200_000;

/// Builds the graph of the spans that started from `from` to `until`.
pub(super) fn build(view: &StoreView<'_>, from: u64, until: u64) -> ServiceGraph {
    if let Some(sole) = view.sources.sole()
        && view.woven.is_empty()
    {
        return sole.memory.service_graph(from, until);
    }
    // The latest first.
    let mut traces: Vec<(u64, TraceId, u64)> = Vec::new();
    for generation in &view.sources.generations {
        let bounds = generation.memory.candidates(None).into_iter();
        let bounds = bounds.filter(|it| it.first_start <= until && it.last_start >= from);
        traces.extend(bounds.map(|it| {
            let spans = generation.memory.summary(it.id, WeavingView::Raw);
            (
                it.last_start,
                it.id,
                spans.map_or(0, |summary| summary.spans),
            )
        }));
    }
    for segment in &view.sources.segments {
        let header = &segment.header;
        if header.first_start > until || header.last_start < from {
            continue;
        }
        let index = segment.index(view.cache);
        let within = index.traces.iter();
        let within = within.filter(|it| it.first_start <= until && it.last_start >= from);
        traces.extend(within.map(|it| (it.last_start, it.id, u64::from(it.spans))));
    }
    traces.sort_unstable();
    let mut ids = BTreeSet::new();
    let mut spans = 0;
    let mut more = false;
    for (_, id, count) in traces.into_iter().rev() {
        spans += count;
        if spans > MAX_SPANS {
            more = true;
            break;
        }
        ids.extend(view.unit_of(id, WeavingView::Woven));
    }
    let scratch = view.load(&ids);
    // The senders of messages, which links name.
    let linked = ids.iter().flat_map(|id| scratch.reported_spans(*id));
    let linked = linked.flat_map(|span| {
        let targets = span.links.iter().map(|link| link.trace_id);
        targets.collect::<Vec<_>>()
    });
    let linked: BTreeSet<TraceId> = linked.filter(|id| !ids.contains(id)).collect();
    if !more {
        view.load_into(&scratch, &linked);
    }
    let mut graph = scratch.service_graph(from, until);
    graph.more |= more;
    graph
}
