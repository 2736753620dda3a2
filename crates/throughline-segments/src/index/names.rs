//! The names and values of a segment's spans.

use std::borrow::Cow;
use std::collections::BTreeMap;

use throughline_model::SpanKind;
use throughline_store::{
    CompletionKind, FieldValue, ServiceOperation, ValuePredicate, ValueStatistics,
};

use super::byte_codec::{read_count, read_text, read_varint, write_text, write_varint};

/// Maximum number of attributes listed.
pub(super) const MAX_KEYS: usize = 20_000;

/// Texts with the numbers of spans that have them.
pub(crate) type TextCounts = Vec<(String, u64)>;

/// The names and values of a segment's spans.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct SegmentNames {
    pub(super) services: BTreeMap<String, ServiceNames>,
    /// Attributes with their scopes.
    pub(super) keys: TextCounts,
    pub(super) values: BTreeMap<String, AttributeValues>,
    pub(super) topics: TextCounts,
}

/// The names of a service's spans.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ServiceNames {
    /// Names with their kinds; the kind is empty when unspecified.
    pub(super) operations: Vec<(String, String)>,
    pub(super) counts: TextCounts,
}

/// The values of an attribute.
#[derive(Debug, Default, PartialEq)]
pub(super) struct AttributeValues {
    pub(super) values: TextCounts,
    pub(super) is_complete: bool,
}

// === impl SegmentNames ===

impl SegmentNames {
    /// Returns the services.
    pub(crate) fn service_names(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
    }

    /// Returns the operations of one service or all, and of one kind or all.
    pub(crate) fn operations(
        &self,
        service: Option<&str>,
        kind: Option<SpanKind>,
    ) -> impl Iterator<Item = ServiceOperation> {
        let services = self.services.iter();
        let services = services.filter(move |(own, _)| service.is_none_or(|it| it == *own));
        let operations = services.flat_map(|(_, names)| &names.operations);
        operations.filter_map(move |(name, own)| {
            let own = SpanKind::from_name(own).unwrap_or_default();
            kind.is_none_or(|kind| kind == own)
                .then(|| ServiceOperation {
                    name: name.clone(),
                    kind: own.name().unwrap_or_default(),
                })
        })
    }

    /// Returns the completions of one kind, and whether they are all.
    pub(crate) fn completions(&self, kind: &CompletionKind) -> (TextCounts, bool) {
        match kind {
            CompletionKind::Keys => (self.keys.clone(), true),
            CompletionKind::Topics => (self.topics.clone(), true),
            CompletionKind::Services => {
                let total = |names: &ServiceNames| names.counts.iter().map(|it| it.1).sum();
                let services = self.services.iter();
                let counts = services.map(|(service, names)| (service.clone(), total(names)));
                (counts.collect(), true)
            }
            CompletionKind::Operations(service) => {
                let services = self.services.iter();
                let services =
                    services.filter(|(own, _)| service.as_ref().is_none_or(|it| it == *own));
                let counts = services.flat_map(|(_, names)| names.counts.iter().cloned());
                (counts.collect(), true)
            }
            CompletionKind::Values(name) => {
                // As the store in memory reads a name with its scope.
                let unscoped = name.split_once('.').filter(|(scope, _)| {
                    scope.is_empty()
                        || throughline_store::AttributeScope::from_name(scope).is_some()
                });
                let list = unscoped.and_then(|(_, key)| self.values.get(key));
                let list = list.or_else(|| self.values.get(name));
                list.map_or((Vec::new(), true), |list| {
                    (list.values.clone(), list.is_complete)
                })
            }
        }
    }

    pub(super) fn bytes(&self) -> usize {
        let values = self.values.values().map(|list| list.values.len());
        let services = self.services.values().map(|names| names.counts.len() * 2);
        (self.keys.len() + values.sum::<usize>() + services.sum::<usize>()) * 64
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        write_varint(out, self.services.len() as u64);
        for (service, names) in &self.services {
            write_text(out, service);
            write_varint(out, names.operations.len() as u64);
            for (name, kind) in &names.operations {
                write_text(out, name);
                write_text(out, kind);
            }
            write_counts(out, &names.counts);
        }
        write_counts(out, &self.keys);
        write_varint(out, self.values.len() as u64);
        for (key, list) in &self.values {
            write_text(out, key);
            write_varint(out, list.is_complete.into());
            write_counts(out, &list.values);
        }
        write_counts(out, &self.topics);
    }

    pub(super) fn read(bytes: &mut &[u8]) -> Option<Self> {
        let mut names = Self::default();
        for _ in 0..read_count(bytes)? {
            let service = read_text(bytes)?;
            let mut own = ServiceNames::default();
            for _ in 0..read_count(bytes)? {
                own.operations.push((read_text(bytes)?, read_text(bytes)?));
            }
            own.counts = read_counts(bytes)?;
            names.services.insert(service, own);
        }
        names.keys = read_counts(bytes)?;
        for _ in 0..read_count(bytes)? {
            let key = read_text(bytes)?;
            let list = AttributeValues {
                is_complete: read_varint(bytes)? == 1,
                values: read_counts(bytes)?,
            };
            names.values.insert(key, list);
        }
        names.topics = read_counts(bytes)?;
        Some(names)
    }
}

impl ValueStatistics for SegmentNames {
    fn accepted_values(&self, key: &str, predicate: &ValuePredicate) -> Option<Vec<Cow<'_, str>>> {
        let Some(list) = self.values.get(key) else {
            return (self.keys.len() < MAX_KEYS).then(Vec::new);
        };
        list.is_complete.then(|| accepted(&list.values, predicate))
    }

    fn accepted_topics(&self, predicate: &ValuePredicate) -> Vec<Cow<'_, str>> {
        accepted(&self.topics, predicate)
    }

    fn services(&self) -> Vec<&str> {
        self.service_names().collect()
    }

    fn names(&self) -> Vec<&str> {
        let counts = self.services.values().flat_map(|names| &names.counts);
        counts.map(|(name, _)| name.as_str()).collect()
    }

    fn contains(&self, service: Option<&str>, operation: Option<&str>) -> bool {
        let has_operation = |names: &ServiceNames| {
            operation.is_none_or(|wanted| names.counts.iter().any(|(name, _)| name == wanted))
        };
        match service {
            Some(service) => self.services.get(service).is_some_and(has_operation),
            None => self.services.values().any(has_operation),
        }
    }
}

fn accepted<'a>(texts: &'a TextCounts, predicate: &ValuePredicate) -> Vec<Cow<'a, str>> {
    let texts = texts.iter().map(|(text, _)| text.as_str());
    texts
        .filter(|text| predicate.accepts(FieldValue::Text(text)))
        .map(Cow::Borrowed)
        .collect()
}

fn write_counts(out: &mut Vec<u8>, counts: &TextCounts) {
    write_varint(out, counts.len() as u64);
    for (text, count) in counts {
        write_text(out, text);
        write_varint(out, *count);
    }
}

fn read_counts(bytes: &mut &[u8]) -> Option<TextCounts> {
    (0..read_count(bytes)?)
        .map(|_| Some((read_text(bytes)?, read_varint(bytes)?)))
        .collect()
}
