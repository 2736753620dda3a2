//! Counts the names and values of spans.

use std::borrow::Cow;
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
    hasher: FoldHasher,
    keys: Vec<KeyTotals<'a>>,
    /// Places in `keys`, by name.
    places: HashMap<&'a str, usize, FoldHasher>,
    /// Places in `keys`, by the number of a name; none before its first span.
    places_of_terms: Vec<Option<usize>>,
}

/// An attribute with its values.
#[derive(Debug)]
struct KeyTotals<'a> {
    key: &'a str,
    /// Spans by scope.
    scopes: BTreeMap<&'static str, u64>,
    values: HashMap<Cow<'a, str>, u64, FoldHasher>,
    is_partial: bool,
}

/// Numbers of spans by the numbers of their names and values. Rows are added as they come, so that
/// each is counted once.
#[derive(Debug)]
pub(crate) struct NameTotals {
    /// Number of rows, of attributes of events and links, and of topics that are counted.
    rows: usize,
    nested: usize,
    topics: usize,
    span_terms: Vec<u64>,
    event_terms: Vec<u64>,
    link_terms: Vec<u64>,
    origins: Vec<u64>,
    topic_spans: Vec<u64>,
    operations: OperationCounts,
}

/// Returns the names and values of all spans.
pub(crate) fn names_of(columns: &HotColumns) -> SegmentNames {
    let mut totals = NameTotals::new();
    totals.add(columns, usize::MAX);
    totals.names(columns)
}

// === impl NameTotals ===

impl NameTotals {
    pub(crate) fn new() -> Self {
        Self {
            rows: 0,
            nested: 0,
            topics: 0,
            span_terms: Vec::new(),
            event_terms: Vec::new(),
            link_terms: Vec::new(),
            origins: Vec::new(),
            topic_spans: Vec::new(),
            operations: HashMap::with_hasher(FoldHasher::new()),
        }
    }

    /// Counts the rows that came since, this number of them at most; returns whether these are all.
    pub(crate) fn add(&mut self, columns: &HotColumns, max_rows: usize) -> bool {
        for terms in [
            &mut self.span_terms,
            &mut self.event_terms,
            &mut self.link_terms,
        ] {
            terms.resize(columns.terms().len(), 0);
        }
        self.origins.resize(columns.origins().len(), 0);
        self.topic_spans.resize(columns.topics().len(), 0);
        let rows = columns.rows_from(self.rows);
        let rows = rows.get(..max_rows.min(rows.len())).unwrap_or_default();
        self.rows += rows.len();
        for row in rows.iter().filter(|row| columns.is_live(row)) {
            for term in columns.terms_of(row) {
                add_one(&mut self.span_terms, *term);
            }
            add_one(&mut self.origins, row.origin);
            let service = columns.origin(row.origin).map_or(0, |it| it.service);
            let operation = (service, row.name, row.kind);
            *self.operations.entry(operation).or_default() += 1;
        }
        self.add_nested(columns);
        self.add_topics(columns);
        self.has_all(columns)
    }

    /// Returns whether all rows are counted.
    pub(crate) fn has_all(&self, columns: &HotColumns) -> bool {
        columns.rows_from(self.rows).is_empty()
    }

    /// Counts the attributes of events and links of the rows that are counted.
    fn add_nested(&mut self, columns: &HotColumns) {
        let nested = columns.nested().get(self.nested..).unwrap_or_default();
        for (row, scope, term) in nested {
            if *row as usize >= self.rows {
                return;
            }
            self.nested += 1;
            let terms = match scope {
                NestedScope::Event => &mut self.event_terms,
                NestedScope::Link => &mut self.link_terms,
            };
            if columns.row(*row).is_some_and(|row| columns.is_live(row)) {
                add_one(terms, *term);
            }
        }
    }

    /// Counts the topics of the rows that are counted.
    fn add_topics(&mut self, columns: &HotColumns) {
        let topics = columns.row_topics().get(self.topics..).unwrap_or_default();
        for (row, topic) in topics {
            if *row as usize >= self.rows {
                return;
            }
            self.topics += 1;
            if columns.row(*row).is_some_and(|row| columns.is_live(row)) {
                add_one(&mut self.topic_spans, *topic);
            }
        }
    }

    /// Returns the names and values of the rows that are counted.
    pub(crate) fn names(&self, columns: &HotColumns) -> SegmentNames {
        NameCounter::new(columns).finish(self)
    }
}

// === impl NameCounter ===

impl<'a> NameCounter<'a> {
    fn new(columns: &'a HotColumns) -> Self {
        let hasher = FoldHasher::new();
        Self {
            columns,
            hasher,
            keys: Vec::new(),
            places: HashMap::with_hasher(hasher),
            places_of_terms: vec![None; columns.terms().keys().len()],
        }
    }

    fn finish(mut self, totals: &NameTotals) -> SegmentNames {
        let columns = self.columns;
        self.count_terms(&totals.span_terms, AttributeScope::Span);
        self.count_terms(&totals.event_terms, AttributeScope::Event);
        self.count_terms(&totals.link_terms, AttributeScope::Link);
        for (origin, count) in columns.origins().iter().zip(&totals.origins) {
            // The attributes of a resource count once, however many spans share it.
            if *count > 0 {
                self.count_pairs(&origin.resource.attributes, AttributeScope::Resource);
                self.count_pairs(&origin.scope.attributes, AttributeScope::Instrumentation);
            }
        }
        let mut names = SegmentNames {
            services: services(columns, &totals.operations),
            topics: topics(columns, &totals.topic_spans),
            ..SegmentNames::default()
        };
        for key in self.keys {
            let scoped = key.scopes.iter();
            let scoped = scoped.map(|(scope, count)| (format!("{scope}.{}", key.key), *count));
            names.keys.extend(scoped);
            let counts = key.values.into_iter();
            let mut counts: Vec<(String, u64)> = counts
                .map(|(text, count)| (text.into_owned(), count))
                .collect();
            counts.sort_unstable();
            let list = AttributeValues {
                values: counts,
                is_complete: !key.is_partial,
            };
            names.values.insert(key.key.to_owned(), list);
        }
        names.keys.sort_unstable();
        names
    }

