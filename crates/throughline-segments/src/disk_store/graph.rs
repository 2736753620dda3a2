//! The service graph of all that is stored.
//!
//! Traces of calls alone are counted from the facts that an index has of every span. Others are
//! read: those about messages, with links, joined by decisions, or in several parts, and those that
//! are not wholly within the range.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use throughline_model::TraceId;
use throughline_store::{
    EdgeKind, GraphEdge, LatencyHistogram, ServiceDependency, ServiceGraph, ServiceNode,
    Store as _, WeavingView,
};

use super::generation::Generation;
use super::sources::StoreView;
use crate::columns::{FoldHasher, SealedOrder};
use crate::index::{RowFact, RowFacts, least_duration};

/// Spans that are read for a graph; the latest traces count where there are more.
const MAX_SPANS: u64 = 200_000;

/// The facts of the rows of a segment or a generation, and its traces.
struct FactSource {
    facts: RowFacts,
    traces: Vec<FactTrace>,
}

/// A trace with its rows.
#[derive(Debug, Clone, Copy)]
struct FactTrace {
    id: TraceId,
    first_row: usize,
    spans: usize,
    first_start: u64,
    last_start: u64,
    is_simple: bool,
}

/// Counts of the traces of one source.
#[derive(Debug)]
struct CallCounter<'a> {
    facts: &'a RowFacts,
    first_start: Option<u64>,
    spans: u64,
    /// Spans and errors of each service.
    services: Vec<(u64, u64)>,
    /// By caller, in the upper half, and callee.
    calls: HashMap<u32, CallTotals, FoldHasher>,
}

/// The calls of one service to another.
#[derive(Debug, Default)]
struct CallTotals {
    count: u64,
    errors: u64,
    latency: LatencyHistogram,
}

/// Builds the graph of the spans that started from `from` to `until`.
pub(super) fn build(view: &StoreView<'_>, from: u64, until: u64) -> ServiceGraph {
    let sources = fact_sources(view, from, until);
    let joints = view.hot_joints();
    let is_woven = !view.woven.is_empty();
    // A trace of which every source has it whole, and within the range.
    let is_counted = |trace: &FactTrace| {
        trace.is_simple
            && trace.first_start >= from
            && trace.last_start <= until
            && !joints.contains(&trace.id)
            && !view.sources.shared.contains(&trace.id)
            && !(is_woven && view.woven.has_edges(trace.id))
    };
    let mut read: Vec<(u64, TraceId, u64)> = Vec::new();
    for trace in sources.iter().flat_map(|source| &source.traces) {
        if !is_counted(trace) {
            read.push((trace.last_start, trace.id, trace.spans as u64));
        }
    }
    read.sort_unstable();
    let mut ids = BTreeSet::new();
    let mut spans = 0;
    let mut more = false;
    // The latest first.
    for (_, id, count) in read.into_iter().rev() {
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
        ids.extend(linked);
    }
    let mut graph = scratch.service_graph(from, until);
    graph.more |= more;
    let read: HashSet<TraceId> = ids.into_iter().collect();
    for source in &sources {
        let mut counter = CallCounter::new(&source.facts);
        let counted = source.traces.iter().filter(|it| is_counted(it));
        for trace in counted.filter(|it| !read.contains(&it.id)) {
            counter.add(trace);
        }
        graph.merge(counter.finish());
    }
    graph
}

/// Returns the facts of all sources with traces in a range, and those traces.
fn fact_sources(view: &StoreView<'_>, from: u64, until: u64) -> Vec<FactSource> {
    let mut sources: Vec<FactSource> = Vec::new();
    let generations = view.sources.generations.iter();
    sources.extend(generations.map(|it| FactSource::of_generation(it)));
    for segment in &view.sources.segments {
        let header = &segment.header;
        if header.first_start > until || header.last_start < from {
            continue;
        }
        let index = segment.index(view.cache);
        // Without facts, all traces are read.
        let facts = segment.row_facts();
        let has_facts = facts.is_some();
        let facts = facts.unwrap_or_default();
        let traces = index
            .traces
            .iter()
            .enumerate()
            .map(|(number, trace)| FactTrace {
                id: trace.id,
                first_row: trace.first_row as usize,
                spans: trace.spans as usize,
                first_start: trace.first_start,
                last_start: trace.last_start,
                is_simple: has_facts && facts.is_simple(number),
            });
        let traces = traces.collect();
        sources.push(FactSource { facts, traces });
    }
    for source in &mut sources {
        let within = |it: &FactTrace| it.first_start <= until && it.last_start >= from;
        source.traces.retain(within);
    }
    sources
}

