//! The rows of a segment as spans again; see [`row`](super::row) for the levels.

use std::sync::Arc;

use throughline_model::{
    DroppedCounts, Event, KeyValue, Link, Resource, Scope, Span, SpanId, SpanKind, Status, TraceId,
    Value,
};

use super::column::{ColumnBuffer, ColumnValues};
use super::row::{
    ATTRIBUTES, ERROR, EVENT, ElementLevels, LINK, MapLeaves, OK, RESOURCE, RowBuffer, SCOPE,
};
use super::schema::Leaf;
use super::value_text;

/// Resources and scopes that are compared with that of a row, so that rows share them.
const MAX_SHARED: usize = 64;

/// Reads the rows of a buffer one after another.
#[derive(Debug)]
pub(super) struct RowCursor {
    columns: Vec<ColumnBuffer>,
    /// Next level and next value of each column.
    positions: Vec<(usize, usize)>,
    resources: Vec<Arc<Resource>>,
    scopes: Vec<Arc<Scope>>,
}

// === impl RowCursor ===

impl RowCursor {
    pub(super) fn new() -> Self {
        Self {
            columns: Vec::new(),
            positions: Vec::new(),
            resources: Vec::new(),
            scopes: Vec::new(),
        }
    }

    /// Continues with the rows of another buffer.
    pub(super) fn load(&mut self, buffer: RowBuffer) {
        self.columns = buffer.into_columns();
        self.positions = vec![(0, 0); self.columns.len()];
    }

    /// Reads the next row with the columns of outlines; `None` when it has no valid span.
    pub(super) fn next_outline(&mut self, trace_id: TraceId) -> Option<Span> {
        let ((span_id, parent_span_id), times) = (self.span_ids()?, self.times()?);
        let service = self.text(Leaf::ServiceName)?;
        let (name, kind) = (self.text(Leaf::Name)?, self.kind()?);
        let status = match self.text(Leaf::Status)?.as_str() {
            ERROR => Status::Error(String::new()),
            OK => Status::Ok,
            _ => Status::Unset,
        };
        let resource = share(&mut self.resources, Resource::of_service(&service));
        let scope = share(&mut self.scopes, Scope::default());
        Some(Span {
            trace_id,
            span_id,
            parent_span_id,
            flags: 0,
            trace_state: String::new(),
            name,
            kind,
            start: times.0,
            end: times.1,
            attributes: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
            status,
            status_message: Box::default(),
            dropped: DroppedCounts::default(),
            resource,
            scope,
        })
    }

    /// Returns the ids of the span and its parent.
    fn span_ids(&mut self) -> Option<(SpanId, Option<SpanId>)> {
        let span_id = SpanId::from_bytes(self.required_bytes(Leaf::SpanId)?.try_into().ok()?)?;
        let parent_span_id = match self.level(Leaf::ParentSpanId)? {
            0 => None,
            _ => Some(SpanId::from_bytes(
                self.bytes(Leaf::ParentSpanId)?.try_into().ok()?,
            )?),
        };
        Some((span_id, parent_span_id))
    }

    /// Returns start and end.
    fn times(&mut self) -> Option<(u64, u64)> {
        let start = self.number(Leaf::StartTime)?.cast_unsigned();
        let duration = self.number(Leaf::Duration)?.cast_unsigned();
        Some((start, start.wrapping_add(duration)))
    }

    fn kind(&mut self) -> Option<SpanKind> {
        Some(SpanKind::from_name(&self.text(Leaf::Kind)?).unwrap_or_default())
    }

