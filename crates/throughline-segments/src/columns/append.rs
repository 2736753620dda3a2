//! Requests to rows.

use std::sync::Arc;

use throughline_model::{Resource, Scope, Span, TraceId};
use throughline_otlp::{
    ScannedOrigin, ScannedRequest, ScannedSpan, ScannedStatus, decode_resource, decode_scope,
    decode_span,
};
use throughline_store::{
    HashedField, MessageAttributes, attribute_hashes, field_hash, is_settlement, target_hash,
};

use super::{ColumnLink, ColumnOrigin, ColumnTrace, FAILED, HotColumns, KINDS, NONE, SpanRow};

/// A request whose names and values have numbers.
#[derive(Debug)]
pub(crate) struct NumberedRequest {
    origins: Vec<u32>,
    names: Vec<u32>,
    terms: Vec<u32>,
    nested: Vec<u32>,
    /// Facts of spans that their hashes do not show, by number of the span.
    special: Vec<(usize, SpecialFacts)>,
}

/// Facts of a span that follow from several attributes.
#[derive(Debug)]
struct SpecialFacts {
    topic: Option<u32>,
    settles: bool,
    failed: bool,
}

/// The place of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RequestPlace<'a> {
    /// Position in the log.
    Log(u64),
    /// In no log.
    Memory(&'a [u8]),
}

// === impl HotColumns ===

impl HotColumns {
    /// Numbers the names and values of a request; `None` when some part of it is malformed.
    pub(crate) fn prepare(
        &mut self,
        body: &[u8],
        scanned: &ScannedRequest,
    ) -> Option<NumberedRequest> {
        let origins = scanned
            .origins
            .iter()
            .map(|it| self.intern_origin(body, it));
        let mut prepared = NumberedRequest {
            origins: origins.collect::<Option<_>>()?,
            names: Vec::with_capacity(scanned.spans.len()),
            terms: Vec::with_capacity(scanned.attributes.len()),
            nested: Vec::with_capacity(scanned.nested.len()),
            special: Vec::new(),
        };
        self.intern_attributes(body, scanned, &mut prepared.terms)?;
        for (number, span) in scanned.spans.iter().enumerate() {
            prepared.names.push(self.intern_name(span.name.of(body))?);
            let terms = prepared.terms.get(span.attributes.clone())?;
            if terms.iter().any(|term| self.terms.is_special(*term)) {
                let origin = *prepared.origins.get(span.origin)?;
                let facts = self.special_facts(span.content.of(body), origin)?;
                prepared.special.push((number, facts));
            }
        }
        for (_, _, attribute) in &scanned.nested {
            let term = self.terms.intern(attribute.of(body))?;
            prepared.nested.push(term);
        }
        Some(prepared)
    }

    /// Numbers the attributes of all spans; `None` when one is malformed.
    fn intern_attributes(
        &mut self,
        body: &[u8],
        scanned: &ScannedRequest,
        terms: &mut Vec<u32>,
    ) -> Option<()> {
        let message = |at: usize| scanned.attributes.get(at).map(|it| it.of(body));
        // Attributes that are not those of the span before, in their order.
        let mut changed = Vec::new();
        // Of each attribute, its number among those.
        let mut sources: Vec<u32> = Vec::with_capacity(scanned.attributes.len());
        let mut before = 0..0;
        for span in &scanned.spans {
            for (at, number) in span.attributes.clone().enumerate() {
                let own = message(number)?;
                // Two texts of one request: both are in the cache.
                let other = before.start + at;
                let source = if before.contains(&other) && message(other)? == own {
                    *sources.get(other)?
                } else {
                    changed.push(own);
                    u32::try_from(changed.len() - 1).ok()?
                };
                sources.push(source);
            }
            before = span.attributes.clone();
        }
        let mut numbers = Vec::with_capacity(changed.len());
        self.terms.intern_each(&changed, &mut numbers)?;
        for source in sources {
            terms.push(*numbers.get(source as usize)?);
        }
        Some(())
    }

