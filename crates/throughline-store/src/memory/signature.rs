//! What the spans of a trace have, as hashes: a trace without the hash of what is asked need not be looked through.
//!
//! Only ever a reason to pass a trace over, never one to take it: two texts may share a hash, and what was replaced leaves its own behind.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};

use throughline_model::{KeyValue, Span, Value};

use crate::filter::status;

/// Hashes of attributes and fields, sorted.
#[derive(Debug, Default)]
pub(super) struct Signature {
    hashes: Vec<u32>,
    /// Of the resource whose hashes came in last; it is held by a span of the trace, so the address is still its own.
    resource: usize,
    /// Too many: from now on it says nothing.
    is_full: bool,
}

impl Signature {
    pub(super) const EMPTY: Self = Self {
        hashes: Vec::new(),
        resource: 0,
        is_full: false,
    };

    pub(super) const fn bytes(&self) -> usize {
        self.hashes.capacity() * size_of::<u32>()
    }

    /// Whether some span may have this hash.
    pub(super) fn may_have(&self, hash: u32) -> bool {
        self.is_full || self.hashes.binary_search(&hash).is_ok()
    }

    /// A span came in, with the hashes of its resource and scope.
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
        let address = std::sync::Arc::as_ptr(&span.resource).addr();
        if self.resource != address {
            self.resource = address;
            resource.iter().for_each(|hash| self.insert(*hash));
            self.insert(of_pair(SERVICE, span.service()));
        }
        scope.iter().for_each(|hash| self.insert(*hash));
        self.insert(of_pair(NAME, &span.name));
        self.insert(of_pair(KIND, span.kind.name().unwrap_or("unspecified")));
        self.insert(of_pair(STATUS, status(span)));
        if let Some(topic) = topic {
            self.insert(of_pair(TOPIC, topic));
        }
        each_pair(&span.attributes, &mut |hash| self.insert(hash));
        for event in &span.events {
            each_pair(&event.attributes, &mut |hash| self.insert(hash));
        }
        for link in &span.links {
            each_pair(&link.attributes, &mut |hash| self.insert(hash));
        }
    }

    /// A span went: its resource may be gone, and another in its place.
    pub(super) const fn forget_resource(&mut self) {
        self.resource = 0;
    }

    fn insert(&mut self, hash: u32) {
        if let Err(at) = self.hashes.binary_search(&hash) {
            if self.hashes.len() >= HASHES_MAX {
                self.hashes = Vec::new();
                self.is_full = true;
            } else if !self.is_full {
                self.hashes.insert(at, hash);
            }
        }
    }
}

/// The hashes of these attributes.
pub(super) fn of_attributes(attributes: &[KeyValue]) -> Box<[u32]> {
    let mut hashes = Vec::new();
    each_pair(attributes, &mut |hash| hashes.push(hash));
    hashes.into()
}

/// Shows the hash of each attribute and of its name.
fn each_pair(attributes: &[KeyValue], see: &mut dyn FnMut(u32)) {
    let mut room = String::new();
    for pair in attributes {
        see(of_key(&pair.key));
        each_text(&pair.value, &mut room, &mut |text| {
            see(of_pair(&pair.key, text))
        });
    }
}

/// Shows the texts of a value: one, or for an array those of its elements.
pub(super) fn each_text(value: &Value, room: &mut String, see: &mut dyn FnMut(&str)) {
    use std::fmt::Write as _;
    room.clear();
    let written = match value {
        Value::String(text) => return see(text),
        Value::Empty => return see(""),
        Value::Bool(truth) => return see(if *truth { "true" } else { "false" }),
        Value::Array(values) => return values.iter().for_each(|value| each_text(value, room, see)),
        Value::Bytes(_) | Value::Map(_) => return,
        Value::Int(number) => write!(room, "{number}"),
        Value::Double(number) => write!(room, "{number}"),
    };
    if written.is_ok() {
        see(room);
    }
}

/// Of the name of an attribute.
pub(super) fn of_key(key: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    short(hasher.finish())
}

/// Of an attribute with its value as text.
pub(super) fn of_pair(key: &str, text: &str) -> u32 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    text.hash(&mut hasher);
    short(hasher.finish())
}

#[expect(clippy::cast_possible_truncation, reason = "half of a hash is a hash")]
const fn short(hash: u64) -> u32 {
    hash as u32
}

/// Names for fields, which no attribute has.
pub(super) const NAME: &str = "\0name";
pub(super) const SERVICE: &str = "\0service";
pub(super) const KIND: &str = "\0kind";
pub(super) const STATUS: &str = "\0status";
pub(super) const TOPIC: &str = "\0topic";

/// Hashes of one trace: 16 KiB.
const HASHES_MAX: usize = 4096;
