//! Turns a trace into columns.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use throughline_model::{KeyValue, Link, Resource, Scope, Span, SpanId, SpanKind, Status, Value};
use throughline_store::{
    EvidenceAttributes, MessageAttributes, Store, StoredTrace, WovenEdge, is_settlement,
};

use super::response::{AttributePairs, ResourceEntry, ScopeEntry, TraceResponse};
use crate::query::throughline::json_value::to_json_value;
use crate::query::throughline::microseconds::Microseconds;

/// Maximum size of texts and values; the spans after it are left out.
const MAX_BYTES: usize = 64 << 20;

/// Estimated size of a text or value besides its own bytes.
const ITEM_OVERHEAD_BYTES: usize = 16;

/// Returns the first spans of a trace in columns.
pub(super) fn build(store: &dyn Store, trace: &StoredTrace, max_spans: usize) -> TraceResponse {
    let shown = trace
        .spans
        .get(..max_spans.min(trace.spans.len()))
        .unwrap_or_default();
    let first = shown.first().map_or(0, |span| span.start);
    // The origin is a whole number of microseconds, so it is exact; the offsets carry the rest.
    let origin = first - first % 1000;
    let spans = || trace.spans.iter();
    let work = spans().filter(|span| !is_settlement(span));
    // A trace of settlements alone is as long as they are.
    let last = work
        .map(|span| span.end)
        .max()
        .or_else(|| spans().map(|span| span.end).max())
        .unwrap_or_default();
    let rows = shown
        .iter()
        .zip(0..)
        .map(|(span, row)| (span.span_id, row))
        .collect();
    let mut builder = ColumnBuilder {
        response: TraceResponse {
            trace_id: trace.id.to_string(),
            fragments: trace.fragments as u64,
            origin: Microseconds::of(origin),
            duration: Microseconds::of(last.saturating_sub(first)),
            ..TraceResponse::default()
        },
        origin,
        shown,
        rows,
        strings: StringTable::default(),
        pairs: HashMap::new(),
        resources: HashMap::new(),
        resources_by_content: HashMap::new(),
        scopes: HashMap::new(),
        value_bytes: 0,
    };
    // Index 0 is the empty text, which stands for an unknown name.
    builder.strings.index(Cow::Borrowed(""));
    let mut added = 0;
    for (span, row) in shown.iter().zip(0..) {
        // Checked between spans, so one span may exceed the limit and is still whole.
        if builder.value_bytes + builder.strings.bytes > MAX_BYTES {
            break;
        }
        builder.add_span(row, span);
        added += 1;
    }
    builder.response.omitted = (trace.spans.len() - added) as u64;
    for edge in &trace.edges {
        builder.add_decision(store, edge, added);
    }
    builder.clear_rows_from(added);
    builder.response.strings = builder.strings.texts;
    builder.response
}

/// Columns under construction.
struct ColumnBuilder<'a> {
    response: TraceResponse,
    /// In nanoseconds since the Unix epoch.
    origin: u64,
    shown: &'a [Arc<Span>],
    rows: HashMap<SpanId, u32>,
    strings: StringTable<'a>,
    pairs: HashMap<(u32, ValueIdentity<'a>), u32>,
    /// By address.
    resources: HashMap<usize, u32>,
    /// By service and attributes: each export brings its own copy of a resource.
    resources_by_content: HashMap<(u32, Vec<u32>), u32>,
    /// By address.
    scopes: HashMap<usize, u32>,
    value_bytes: usize,
}

/// Texts, each once.
#[derive(Default)]
struct StringTable<'a> {
    indexes: HashMap<Cow<'a, str>, u32>,
    texts: Vec<String>,
    bytes: usize,
}

/// The identity of a value: equal ones share a pair.
#[derive(PartialEq, Eq, Hash)]
enum ValueIdentity<'a> {
    Text(&'a str),
    Integer(i64),
    /// Bits of a double, because NaN must equal itself.
    Double(u64),
    Other(String),
}

// === impl ColumnBuilder ===