    fn intern_name(&mut self, name: &[u8]) -> Option<u32> {
        if let Some(number) = self.names.find(name) {
            return Some(number);
        }
        let text = std::str::from_utf8(name).ok()?;
        let hash = field_hash(HashedField::Name, text);
        self.name_hashes.push(self.terms.hashes_mut().intern(hash));
        Some(self.names.intern(name).0)
    }

    fn intern_origin(&mut self, body: &[u8], origin: &ScannedOrigin) -> Option<u32> {
        let parts = [
            origin.resource,
            origin.resource_schema_url,
            origin.scope,
            origin.scope_schema_url,
        ];
        let mut identity = Vec::new();
        for part in parts {
            identity.extend(part.length().to_le_bytes());
            identity.extend_from_slice(part.of(body));
        }
        if let Some(number) = self.origin_numbers.find(&identity) {
            return Some(number);
        }
        let url = origin.resource_schema_url.of(body);
        let resource = decode_resource(origin.resource.of(body), url)?;
        let scope = decode_scope(origin.scope.of(body), origin.scope_schema_url.of(body))?;
        let origin = self.origin_of(resource, scope);
        self.origins.push(origin);
        Some(self.origin_numbers.intern(&identity).0)
    }

    fn origin_of(&mut self, resource: Resource, scope: Scope) -> ColumnOrigin {
        let mut hashes = Vec::new();
        let table = self.terms.hashes_mut();
        for pair in resource.attributes.iter().chain(&scope.attributes) {
            attribute_hashes(pair, &mut |hash| hashes.push(table.intern(hash)));
        }
        let service = resource.service();
        hashes.push(table.intern(field_hash(HashedField::Service, service)));
        hashes.sort_unstable();
        hashes.dedup();
        let service = self.services.intern(service.as_bytes()).0;
        ColumnOrigin {
            resource: Arc::new(resource),
            scope: Arc::new(scope),
            service,
            hashes,
        }
    }

    fn special_facts(&mut self, message: &[u8], origin: u32) -> Option<SpecialFacts> {
        let ColumnOrigin {
            resource, scope, ..
        } = self.origin(origin)?;
        let span: Span = decode_span(message, resource, scope)?;
        let topic = MessageAttributes::of(&span).and_then(|message| message.topic);
        let topic = topic.map(|topic| self.intern_topic(topic));
        Some(SpecialFacts {
            topic,
            settles: is_settlement(&span),
            failed: span.failed(),
        })
    }

    fn intern_topic(&mut self, topic: &str) -> u32 {
        let (number, is_new) = self.topics.intern(topic.as_bytes());
        if is_new {
            let hash = field_hash(HashedField::Topic, topic);
            self.topic_hashes.push(self.terms.hashes_mut().intern(hash));
        }
        number
    }

    /// Adds the spans of a request. Those that were `settled` before are known not to repeat.
    pub(crate) fn append(
        &mut self,
        scanned: &ScannedRequest,
        prepared: &NumberedRequest,
        place: RequestPlace<'_>,
        is_fragment: bool,
        is_settled: bool,
    ) {
        let (base, mut bits) = match place {
            RequestPlace::Log(position) => (position, 0),
            RequestPlace::Memory(body) => {
                let position = self.buffer.len() as u64;
                self.buffer.extend_from_slice(body);
                (position, SpanRow::IN_BUFFER)
            }
        };
        if is_fragment {
            bits |= SpanRow::FRAGMENT;
        }
        let first_row = self.next_row();
        let mut special = prepared.special.iter().peekable();
        let mut first_term = u32::try_from(self.row_terms.len()).unwrap_or(u32::MAX);
        self.row_terms.extend_from_slice(&prepared.terms);
        for (number, span) in scanned.spans.iter().enumerate() {
            let facts = special.next_if(|(of, _)| *of == number).map(|(_, it)| it);
            let row = self.row_of(span, facts, bits);
            let name = prepared.names.get(number).copied().unwrap_or_default();
            let origin = prepared.origins.get(span.origin).copied();
            let row = SpanRow {
                name,
                origin: origin.unwrap_or_default(),
                first_term,
                position: base + u64::from(span.content.start()),
                ..row
            };
            first_term += row.term_count;
            if let Some(topic) = facts.and_then(|facts| facts.topic) {
                self.row_topics.push((self.next_row(), topic));
            }
            self.push(row, span.trace_id, is_settled);
        }
        let row = |span: usize| first_row + u32::try_from(span).unwrap_or(u32::MAX);
        for ((span, scope, _), term) in scanned.nested.iter().zip(&prepared.nested) {
            self.nested.push((row(*span), *scope, *term));
        }
        for (span, target) in &scanned.links {
            self.links.push(ColumnLink {
                row: row(*span),
                target: *target,
                hash: self.terms.hashes_mut().intern(target_hash(*target)),
            });
        }
    }

