//! From a span of Jaeger to one of OpenTelemetry. Sources: the OpenTelemetry specification,
//! "OpenTelemetry to Jaeger Transformation" read backwards, and its "OpenTracing compatibility".

use std::sync::Arc;

use throughline_model::convention::{CHILD_OF, FOLLOWS_FROM, OPENTRACING_REF_TYPE};
use throughline_model::{
    DroppedCounts, Event, KeyValue, Link, Resource, Scope, Span, SpanId, SpanKind, Status, TraceId,
    Value,
};
use throughline_otlp::RejectionReason;

/// Value of `SpanRefType` for a reference to the span's parent.
const REF_TYPE_CHILD_OF: i64 = 0;

/// A span of `jaeger.thrift`. Ids are the bits of signed numbers, times are in microseconds.
#[derive(Debug, Default)]
pub(super) struct JaegerSpan {
    pub(super) trace_id_low: i64,
    pub(super) trace_id_high: i64,
    pub(super) span_id: i64,
    /// Zero for a root, and in clients that send the parent as a reference only.
    pub(super) parent_span_id: i64,
    pub(super) operation_name: String,
    pub(super) references: Vec<JaegerReference>,
    pub(super) flags: i64,
    pub(super) start_time: i64,
    pub(super) duration: i64,
    pub(super) tags: Vec<KeyValue>,
    pub(super) logs: Vec<Event>,
}

/// A reference of a span to another one.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct JaegerReference {
    pub(super) kind: i64,
    pub(super) trace_id_low: i64,
    pub(super) trace_id_high: i64,
    pub(super) span_id: i64,
}

/// The parts of a span that Jaeger has among its tags.
#[derive(Debug, Default)]
struct SpanTags {
    kind: SpanKind,
    status_code: Option<String>,
    status_message: String,
    error: Option<Value>,
    trace_state: String,
    scope: Scope,
}

impl JaegerSpan {
    /// Converts the span, with an empty resource. `scope` is that of the previous span, which is
    /// shared if it is the same.
    pub(super) fn into_span(self, scope: &mut Arc<Scope>) -> Result<Span, RejectionReason> {
        let trace_id =
            trace_id(self.trace_id_high, self.trace_id_low).ok_or(RejectionReason::Trace)?;
        let span_id = span_id(self.span_id).ok_or(RejectionReason::Span)?;
        let parent_span_id = self.parent(trace_id);
        let links = self.links(trace_id, parent_span_id);
        let (tags, attributes) = SpanTags::split(self.tags);
        let status = tags.status();
        if **scope != tags.scope {
            *scope = Arc::new(tags.scope);
        }
        let start = nanoseconds(self.start_time);
        Ok(Span {
            trace_id,
            span_id,
            parent_span_id,
            // Jaeger's flag 2 is debug, which in W3C's flags has another meaning.
            flags: u32::from(self.flags & 1 == 1),
            trace_state: tags.trace_state,
            name: self.operation_name,
            kind: tags.kind,
            start,
            // A negative duration is kept, as an end before the start: clocks step.
            end: nanoseconds(self.start_time.saturating_add(self.duration)),
            attributes,
            events: self.logs,
            links,
            status,
            status_message: Box::default(),
            dropped: DroppedCounts::default(),
            resource: Arc::new(Resource::default()),
            scope: Arc::clone(scope),
        })
    }

    /// Returns the parent: the field, else the first reference of the same trace, CHILD_OF before
    /// FOLLOWS_FROM, as in Jaeger's model. The Java client sends the parent of a span that follows
    /// from another in its references only.
    fn parent(&self, trace: TraceId) -> Option<SpanId> {
        let of_trace = |reference: &&JaegerReference| reference.trace_id() == Some(trace);
        let mut references = self.references.iter().filter(of_trace);
        let first = references.clone().find_map(|reference| reference.span_id());
        span_id(self.parent_span_id)
            .or_else(|| references.find(|own| own.is_child_of())?.span_id())
            .or(first)
            // A span that names itself is a root.
            .filter(|parent| Some(*parent) != span_id(self.span_id))
    }

    /// Returns the references as links, except that of a child to its parent, which says no more
    /// than the parent's id.
    fn links(&self, trace: TraceId, parent: Option<SpanId>) -> Vec<Link> {
        let is_parent = |reference: &JaegerReference| {
            reference.is_child_of()
                && reference.span_id() == parent
                && reference.trace_id() == Some(trace)
        };
        self.references
            .iter()
            .filter(|reference| !is_parent(reference))
            .filter_map(JaegerReference::link)
            .collect()
    }
}

