//! Attributes and their values, counted as spans come and go.
//!
//! The index serves completion, and shows which stored values a predicate matches without a look
//! at the spans. It lists a bounded number of values of each attribute; beyond that the list is a
//! sample, which serves completion alone.

use std::collections::HashMap;

use throughline_model::{KeyValue, Span};

use super::{fingerprint, heap_size};
use crate::{AttributeScope, FieldValue, ValuePredicate};

/// Scopes with a count of their own.
const SCOPES: [AttributeScope; 5] = [
    AttributeScope::Span,
    AttributeScope::Resource,
    AttributeScope::Event,
    AttributeScope::Link,
    AttributeScope::Instrumentation,
];

/// Maximum number of attributes listed.
const MAX_KEYS: usize = 20_000;

/// Maximum number of values listed of one attribute.
const MAX_VALUES: usize = 1000;

/// Maximum length of a listed value.
const MAX_VALUE_BYTES: usize = 256;

/// Memory of an attribute in its map.
const KEY_SLOT_BYTES: usize = 224;

/// Memory of a text in its map.
const VALUE_SLOT_BYTES: usize = 48;

/// The attributes and topics of all stored spans.
#[derive(Debug, Default)]
pub(super) struct AttributeIndex {
    keys: HashMap<Box<str>, AttributeEntry>,
    topics: HashMap<Box<str>, u64>,
    bytes: usize,
    /// True when some attributes are not listed.
    is_partial: bool,
    buffer: String,
}

/// One attribute.
#[derive(Debug, Default)]
struct AttributeEntry {
    /// Number of occurrences in each of [`SCOPES`].
    counts: [u64; SCOPES.len()],
    values: HashMap<Box<str>, u64>,
    /// True when some values are not listed.
    is_partial: bool,
}

/// The direction in which counts change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CountChange {
    Add,
    Remove,
}

impl AttributeIndex {
    /// Returns the estimated memory of the index.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts a span in or out, without its resource and scope.
    pub(super) fn count_span(&mut self, span: &Span, topic: Option<&str>, change: CountChange) {
        self.count(&span.attributes, AttributeScope::Span, change);
        for event in &span.events {
            self.count(&event.attributes, AttributeScope::Event, change);
        }
        for link in &span.links {
            self.count(&link.attributes, AttributeScope::Link, change);
        }
        if let Some(topic) = topic {
            self.count_topic(topic, change);
        }
    }

    /// Counts attributes in or out.
    pub(super) fn count(
        &mut self,
        attributes: &[KeyValue],
        scope: AttributeScope,
        change: CountChange,
    ) {
        let Some(at) = SCOPES.iter().position(|own| *own == scope) else {
            return;
        };
        // One buffer for all numbers that are formatted: inserts are the hot path.
        let mut buffer = std::mem::take(&mut self.buffer);
        for pair in attributes {
            match change {
                CountChange::Add => self.add(pair, at, &mut buffer),
                CountChange::Remove => self.remove(pair, at, &mut buffer),
            }
        }
        self.buffer = buffer;
    }

    fn add(&mut self, pair: &KeyValue, scope: usize, buffer: &mut String) {
        if !self.keys.contains_key(pair.key.as_str()) {
            // Once an attribute is left out the list stays partial: it is unknown which are.
            if self.keys.len() >= MAX_KEYS {
                self.is_partial = true;
                return;
            }
            self.bytes += KEY_SLOT_BYTES + heap_size::text(&pair.key);
            self.keys
                .insert(pair.key.as_str().into(), AttributeEntry::default());
        }
        let Some(entry) = self.keys.get_mut(pair.key.as_str()) else {
            return;
        };
        if let Some(count) = entry.counts.get_mut(scope) {
            *count += 1;
        }
        let bytes = &mut self.bytes;
        fingerprint::visit_texts(&pair.value, buffer, &mut |text| {
            if let Some(count) = entry.values.get_mut(text) {
                *count += 1;
            } else if entry.values.len() >= MAX_VALUES || text.len() > MAX_VALUE_BYTES {
                entry.is_partial = true;
            } else {
                *bytes += VALUE_SLOT_BYTES + heap_size::text(text);
                entry.values.insert(text.into(), 1);
            }
        });
    }