    fn next_row(&self) -> u32 {
        // A row takes eighty bytes: there are fewer than 2^32.
        u32::try_from(self.rows.len()).unwrap_or(u32::MAX - 1)
    }

    fn row_of(&self, span: &ScannedSpan, facts: Option<&SpecialFacts>, mut bits: u8) -> SpanRow {
        let kind = KINDS.iter().position(|kind| *kind == span.kind);
        let status: u8 = match span.status {
            ScannedStatus::Unset => 0,
            ScannedStatus::Ok => 1,
            ScannedStatus::Error => 2,
        };
        let failed = facts.is_some_and(|facts| facts.failed);
        if span.is_plain {
            bits |= SpanRow::PLAIN;
        }
        if facts.is_some() || !span.is_plain {
            bits |= SpanRow::SPECIAL;
        }
        if facts.is_some_and(|facts| facts.settles) {
            bits |= SpanRow::SETTLES;
        }
        SpanRow {
            trace: NONE,
            previous: NONE,
            span_id: span.span_id,
            parent_span_id: span.parent_span_id,
            start: span.start,
            end: span.end,
            name: 0,
            origin: 0,
            first_term: 0,
            term_count: u32::try_from(span.attributes.len()).unwrap_or(u32::MAX),
            flags: span.flags,
            position: 0,
            length: span.content.length(),
            kind: kind
                .and_then(|at| u8::try_from(at).ok())
                .unwrap_or_default(),
            status,
            outcome: if failed { FAILED } else { status },
            bits,
        }
    }

    fn push(&mut self, mut row: SpanRow, id: TraceId, is_settled: bool) {
        let number = self.next_row();
        let traces = &mut self.traces;
        let trace = *self.trace_numbers.entry(id).or_insert_with(|| {
            traces.push(ColumnTrace::empty(id));
            u32::try_from(traces.len() - 1).unwrap_or(NONE)
        });
        row.trace = trace;
        if let Some(entry) = self.traces.get_mut(trace as usize) {
            self.live_traces += usize::from(entry.spans == 0);
            row.previous = entry.last_row;
            entry.last_row = number;
            entry.count_in(&row);
        }
        self.live_rows += 1;
        let is_repeated = !is_settled && self.repeats.insert(id, row.span_id);
        if is_repeated || (row.is_fragment() && !is_settled) {
            self.repeated.insert(trace);
        }
        self.rows.push(row);
    }

    /// Takes the spans of a trace away; they are not in any trace then.
    pub(super) fn clear_trace(&mut self, trace: u32) {
        let rows = self.rows_of(trace);
        self.live_rows -= rows.len();
        for row in rows {
            if let Some(row) = self.rows.get_mut(row as usize) {
                row.trace = NONE;
            }
        }
        if let Some(entry) = self.traces.get_mut(trace as usize) {
            self.live_traces -= usize::from(entry.spans > 0);
            *entry = ColumnTrace::empty(entry.id);
        }
    }
}

// === impl ColumnTrace ===

impl ColumnTrace {
    const fn empty(id: TraceId) -> Self {
        Self {
            id,
            last_row: NONE,
            spans: 0,
            errors: 0,
            first_start: u64::MAX,
            last_start: 0,
            last_end: 0,
            last_work_end: 0,
        }
    }

    fn count_in(&mut self, row: &SpanRow) {
        self.spans += 1;
        self.errors += u32::from(row.failed());
        self.first_start = self.first_start.min(row.start);
        self.last_start = self.last_start.max(row.start);
        self.last_end = self.last_end.max(row.end);
        if !row.has(SpanRow::SETTLES) {
            self.last_work_end = self.last_work_end.max(row.end);
        }
    }
}
