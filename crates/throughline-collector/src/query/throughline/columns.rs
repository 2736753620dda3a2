//! A trace turned into columns.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value as Json;
use throughline_model::{KeyValue, Link, Resource, Scope, Span, SpanId, SpanKind, Status, Value};
use throughline_store::{Message, Trace, message};

use super::micros::Micros;
use super::trace::{Pairs, ResourceEntry, ScopeEntry, TraceAnswer};

/// The first spans of a trace, at most so many.
pub(super) fn of(trace: &Trace, most: usize) -> TraceAnswer {
    let shown = trace
        .spans
        .get(..most.min(trace.spans.len()))
        .unwrap_or_default();
    let origin = shown
        .first()
        .map_or(0, |span| span.start - span.start % 1000);
    let first = shown.first().map_or(0, |span| span.start);
    let last = trace
        .spans
        .iter()
        .map(|span| span.end)
        .max()
        .unwrap_or_default();
    let rows = shown
        .iter()
        .zip(0..)
        .map(|(span, row)| (span.span_id, row))
        .collect();
    let mut columns = Columns {
        answer: TraceAnswer {
            trace_id: trace.id.to_string(),
            origin: Micros::of(origin),
            duration: Micros::of(last.saturating_sub(first)),
            ..TraceAnswer::default()
        },
        origin,
        shown,
        rows,
        texts: Texts::default(),
        pairs: HashMap::new(),
        resources: HashMap::new(),
        resources_by_pairs: HashMap::new(),
        scopes: HashMap::new(),
        bytes: 0,
    };
    columns.texts.number(Cow::Borrowed(""));
    let mut taken = 0;
    for (span, row) in shown.iter().zip(0..) {
        if columns.bytes + columns.texts.bytes > BYTES_MAX {
            break;
        }
        columns.span(row, span);
        taken += 1;
    }
    columns.answer.omitted = (trace.spans.len() - taken) as u64;
    columns.forget_rows_from(taken);
    columns.answer.strings = columns.texts.list;
    columns.answer
}

/// Columns that are being filled.
struct Columns<'a> {
    answer: TraceAnswer,
    /// Nanoseconds since the Unix epoch.
    origin: u64,
    shown: &'a [Arc<Span>],
    rows: HashMap<SpanId, u32>,
    texts: Texts<'a>,
    pairs: HashMap<(u32, PairKey<'a>), u32>,
    /// By address.
    resources: HashMap<usize, u32>,
    /// Each export brings a resource of its own, mostly with the same attributes.
    resources_by_pairs: HashMap<(u32, Vec<u32>), u32>,
    /// By address.
    scopes: HashMap<usize, u32>,
    /// Bytes of values.
    bytes: usize,
}

/// Texts, each once.
#[derive(Default)]
struct Texts<'a> {
    numbers: HashMap<Cow<'a, str>, u32>,
    list: Vec<String>,
    bytes: usize,
}

/// What makes two values one.
#[derive(PartialEq, Eq, Hash)]
enum PairKey<'a> {
    Text(&'a str),
    Whole(i64),
    Number(u64),
    Other(String),
}

// === impl Columns ===

impl<'a> Columns<'a> {
    fn span(&mut self, row: u32, span: &'a Span) {
        let parent = span
            .parent_span_id
            .and_then(|parent| self.rows.get(&parent).copied());
        if let Some(id) = span.parent_span_id.filter(|_| parent.is_none()) {
            self.answer.missing_parents.row.push(row);
            self.answer.missing_parents.id.push(id.to_string());
        }
        let (name, resource, scope) = (
            self.text(&span.name),
            self.resource(&span.resource),
            self.scope(&span.scope),
        );
        let spans = &mut self.answer.spans;
        // Writing to a string cannot fail.
        write!(spans.id, "{}", span.span_id).unwrap_or_default();
        spans.parent.push(place(parent));
        spans.name.push(name);
        spans.resource.push(resource);
        spans.scope.push(scope);
        spans.kind.push(kind(span.kind));
        spans.status.push(match span.status {
            Status::Unset => 0,
            Status::Ok => 1,
            Status::Error(_) => 2,
        });
        spans.start.push(Micros::between(self.origin, span.start));
        spans.duration.push(Micros::of(span.duration()));
        let mut pairs = std::mem::take(&mut self.answer.spans.pair);
        self.attributes(&span.attributes, &mut pairs);
        self.answer.spans.pair_end.push(length(&pairs));
        self.answer.spans.pair = pairs;
        self.rarities(row, span);
        self.events(row, span);
        self.links(row, span);
        self.message(row, span, parent);
    }

