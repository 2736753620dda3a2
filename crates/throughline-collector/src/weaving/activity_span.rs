//! The spans of a process that receives and sends, as the weaving engine sees them: times, hashes
//! and numbers.
//!
//! They come from our sidecars, which mark a span without a known parent (`open`), and from the
//! tracers of Envoy and Istio, which begin a trace where a service does not propagate.

use std::hash::{DefaultHasher, Hash, Hasher as _};
use std::time::Duration;

use throughline_model::convention::{
    ERROR_TYPE, HTTP_REQUEST_METHOD, KAFKA_BATCH_SIZE, KAFKA_BUFFERED, MESSAGING_KAFKA_MESSAGE_KEY,
    SERVER_ADDRESS, SERVER_PORT, URL_FULL, URL_PATH, URL_QUERY,
};
use throughline_model::{Span, SpanId, SpanKind, TraceId, Value};
use throughline_store::{EvidenceAttributes, MessageAttributes, SpanKey, is_settlement};
use throughline_weave::QueuePosition;

use super::process_identity::ProcessIdentity;

/// Attributes with the target of an HTTP request, today's names and the earlier ones.
const URL_KEYS: [&str; 4] = [URL_FULL, "http.url", URL_PATH, "http.target"];

/// Attributes with an id that a service may copy from request to request.
const ID_KEYS: [&str; 2] = ["guid:x-request-id", MESSAGING_KAFKA_MESSAGE_KEY];

/// Values of a message that are compared, at most.
const MAX_TOKENS: usize = throughline_weave::MAX_TOKENS;

/// Resolution of the timestamps of records.
const RECORD_TICK: Duration = Duration::from_millis(1);

/// Time for which a producer may keep a record; longer, and its timestamp says something else.
const MAX_BUFFERED: Duration = Duration::from_secs(30);

/// Outcome of a request whose client left (`error.type`).
const CANCELLED: &str = "cancelled";

/// A span of a process.
#[derive(Debug, Clone)]
pub(super) struct ActivitySpan {
    pub(super) key: SpanKey,
    /// Hash of the service and its instance.
    pub(super) process: u64,
    pub(super) parent: Option<SpanId>,
    pub(super) role: ActivityRole,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) operation: u64,
    pub(super) tokens: Vec<u64>,
}

/// The role of a span in its process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ActivityRole {
    /// A request that was received.
    Request {
        /// Its client left; the handler may go on.
        is_abandoned: bool,
    },
    /// A record that was delivered. Its span ends with the
    /// delivery, the work with the commit.
    Record { position: QueuePosition },
    /// A commit or acknowledgement of a record, which is its parent, and its partition and offset.
    Settlement { position: Option<QueuePosition> },
    /// A request that was made, or a record that was produced.
    Outbound {
        is_record: bool,
        /// It must have a parent, or none, and nobody knows.
        is_open: bool,
    },
}

// === impl ActivitySpan ===

impl ActivitySpan {
    /// Reads a span; `None` for one that is neither received nor sent.
    pub(super) fn of(span: &Span) -> Option<Self> {
        let role = role_of(span)?;
        let is_sent_record = matches!(
            role,
            ActivityRole::Outbound {
                is_record: true,
                ..
            }
        );
        let start = if is_sent_record {
            made_at(span)
        } else {
            span.start
        };
        Some(Self {
            key: SpanKey::of(span),
            process: hash(&ProcessIdentity::of(span)),
            parent: span.parent_span_id,
            role,
            start,
            end: span.end.max(span.start),
            operation: operation_of(span),
            tokens: tokens_of(span),
        })
    }

    /// Returns whether the span lacks a parent that it may have.
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.role, ActivityRole::Outbound { is_open: true, .. })
    }

    pub(super) const fn trace_id(&self) -> TraceId {
        self.key.trace_id
    }
}

fn role_of(span: &Span) -> Option<ActivityRole> {
    if is_settlement(span) {
        let position = position_of(span);
        return Some(ActivityRole::Settlement { position });
    }
    match span.kind {
        SpanKind::Server => Some(ActivityRole::Request {
            is_abandoned: text(span, ERROR_TYPE) == Some(CANCELLED),
        }),
        SpanKind::Consumer => Some(delivery_of(span)),
        SpanKind::Client | SpanKind::Producer => Some(ActivityRole::Outbound {
            is_record: span.kind == SpanKind::Producer,
            is_open: is_open(span),
        }),
        SpanKind::Internal | SpanKind::Unspecified => None,
    }
}