// === impl FactSource ===

impl FactSource {
    fn of_generation(generation: &Generation) -> Self {
        let columns = generation.columns();
        let order = SealedOrder::of(&columns);
        let facts = RowFacts::of(&columns, &order);
        let mut first_row = 0;
        let traces = order
            .traces
            .iter()
            .enumerate()
            .filter_map(|(at, (number, spans))| {
                let trace = columns.trace(*number)?;
                let is_repeated = columns.is_repeated(*number);
                let spans = *spans as usize;
                first_row += spans;
                Some(FactTrace {
                    id: trace.id,
                    first_row: first_row - spans,
                    spans,
                    // The spans alone show the bounds of a trace with a span that came twice.
                    first_start: if is_repeated { 0 } else { trace.first_start },
                    last_start: if is_repeated {
                        u64::MAX
                    } else {
                        trace.last_start
                    },
                    is_simple: !is_repeated && facts.is_simple(at),
                })
            });
        let traces = traces.collect();
        Self { facts, traces }
    }
}

// === impl CallCounter ===

impl<'a> CallCounter<'a> {
    fn new(facts: &'a RowFacts) -> Self {
        Self {
            facts,
            first_start: None,
            spans: 0,
            services: vec![(0, 0); facts.services.len()],
            calls: HashMap::with_hasher(FoldHasher::new()),
        }
    }

    fn add(&mut self, trace: &FactTrace) {
        let end = trace.first_row + trace.spans;
        let rows = self.facts.rows.get(trace.first_row..end);
        let rows: &[RowFact] = rows.unwrap_or_default();
        self.spans += rows.len() as u64;
        let first = self.first_start;
        let first = first.map_or(trace.first_start, |it| it.min(trace.first_start));
        self.first_start = Some(first);
        for row in rows {
            if let Some((spans, errors)) = self.services.get_mut(usize::from(row.service)) {
                *spans += 1;
                *errors += u64::from(row.failed());
            }
            let parent = row.parent().and_then(|at| rows.get(at));
            if let Some(parent) = parent.filter(|parent| parent.service != row.service) {
                let pair = u32::from(parent.service) << 16 | u32::from(row.service);
                let calls = self.calls.entry(pair).or_default();
                calls.count += 1;
                // The client may see a failure (a timeout) that the server does not.
                let failed = row.failed() || (parent.is_client() && parent.failed());
                calls.errors += u64::from(failed);
                calls.latency.add(least_duration(row.duration));
            }
        }
    }

    fn finish(self) -> ServiceGraph {
        let names = self.facts.services.iter().map(|it| Arc::from(it.as_str()));
        let names: Vec<Arc<str>> = names.collect();
        let name = |number: u32| {
            let name = names.get(number as usize);
            name.map_or_else(|| Arc::from(""), Arc::clone)
        };
        let counts = names.iter().zip(&self.services);
        let services = counts.filter(|(_, (spans, _))| *spans > 0);
        let services = services.map(|(name, (spans, errors))| ServiceNode {
            name: Arc::clone(name),
            spans: *spans,
            errors: *errors,
        });
        let services = services.collect();
        let (mut edges, mut dependencies) = (Vec::new(), Vec::new());
        for (pair, counts) in self.calls {
            let (from, to) = (pair >> 16, pair & 0xffff);
            dependencies.push(ServiceDependency {
                parent: name(from),
                child: name(to),
                calls: counts.count,
            });
            edges.push(GraphEdge {
                kind: EdgeKind::Call,
                from: name(from),
                to: name(to),
                group: Arc::from(""),
                count: counts.count,
                errors: counts.errors,
                latency: counts.latency,
                queue_time: LatencyHistogram::default(),
                max_lag: None,
            });
        }
        ServiceGraph {
            first_start: self.first_start,
            spans: self.spans,
            services,
            topics: Vec::new(),
            edges,
            dependencies,
            more: false,
        }
    }
}