    /// What few spans have.
    fn rarities(&mut self, row: u32, span: &'a Span) {
        if let Status::Error(message) = &span.status
            && !message.is_empty()
        {
            let text = self.text(message);
            self.answer.status_messages.row.push(row);
            self.answer.status_messages.text.push(text);
        }
        if !span.trace_state.is_empty() {
            let text = self.text(&span.trace_state);
            self.answer.trace_states.row.push(row);
            self.answer.trace_states.text.push(text);
        }
        if span.dropped > 0 {
            self.answer.dropped.row.push(row);
            self.answer.dropped.count.push(span.dropped);
        }
        if let Some(evidence) = message::evidence(span) {
            let name = self.text(evidence.name);
            let column = &mut self.answer.evidence;
            column.row.push(row);
            column.name.push(name);
            column.confidence.push(evidence.confidence);
            column.inferred.push(evidence.is_inferred);
        }
    }

    fn events(&mut self, row: u32, span: &'a Span) {
        for event in &span.events {
            let name = self.text(&event.name);
            let mut pairs = std::mem::take(&mut self.answer.events.pair);
            self.attributes(&event.attributes, &mut pairs);
            let events = &mut self.answer.events;
            events.row.push(row);
            events.time.push(Micros::between(self.origin, event.time));
            events.name.push(name);
            events.pair_end.push(length(&pairs));
            events.pair = pairs;
        }
    }

    fn links(&mut self, row: u32, span: &'a Span) {
        for link in &span.links {
            let trace = self.texts.number(Cow::Owned(link.trace_id.to_string()));
            let id = self.texts.number(Cow::Owned(link.span_id.to_string()));
            let target = place(self.target(span, link));
            let mut pairs = std::mem::take(&mut self.answer.links.pair);
            self.attributes(&link.attributes, &mut pairs);
            let links = &mut self.answer.links;
            links.row.push(row);
            links.trace.push(trace);
            links.span.push(id);
            links.target.push(target);
            links.pair_end.push(length(&pairs));
            links.pair = pairs;
        }
    }

    /// The row that a link points to.
    fn target(&self, span: &Span, link: &Link) -> Option<u32> {
        self.rows
            .get(&link.span_id)
            .copied()
            .filter(|_| link.trace_id == span.trace_id)
    }

    fn message(&mut self, row: u32, span: &'a Span, parent: Option<u32>) {
        let Some(message) = Message::of(span) else {
            return;
        };
        let is_consumer = span.kind == SpanKind::Consumer;
        let before = parent
            .into_iter()
            .chain(span.links.iter().filter_map(|link| self.target(span, link)));
        let producer = before
            .filter_map(|row| Some((row, self.shown.get(row as usize)?)))
            .find(|(_, other)| is_consumer && other.kind == SpanKind::Producer);
        let told = producer.and_then(|(_, producer)| Message::of(producer)?.topic);
        let waited = producer.map(|(_, producer)| span.start.saturating_sub(producer.end));
        let topic = self.text(message.topic.or(told).unwrap_or_default());
        let group = self.text(message.group.unwrap_or_default());
        let messages = &mut self.answer.messages;
        messages.row.push(row);
        messages.topic.push(topic);
        messages.group.push(group);
        messages.partition.push(message.partition);
        messages.offset.push(message.offset);
        messages.lag.push(message.lag);
        messages
            .queue
            .push(waited.or(message.queue_time).map(Micros::of));
        messages.producer.push(place(producer.map(|(row, _)| row)));
    }

    fn resource(&mut self, resource: &'a Arc<Resource>) -> u32 {
        let address = Arc::as_ptr(resource).addr();
        if let Some(number) = self.resources.get(&address) {
            return *number;
        }
        let service = self.text(resource.service());
        let mut pair = Vec::new();
        self.attributes(&resource.attributes, &mut pair);
        let entries = &mut self.answer.resources;
        let number = *self
            .resources_by_pairs
            .entry((service, pair.clone()))
            .or_insert_with(|| {
                entries.push(ResourceEntry { service, pair });
                length(entries) - 1
            });
        self.resources.insert(address, number);
        number
    }