impl JaegerReference {
    fn trace_id(&self) -> Option<TraceId> {
        trace_id(self.trace_id_high, self.trace_id_low)
    }

    fn span_id(&self) -> Option<SpanId> {
        span_id(self.span_id)
    }

    const fn is_child_of(&self) -> bool {
        self.kind == REF_TYPE_CHILD_OF
    }

    /// Returns the link; `None` for ids of zero.
    fn link(&self) -> Option<Link> {
        let kind = if self.is_child_of() {
            CHILD_OF
        } else {
            FOLLOWS_FROM
        };
        Some(Link {
            trace_id: self.trace_id()?,
            span_id: self.span_id()?,
            trace_state: String::new(),
            flags: 0,
            attributes: vec![KeyValue::new(OPENTRACING_REF_TYPE, kind)],
        })
    }
}

impl SpanTags {
    /// Takes the parts out of the tags and returns the rest.
    fn split(tags: Vec<KeyValue>) -> (Self, Vec<KeyValue>) {
        let mut parts = Self::default();
        let attributes = tags.into_iter().filter_map(|tag| parts.take(tag)).collect();
        (parts, attributes)
    }

    /// Takes a tag, or returns it when it is an attribute.
    fn take(&mut self, tag: KeyValue) -> Option<KeyValue> {
        let text = tag.value.as_str();
        match (&*tag.key, text) {
            ("span.kind", Some(text)) => match SpanKind::from_name(text) {
                Some(kind) => self.kind = kind,
                None => return Some(tag),
            },
            // An explicit `error=false` stays an attribute: the status cannot express it.
            ("error", _) if is_false(&tag.value) => return Some(tag),
            ("error", _) => self.error = Some(tag.value),
            ("otel.status_code", Some(text)) => self.status_code = Some(text.to_owned()),
            ("otel.status_description", Some(text)) => text.clone_into(&mut self.status_message),
            ("w3c.tracestate", Some(text)) => text.clone_into(&mut self.trace_state),
            ("otel.scope.name" | "otel.library.name", Some(text)) => {
                text.clone_into(&mut self.scope.name);
            }
            ("otel.scope.version" | "otel.library.version", Some(text)) => {
                text.clone_into(&mut self.scope.version);
            }
            _ => return Some(tag),
        }
        None
    }

    fn status(&self) -> Status {
        match (self.status_code.as_deref(), &self.error) {
            (Some("OK"), _) => Status::Ok,
            (Some("ERROR"), _) | (_, Some(_)) => Status::Error(self.error_message()),
            _ => Status::Unset,
        }
    }

    /// Returns the description, else the text of the tag `error`, which some applications put
    /// there in place of `true`.
    fn error_message(&self) -> String {
        let text = self.error.as_ref().and_then(Value::as_str);
        match text {
            Some(text) if self.status_message.is_empty() && !text.eq_ignore_ascii_case("true") => {
                text.to_owned()
            }
            _ => self.status_message.clone(),
        }
    }
}

/// Returns the event of a log, whose field `event` is its name.
pub(super) fn event(time: i64, mut attributes: Vec<KeyValue>) -> Event {
    let is_name = |pair: &KeyValue| pair.key == "event" && pair.value.as_str().is_some();
    let name = attributes
        .iter()
        .position(is_name)
        .map(|index| attributes.remove(index));
    let name = name.as_ref().and_then(|pair| pair.value.as_str());
    Event {
        time: nanoseconds(time),
        name: name.unwrap_or_default().to_owned(),
        attributes,
    }
}

fn is_false(value: &Value) -> bool {
    *value == Value::Bool(false)
        || value
            .as_str()
            .is_some_and(|text| text.eq_ignore_ascii_case("false"))
}

fn trace_id(high: i64, low: i64) -> Option<TraceId> {
    let bits = u128::from(high.cast_unsigned()) << 64 | u128::from(low.cast_unsigned());
    TraceId::from_bytes(bits.to_be_bytes())
}

const fn span_id(id: i64) -> Option<SpanId> {
    SpanId::from_bytes(id.to_be_bytes())
}

/// Returns the time in nanoseconds; a time before 1970 becomes 0.
fn nanoseconds(microseconds: i64) -> u64 {
    u64::try_from(microseconds)
        .unwrap_or_default()
        .saturating_mul(1000)
}
