//! Counts the names and values of spans.

use std::collections::{BTreeMap, HashMap};

use throughline_model::{KeyValue, Value};
use throughline_otlp::NestedScope;
use throughline_store::{AttributeScope, value_texts};

use super::names::{AttributeValues, MAX_KEYS, SegmentNames, ServiceNames};
use crate::columns::{FoldHasher, HotColumns, KINDS};

/// Maximum number of values listed of one attribute.
const MAX_VALUES: usize = 1000;

/// Maximum length of a listed value.
const MAX_VALUE_BYTES: usize = 256;

/// Spans by service, name and kind.
type OperationCounts = HashMap<(u32, u32, u8), u64, FoldHasher>;

/// The names and values of spans, with their numbers.
#[derive(Debug)]
struct NameCounter<'a> {
    columns: &'a HotColumns,
    /// By name and scope.
    keys: HashMap<String, BTreeMap<&'static str, u64>>,
    values: HashMap<String, ValueTotals>,
}

/// The values of an attribute.
#[derive(Debug, Default)]
struct ValueTotals {
    counts: HashMap<String, u64>,
    is_partial: bool,
}

/// Returns the names and values of all spans.
pub(crate) fn names_of(columns: &HotColumns) -> SegmentNames {
    NameCounter::new(columns).finish()
}

// === impl NameCounter ===

impl<'a> NameCounter<'a> {
    fn new(columns: &'a HotColumns) -> Self {
        Self {
            columns,
            keys: HashMap::new(),
            values: HashMap::new(),
        }
    }

    fn finish(mut self) -> SegmentNames {
        let columns = self.columns;
        let mut span_terms = vec![0u64; columns.terms().len()];
        let mut origins = vec![0u64; columns.origins().len()];
        let mut operations: OperationCounts = HashMap::with_hasher(FoldHasher::new());
        for (_, row) in columns.live_rows() {
            for term in columns.terms_of(row) {
                add_one(&mut span_terms, *term);
            }
            add_one(&mut origins, row.origin);
            let service = columns.origin(row.origin).map_or(0, |it| it.service);
            *operations.entry((service, row.name, row.kind)).or_default() += 1;
        }
        self.count_terms(&span_terms, AttributeScope::Span);
        for scope in [NestedScope::Event, NestedScope::Link] {
            let mut counts = vec![0u64; columns.terms().len()];
            for (row, own, term) in columns.nested() {
                let is_live = columns.row(*row).is_some_and(|row| columns.is_live(row));
                if is_live && *own == scope {
                    add_one(&mut counts, *term);
                }
            }
            self.count_terms(&counts, scope_of(scope));
        }
        for (origin, count) in columns.origins().iter().zip(origins) {
            // The attributes of a resource count once, however many spans share it.
            if count > 0 {
                self.count_pairs(&origin.resource.attributes, AttributeScope::Resource);
                self.count_pairs(&origin.scope.attributes, AttributeScope::Instrumentation);
            }
        }
        let mut names = SegmentNames {
            services: services(columns, &operations),
            topics: topics(columns),
            ..SegmentNames::default()
        };
        for (key, scopes) in self.keys {
            let scoped = scopes.into_iter();
            names
                .keys
                .extend(scoped.map(|(scope, count)| (format!("{scope}.{key}"), count)));
            let values = self.values.remove(&key).unwrap_or_default();
            let mut counts: Vec<(String, u64)> = values.counts.into_iter().collect();
            counts.sort_unstable();
            let list = AttributeValues {
                values: counts,
                is_complete: !values.is_partial,
            };
            names.values.insert(key, list);
        }
        names.keys.sort_unstable();
        names
    }

    fn count_terms(&mut self, counts: &[u64], scope: AttributeScope) {
        let terms = self.columns.terms();
        for (term, count) in (0..).zip(counts).filter(|(_, count)| **count > 0) {
            if let Some((key, text)) = terms.text(term) {
                self.count_key(key, scope, *count);
                self.count_value(key, text, *count);
            } else if let Some(pair) = terms.attribute(term) {
                self.count_pair(&pair, scope, *count);
            }
        }
    }

    fn count_pairs(&mut self, pairs: &[KeyValue], scope: AttributeScope) {
        for pair in pairs {
            self.count_pair(pair, scope, 1);
        }
    }

    fn count_pair(&mut self, pair: &KeyValue, scope: AttributeScope, count: u64) {
        let key = pair.key.as_str();
        self.count_key(key, scope, count);
        let value: &Value = &pair.value;
        value_texts(value, &mut |text| self.count_value(key, text, count));
    }

    fn count_key(&mut self, key: &str, scope: AttributeScope, count: u64) {
        if !self.keys.contains_key(key) {
            if self.keys.len() >= MAX_KEYS {
                return;
            }
            self.keys.insert(key.to_owned(), BTreeMap::new());
            self.values.insert(key.to_owned(), ValueTotals::default());
        }
        if let Some(scopes) = self.keys.get_mut(key) {
            *scopes.entry(scope.name()).or_default() += count;
        }
    }

    fn count_value(&mut self, key: &str, text: &str, count: u64) {
        let Some(values) = self.values.get_mut(key) else {
            return;
        };
        if let Some(own) = values.counts.get_mut(text) {
            *own += count;
        } else if values.counts.len() >= MAX_VALUES || text.len() > MAX_VALUE_BYTES {
            values.is_partial = true;
        } else {
            values.counts.insert(text.to_owned(), count);
        }
    }
}

fn add_one(counts: &mut [u64], at: u32) {
    if let Some(count) = counts.get_mut(at as usize) {
        *count += 1;
    }
}

const fn scope_of(scope: NestedScope) -> AttributeScope {
    match scope {
        NestedScope::Event => AttributeScope::Event,
        NestedScope::Link => AttributeScope::Link,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn services(columns: &HotColumns, operations: &OperationCounts) -> BTreeMap<String, ServiceNames> {
    let mut services: BTreeMap<String, ServiceNames> = BTreeMap::new();
    let mut counts: BTreeMap<(u32, u32), u64> = BTreeMap::new();
    for ((service, name, kind), count) in operations {
        let names = services.entry(text(columns.services().get(*service)));
        let kind = KINDS.get(usize::from(*kind)).and_then(|kind| kind.name());
        let operation = (text(columns.names().get(*name)), kind.unwrap_or_default());
        let operation = (operation.0, operation.1.to_owned());
        names.or_default().operations.push(operation);
        *counts.entry((*service, *name)).or_default() += count;
    }
    for ((service, name), count) in counts {
        if let Some(names) = services.get_mut(&text(columns.services().get(service))) {
            names.counts.push((text(columns.names().get(name)), count));
        }
    }
    for names in services.values_mut() {
        names.operations.sort_unstable();
        names.counts.sort_unstable();
    }
    services
}

fn topics(columns: &HotColumns) -> Vec<(String, u64)> {
    let mut counts = vec![0u64; columns.topics().len()];
    for (row, topic) in columns.row_topics() {
        if columns.row(*row).is_some_and(|row| columns.is_live(row)) {
            add_one(&mut counts, *topic);
        }
    }
    let counts = (0..).zip(counts).filter(|(_, count)| *count > 0);
    let mut topics: Vec<(String, u64)> = counts
        .map(|(topic, count)| (text(columns.topics().get(topic)), count))
        .collect();
    topics.sort_unstable();
    topics
}