    fn scope(&mut self, scope: &'a Arc<Scope>) -> u32 {
        let address = Arc::as_ptr(scope).addr();
        if let Some(number) = self.scopes.get(&address) {
            return *number;
        }
        let (name, version) = (self.text(&scope.name), self.text(&scope.version));
        let mut pair = Vec::new();
        self.attributes(&scope.attributes, &mut pair);
        let entries = &mut self.answer.scopes;
        let known = entries
            .iter()
            .position(|entry| (entry.name, entry.version, &entry.pair) == (name, version, &pair));
        let number = known
            .and_then(|at| u32::try_from(at).ok())
            .unwrap_or_else(|| {
                entries.push(ScopeEntry {
                    name,
                    version,
                    pair,
                });
                length(entries) - 1
            });
        self.scopes.insert(address, number);
        number
    }

    fn attributes(&mut self, attributes: &'a [KeyValue], pairs: &mut Vec<u32>) {
        for pair in attributes {
            let key = self.text(&pair.key);
            pairs.push(self.pair(key, &pair.value));
        }
    }

    fn pair(&mut self, key: u32, value: &'a Value) -> u32 {
        let identity = match value {
            Value::String(text) => PairKey::Text(text),
            Value::Int(number) => PairKey::Whole(*number),
            Value::Double(number) => PairKey::Number(number.to_bits()),
            Value::Empty | Value::Bool(_) | Value::Bytes(_) | Value::Array(_) | Value::Map(_) => {
                PairKey::Other(format!("{}{}", letter(value), json(value)))
            }
        };
        let Pairs {
            key: keys,
            kind,
            value: values,
        } = &mut self.answer.pairs;
        let bytes = &mut self.bytes;
        *self.pairs.entry((key, identity)).or_insert_with(|| {
            let json = json(value);
            *bytes += PAIR_BYTES + json.as_str().map_or(0, str::len);
            keys.push(key);
            kind.push(letter(value));
            values.push(json);
            length(keys) - 1
        })
    }

    fn text(&mut self, text: &'a str) -> u32 {
        self.texts.number(Cow::Borrowed(text))
    }

    /// What refers to rows that did not fit refers to nothing.
    fn forget_rows_from(&mut self, taken: usize) {
        let is_gone = |row: &i32| usize::try_from(*row).is_ok_and(|row| row >= taken);
        let answer = &mut self.answer;
        let places = answer
            .spans
            .parent
            .iter_mut()
            .chain(&mut answer.links.target)
            .chain(&mut answer.messages.producer);
        places.filter(|row| is_gone(row)).for_each(|row| *row = -1);
    }
}

// === impl Texts ===

impl<'a> Texts<'a> {
    fn number(&mut self, text: Cow<'a, str>) -> u32 {
        if let Some(number) = self.numbers.get(&text) {
            return *number;
        }
        let number = length(&self.list);
        self.bytes += text.len() + PAIR_BYTES;
        self.list.push(text.clone().into_owned());
        self.numbers.insert(text, number);
        number
    }
}

/// A letter for the type of a value.
const fn letter(value: &Value) -> char {
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

/// A value in JSON. What JavaScript's numbers cannot hold is text.
pub(super) fn json(value: &Value) -> Json {
    match value {
        Value::Empty => Json::Null,
        Value::String(text) => Json::String(text.to_string()),
        Value::Bool(truth) => Json::Bool(*truth),
        Value::Int(number) if number.unsigned_abs() <= EXACT_MAX => Json::from(*number),
        Value::Int(number) => Json::String(number.to_string()),
        Value::Double(number) => serde_json::Number::from_f64(*number)
            .map_or_else(|| Json::String(number.to_string()), Json::Number),
        Value::Bytes(bytes) => Json::String(STANDARD.encode(bytes)),
        Value::Array(values) => Json::Array(values.iter().map(json).collect()),
        Value::Map(pairs) => Json::Object(
            pairs
                .iter()
                .map(|pair| (pair.key.to_string(), json(&pair.value)))
                .collect(),
        ),
    }
}

const fn kind(kind: SpanKind) -> u8 {
    match kind {
        SpanKind::Unspecified => 0,
        SpanKind::Internal => 1,
        SpanKind::Server => 2,
        SpanKind::Client => 3,
        SpanKind::Producer => 4,
        SpanKind::Consumer => 5,
    }
}

/// A row, or -1.
fn place(row: Option<u32>) -> i32 {
    row.and_then(|row| i32::try_from(row).ok()).unwrap_or(-1)
}

fn length<T>(list: &[T]) -> u32 {
    u32::try_from(list.len()).unwrap_or(u32::MAX)
}

/// Bytes of texts and values; the spans from there on are left out.
const BYTES_MAX: usize = 64 << 20;

/// What a text or value takes besides its own bytes.
const PAIR_BYTES: usize = 16;

/// The largest whole number that JavaScript's numbers hold exactly.
const EXACT_MAX: u64 = (1 << 53) - 1;