/// Returns when a record was made: its producer may have kept it for a while.
fn made_at(span: &Span) -> u64 {
    let Some(Value::Double(seconds)) = span.attribute(KAFKA_BUFFERED) else {
        return span.start;
    };
    let buffered = Duration::try_from_secs_f64(*seconds).unwrap_or_default();
    if buffered > MAX_BUFFERED {
        // A timestamp that the application chose.
        return span.start;
    }
    // The end of the millisecond: what the record follows has happened by then.
    let buffered = buffered.saturating_sub(RECORD_TICK).as_nanos();
    span.start
        .saturating_sub(u64::try_from(buffered).unwrap_or(u64::MAX))
}

fn delivery_of(span: &Span) -> ActivityRole {
    // Only a sidecar's span ends with the delivery; that of an application ends with the work.
    let is_sidecar = span.attribute(KAFKA_BATCH_SIZE).is_some();
    match position_of(span) {
        Some(position) if is_sidecar => ActivityRole::Record { position },
        Some(_) | None => ActivityRole::Request {
            is_abandoned: false,
        },
    }
}

/// Returns the hash of the partition of a record, as its group reads it, and its offset.
fn position_of(span: &Span) -> Option<QueuePosition> {
    // Commits have the short names of OpenTracing as well.
    let message = MessageAttributes::of_attributes(&span.attributes, true);
    Some(QueuePosition {
        queue: hash(&(message.group, message.topic?, message.partition?)),
        offset: message.offset?,
    })
}

/// Returns whether a span lacks a parent because its tracer knows none. A root of a service's own
/// tracer is a root.
fn is_open(span: &Span) -> bool {
    if span.parent_span_id.is_some() {
        return false;
    }
    match EvidenceAttributes::of(span) {
        Some(evidence) => evidence.is_open,
        None => {
            text(span, "component") == Some("proxy") || span.attribute("upstream_cluster").is_some()
        }
    }
}

/// Returns the hash of everything that requests of one kind share: method, route and peer, or the
/// topic.
fn operation_of(span: &Span) -> u64 {
    let message = MessageAttributes::of(span);
    if let Some(topic) = message.and_then(|message| message.topic) {
        return hash(&(kind_of(span), topic));
    }
    let is_outbound = span.kind == SpanKind::Client;
    let peer = is_outbound.then(|| {
        let cluster = text(span, "upstream_cluster");
        (
            cluster.or_else(|| text(span, SERVER_ADDRESS)),
            port_of(span),
        )
    });
    let path = url_of(span).map(|url| template_of(path_of(url)));
    hash(&(
        kind_of(span),
        text(span, HTTP_REQUEST_METHOD),
        &span.name,
        peer,
        path,
    ))
}

fn kind_of(span: &Span) -> &'static str {
    span.kind.name().unwrap_or_default()
}

fn port_of(span: &Span) -> Option<i64> {
    if let Value::Int(port) = span.attribute(SERVER_PORT)? {
        Some(*port)
    } else {
        None
    }
}

fn url_of(span: &Span) -> Option<&str> {
    URL_KEYS.iter().find_map(|key| text(span, key))
}

/// Returns the path and query of a URL.
fn path_of(url: &str) -> &str {
    let Some((_, rest)) = url.split_once("://") else {
        return url;
    };
    rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/")
}

/// Returns the segments of a path without its query, `*` for those that name a thing.
fn template_of(path: &str) -> Vec<&str> {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let segments = path.split('/');
    let template = segments.map(|segment| if is_name(segment) { "*" } else { segment });
    template.collect()
}

/// Returns whether a part of a path looks like the name of one thing, rather than of a kind.
fn is_name(segment: &str) -> bool {
    segment.bytes().any(|byte| byte.is_ascii_digit()) || segment.len() > 32
}

/// Returns hashes of the values of a message that other messages of the same request may share.
fn tokens_of(span: &Span) -> Vec<u64> {
    let ids = ID_KEYS.iter().filter_map(|key| text(span, key));
    let url = url_of(span).map(path_of).unwrap_or_default();
    let (path, query) = url.split_once('?').unwrap_or((url, ""));
    let query = if query.is_empty() {
        text(span, URL_QUERY).unwrap_or_default()
    } else {
        query
    };
    let segments = path.split('/').filter(|segment| is_name(segment));
    let values = query
        .split('&')
        .filter_map(|pair| Some(pair.split_once('=')?.1));
    let all = ids
        .chain(segments)
        .chain(values)
        .filter(|it| !it.is_empty());
    let mut tokens: Vec<u64> = all.take(MAX_TOKENS).map(|value| hash(&value)).collect();
    tokens.sort_unstable();
    tokens.dedup();
    tokens
}