impl<'a> ColumnBuilder<'a> {
    fn add_span(&mut self, row: u32, span: &'a Span) {
        let parent = span
            .parent_span_id
            .and_then(|parent| self.rows.get(&parent).copied());
        if let Some(id) = span.parent_span_id.filter(|_| parent.is_none()) {
            self.response.missing_parents.row.push(row);
            self.response.missing_parents.id.push(id.to_string());
        }
        let name = self.text(&span.name);
        let resource = self.resource(&span.resource);
        let scope = self.scope(&span.scope);
        let spans = &mut self.response.spans;
        // Writing to a string cannot fail.
        write!(spans.id, "{}", span.span_id).unwrap_or_default();
        spans.parent.push(row_or_minus_one(parent));
        spans.name.push(name);
        spans.resource.push(resource);
        spans.scope.push(scope);
        spans.kind.push(kind_number(span.kind));
        spans.status.push(match span.status {
            _ if span.failed() => 2,
            Status::Ok => 1,
            Status::Unset | Status::Error(_) => 0,
        });
        let start = Microseconds::between(self.origin, span.start);
        spans.start.push(start);
        spans
            .duration
            .push(Microseconds::between(span.start, span.end));
        // Taken out for the loop: adding attributes borrows the whole builder.
        let mut pairs = std::mem::take(&mut self.response.spans.pair);
        self.add_attributes(&span.attributes, &mut pairs);
        self.response.spans.pair_end.push(length(&pairs));
        self.response.spans.pair = pairs;
        self.add_sparse_columns(row, span);
        self.add_events(row, span);
        self.add_links(row, span);
        self.add_message(row, span, parent);
    }

    /// Fills the columns that few spans have a value in.
    fn add_sparse_columns(&mut self, row: u32, span: &'a Span) {
        let message = match &span.status {
            Status::Error(message) => message,
            Status::Unset | Status::Ok => &*span.status_message,
        };
        if !message.is_empty() {
            let text = self.text(message);
            self.response.status_messages.row.push(row);
            self.response.status_messages.text.push(text);
        }
        if !span.trace_state.is_empty() {
            let text = self.text(&span.trace_state);
            self.response.trace_states.row.push(row);
            self.response.trace_states.text.push(text);
        }
        if span.dropped.total() > 0 {
            self.response.dropped.row.push(row);
            self.response.dropped.count.push(span.dropped.total());
        }
        if let Some(evidence) = EvidenceAttributes::of(span) {
            let name = self.text(evidence.name);
            let columns = &mut self.response.evidence;
            columns.row.push(row);
            columns.name.push(name);
            columns.confidence.push(evidence.confidence);
            columns.inferred.push(evidence.is_inferred);
        }
    }

    /// Adds the possible parents of a span.
    fn add_decision(&mut self, store: &dyn Store, edge: &WovenEdge, added: usize) {
        let row = self.rows.get(&edge.child.span_id).copied();
        let Some(row) = row.filter(|row| (*row as usize) < added) else {
            return;
        };
        let chosen = (edge.parent, edge.confidence, edge.is_joined);
        let others = edge.alternatives.iter();
        let others = others.map(|other| (other.parent, other.confidence, false));
        for (parent, confidence, is_chosen) in std::iter::once(chosen).chain(others) {
            let ids = parent.map(|key| (key.trace_id.to_string(), key.span_id.to_string()));
            let (trace, span) = ids.unwrap_or_default();
            let stored = parent.and_then(|key| store.span(key));
            let stored = stored.as_deref();
            let service = stored.map(Span::service).unwrap_or_default().to_owned();
            let name = stored.map(|span| span.name.clone()).unwrap_or_default();
            let target = parent.and_then(|key| self.rows.get(&key.span_id).copied());
            let [trace, span, service, name] =
                [trace, span, service, name].map(|text| self.strings.index(Cow::Owned(text)));
            let columns = &mut self.response.decisions;
            columns.row.push(row);
            columns.trace.push(trace);
            columns.span.push(span);
            columns.target.push(row_or_minus_one(target));
            columns.service.push(service);
            columns.name.push(name);
            columns.confidence.push(confidence);
            columns.chosen.push(is_chosen);
        }
    }

