//! Finds the spans of a request in protobuf where they are, without building them.
//!
//! A store that writes requests down needs ids, times and the places of attributes. The scan is
//! strict: it returns `None` for anything that [`decode_protobuf`](crate::decode_protobuf) would
//! reject, repair or has to look at twice, and the caller decodes such a request instead.

use std::ops::Range;

use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue as ProtoKeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource as ProtoResource;
use opentelemetry_proto::tonic::trace::v1::Span as ProtoSpan;
use prost::Message as _;
use std::sync::Arc;
use throughline_model::{KeyValue, Resource, Scope, Span, SpanId, SpanKind, TraceId, Value};

use crate::decode;
use crate::limit::{MAX_MESSAGES, check_protobuf};

/// Depth of lists and maps of a value that the parser accepts within a request.
const MAX_VALUE_DEPTH: usize = 47;

/// A part of a request.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    start: u32,
    end: u32,
}

/// The spans of a request, and where their parts are.
#[derive(Debug, Default)]
pub struct ScannedRequest {
    /// Resources with their scopes.
    pub origins: Vec<ScannedOrigin>,
    /// Spans in the order of the request.
    pub spans: Vec<ScannedSpan>,
    /// Attributes of the spans, as messages, in the order of the spans.
    pub attributes: Vec<ByteRange>,
    /// Attributes of events and links, as messages, each with the number of its span.
    pub nested: Vec<(usize, NestedScope, ByteRange)>,
    /// Targets of links, each with the number of its span.
    pub links: Vec<(usize, TraceId)>,
}

/// The owner of an attribute within a span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NestedScope {
    /// An event.
    Event,
    /// A link.
    Link,
}

/// A resource with one of its scopes.
#[derive(Debug, Default, Clone, Copy)]
pub struct ScannedOrigin {
    /// `Resource` message.
    pub resource: ByteRange,
    /// Schema of the resource.
    pub resource_schema_url: ByteRange,
    /// `InstrumentationScope` message.
    pub scope: ByteRange,
    /// Schema of the spans.
    pub scope_schema_url: ByteRange,
}

/// A span and the places of its parts.
#[derive(Debug, Clone)]
pub struct ScannedSpan {
    /// Number in [`ScannedRequest::origins`].
    pub origin: usize,
    /// `Span` message.
    pub content: ByteRange,
    /// Trace id.
    pub trace_id: TraceId,
    /// Span id.
    pub span_id: SpanId,
    /// Parent, if any.
    pub parent_span_id: Option<SpanId>,
    /// Name.
    pub name: ByteRange,
    /// Kind.
    pub kind: SpanKind,
    /// Start in nanoseconds since the Unix epoch.
    pub start: u64,
    /// End in nanoseconds since the Unix epoch.
    pub end: u64,
    /// Flags.
    pub flags: u32,
    /// Status.
    pub status: ScannedStatus,
    /// Numbers in [`ScannedRequest::attributes`].
    pub attributes: Range<usize>,
    /// Whether there is nothing else in the span: no event, link, message, state or count.
    pub is_plain: bool,
}

/// The code of a status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ScannedStatus {
    /// Neither of the others.
    #[default]
    Unset,
    /// The application decided that the span succeeded.
    Ok,
    /// The span failed.
    Error,
}

/// A field of a message.
enum FieldContent {
    Varint(u64),
    Fixed64(u64),
    Bytes(ByteRange),
    Fixed32(u32),
}

/// The fields of a span that come once.
#[derive(Debug, Default)]
struct SingularFields {
    trace_id: Option<TraceId>,
    span_id: Option<SpanId>,
    parent_span_id: Option<SpanId>,
    name: ByteRange,
    kind: SpanKind,
    start: u64,
    end: u64,
    flags: u32,
    status: ScannedStatus,
    seen: FieldSet,
    /// There is something else in the span: an event, a link, a message, a state or a count.
    has_more: bool,
}

/// The fields of a message in turn.
struct WireFieldReader<'a> {
    body: &'a [u8],
    at: usize,
    end: usize,
}

// === impl ByteRange ===

impl ByteRange {
    /// Returns the part of the request.
    #[must_use]
    pub fn of(self, body: &[u8]) -> &[u8] {
        let range = self.start as usize..self.end as usize;
        body.get(range).unwrap_or_default()
    }

    /// Returns the position in the request.
    #[must_use]
    pub const fn start(self) -> u32 {
        self.start
    }

