//! Fingerprints: the attributes and fields of a trace's spans as hashes.
//!
//! A trace without the hash of a searched value cannot match. The reverse does not hold: two texts
//! may share a hash, and a replaced span leaves its hashes behind. A fingerprint can therefore only
//! exclude a trace.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use throughline_model::{KeyValue, Span, TraceId, Value};

use crate::MessageAttributes;
use crate::filter::status_name;

/// Keys of fields; no attribute has a name with a leading NUL.
pub(super) const NAME: &str = "\0name";
pub(super) const SERVICE: &str = "\0service";
pub(super) const KIND: &str = "\0kind";
pub(super) const STATUS: &str = "\0status";
pub(super) const TOPIC: &str = "\0topic";

/// A field of a span with a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashedField {
    /// Span name.
    Name,
    /// Service of the resource.
    Service,
    /// Kind in Jaeger's spelling, or `unspecified`.
    Kind,
    /// `error`, `ok` or `unset`.
    Status,
    /// Topic of a message.
    Topic,
}

/// Maximum number of hashes of one trace: 16 KiB.
const MAX_HASHES: usize = 4096;

/// The hashes of one trace, sorted.
#[derive(Debug, Default)]
pub(super) struct TraceFingerprint {
    hashes: Vec<u32>,
    /// Address of the resource whose hashes were added last. A span of the trace holds it, so the
    /// address is unique.
    last_resource: usize,
    /// True after there were too many hashes: every value may be present.
    is_full: bool,
}

impl TraceFingerprint {
    pub(super) const EMPTY: Self = Self {
        hashes: Vec::new(),
        last_resource: 0,
        is_full: false,
    };

    /// Returns the memory of the hashes.
    pub(super) const fn bytes(&self) -> usize {
        self.hashes.capacity() * size_of::<u32>()
    }

    /// Returns whether a span may have this hash.
    pub(super) fn may_contain(&self, hash: u32) -> bool {
        self.is_full || self.hashes.binary_search(&hash).is_ok()
    }

    /// Adds a span, with the hashes of its resource and scope.
    pub(super) fn add(
        &mut self,
        span: &Span,
        topic: Option<&str>,
        resource: &[u32],
        scope: &[u32],
    ) {
        if self.is_full {
            return;
        }
        // Spans of one export follow each other and share a resource: skip what was just added.
        let address = std::sync::Arc::as_ptr(&span.resource).addr();
        if self.last_resource != address {
            self.last_resource = address;
            resource.iter().for_each(|hash| self.insert(*hash));
            self.insert(hash_of_pair(SERVICE, span.service()));
        }
        scope.iter().for_each(|hash| self.insert(*hash));
        visit_span(span, topic, &mut |hash| self.insert(hash));
    }

    /// Forgets the last resource: a span was replaced, and another resource may take its address.
    pub(super) const fn forget_resource(&mut self) {
        self.last_resource = 0;
    }

    fn insert(&mut self, hash: u32) {
        if let Err(at) = self.hashes.binary_search(&hash) {
            if self.hashes.len() >= MAX_HASHES {
                // The memory goes back: a trace this varied is examined span by span anyway.
                self.hashes = Vec::new();
                self.is_full = true;
            } else if !self.is_full {
                // Sorted insertion moves 16 KiB at most, and keeps lookups logarithmic.
                self.hashes.insert(at, hash);
            }
        }
    }
}

/// Passes the hashes with which a [`Prefilter`](crate::Prefilter) finds a span to `visit`; one may
/// come several times. They depend on the version of the standard library.
pub fn span_hashes(span: &Span, visit: &mut dyn FnMut(u32)) {
    visit_hashes(&span.resource.attributes, visit);
    visit(hash_of_pair(SERVICE, span.service()));
    visit_hashes(&span.scope.attributes, visit);
    let topic = MessageAttributes::of(span).and_then(|message| message.topic);
    visit_span(span, topic, visit);
}