    fn add_events(&mut self, row: u32, span: &'a Span) {
        for event in &span.events {
            let name = self.text(&event.name);
            let mut pairs = std::mem::take(&mut self.response.events.pair);
            self.add_attributes(&event.attributes, &mut pairs);
            let time = Microseconds::between(self.origin, event.time);
            let events = &mut self.response.events;
            events.row.push(row);
            events.time.push(time);
            events.name.push(name);
            events.pair_end.push(length(&pairs));
            events.pair = pairs;
        }
    }

    fn add_links(&mut self, row: u32, span: &'a Span) {
        for link in &span.links {
            let trace = self.strings.index(Cow::Owned(link.trace_id.to_string()));
            let id = self.strings.index(Cow::Owned(link.span_id.to_string()));
            // The ids are given as well: the target may be a span of another trace.
            let target = row_or_minus_one(self.link_target(span, link));
            let mut pairs = std::mem::take(&mut self.response.links.pair);
            self.add_attributes(&link.attributes, &mut pairs);
            let links = &mut self.response.links;
            links.row.push(row);
            links.trace.push(trace);
            links.span.push(id);
            links.target.push(target);
            links.pair_end.push(length(&pairs));
            links.pair = pairs;
        }
    }

    /// Returns the row that a link points to, for a link within the trace.
    fn link_target(&self, span: &Span, link: &Link) -> Option<u32> {
        self.rows
            .get(&link.span_id)
            .copied()
            .filter(|_| link.trace_id == span.trace_id)
    }

    fn add_message(&mut self, row: u32, span: &'a Span, parent: Option<u32>) {
        let Some(message) = MessageAttributes::of(span) else {
            return;
        };
        let producer = self.producer(span, parent);
        let sent = producer.and_then(|(_, producer)| MessageAttributes::of(producer)?.topic);
        // The producer's span is the better clock: a record's timestamp lies before its sending.
        let waited = producer.map(|(_, producer)| span.start.saturating_sub(producer.end));
        let topic = self.text(message.topic.or(sent).unwrap_or_default());
        let group = self.text(message.group.unwrap_or_default());
        let queue = waited.or(message.queue_time).map(Microseconds::of);
        let messages = &mut self.response.messages;
        messages.row.push(row);
        messages.topic.push(topic);
        messages.group.push(group);
        messages.partition.push(message.partition);
        messages.offset.push(message.offset);
        messages.settles.push(is_settlement(span));
        messages.lag.push(message.lag);
        messages.queue.push(queue);
        let producer = row_or_minus_one(producer.map(|(row, _)| row));
        messages.producer.push(producer);
    }

    /// Returns the producer of a consumer's message, with its row: the parent, or a linked span.
    fn producer(&self, span: &Span, parent: Option<u32>) -> Option<(u32, &'a Span)> {
        if span.kind != SpanKind::Consumer {
            return None;
        }
        let links = span.links.iter();
        let linked = links.filter_map(|link| self.link_target(span, link));
        parent
            .into_iter()
            .chain(linked)
            .filter_map(|row| Some((row, &**self.shown.get(row as usize)?)))
            .find(|(_, other)| other.kind == SpanKind::Producer)
    }

    fn resource(&mut self, resource: &'a Arc<Resource>) -> u32 {
        // Most spans are found by address, without a look at their attributes.
        let address = Arc::as_ptr(resource).addr();
        if let Some(index) = self.resources.get(&address) {
            return *index;
        }
        let service = self.text(resource.service());
        let mut pair = Vec::new();
        self.add_attributes(&resource.attributes, &mut pair);
        let resources = &mut self.response.resources;
        let index = *self
            .resources_by_content
            .entry((service, pair.clone()))
            .or_insert_with(|| {
                resources.push(ResourceEntry { service, pair });
                length(resources) - 1
            });
        // The trace holds its resources, so addresses stay unique while it is read.
        self.resources.insert(address, index);
        index
    }