    /// Returns the length.
    #[must_use]
    pub const fn length(self) -> u32 {
        self.end - self.start
    }

    const fn is_empty(self) -> bool {
        self.start == self.end
    }
}

// === impl WireFieldReader ===

impl<'a> WireFieldReader<'a> {
    const fn new(body: &'a [u8], range: ByteRange) -> Self {
        Self {
            body,
            at: range.start as usize,
            end: range.end as usize,
        }
    }

    const fn is_at_end(&self) -> bool {
        self.at >= self.end
    }

    /// Takes the next field; `None` when it is malformed.
    fn next(&mut self) -> Option<(u64, FieldContent)> {
        let key = self.varint()?;
        let content = match key & 7 {
            0 => FieldContent::Varint(self.varint()?),
            1 => FieldContent::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                let start = self.at;
                let end = start.checked_add(length).filter(|end| *end <= self.end)?;
                self.at = end;
                FieldContent::Bytes(ByteRange {
                    start: u32::try_from(start).ok()?,
                    end: u32::try_from(end).ok()?,
                })
            }
            5 => FieldContent::Fixed32(u32::from_le_bytes(self.array()?)),
            // Groups are left to the parser.
            _ => return None,
        };
        Some((key >> 3, content))
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let rest = self.body.get(self.at..self.end)?;
        let bytes = rest.first_chunk::<N>()?;
        self.at += N;
        Some(*bytes)
    }

    fn varint(&mut self) -> Option<u64> {
        let rest = self.body.get(self.at..self.end)?;
        let first = *rest.first()?;
        // Nearly all keys and lengths.
        if first < 0x80 {
            self.at += 1;
            return Some(first.into());
        }
        let mut number = 0;
        for (index, byte) in rest.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has one bit left.
            if index == 9 && bits > 1 {
                return None;
            }
            number |= bits << (7 * index);
            if byte & 0x80 == 0 {
                self.at += index + 1;
                return Some(number);
            }
        }
        None
    }
}

// === impl ScannedRequest ===

impl ScannedRequest {
    /// Finds the spans of a request; `None` when it is not one that can be read without a look at
    /// all of it.
    #[must_use]
    pub fn scan(body: &[u8]) -> Option<Self> {
        // A message takes two bytes at least, so a shorter body needs no count.
        if body.len() / 2 > MAX_MESSAGES {
            check_protobuf(body, MAX_MESSAGES).ok()?;
        }
        let mut scanned = Self::default();
        let end = u32::try_from(body.len()).ok()?;
        let mut fields = WireFieldReader::new(body, ByteRange { start: 0, end });
        while !fields.is_at_end() {
            let (1, FieldContent::Bytes(group)) = fields.next()? else {
                return None;
            };
            scanned.resource_spans(body, group)?;
        }
        Some(scanned)
    }

    fn resource_spans(&mut self, body: &[u8], group: ByteRange) -> Option<()> {
        let mut origin = ScannedOrigin::default();
        let mut seen = FieldSet::default();
        let mut scopes = Vec::new();
        let mut fields = WireFieldReader::new(body, group);
        while !fields.is_at_end() {
            match fields.next()? {
                (1, FieldContent::Bytes(range)) if seen.insert(1) => origin.resource = range,
                (2, FieldContent::Bytes(range)) => scopes.push(range),
                (3, FieldContent::Bytes(range)) if seen.insert(3) => {
                    origin.resource_schema_url = range;
                }
                _ => return None,
            }
        }
        // The schema of the resource comes last on the wire.
        for scope in scopes {
            self.scope_spans(body, scope, origin)?;
        }
        Some(())
    }

    fn scope_spans(
        &mut self,
        body: &[u8],
        group: ByteRange,
        mut origin: ScannedOrigin,
    ) -> Option<()> {
        let number = self.origins.len();
        let mut seen = FieldSet::default();
        let mut fields = WireFieldReader::new(body, group);
        while !fields.is_at_end() {
            match fields.next()? {
                (1, FieldContent::Bytes(range)) if seen.insert(1) => origin.scope = range,
                (2, FieldContent::Bytes(range)) => self.span(body, range, number)?,
                (3, FieldContent::Bytes(range)) if seen.insert(3) => {
                    origin.scope_schema_url = range;
                }
                _ => return None,
            }
        }
        self.origins.push(origin);
        Some(())
    }