    /// Reads the next row; `None` when it has no valid span.
    pub(super) fn next_span(&mut self) -> Option<(Span, bool)> {
        let row = ElementLevels::ROW;
        let trace_id = TraceId::from_bytes(self.required_bytes(Leaf::TraceId)?.try_into().ok()?)?;
        let (span_id, parent_span_id) = self.span_ids()?;
        let (start, end) = self.times()?;
        let name = self.text(Leaf::Name)?;
        let kind = self.kind()?;
        let status = self.text(Leaf::Status)?;
        let message = self.optional_text(Leaf::StatusMessage, row)?;
        let trace_state = self.optional_text(Leaf::TraceState, row)?;
        let flags = self.unsigned(Leaf::Flags)?;
        let dropped = DroppedCounts {
            attributes: self.unsigned(Leaf::DroppedAttributes)?,
            events: self.unsigned(Leaf::DroppedEvents)?,
            links: self.unsigned(Leaf::DroppedLinks)?,
        };
        let is_fragment = self.flag(Leaf::IsFragment)?;
        let attributes = self.map(ATTRIBUTES, row)?;
        let resource = self.resource()?;
        let scope = self.scope()?;
        let events = self.events()?;
        let links = self.links()?;
        if self.level(Leaf::Original)? > 0 {
            let original = self.bytes(Leaf::Original)?;
            let decoded = throughline_otlp::decode_protobuf(original).ok()?;
            return Some((decoded.spans.into_iter().next()?, is_fragment));
        }
        let (status, status_message) = match status.as_str() {
            ERROR => (Status::Error(message), Box::default()),
            OK => (Status::Ok, message.into()),
            _ => (Status::Unset, message.into()),
        };
        let span = Span {
            trace_id,
            span_id,
            parent_span_id,
            flags,
            trace_state,
            name,
            kind,
            start,
            end,
            attributes,
            events,
            links,
            status,
            status_message,
            dropped,
            resource,
            scope,
        };
        Some((span, is_fragment))
    }

    fn resource(&mut self) -> Option<Arc<Resource>> {
        let resource = Resource {
            attributes: self.map(RESOURCE, ElementLevels::ROW)?,
            schema_url: self.optional_text(Leaf::ResourceSchemaUrl, ElementLevels::ROW)?,
        };
        Some(share(&mut self.resources, resource))
    }

    fn scope(&mut self) -> Option<Arc<Scope>> {
        let scope = Scope {
            name: self.optional_text(Leaf::ScopeName, ElementLevels::ROW)?,
            version: self.optional_text(Leaf::ScopeVersion, ElementLevels::ROW)?,
            schema_url: self.optional_text(Leaf::ScopeSchemaUrl, ElementLevels::ROW)?,
            attributes: self.map(SCOPE, ElementLevels::ROW)?,
        };
        Some(share(&mut self.scopes, scope))
    }

    fn events(&mut self) -> Option<Vec<Event>> {
        let mut events = Vec::new();
        loop {
            let levels = ElementLevels::element(events.len());
            if self.level(Leaf::EventTime)? == 0 {
                self.level(Leaf::EventName)?;
                self.skip_map(EVENT)?;
                return Some(events);
            }
            events.push(Event {
                time: self.int(Leaf::EventTime)?.cast_unsigned(),
                name: self.text(Leaf::EventName)?,
                attributes: self.map(EVENT, levels)?,
            });
            if self.next_repetition(Leaf::EventTime) == 0 {
                return Some(events);
            }
        }
    }

    fn links(&mut self) -> Option<Vec<Link>> {
        let mut links = Vec::new();
        loop {
            let levels = ElementLevels::element(links.len());
            if self.level(Leaf::LinkTraceId)? == 0 {
                self.level(Leaf::LinkSpanId)?;
                self.level(Leaf::LinkTraceState)?;
                self.level(Leaf::LinkFlags)?;
                self.skip_map(LINK)?;
                return Some(links);
            }
            let trace_id = self.bytes(Leaf::LinkTraceId)?.try_into().ok()?;
            let span_id = self.required_bytes(Leaf::LinkSpanId)?.try_into().ok()?;
            links.push(Link {
                trace_id: TraceId::from_bytes(trace_id)?,
                span_id: SpanId::from_bytes(span_id)?,
                trace_state: self.optional_text(Leaf::LinkTraceState, levels)?,
                flags: self.unsigned(Leaf::LinkFlags)?,
                attributes: self.map(LINK, levels)?,
            });
            if self.next_repetition(Leaf::LinkTraceId) == 0 {
                return Some(links);
            }
        }
    }