/// Passes the hashes of an attribute to `visit`: that of its name, and those of its texts.
pub fn attribute_hashes(attribute: &KeyValue, visit: &mut dyn FnMut(u32)) {
    visit_hashes(std::slice::from_ref(attribute), visit);
}

/// Returns the hashes of an attribute whose value is text, as [`attribute_hashes`] passes them.
#[must_use]
pub fn text_attribute_hashes(key: &str, text: &str) -> [u32; 2] {
    [hash_of_key(key), hash_of_pair(key, text)]
}

/// Passes the texts of a value to `visit`, as they are listed and hashed.
pub fn value_texts(value: &Value, visit: &mut dyn FnMut(&str)) {
    visit_texts(value, &mut String::new(), visit);
}

/// Returns the hash of a field of a span, as [`span_hashes`] passes it.
#[must_use]
pub fn field_hash(field: HashedField, text: &str) -> u32 {
    let key = match field {
        HashedField::Name => NAME,
        HashedField::Service => SERVICE,
        HashedField::Kind => KIND,
        HashedField::Status => STATUS,
        HashedField::Topic => TOPIC,
    };
    hash_of_pair(key, text)
}

/// Returns the hash of a trace as the target of a link.
#[must_use]
pub fn target_hash(id: TraceId) -> u32 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    truncate(hasher.finish())
}

/// Passes the hashes of a span, without those of its resource and scope, to `visit`.
fn visit_span(span: &Span, topic: Option<&str>, visit: &mut dyn FnMut(u32)) {
    visit(hash_of_pair(NAME, &span.name));
    visit(hash_of_pair(
        KIND,
        span.kind.name().unwrap_or("unspecified"),
    ));
    visit(hash_of_pair(STATUS, status_name(span)));
    if let Some(topic) = topic {
        visit(hash_of_pair(TOPIC, topic));
    }
    visit_hashes(&span.attributes, visit);
    for event in &span.events {
        visit_hashes(&event.attributes, visit);
    }
    for link in &span.links {
        visit_hashes(&link.attributes, visit);
    }
}

/// Returns the hashes of an attribute list.
pub(super) fn hashes_of(attributes: &[KeyValue]) -> Box<[u32]> {
    let mut hashes = Vec::new();
    visit_hashes(attributes, &mut |hash| hashes.push(hash));
    hashes.into()
}

/// Passes the hash of each attribute name, and of each name with its value, to `visit`.
fn visit_hashes(attributes: &[KeyValue], visit: &mut dyn FnMut(u32)) {
    let mut buffer = String::new();
    for pair in attributes {
        visit(hash_of_key(&pair.key));
        visit_texts(&pair.value, &mut buffer, &mut |text| {
            visit(hash_of_pair(&pair.key, text));
        });
    }
}

/// Passes the text of a value to `visit`, or those of the elements of an array.
pub(super) fn visit_texts(value: &Value, buffer: &mut String, visit: &mut dyn FnMut(&str)) {
    use std::fmt::Write as _;
    buffer.clear();
    let written = match value {
        Value::String(text) => return visit(text),
        Value::Empty => return visit(""),
        Value::Bool(boolean) => return visit(if *boolean { "true" } else { "false" }),
        Value::Array(values) => {
            return values
                .iter()
                .for_each(|value| visit_texts(value, buffer, visit));
        }
        // No predicate compares these by value.
        Value::Bytes(_) | Value::Map(_) => return,
        Value::Int(number) => write!(buffer, "{number}"),
        Value::Double(number) => write!(buffer, "{number}"),
    };
    if written.is_ok() {
        visit(buffer);
    }
}

/// Returns the hash of an attribute name.
pub(super) fn hash_of_key(key: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    truncate(hasher.finish())
}

/// Returns the hash of an attribute name with a value as text.
pub(super) fn hash_of_pair(key: &str, text: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    text.hash(&mut hasher);
    truncate(hasher.finish())
}

#[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
const fn truncate(hash: u64) -> u32 {
    hash as u32
}