    fn span(&mut self, body: &[u8], content: ByteRange, origin: usize) -> Option<()> {
        let number = self.spans.len();
        let first = self.attributes.len();
        let mut span = SingularFields::default();
        let mut fields = WireFieldReader::new(body, content);
        while !fields.is_at_end() {
            let (field, value) = fields.next()?;
            // A repeated field would replace the one before.
            if !matches!(field, 9 | 11 | 13) && !span.seen.insert(field) {
                return None;
            }
            match (field, value) {
                (9, FieldContent::Bytes(range)) => self.attributes.push(range),
                (11, FieldContent::Bytes(range)) => {
                    self.event(body, number, range)?;
                    span.has_more = true;
                }
                (13, FieldContent::Bytes(range)) => {
                    self.link(body, number, range)?;
                    span.has_more = true;
                }
                (field, value) => span.set(body, field, value)?,
            }
        }
        if span.has_more {
            // The parts that were not looked at may be malformed.
            ProtoSpan::decode(content.of(body)).ok()?;
        }
        self.spans.push(ScannedSpan {
            origin,
            content,
            trace_id: span.trace_id?,
            span_id: span.span_id?,
            parent_span_id: span.parent_span_id,
            name: span.name,
            kind: span.kind,
            start: span.start,
            end: span.end,
            flags: span.flags,
            status: span.status,
            attributes: first..self.attributes.len(),
            is_plain: !span.has_more,
        });
        Some(())
    }

    fn event(&mut self, body: &[u8], span: usize, event: ByteRange) -> Option<()> {
        let mut fields = WireFieldReader::new(body, event);
        while !fields.is_at_end() {
            if let (3, FieldContent::Bytes(range)) = fields.next()? {
                self.nested.push((span, NestedScope::Event, range));
            }
        }
        Some(())
    }

    fn link(&mut self, body: &[u8], span: usize, link: ByteRange) -> Option<()> {
        let (mut trace_id, mut span_id) = (None, None);
        let mut fields = WireFieldReader::new(body, link);
        while !fields.is_at_end() {
            match fields.next()? {
                (1, FieldContent::Bytes(range)) => {
                    trace_id = TraceId::from_bytes(range.of(body).try_into().ok()?);
                }
                (2, FieldContent::Bytes(range)) => {
                    span_id = SpanId::from_bytes(range.of(body).try_into().ok()?);
                }
                (4, FieldContent::Bytes(range)) => {
                    self.nested.push((span, NestedScope::Link, range));
                }
                _ => {}
            }
        }
        // An invalid link would count as dropped.
        span_id?;
        self.links.push((span, trace_id?));
        Some(())
    }
}

// === impl SingularFields ===

impl SingularFields {
    /// Takes a field that comes once.
    #[inline]
    fn set(&mut self, body: &[u8], field: u64, value: FieldContent) -> Option<()> {
        match (field, value) {
            (1, FieldContent::Bytes(range)) => {
                self.trace_id = TraceId::from_bytes(range.of(body).try_into().ok()?);
            }
            (2, FieldContent::Bytes(range)) => {
                self.span_id = SpanId::from_bytes(range.of(body).try_into().ok()?);
            }
            (4, FieldContent::Bytes(range)) if range.is_empty() => {}
            (4, FieldContent::Bytes(range)) => {
                // Zeros are a missing parent.
                self.parent_span_id = SpanId::from_bytes(range.of(body).try_into().ok()?);
            }
            (5, FieldContent::Bytes(range)) => self.name = range,
            (6, FieldContent::Varint(value)) => {
                self.kind = decode::kind(i32::try_from(value).ok()?);
            }
            (7, FieldContent::Fixed64(value)) => self.start = value,
            (8, FieldContent::Fixed64(value)) => self.end = value,
            (16, FieldContent::Fixed32(value)) => self.flags = value,
            (15, FieldContent::Bytes(range)) => match plain_status(body, range) {
                Some(code) => self.status = code,
                None => {
                    self.status = ScannedStatus::of_message(range.of(body))?;
                    self.has_more = true;
                }
            },
            (3, FieldContent::Bytes(_)) | (10 | 12 | 14, FieldContent::Varint(_)) => {
                self.has_more = true;
            }
            _ => return None,
        }
        Some(())
    }
}

// === impl ScannedStatus ===

impl ScannedStatus {
    const fn of_code(code: u64) -> Self {
        match code {
            1 => Self::Ok,
            2 => Self::Error,
            _ => Self::Unset,
        }
    }

