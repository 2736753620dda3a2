//! Decisions about parents, and the groups of traces that they join. It knows ids and starts, not
//! spans.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use throughline_model::{SpanId, TraceId};

use crate::{AlternativeParent, SpanKey, WovenEdge};

/// Maximum number of traces that are joined into one.
const MAX_GROUP_TRACES: usize = 1000;

/// Memory of a decision, without its alternatives: the nodes of a map are two thirds full.
const EDGE_BYTES: usize = (size_of::<SpanKey>() + size_of::<WovenEdge>()) * 3 / 2;

/// Memory of a join beyond that of a decision.
const JOIN_BYTES: usize = size_of::<(TraceId, SpanKey)>() * 3 / 2;

/// Memory of a trace's membership in a group.
const MEMBER_BYTES: usize = 160;

/// The least ids.
const MIN_TRACE: Option<TraceId> = TraceId::from_bytes(1_u128.to_be_bytes());
const MIN_SPAN: Option<SpanId> = SpanId::from_bytes(1_u64.to_be_bytes());

/// All decisions.
#[derive(Debug, Default)]
pub struct WovenIndex {
    /// By the span that is decided about.
    edges: BTreeMap<SpanKey, WovenEdge>,
    /// Joins: the trace of the parent, and the span.
    children: BTreeSet<(TraceId, SpanKey)>,
    /// Group of each trace that is joined with another.
    group_of: HashMap<TraceId, u64>,
    groups: HashMap<u64, TraceGroup>,
    next_group: u64,
    alternatives: usize,
    bytes: usize,
}

/// Traces that are joined.
#[derive(Debug)]
struct TraceGroup {
    /// At least two.
    members: Vec<TraceId>,
    /// The member that starts first; the group has its id.
    representative: TraceId,
}

// === impl WovenIndex ===

impl WovenIndex {
    /// Returns the estimated memory.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Returns the number of decisions that join a span with a parent.
    #[must_use]
    pub fn joined(&self) -> usize {
        self.children.len()
    }

    /// Returns the number of decisions.
    #[must_use]
    pub fn decisions(&self) -> usize {
        self.edges.len()
    }

    /// Returns the number of alternatives of all decisions.
    #[must_use]
    pub const fn alternatives(&self) -> usize {
        self.alternatives
    }

    /// Returns the number of groups.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// Returns the parent that a span is joined with.
    #[must_use]
    pub fn joined_parent(&self, child: SpanKey) -> Option<SpanKey> {
        let edge = self.edges.get(&child)?;
        edge.parent.filter(|_| edge.is_joined)
    }

    /// Returns the decision about a span.
    #[must_use]
    pub fn edge(&self, child: SpanKey) -> Option<&WovenEdge> {
        self.edges.get(&child)
    }

    /// Returns the decisions about the spans of a trace.
    pub fn edges_of(&self, id: TraceId) -> impl Iterator<Item = &WovenEdge> {
        let first = MIN_SPAN.map(|span_id| SpanKey {
            trace_id: id,
            span_id,
        });
        let edges = first.into_iter();
        let edges = edges.flat_map(|first| self.edges.range(first..));
        let edges = edges.take_while(move |(child, _)| child.trace_id == id);
        edges.map(|(_, edge)| edge)
    }

    /// Returns the estimated memory that is free without the decision about a span: of a group, the
    /// least that a join adds.
    #[must_use]
    pub fn bytes_of(&self, child: SpanKey) -> usize {
        let group = self.joined_parent(child).map_or(0, |_| MEMBER_BYTES);
        self.edge(child).map_or(0, edge_bytes) + group
    }

    /// Returns the traces that are joined with this one, itself included; empty without any.
    #[must_use]
    pub fn members(&self, id: TraceId) -> &[TraceId] {
        let group = self.group_of.get(&id);
        let group = group.and_then(|number| self.groups.get(number));
        group.map_or(&[], |group| &group.members)
    }

    /// Returns the id of the trace that this one is part of.
    #[must_use]
    pub fn representative(&self, id: TraceId) -> TraceId {
        let group = self.group_of.get(&id);
        let group = group.and_then(|number| self.groups.get(number));
        group.map_or(id, |group| group.representative)
    }

    /// Returns whether joining two traces would make a group that is too large.
    #[must_use]
    pub fn would_exceed(&self, a: TraceId, b: TraceId) -> bool {
        let are_joined = a == b
            || self
                .group_of
                .get(&a)
                .is_some_and(|group| self.group_of.get(&b) == Some(group));
        let size = |id| self.members(id).len().max(1);
        !are_joined && size(a) + size(b) > MAX_GROUP_TRACES
    }

    /// Keeps a decision in place of an earlier one about the same span. `start_of` returns the
    /// start of a stored trace.
    pub fn insert(&mut self, edge: WovenEdge, start_of: &impl Fn(TraceId) -> u64) {
        let child = edge.child;
        let joined = edge.parent.filter(|_| edge.is_joined);
        // With the same join, perhaps with another confidence, the groups stay.
        if joined.is_none() || self.joined_parent(child) != joined {
            self.remove(child, start_of);
        }
        self.put(edge);
        if let Some(parent) = joined {
            self.unite(parent.trace_id, child.trace_id, start_of);
        }
    }

