//! Services and their operations, counted as spans come and go, so that listing them does not cost
//! a look at every span.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use throughline_model::{Span, SpanKind};

use super::heap_size;
use crate::ServiceOperation;

/// Memory of a service in its map, with the smallest map of kinds.
const SERVICE_SLOT_BYTES: usize = 384;

/// Memory of the smallest map of names.
const KIND_SLOT_BYTES: usize = 384;

/// Memory of a name in its map, which is at least half full.
const NAME_SLOT_BYTES: usize = 64;

/// The services and their operations, each with its number of spans.
#[derive(Debug, Default)]
pub(super) struct ServiceIndex {
    services: BTreeMap<String, KindMap>,
    bytes: usize,
}

type KindMap = HashMap<SpanKind, NameMap>;
type NameMap = BTreeMap<String, usize>;

impl ServiceIndex {
    /// Returns the estimated memory of the index.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Counts a span in.
    pub(super) fn add(&mut self, span: &Span) {
        // The common case needs no owned copy of any name.
        if let Some(count) = self.counter(span) {
            *count += 1;
            return;
        }
        let service = span.service();
        let kinds = self.services.entry(service.to_owned()).or_insert_with(|| {
            self.bytes += SERVICE_SLOT_BYTES + heap_size::text(service);
            KindMap::new()
        });
        let names = kinds.entry(span.kind).or_insert_with(|| {
            self.bytes += KIND_SLOT_BYTES;
            NameMap::new()
        });
        self.bytes += NAME_SLOT_BYTES + heap_size::text(&span.name);
        names.insert(span.name.clone(), 1);
    }

    /// Counts a span out.
    pub(super) fn remove(&mut self, span: &Span) {
        let Some(count) = self.counter(span) else {
            return;
        };
        *count -= 1;
        if *count > 0 {
            return;
        }
        let service = span.service();
        let Some(kinds) = self.services.get_mut(service) else {
            return;
        };
        let Some(names) = kinds.get_mut(&span.kind) else {
            return;
        };
        names.remove(&span.name);
        self.bytes -= NAME_SLOT_BYTES + heap_size::text(&span.name);
        if names.is_empty() {
            kinds.remove(&span.kind);
            self.bytes -= KIND_SLOT_BYTES;
        }
        if kinds.is_empty() {
            self.services.remove(service);
            self.bytes -= SERVICE_SLOT_BYTES + heap_size::text(service);
        }
    }

    /// Returns the services, sorted.
    pub(super) fn services(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
    }

    /// Returns the operations of one service or all, and of one kind or all, sorted.
    pub(super) fn operations(
        &self,
        service: Option<&str>,
        kind: Option<SpanKind>,
    ) -> Vec<ServiceOperation> {
        let kinds = service.map_or_else(
            || self.services.values().collect::<Vec<_>>(),
            |service| self.services.get(service).into_iter().collect(),
        );
        // A set, because several services may have the same operation.
        let operations: BTreeSet<(&str, &'static str)> = kinds
            .into_iter()
            .flatten()
            .filter(|(own, _)| kind.is_none_or(|kind| kind == **own))
            .flat_map(|(kind, names)| {
                names
                    .keys()
                    .map(|name| (name.as_str(), kind.name().unwrap_or_default()))
            })
            .collect();
        operations
            .into_iter()
            .map(|(name, kind)| ServiceOperation {
                name: name.to_owned(),
                kind,
            })
            .collect()
    }

    /// Returns the names of all operations; names that services share come several times.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.services
            .values()
            .flat_map(HashMap::values)
            .flat_map(BTreeMap::keys)
            .map(String::as_str)
    }

    /// Returns the services with their numbers of spans.
    pub(super) fn service_counts(&self) -> impl Iterator<Item = (String, u64)> {
        self.services.iter().map(|(service, kinds)| {
            let spans: usize = kinds.values().flat_map(BTreeMap::values).sum();
            (service.clone(), spans as u64)
        })
    }

    /// Returns the operations of one service or all, with their numbers of spans.
    pub(super) fn operation_counts(&self, service: Option<&str>) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        for (_, kinds) in self
            .services
            .iter()
            .filter(|(own, _)| service.is_none_or(|service| service == *own))
        {
            for (name, count) in kinds.values().flatten() {
                *counts.entry(name.clone()).or_default() += *count as u64;
            }
        }
        counts
    }

    /// Returns whether a stored span has this service and this operation, where given.
    pub(super) fn contains(&self, service: Option<&str>, operation: Option<&str>) -> bool {
        let has_operation = |kinds: &KindMap| {
            operation.is_none_or(|name| kinds.values().any(|names| names.contains_key(name)))
        };
        match service {
            Some(service) => self.services.get(service).is_some_and(has_operation),
            None => self.services.values().any(has_operation),
        }
    }

    /// Returns the counter of the span's service, kind and name.
    fn counter(&mut self, span: &Span) -> Option<&mut usize> {
        self.services
            .get_mut(span.service())?
            .get_mut(&span.kind)?
            .get_mut(&span.name)
    }
}