    fn of_message(message: &[u8]) -> Option<Self> {
        use opentelemetry_proto::tonic::trace::v1::Status;
        let status = Status::decode(message).ok()?;
        Some(Self::of_code(
            u64::try_from(status.code).unwrap_or_default(),
        ))
    }
}

/// Reads a status without a message.
fn plain_status(body: &[u8], range: ByteRange) -> Option<ScannedStatus> {
    match range.of(body) {
        [] => Some(ScannedStatus::Unset),
        [0x18, code] if *code < 0x80 => Some(ScannedStatus::of_code((*code).into())),
        _ => None,
    }
}

/// The singular fields of a message that were there.
#[derive(Debug, Default)]
struct FieldSet(u32);

impl FieldSet {
    /// Adds a field; returns false when it was there, or has no place.
    const fn insert(&mut self, field: u64) -> bool {
        if field == 0 || field > 31 {
            return false;
        }
        let bit = 1 << field;
        let is_new = self.0 & bit == 0;
        self.0 |= bit;
        is_new
    }
}

/// Decodes a `KeyValue` message; `None` when it is malformed.
#[must_use]
pub fn decode_key_value(message: &[u8]) -> Option<KeyValue> {
    let pair = decode::key_value(ProtoKeyValue::decode(message).ok()?);
    is_shallow(&pair.value, MAX_VALUE_DEPTH).then_some(pair)
}

fn is_shallow(value: &Value, depth: usize) -> bool {
    match value {
        Value::Array(values) => depth > 0 && values.iter().all(|it| is_shallow(it, depth - 1)),
        Value::Map(pairs) => depth > 0 && pairs.iter().all(|it| is_shallow(&it.value, depth - 1)),
        Value::Empty
        | Value::String(_)
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Double(_)
        | Value::Bytes(_) => true,
    }
}

/// Returns key and text of a `KeyValue` message with a text; `None` for another or malformed one.
#[must_use]
pub fn text_key_value(message: &[u8]) -> Option<(&str, &str)> {
    let (key, rest) = short_field(message, 0x0a)?;
    let (value, rest) = short_field(rest, 0x12).filter(|(_, rest)| rest.is_empty())?;
    let (text, rest) = short_field(value, 0x0a).filter(|_| rest.is_empty())?;
    let texts = (
        std::str::from_utf8(key).ok()?,
        std::str::from_utf8(text).ok()?,
    );
    rest.is_empty().then_some(texts)
}

/// Takes a field with this tag whose length is one byte.
fn short_field(message: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (head, rest) = message.split_first_chunk::<2>()?;
    let length = head[1];
    if head[0] != tag || length >= 0x80 {
        return None;
    }
    rest.split_at_checked(length.into())
}

/// Decodes a `Resource` message; `None` when it is malformed.
#[must_use]
pub fn decode_resource(message: &[u8], schema_url: &[u8]) -> Option<Resource> {
    let resource = ProtoResource::decode(message).ok()?;
    let schema_url = String::from_utf8(schema_url.to_vec()).ok()?;
    Some(decode::resource(Some(resource), schema_url))
}

/// Decodes an `InstrumentationScope` message; `None` when it is malformed.
#[must_use]
pub fn decode_scope(message: &[u8], schema_url: &[u8]) -> Option<Scope> {
    let scope = InstrumentationScope::decode(message).ok()?;
    let schema_url = String::from_utf8(schema_url.to_vec()).ok()?;
    Some(decode::scope(scope, schema_url))
}

/// Decodes a `Span` message; `None` when it is malformed or invalid.
#[must_use]
pub fn decode_span(message: &[u8], resource: &Arc<Resource>, scope: &Arc<Scope>) -> Option<Span> {
    let span = ProtoSpan::decode(message).ok()?;
    decode::decode_span(span, resource, scope).ok()
}

#[cfg(test)]
mod tests {
    use throughline_model::{DroppedCounts, Event, Link, Status};

    use super::*;
    use crate::{decode_protobuf, encode_protobuf};

