//! The names and values in the columns, for the conditions of a search. They are read from the
//! tables of distinct ones, so that a search makes no lists of all rows while spans arrive.

use std::borrow::Cow;

use throughline_store::{FieldValue, ValuePredicate, ValueStatistics, value_texts};

use super::{HotColumns, TextTable};

/// Maximum number of values of an attribute that a predicate is tested on.
const MAX_VALUES: usize = 1000;

/// The values of an attribute that satisfy a predicate.
#[derive(Debug)]
struct ValueSelection<'a, 'p> {
    predicate: &'p ValuePredicate,
    accepted: Vec<Cow<'a, str>>,
    tested: usize,
}

// === impl ValueSelection ===

impl<'a> ValueSelection<'a, '_> {
    fn test(&mut self, text: Cow<'a, str>) {
        self.tested += 1;
        if self.predicate.accepts(FieldValue::Text(&text)) {
            self.accepted.push(text);
        }
    }

    const fn is_full(&self) -> bool {
        self.tested >= MAX_VALUES
    }
}

/// Values and names of spans that were replaced count too: an answer may be yes where no would be
/// right.
impl ValueStatistics for HotColumns {
    fn accepted_values(&self, key: &str, predicate: &ValuePredicate) -> Option<Vec<Cow<'_, str>>> {
        let mut selection = ValueSelection {
            predicate,
            accepted: Vec::new(),
            tested: 0,
        };
        let origins = self.origins.iter();
        let pairs =
            origins.flat_map(|it| it.resource.attributes.iter().chain(&it.scope.attributes));
        for pair in pairs.filter(|pair| pair.key == key) {
            value_texts(&pair.value, &mut |text| {
                selection.test(Cow::Owned(text.to_owned()));
            });
            if selection.is_full() {
                return None;
            }
        }
        let Some(number) = self.terms.keys().find(key.as_bytes()) else {
            return Some(selection.accepted);
        };
        for term in self.terms.of_key(number) {
            if let Some((_, text)) = self.terms.text(term) {
                selection.test(Cow::Borrowed(text));
            } else if let Some(pair) = self.terms.attribute(term) {
                value_texts(&pair.value, &mut |text| {
                    selection.test(Cow::Owned(text.to_owned()));
                });
            }
            if selection.is_full() {
                return None;
            }
        }
        Some(selection.accepted)
    }

    fn accepted_topics(&self, predicate: &ValuePredicate) -> Vec<Cow<'_, str>> {
        let accepts = |text: &&str| predicate.accepts(FieldValue::Text(text));
        let topics = texts(&self.topics).filter(accepts);
        topics.map(Cow::Borrowed).collect()
    }

    fn services(&self) -> Vec<&str> {
        texts(&self.services).collect()
    }

    fn names(&self) -> Vec<&str> {
        texts(&self.names).collect()
    }

    fn contains(&self, service: Option<&str>, operation: Option<&str>) -> bool {
        // Of the pair, only the parts are known.
        let is_in = |table: &TextTable, text: Option<&str>| {
            text.is_none_or(|text| table.find(text.as_bytes()).is_some())
        };
        is_in(&self.services, service) && is_in(&self.names, operation)
    }
}

fn texts(table: &TextTable) -> impl Iterator<Item = &str> {
    let numbers = 0..u32::try_from(table.len()).unwrap_or(u32::MAX);
    // All texts were checked when they were added.
    numbers.filter_map(|number| std::str::from_utf8(table.get(number)).ok())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use throughline_model::{KeyValue, Span};
    use throughline_store::ComparisonOperator;

    use super::*;
    use crate::segment::SegmentSpan;

    fn columns(attributes: impl Iterator<Item = KeyValue>) -> HotColumns {
        let mut columns = HotColumns::new();
        let spans = attributes.enumerate().map(|(number, attribute)| {
            let span = Span {
                attributes: vec![attribute],
                ..crate::columns::example_span(number as u64 + 1)
            };
            SegmentSpan {
                span: Arc::new(span),
                is_fragment: false,
            }
        });
        assert!(columns.append_spans(&spans.collect::<Vec<_>>()));
        columns
    }

    #[test]
    fn values_of_every_type_are_tested_up_to_a_number_of_them() {
        let columns = columns((0..900).map(|number| KeyValue::new("code", number)));
        let above = ValuePredicate::Number(ComparisonOperator::AtLeast, 898.0);
        let accepted = columns.accepted_values("code", &above).unwrap();
        assert_eq!(accepted, ["898", "899"]);
        assert_eq!(columns.accepted_values("none", &above).unwrap(), [""; 0]);
        let service = ValuePredicate::equal("shop");
        let accepted = columns.accepted_values("service.name", &service).unwrap();
        assert_eq!(accepted, ["shop"]);
        let many = self::columns((0..1001).map(|number| KeyValue::new("code", number)));
        assert_eq!(many.accepted_values("code", &above), None);
    }

    #[test]
    fn names_and_services_are_those_of_the_spans() {
        let columns = columns((0..3).map(|number| KeyValue::new("code", number)));
        assert_eq!(ValueStatistics::services(&columns), ["shop"]);
        assert_eq!(ValueStatistics::names(&columns), ["buy 0", "buy 1"]);
        assert!(columns.contains(Some("shop"), Some("buy 1")));
        assert!(!columns.contains(Some("shop"), Some("sell")));
        assert!(!columns.contains(Some("bank"), None));
    }
}
