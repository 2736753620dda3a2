//! Which services there are and what they do, counted as spans come and go: a page that lists them must not cost a look at every span.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use throughline_model::{Span, SpanKind};

use super::weight;
use crate::{Operation, Query};

/// Services and their operations, each with the number of spans that it is the name of.
#[derive(Debug, Default)]
pub(super) struct Catalogue {
    services: BTreeMap<String, Kinds>,
    bytes: usize,
}

type Kinds = HashMap<SpanKind, Names>;
type Names = BTreeMap<String, usize>;

impl Catalogue {
    /// Bytes of all that is listed.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// A span came in.
    pub(super) fn add(&mut self, span: &Span) {
        if let Some(count) = self.count(span) {
            *count += 1;
            return;
        }
        let service = span.service();
        let kinds = self.services.entry(service.to_owned()).or_insert_with(|| {
            self.bytes += SERVICE_PLACE + weight::text(service);
            Kinds::new()
        });
        let names = kinds.entry(span.kind).or_insert_with(|| {
            self.bytes += KIND_PLACE;
            Names::new()
        });
        self.bytes += NAME_PLACE + weight::text(&span.name);
        names.insert(span.name.clone(), 1);
    }

    /// A span goes.
    pub(super) fn remove(&mut self, span: &Span) {
        let Some(count) = self.count(span) else {
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
        self.bytes -= NAME_PLACE + weight::text(&span.name);
        if names.is_empty() {
            kinds.remove(&span.kind);
            self.bytes -= KIND_PLACE;
        }
        if kinds.is_empty() {
            self.services.remove(service);
            self.bytes -= SERVICE_PLACE + weight::text(service);
        }
    }

    /// The services, sorted.
    pub(super) fn services(&self) -> impl Iterator<Item = &str> {
        self.services.keys().map(String::as_str)
    }

    /// The operations, sorted: of one service or all, of one kind or all.
    pub(super) fn operations(
        &self,
        service: Option<&str>,
        kind: Option<SpanKind>,
    ) -> Vec<Operation> {
        let kinds = service.map_or_else(
            || self.services.values().collect::<Vec<_>>(),
            |service| self.services.get(service).into_iter().collect(),
        );
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
            .map(|(name, kind)| Operation {
                name: name.to_owned(),
                kind,
            })
            .collect()
    }

    /// The names of all operations, some of them more than once.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.services
            .values()
            .flat_map(HashMap::values)
            .flat_map(BTreeMap::keys)
            .map(String::as_str)
    }

    /// The services with their number of spans.
    pub(super) fn service_counts(&self) -> impl Iterator<Item = (String, u64)> {
        self.services.iter().map(|(service, kinds)| {
            let spans: usize = kinds.values().flat_map(BTreeMap::values).sum();
            (service.clone(), spans as u64)
        })
    }

    /// The operations with their number of spans, of one service or all.
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

    /// Whether there can be an answer: a service or operation that is not listed has no span to be found.
    pub(super) fn may_answer(&self, query: &Query) -> bool {
        let names_operation = |kinds: &Kinds| {
            query
                .operation
                .as_ref()
                .is_none_or(|name| kinds.values().any(|names| names.contains_key(name)))
        };
        match &query.service {
            Some(service) => self.services.get(service).is_some_and(names_operation),
            None => query.operation.is_none() || self.services.values().any(names_operation),
        }
    }

    fn count(&mut self, span: &Span) -> Option<&mut usize> {
        self.services
            .get_mut(span.service())?
            .get_mut(&span.kind)?
            .get_mut(&span.name)
    }
}

/// A service's place in its map, and the smallest map of kinds.
const SERVICE_PLACE: usize = 384;

/// The smallest map of names.
const KIND_PLACE: usize = 384;

/// A name's place in its map, which is at least half full.
const NAME_PLACE: usize = 64;
