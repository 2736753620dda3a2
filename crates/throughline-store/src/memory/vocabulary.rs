//! Which attributes there are and which values they have, counted as spans come and go: for completion, and to know without a look at the
//! spans which values an expression matches.
//!
//! Of one attribute a bounded number of values is listed. Where there are more, what is listed is a sample, good for completion alone.

use std::collections::HashMap;

use throughline_model::{KeyValue, Span};

use super::{signature, weight};
use crate::{Scope, Test};

/// Attributes and topics.
#[derive(Debug, Default)]
pub(super) struct Vocabulary {
    keys: HashMap<Box<str>, Key>,
    topics: HashMap<Box<str>, u64>,
    bytes: usize,
    /// Some attributes are not listed.
    is_partial: bool,
    room: String,
}

/// An attribute.
#[derive(Debug, Default)]
struct Key {
    /// How often it stands in each of [`SCOPES`].
    counts: [u64; SCOPES.len()],
    values: HashMap<Box<str>, u64>,
    /// Some values are not listed.
    is_partial: bool,
}

/// Whether what is counted comes or goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Comes,
    Goes,
}

impl Vocabulary {
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// A span comes or goes; without its resource and scope.
    pub(super) fn count_span(&mut self, span: &Span, topic: Option<&str>, change: Change) {
        self.count(&span.attributes, Scope::Span, change);
        for event in &span.events {
            self.count(&event.attributes, Scope::Event, change);
        }
        for link in &span.links {
            self.count(&link.attributes, Scope::Link, change);
        }
        if let Some(topic) = topic {
            self.count_topic(topic, change);
        }
    }

    /// Attributes come or go.
    pub(super) fn count(&mut self, attributes: &[KeyValue], scope: Scope, change: Change) {
        let Some(at) = SCOPES.iter().position(|own| *own == scope) else {
            return;
        };
        let mut room = std::mem::take(&mut self.room);
        for pair in attributes {
            match change {
                Change::Comes => self.add(pair, at, &mut room),
                Change::Goes => self.remove(pair, at, &mut room),
            }
        }
        self.room = room;
    }

    fn add(&mut self, pair: &KeyValue, at: usize, room: &mut String) {
        if !self.keys.contains_key(pair.key.as_str()) {
            if self.keys.len() >= KEYS_MAX {
                self.is_partial = true;
                return;
            }
            self.bytes += KEY_PLACE + weight::text(&pair.key);
            self.keys.insert(pair.key.as_str().into(), Key::default());
        }
        let Some(key) = self.keys.get_mut(pair.key.as_str()) else {
            return;
        };
        if let Some(count) = key.counts.get_mut(at) {
            *count += 1;
        }
        let bytes = &mut self.bytes;
        signature::each_text(&pair.value, room, &mut |text| {
            if let Some(count) = key.values.get_mut(text) {
                *count += 1;
            } else if key.values.len() >= VALUES_MAX || text.len() > VALUE_MAX {
                key.is_partial = true;
            } else {
                *bytes += VALUE_PLACE + weight::text(text);
                key.values.insert(text.into(), 1);
            }
        });
    }

    fn remove(&mut self, pair: &KeyValue, at: usize, room: &mut String) {
        let Some(key) = self.keys.get_mut(pair.key.as_str()) else {
            return;
        };
        if let Some(count) = key.counts.get_mut(at) {
            *count = count.saturating_sub(1);
        }
        let bytes = &mut self.bytes;
        signature::each_text(&pair.value, room, &mut |text| {
            let Some(count) = key.values.get_mut(text) else {
                return;
            };
            *count -= 1;
            if *count == 0 {
                *bytes -= VALUE_PLACE + weight::text(text);
                key.values.remove(text);
            }
        });
        if key.counts.iter().all(|count| *count == 0) {
            self.bytes -= KEY_PLACE + weight::text(&pair.key);
            self.bytes -= key
                .values
                .keys()
                .map(|text| VALUE_PLACE + weight::text(text))
                .sum::<usize>();
            self.keys.remove(pair.key.as_str());
        }
    }

    fn count_topic(&mut self, topic: &str, change: Change) {
        match (self.topics.get_mut(topic), change) {
            (Some(count), Change::Comes) => *count += 1,
            (Some(count), Change::Goes) => {
                *count -= 1;
                if *count == 0 {
                    self.bytes -= VALUE_PLACE + weight::text(topic);
                    self.topics.remove(topic);
                }
            }
            (None, Change::Comes) => {
                self.bytes += VALUE_PLACE + weight::text(topic);
                self.topics.insert(topic.into(), 1);
            }
            (None, Change::Goes) => {}
        }
    }

    /// The values of an attribute that pass a test; `None` when not all of its values are known.
    pub(super) fn accepted<'a>(
        &'a self,
        key: &str,
        test: &'a Test,
    ) -> Option<impl Iterator<Item = &'a str>> {
        let known = self.keys.get(key);
        let is_partial = known.map_or(self.is_partial, |key| key.is_partial);
        if is_partial {
            return None;
        }
        let texts = known.into_iter().flat_map(|key| key.values.keys());
        Some(
            texts
                .map(|text| &**text)
                .filter(|text| test.accepts(crate::Piece::Text(text))),
        )
    }

    /// The topics that pass a test.
    pub(super) fn topics_accepted<'a>(&'a self, test: &'a Test) -> impl Iterator<Item = &'a str> {
        self.topics
            .keys()
            .map(|text| &**text)
            .filter(|text| test.accepts(crate::Piece::Text(text)))
    }

    /// The topics, with how many spans speak of them.
    pub(super) fn topics(&self) -> impl Iterator<Item = (String, u64)> {
        self.topics
            .iter()
            .map(|(topic, count)| (topic.to_string(), *count))
    }

    /// The attributes with their scopes.
    pub(super) fn keys(&self) -> impl Iterator<Item = (String, u64)> {
        self.keys.iter().flat_map(|(name, key)| {
            let scoped = SCOPES
                .iter()
                .zip(key.counts)
                .filter(|(_, count)| *count > 0);
            scoped.map(move |(scope, count)| (format!("{}.{name}", scope.name()), count))
        })
    }

    /// The values of an attribute, given with or without its scope, and whether all are listed.
    pub(super) fn values(&self, name: &str) -> (Vec<(String, u64)>, bool) {
        let unscoped = name
            .split_once('.')
            .filter(|(scope, _)| scope.is_empty() || Scope::from_name(scope).is_some());
        let key = unscoped
            .and_then(|(_, key)| self.keys.get(key))
            .or_else(|| self.keys.get(name));
        let Some(key) = key else {
            return (Vec::new(), true);
        };
        let values = key
            .values
            .iter()
            .map(|(text, count)| (text.to_string(), *count))
            .collect();
        (values, !key.is_partial)
    }
}

/// Where attributes are.
const SCOPES: [Scope; 5] = [
    Scope::Span,
    Scope::Resource,
    Scope::Event,
    Scope::Link,
    Scope::Instrumentation,
];

/// Attributes that are listed.
const KEYS_MAX: usize = 20_000;

/// Values that are listed of one attribute.
const VALUES_MAX: usize = 1000;

/// Bytes of a value that is listed.
const VALUE_MAX: usize = 256;

/// A place in the map of attributes.
const KEY_PLACE: usize = 224;

/// A place in a map of texts.
const VALUE_PLACE: usize = 48;