    /// Removes the decision about a span; returns whether there was one that joined it.
    pub fn remove(&mut self, child: SpanKey, start_of: &impl Fn(TraceId) -> u64) -> bool {
        let Some(parent) = self.take(child) else {
            return false;
        };
        if parent.trace_id != child.trace_id {
            self.regroup(child.trace_id, start_of);
        }
        true
    }

    /// Removes everything about a trace that is evicted; returns the number of joins that were lost
    /// with it.
    pub fn remove_trace(&mut self, id: TraceId, start_of: &impl Fn(TraceId) -> u64) -> u64 {
        let own = self.edges_of(id).map(|edge| edge.child);
        let touched: Vec<SpanKey> = own.chain(self.children_of(id)).collect();
        if touched.is_empty() {
            return 0;
        }
        let lost = touched.into_iter().filter_map(|child| self.take(child));
        let lost = lost.count() as u64;
        self.regroup(id, start_of);
        lost
    }

    /// Takes note of another start of a trace.
    pub fn start_changed(&mut self, id: TraceId, start_of: &impl Fn(TraceId) -> u64) {
        if let Some(group) = self.group_of.get(&id)
            && let Some(group) = self.groups.get_mut(group)
            && let Some(first) = first_of(&group.members, start_of)
        {
            group.representative = first;
        }
    }

    /// Returns the spans whose joined parent is in a trace.
    fn children_of(&self, id: TraceId) -> impl Iterator<Item = SpanKey> {
        let first = MIN_TRACE.zip(MIN_SPAN);
        let first = first.map(|(trace_id, span_id)| (id, SpanKey { trace_id, span_id }));
        let children = first.into_iter();
        let children = children.flat_map(|first| self.children.range(first..));
        let children = children.take_while(move |(parent, _)| *parent == id);
        children.map(|(_, child)| *child)
    }

    /// Puts a decision into all maps except the groups.
    fn put(&mut self, edge: WovenEdge) {
        self.take(edge.child);
        self.bytes += edge_bytes(&edge);
        self.alternatives += edge.alternatives.len();
        if let Some(parent) = edge.parent.filter(|_| edge.is_joined) {
            self.children.insert((parent.trace_id, edge.child));
        }
        self.edges.insert(edge.child, edge);
    }

    /// Takes a decision out of all maps except the groups; returns the parent that it joined.
    fn take(&mut self, child: SpanKey) -> Option<SpanKey> {
        let edge = self.edges.remove(&child)?;
        self.bytes -= edge_bytes(&edge);
        self.alternatives -= edge.alternatives.len();
        let parent = edge.parent.filter(|_| edge.is_joined)?;
        self.children.remove(&(parent.trace_id, child));
        Some(parent)
    }

    /// Makes one group of those of two traces.
    fn unite(&mut self, a: TraceId, b: TraceId, start_of: &impl Fn(TraceId) -> u64) {
        if a == b || self.members(a).contains(&b) {
            return;
        }
        let mut members = self.dissolve(a);
        members.extend(self.dissolve(b));
        self.form(members, start_of);
    }

    /// Forms the groups of the traces that were joined with this one, after a join is gone.
    fn regroup(&mut self, id: TraceId, start_of: &impl Fn(TraceId) -> u64) {
        let members = self.dissolve(id);
        let mut seen = HashSet::new();
        for member in &members {
            let connected = self.connected(*member, &mut seen);
            self.form(connected, start_of);
        }
    }

    /// Returns the traces that joins connect with this one, except those that were seen.
    fn connected(&self, id: TraceId, seen: &mut HashSet<TraceId>) -> Vec<TraceId> {
        let mut found = Vec::new();
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            if !seen.insert(id) {
                continue;
            }
            found.push(id);
            pending.extend(self.children_of(id).map(|child| child.trace_id));
            let parents = self.edges_of(id).filter(|edge| edge.is_joined);
            pending.extend(parents.filter_map(|edge| Some(edge.parent?.trace_id)));
        }
        found
    }

    /// Removes the group of a trace; returns its members, or the trace alone.
    fn dissolve(&mut self, id: TraceId) -> Vec<TraceId> {
        let group = self.group_of.get(&id).copied();
        let Some(group) = group.and_then(|number| self.groups.remove(&number)) else {
            return vec![id];
        };
        self.bytes -= group.members.len() * MEMBER_BYTES;
        for member in &group.members {
            self.group_of.remove(member);
        }
        group.members
    }

    fn form(&mut self, members: Vec<TraceId>, start_of: &impl Fn(TraceId) -> u64) {
        let Some(first) = first_of(&members, start_of).filter(|_| members.len() > 1) else {
            return;
        };
        let number = self.next_group;
        self.next_group += 1;
        self.bytes += members.len() * MEMBER_BYTES;
        for member in &members {
            self.group_of.insert(*member, number);
        }
        let group = TraceGroup {
            members,
            representative: first,
        };
        self.groups.insert(number, group);
    }
}

/// Returns the trace that starts first.
fn first_of(members: &[TraceId], start_of: &impl Fn(TraceId) -> u64) -> Option<TraceId> {
    members
        .iter()
        .copied()
        .min_by_key(|id| (start_of(*id), *id))
}

fn edge_bytes(edge: &WovenEdge) -> usize {
    let join = usize::from(edge.is_joined && edge.parent.is_some()) * JOIN_BYTES;
    EDGE_BYTES + join + edge.alternatives.capacity() * size_of::<AlternativeParent>()
}