    fn map(&mut self, leaves: MapLeaves, levels: ElementLevels) -> Option<Vec<KeyValue>> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        loop {
            let is_there = self.level(leaves.key)? > levels.definition;
            self.level(leaves.value)?;
            if is_there {
                let key = self.text_value(leaves.key)?;
                pairs.push((key, self.text_value(leaves.value)?));
            }
            if self.next_repetition(leaves.key) != levels.next_repetition {
                break;
            }
        }
        let types = self.optional_text(leaves.types, levels)?;
        let mut types = types.chars();
        let pair = |(key, text): (String, String)| {
            let letter = types.next().unwrap_or('s');
            // The row of a value without a type has the original span.
            let value = value_text::read(letter, &text).unwrap_or(Value::Empty);
            KeyValue::new(key, value)
        };
        Some(pairs.into_iter().map(pair).collect())
    }

    fn skip_map(&mut self, leaves: MapLeaves) -> Option<()> {
        for leaf in [leaves.key, leaves.value, leaves.types] {
            self.level(leaf)?;
        }
        Some(())
    }

    /// Takes the next level of a column and returns its definition.
    fn level(&mut self, leaf: Leaf) -> Option<i16> {
        self.level_at(leaf as usize)
    }

    fn level_at(&mut self, at: usize) -> Option<i16> {
        let (column, position) = (self.columns.get(at)?, self.positions.get_mut(at)?);
        if column.max_definition == 0 {
            return Some(0);
        }
        let definition = *column.definition.get(position.0)?;
        position.0 += 1;
        Some(definition)
    }

    /// Returns the repetition of the next level of a column; 0 at its end, where a row ends.
    fn next_repetition(&self, leaf: Leaf) -> i16 {
        let at = leaf as usize;
        let column = self.columns.get(at).zip(self.positions.get(at));
        let next = column.and_then(|(column, position)| column.repetition.get(position.0));
        next.copied().unwrap_or_default()
    }

    /// Takes the next value of a column.
    fn bytes(&mut self, leaf: Leaf) -> Option<&[u8]> {
        let at = leaf as usize;
        let (column, position) = (self.columns.get(at)?, self.positions.get_mut(at)?);
        let value = match &column.values {
            ColumnValues::Bytes(values) => values.get(position.1)?.data(),
            ColumnValues::Fixed(values) => values.get(position.1)?.data(),
            ColumnValues::Bool(_) | ColumnValues::Int64(_) => return None,
        };
        position.1 += 1;
        Some(value)
    }

    fn int(&mut self, leaf: Leaf) -> Option<i64> {
        let at = leaf as usize;
        let (column, position) = (self.columns.get(at)?, self.positions.get_mut(at)?);
        let ColumnValues::Int64(values) = &column.values else {
            return None;
        };
        let value = *values.get(position.1)?;
        position.1 += 1;
        Some(value)
    }

    fn flag(&mut self, leaf: Leaf) -> Option<bool> {
        let at = leaf as usize;
        let (column, position) = (self.columns.get(at)?, self.positions.get_mut(at)?);
        let ColumnValues::Bool(values) = &column.values else {
            return None;
        };
        let value = *values.get(position.1)?;
        position.1 += 1;
        Some(value)
    }

    fn required_bytes(&mut self, leaf: Leaf) -> Option<&[u8]> {
        self.level(leaf)?;
        self.bytes(leaf)
    }

    fn number(&mut self, leaf: Leaf) -> Option<i64> {
        self.level(leaf)?;
        self.int(leaf)
    }

    fn unsigned(&mut self, leaf: Leaf) -> Option<u32> {
        self.number(leaf)?.try_into().ok()
    }

    fn text(&mut self, leaf: Leaf) -> Option<String> {
        self.level(leaf)?;
        self.text_value(leaf)
    }

    fn text_value(&mut self, leaf: Leaf) -> Option<String> {
        String::from_utf8(self.bytes(leaf)?.to_vec()).ok()
    }

    fn optional_text(&mut self, leaf: Leaf, levels: ElementLevels) -> Option<String> {
        if self.level(leaf)? > levels.definition {
            self.text_value(leaf)
        } else {
            Some(String::new())
        }
    }
}

/// Returns a known value that is equal, or the new one.
fn share<T: PartialEq>(known: &mut Vec<Arc<T>>, value: T) -> Arc<T> {
    if let Some(shared) = known.iter().find(|shared| ***shared == value) {
        return Arc::clone(shared);
    }
    let shared = Arc::new(value);
    if known.len() >= MAX_SHARED {
        known.clear();
    }
    known.push(Arc::clone(&shared));
    shared
}