    fn scope(&mut self, scope: &'a Arc<Scope>) -> u32 {
        let address = Arc::as_ptr(scope).addr();
        if let Some(index) = self.scopes.get(&address) {
            return *index;
        }
        let (name, version) = (self.text(&scope.name), self.text(&scope.version));
        let mut pair = Vec::new();
        self.add_attributes(&scope.attributes, &mut pair);
        let scopes = &mut self.response.scopes;
        // A trace has few scopes, so a linear search is enough.
        let known = scopes
            .iter()
            .position(|entry| (entry.name, entry.version, &entry.pair) == (name, version, &pair));
        let known = known.and_then(|at| u32::try_from(at).ok());
        let index = known.unwrap_or_else(|| {
            scopes.push(ScopeEntry {
                name,
                version,
                pair,
            });
            length(scopes) - 1
        });
        self.scopes.insert(address, index);
        index
    }

    fn add_attributes(&mut self, attributes: &'a [KeyValue], pairs: &mut Vec<u32>) {
        for pair in attributes {
            let key = self.text(&pair.key);
            pairs.push(self.pair(key, &pair.value));
        }
    }

    fn pair(&mut self, key: u32, value: &'a Value) -> u32 {
        let identity = match value {
            Value::String(text) => ValueIdentity::Text(text),
            Value::Int(number) => ValueIdentity::Integer(*number),
            Value::Double(number) => ValueIdentity::Double(number.to_bits()),
            // The letter keeps bytes apart from an equal string, and an empty value from null.
            Value::Empty | Value::Bool(_) | Value::Bytes(_) | Value::Array(_) | Value::Map(_) => {
                ValueIdentity::Other(format!("{}{}", kind_letter(value), to_json_value(value)))
            }
        };
        let AttributePairs {
            key: keys,
            kind,
            value: values,
        } = &mut self.response.pairs;
        let bytes = &mut self.value_bytes;
        *self.pairs.entry((key, identity)).or_insert_with(|| {
            let json = to_json_value(value);
            *bytes += ITEM_OVERHEAD_BYTES + json.as_str().map_or(0, str::len);
            keys.push(key);
            kind.push(kind_letter(value));
            values.push(json);
            length(keys) - 1
        })
    }

    fn text(&mut self, text: &'a str) -> u32 {
        self.strings.index(Cow::Borrowed(text))
    }

    /// Clears the references to rows that were left out.
    fn clear_rows_from(&mut self, added: usize) {
        // Rows were numbered before the limit was reached.
        let is_omitted = |row: &i32| usize::try_from(*row).is_ok_and(|row| row >= added);
        let response = &mut self.response;
        let references = response
            .spans
            .parent
            .iter_mut()
            .chain(&mut response.links.target)
            .chain(&mut response.decisions.target)
            .chain(&mut response.messages.producer);
        references
            .filter(|row| is_omitted(row))
            .for_each(|row| *row = -1);
    }
}

// === impl StringTable ===

impl<'a> StringTable<'a> {
    fn index(&mut self, text: Cow<'a, str>) -> u32 {
        if let Some(index) = self.indexes.get(&text) {
            return *index;
        }
        let index = length(&self.texts);
        self.bytes += text.len() + ITEM_OVERHEAD_BYTES;
        self.texts.push(text.clone().into_owned());
        self.indexes.insert(text, index);
        index
    }
}

/// Returns a letter for the type of a value.
const fn kind_letter(value: &Value) -> char {
    match value {
        Value::Empty => 'n',
        Value::String(_) => 's',
        Value::Bool(_) => 'b',
        Value::Int(_) => 'i',
        Value::Double(_) => 'd',
        Value::Bytes(_) => 'x',
        Value::Array(_) => 'a',
        Value::Map(_) => 'm',
    }
}

/// Returns OTLP's number of a span kind.
const fn kind_number(kind: SpanKind) -> u8 {
    match kind {
        SpanKind::Unspecified => 0,
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

fn row_or_minus_one(row: Option<u32>) -> i32 {
    row.and_then(|row| i32::try_from(row).ok()).unwrap_or(-1)
}

fn length<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}