    fn count_terms(&mut self, counts: &[u64], scope: AttributeScope) {
        let terms = self.columns.terms();
        for (term, count) in (0..).zip(counts).filter(|(_, count)| **count > 0) {
            let Some(key) = self.key_of_term(term) else {
                continue;
            };
            key.count(scope, *count);
            if let Some((_, text)) = terms.text(term) {
                key.count_value(text, *count, || Cow::Borrowed(text));
            } else if let Some(pair) = terms.attribute(term) {
                key.count_values(&pair.value, *count);
            }
        }
    }

    fn count_pairs(&mut self, pairs: &'a [KeyValue], scope: AttributeScope) {
        for pair in pairs {
            let place = self.place(&pair.key);
            if let Some(key) = place.and_then(|place| self.keys.get_mut(place)) {
                key.count(scope, 1);
                key.count_values(&pair.value, 1);
            }
        }
    }

    /// Returns the totals of the attribute that a term is a value of; `None` when there are too
    /// many attributes.
    fn key_of_term(&mut self, term: u32) -> Option<&mut KeyTotals<'a>> {
        let terms = self.columns.terms();
        let number = terms.key_of(term);
        let known = self.places_of_terms.get(number as usize).copied()?;
        let place = match known {
            Some(place) => place,
            None => {
                let name = std::str::from_utf8(terms.keys().get(number)).ok()?;
                let place = self.place(name)?;
                *self.places_of_terms.get_mut(number as usize)? = Some(place);
                place
            }
        };
        self.keys.get_mut(place)
    }

    /// Returns the place of an attribute's totals; `None` when there are too many attributes.
    fn place(&mut self, key: &'a str) -> Option<usize> {
        if let Some(place) = self.places.get(key) {
            return Some(*place);
        }
        if self.keys.len() >= MAX_KEYS {
            return None;
        }
        self.keys.push(KeyTotals {
            key,
            scopes: BTreeMap::new(),
            values: HashMap::with_hasher(self.hasher),
            is_partial: false,
        });
        let place = self.keys.len() - 1;
        self.places.insert(key, place);
        Some(place)
    }
}

// === impl KeyTotals ===

impl<'a> KeyTotals<'a> {
    fn count(&mut self, scope: AttributeScope, count: u64) {
        *self.scopes.entry(scope.name()).or_default() += count;
    }

    fn count_values(&mut self, value: &Value, count: u64) {
        value_texts(value, &mut |text| {
            self.count_value(text, count, || Cow::Owned(text.to_owned()));
        });
    }

    fn count_value(&mut self, text: &str, count: u64, own: impl FnOnce() -> Cow<'a, str>) {
        if let Some(known) = self.values.get_mut(text) {
            *known += count;
        } else if self.values.len() >= MAX_VALUES || text.len() > MAX_VALUE_BYTES {
            self.is_partial = true;
        } else {
            self.values.insert(own(), count);
        }
    }
}

fn add_one(counts: &mut [u64], at: u32) {
    if let Some(count) = counts.get_mut(at as usize) {
        *count += 1;
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

fn topics(columns: &HotColumns, spans: &[u64]) -> Vec<(String, u64)> {
    let counts = (0..).zip(spans).filter(|(_, count)| **count > 0);
    let mut topics: Vec<(String, u64)> = counts
        .map(|(topic, count)| (text(columns.topics().get(topic)), *count))
        .collect();
    topics.sort_unstable();
    topics
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::columns::example_span;
    use crate::segment::SegmentSpan;

    fn spans(numbers: std::ops::Range<u64>) -> Vec<SegmentSpan> {
        let spans = numbers.map(|number| {
            let mut span = example_span(number);
            span.attributes
                .push(KeyValue::new("item", i64::try_from(number % 3).unwrap()));
            span.attributes
                .push(KeyValue::new("messaging.system", "kafka"));
            let topic = format!("topic {}", number % 2);
            let topic = KeyValue::new("messaging.destination.name", topic);
            span.attributes.push(topic);
            span.events.push(throughline_model::Event {
                time: number,
                name: "sold".to_owned(),
                attributes: vec![KeyValue::new("total", "5")],
            });
            SegmentSpan {
                span: Arc::new(span),
                is_fragment: false,
            }
        });
        spans.collect()
    }

    #[test]
    fn rows_that_are_counted_as_they_come_count_as_all_at_once() {
        let mut columns = HotColumns::new();
        let mut totals = NameTotals::new();
        for first in [1, 6, 11] {
            assert!(columns.append_spans(&spans(first..first + 5)));
            // Two rows, two rows, one row.
            assert!(!totals.add(&columns, 2));
            assert!(!totals.add(&columns, 2));
            assert!(totals.add(&columns, 2));
            assert_eq!(totals.names(&columns), names_of(&columns), "{first}");
        }
        let names = totals.names(&columns);
        let topics = [("topic 0".to_owned(), 7), ("topic 1".to_owned(), 8)];
        assert_eq!(names.topics, topics);
        assert!(
            names.keys.contains(&("event.total".to_owned(), 15)),
            "{names:?}"
        );
    }
}