    fn remove(&mut self, pair: &KeyValue, scope: usize, buffer: &mut String) {
        let Some(entry) = self.keys.get_mut(pair.key.as_str()) else {
            return;
        };
        // Spans that came before an attribute was listed go uncounted, so saturate.
        if let Some(count) = entry.counts.get_mut(scope) {
            *count = count.saturating_sub(1);
        }
        let bytes = &mut self.bytes;
        fingerprint::visit_texts(&pair.value, buffer, &mut |text| {
            let Some(count) = entry.values.get_mut(text) else {
                return;
            };
            *count -= 1;
            if *count == 0 {
                *bytes -= VALUE_SLOT_BYTES + heap_size::text(text);
                entry.values.remove(text);
            }
        });
        if entry.counts.iter().all(|count| *count == 0) {
            self.bytes -= KEY_SLOT_BYTES + heap_size::text(&pair.key);
            // Counts reach zero with values left over when spans from before the attribute was
            // listed are counted out.
            self.bytes -= entry
                .values
                .keys()
                .map(|text| VALUE_SLOT_BYTES + heap_size::text(text))
                .sum::<usize>();
            self.keys.remove(pair.key.as_str());
        }
    }

    fn count_topic(&mut self, topic: &str, change: CountChange) {
        match (self.topics.get_mut(topic), change) {
            (Some(count), CountChange::Add) => *count += 1,
            (Some(count), CountChange::Remove) => {
                *count -= 1;
                if *count == 0 {
                    self.bytes -= VALUE_SLOT_BYTES + heap_size::text(topic);
                    self.topics.remove(topic);
                }
            }
            (None, CountChange::Add) => {
                self.bytes += VALUE_SLOT_BYTES + heap_size::text(topic);
                self.topics.insert(topic.into(), 1);
            }
            (None, CountChange::Remove) => {}
        }
    }

    /// Returns the values of an attribute that satisfy a predicate; `None` when the list of its
    /// values is partial.
    pub(super) fn accepted_values<'a, 'p>(
        &'a self,
        key: &str,
        predicate: &'p ValuePredicate,
    ) -> Option<impl Iterator<Item = &'a str> + use<'a, 'p>> {
        let entry = self.keys.get(key);
        let is_partial = entry.map_or(self.is_partial, |entry| entry.is_partial);
        if is_partial {
            return None;
        }
        let texts = entry.into_iter().flat_map(|entry| entry.values.keys());
        Some(
            texts
                .map(|text| &**text)
                .filter(|text| predicate.accepts(FieldValue::Text(text))),
        )
    }

    /// Returns the topics that satisfy a predicate.
    pub(super) fn accepted_topics<'a, 'p>(
        &'a self,
        predicate: &'p ValuePredicate,
    ) -> impl Iterator<Item = &'a str> + use<'a, 'p> {
        self.topics
            .keys()
            .map(|text| &**text)
            .filter(|text| predicate.accepts(FieldValue::Text(text)))
    }

    /// Returns the topics with the number of spans that name them.
    pub(super) fn topics(&self) -> impl Iterator<Item = (String, u64)> {
        self.topics
            .iter()
            .map(|(topic, count)| (topic.to_string(), *count))
    }

    /// Returns the attributes with their scopes.
    pub(super) fn keys(&self) -> impl Iterator<Item = (String, u64)> {
        self.keys.iter().flat_map(|(name, entry)| {
            let scoped = SCOPES
                .iter()
                .zip(entry.counts)
                .filter(|(_, count)| *count > 0);
            scoped.map(move |(scope, count)| (format!("{}.{name}", scope.name()), count))
        })
    }

    /// Returns the values of an attribute, named with or without its scope, and whether the list
    /// is complete.
    pub(super) fn values(&self, name: &str) -> (Vec<(String, u64)>, bool) {
        // `span.http.route` means the attribute `http.route`, and `.http.route` too; but an
        // attribute may itself begin with `span.`.
        let unscoped = name
            .split_once('.')
            .filter(|(scope, _)| scope.is_empty() || AttributeScope::from_name(scope).is_some());
        let entry = unscoped
            .and_then(|(_, key)| self.keys.get(key))
            .or_else(|| self.keys.get(name));
        let Some(entry) = entry else {
            return (Vec::new(), true);
        };
        let values = entry
            .values
            .iter()
            .map(|(text, count)| (text.to_string(), *count))
            .collect();
        (values, !entry.is_partial)
    }
}