fn text<'a>(span: &'a Span, key: &str) -> Option<&'a str> {
    let text = span.attribute(key).and_then(Value::as_str);
    text.filter(|text| !text.is_empty())
}

/// Returns the same hash in every run, so that the same spans give the same decisions.
fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use throughline_model::convention::PARENT_EVIDENCE;
    use throughline_model::{DroppedCounts, KeyValue, Resource, Status};

    use super::*;

    fn span(kind: SpanKind, attributes: &[(&'static str, &str)]) -> Span {
        Span {
            trace_id: TraceId::from_bytes([1; 16]).unwrap(),
            span_id: SpanId::from_bytes([1; 8]).unwrap(),
            parent_span_id: None,
            flags: 0,
            trace_state: String::new(),
            name: "GET".to_owned(),
            kind,
            start: 1,
            end: 2,
            attributes: attributes
                .iter()
                .map(|(key, value)| KeyValue::new(*key, (*value).to_owned()))
                .collect(),
            events: Vec::new(),
            links: Vec::new(),
            status: Status::Unset,
            status_message: Box::default(),
            dropped: DroppedCounts::default(),
            resource: Arc::new(Resource::of_service("shop")),
            scope: Arc::default(),
        }
    }

    fn is_open(attributes: &[(&'static str, &str)]) -> bool {
        let read = ActivitySpan::of(&span(SpanKind::Client, attributes)).unwrap();
        matches!(read.role, ActivityRole::Outbound { is_open: true, .. })
    }

    #[test]
    fn only_spans_of_tracers_that_know_no_parent_are_open() {
        assert!(is_open(&[(PARENT_EVIDENCE, "open")]));
        assert!(is_open(&[
            ("component", "proxy"),
            ("upstream_cluster", "outbound|80||billing")
        ]));
        assert!(!is_open(&[(PARENT_EVIDENCE, "sole")]));
        // A job of a service that has a tracer of its own.
        assert!(!is_open(&[]));
    }

    #[test]
    fn records_start_when_they_were_made() {
        let start_of = |buffered: f64| {
            let mut record = span(SpanKind::Producer, &[]);
            (record.start, record.end) = (60_000_000_000, 60_001_000_000);
            let attribute = KeyValue::new(KAFKA_BUFFERED, buffered);
            record.attributes.push(attribute);
            ActivitySpan::of(&record).unwrap().start
        };
        // The timestamp is that of the beginning of a millisecond.
        assert_eq!(start_of(0.005), 59_996_000_000);
        assert_eq!(start_of(0.0004), 60_000_000_000);
        // Chosen by an application, and invalid.
        assert_eq!(start_of(3_600.0), 60_000_000_000);
        assert_eq!(start_of(f64::NAN), 60_000_000_000);
        assert_eq!(start_of(-1.0), 60_000_000_000);
    }

    #[test]
    fn operations_are_equal_whatever_their_ids_and_differ_by_route_and_peer() {
        let operation = |url: &str, peer: &str| {
            let attributes = [(URL_FULL, url), (SERVER_ADDRESS, peer)];
            ActivitySpan::of(&span(SpanKind::Client, &attributes))
                .unwrap()
                .operation
        };
        let one = operation("http://billing/orders/17?debug=1", "billing");
        assert_eq!(one, operation("http://billing/orders/18", "billing"));
        assert_ne!(one, operation("http://billing/carts/17", "billing"));
        assert_ne!(one, operation("http://billing/orders/17", "billing-2"));
    }

    #[test]
    fn requests_about_the_same_thing_share_a_token() {
        let tokens = |attributes: &[(&'static str, &str)]| {
            ActivitySpan::of(&span(SpanKind::Server, attributes))
                .unwrap()
                .tokens
        };
        let inbound = tokens(&[(URL_PATH, "/orders/17"), (URL_QUERY, "user=ada")]);
        let outbound = tokens(&[(URL_FULL, "http://billing/pay/17?by=ada")]);
        assert_eq!((inbound.len(), &inbound), (2, &outbound));
        assert_ne!(inbound, tokens(&[(URL_PATH, "/orders/18")]));
    }

    #[test]
    fn instances_of_a_service_are_processes_of_their_own() {
        let process = |instance: &str| {
            let mut one = span(SpanKind::Server, &[]);
            let mut resource = Resource::of_service("shop");
            resource
                .attributes
                .push(KeyValue::new("service.instance.id", instance.to_owned()));
            one.resource = Arc::new(resource);
            ActivitySpan::of(&one).unwrap().process
        };
        assert_eq!(process("a"), process("a"));
        assert_ne!(process("a"), process("b"));
    }
}