    fn spans() -> Vec<Span> {
        let resource = Arc::new(Resource::of_service("shop"));
        let span = |number: u8| Span {
            trace_id: TraceId::from_bytes([number; 16]).unwrap(),
            span_id: SpanId::from_bytes([number; 8]).unwrap(),
            parent_span_id: (number > 1).then(|| SpanId::from_bytes([1; 8]).unwrap()),
            flags: 0x101,
            trace_state: String::new(),
            name: format!("GET {number}"),
            kind: SpanKind::Server,
            start: 5,
            end: 300,
            attributes: vec![KeyValue::new("a", "b"), KeyValue::new("n", 300i64)],
            events: Vec::new(),
            links: Vec::new(),
            status: Status::Unset,
            status_message: Box::default(),
            dropped: DroppedCounts::default(),
            resource: Arc::clone(&resource),
            scope: Arc::default(),
        };
        let mut rich = span(2);
        rich.trace_state = "a=b".to_owned();
        rich.status = Status::Error("no".to_owned());
        rich.dropped.events = 3;
        rich.events.push(Event {
            time: 7,
            name: "event".to_owned(),
            attributes: vec![KeyValue::new("e", 0.5)],
        });
        rich.links.push(Link {
            trace_id: rich.trace_id,
            span_id: rich.span_id,
            trace_state: String::new(),
            flags: 0,
            attributes: vec![KeyValue::new("l", true)],
        });
        vec![span(1), rich, span(3)]
    }

    #[test]
    fn a_scan_finds_what_the_decoder_decodes() {
        let spans = spans();
        let body = encode_protobuf(&spans);
        let scanned = ScannedRequest::scan(&body).unwrap();
        assert_eq!(scanned.spans.len(), spans.len());
        let origin = &scanned.origins[0];
        let resource = decode_resource(origin.resource.of(&body), b"").unwrap();
        let scope = Arc::new(decode_scope(origin.scope.of(&body), b"").unwrap());
        let resource = Arc::new(resource);
        for (found, span) in scanned.spans.iter().zip(&spans) {
            let decoded = decode_span(found.content.of(&body), &resource, &scope).unwrap();
            assert_eq!(&decoded, span);
            assert_eq!(found.trace_id, span.trace_id);
            assert_eq!(found.parent_span_id, span.parent_span_id);
            assert_eq!(found.name.of(&body), span.name.as_bytes());
            assert_eq!((found.start, found.end), (span.start, span.end));
            assert_eq!(found.is_plain, span.events.is_empty());
            let attributes = &scanned.attributes[found.attributes.clone()];
            let attributes = attributes.iter().map(|it| decode_key_value(it.of(&body)));
            let attributes: Option<Vec<KeyValue>> = attributes.collect();
            assert_eq!(attributes.unwrap(), span.attributes);
        }
        assert_eq!(scanned.spans[1].status, ScannedStatus::Error);
        assert_eq!(scanned.links, [(1, spans[1].trace_id)]);
        let nested = scanned.nested.iter();
        let nested: Vec<_> = nested
            .map(|(_, _, it)| decode_key_value(it.of(&body)))
            .collect();
        let expected = [KeyValue::new("e", 0.5), KeyValue::new("l", true)].map(Some);
        assert_eq!(nested, expected);
    }

    #[test]
    fn whatever_a_scan_accepts_the_decoder_accepts_whole() {
        let body = encode_protobuf(&spans());
        for at in 0..body.len() {
            for bit in [1, 0x10, 0x80] {
                let mut damaged = body.clone();
                damaged[at] ^= bit;
                let Some(scanned) = ScannedRequest::scan(&damaged) else {
                    continue;
                };
                let pairs = scanned.attributes.iter();
                let pairs = pairs.chain(scanned.nested.iter().map(|(_, _, it)| it));
                let mut is_valid = pairs
                    .into_iter()
                    .all(|pair| decode_key_value(pair.of(&damaged)).is_some());
                let names = scanned.spans.iter().map(|span| span.name.of(&damaged));
                is_valid &= names.into_iter().all(|it| std::str::from_utf8(it).is_ok());
                is_valid &= scanned.origins.iter().all(|it| {
                    let url = it.scope_schema_url.of(&damaged);
                    decode_resource(
                        it.resource.of(&damaged),
                        it.resource_schema_url.of(&damaged),
                    )
                    .is_some()
                        && decode_scope(it.scope.of(&damaged), url).is_some()
                });
                if is_valid {
                    let decoded = decode_protobuf(&damaged).unwrap();
                    assert_eq!(decoded.rejected.total(), 0, "{at} {bit}");
                    assert_eq!(decoded.repairs.iter().count(), 0, "{at} {bit}");
                    assert_eq!(decoded.spans.len(), scanned.spans.len());
                }
            }
        }
    }
}
