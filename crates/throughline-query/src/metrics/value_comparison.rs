//! `compare(..)`: attribute values that are frequent in a selection of spans, beside the others.

use std::collections::BTreeMap;

use throughline_model::KeyValue;
use throughline_store::FieldValue;

use super::metrics_range::MetricsRange;
use super::series_table::{MAX_CELLS, SeriesTable};
use crate::evaluate::{TraceView, satisfies};
use crate::traceql::{QueryValue, SpanCondition};

/// Maximum number of attributes and values that are counted.
const MAX_VALUES: usize = 10_000;

/// Counts of attribute values by step.
#[derive(Debug)]
pub(super) struct ValueComparison<'a> {
    selection: &'a SpanCondition,
    top: usize,
    window: Option<(u64, u64)>,
    /// By attribute and value: number of spans at each step, of the others and of the selection.
    counts: BTreeMap<(String, String), ValueCounts>,
    totals: BTreeMap<String, [BTreeMap<usize, f64>; 2]>,
    is_partial: bool,
}

#[derive(Debug)]
struct ValueCounts {
    value: QueryValue,
    steps: [BTreeMap<usize, f64>; 2],
}

// === impl ValueComparison ===

impl<'a> ValueComparison<'a> {
    pub(super) const fn new(
        selection: &'a SpanCondition,
        top: usize,
        window: Option<(u64, u64)>,
    ) -> Self {
        Self {
            selection,
            top,
            window,
            counts: BTreeMap::new(),
            totals: BTreeMap::new(),
            is_partial: false,
        }
    }

    pub(super) fn add(&mut self, view: &TraceView<'_>, at: usize, step: usize) {
        let Some(span) = view.span(at) else { return };
        let is_selected = satisfies(self.selection, view, at)
            && self
                .window
                .is_none_or(|(from, until)| (from..=until).contains(&span.start));
        let side = usize::from(is_selected);
        let text = |value: &str| QueryValue::Text(value.to_owned());
        self.count("name", text(&span.name), side, step);
        self.count(
            "kind",
            text(span.kind.name().unwrap_or("unspecified")),
            side,
            step,
        );
        self.count(
            "status",
            text(if span.failed() { "error" } else { "ok" }),
            side,
            step,
        );
        for (scope, pairs) in [
            ("span", &span.attributes),
            ("resource", &span.resource.attributes),
        ] {
            for KeyValue { key, value } in pairs {
                if let Some(value) = QueryValue::of_field(FieldValue::Value(value)) {
                    self.count(&format!("{scope}.{key}"), value, side, step);
                }
            }
        }
    }

    fn count(&mut self, attribute: &str, value: QueryValue, side: usize, step: usize) {
        let key = (attribute.to_owned(), format!("{value:?}"));
        if self.counts.len() >= MAX_VALUES && !self.counts.contains_key(&key) {
            self.is_partial = true;
            return;
        }
        let totals = self.totals.entry(attribute.to_owned()).or_default();
        let counts = self.counts.entry(key).or_insert_with(|| ValueCounts {
            value,
            steps: Default::default(),
        });
        let both = [totals.get_mut(side), counts.steps.get_mut(side)];
        for steps in both.into_iter().flatten() {
            *steps.entry(step).or_default() += 1.0;
        }
    }

    pub(super) fn into_table(self, range: MetricsRange) -> SeriesTable {
        let mut table = SeriesTable {
            is_partial: self.is_partial,
            ..SeriesTable::default()
        };
        let steps = range.step_count();
        let max_rows = MAX_CELLS / steps.max(1);
        let mut insert = |kind: &str, attribute: &str, value, counts: &BTreeMap<usize, f64>| {
            if counts.is_empty() {
                return;
            }
            if table.rows.len() >= max_rows {
                table.is_partial = true;
                return;
            }
            let labels = vec![
                ("__meta_type".to_owned(), QueryValue::Text(kind.to_owned())),
                (attribute.to_owned(), value),
            ];
            let of_step = |step| counts.get(&step).copied().unwrap_or_default();
            table.insert(labels, (0..steps).map(of_step).collect());
        };
        let names = [
            ("baseline", "baseline_total"),
            ("selection", "selection_total"),
        ];
        for (side, (kind, total)) in names.into_iter().enumerate() {
            for (attribute, totals) in &self.totals {
                if let Some(counts) = totals.get(side) {
                    insert(total, attribute, QueryValue::Nil, counts);
                }
                for counts in self.most_frequent(attribute, side) {
                    let value = counts.value.clone();
                    let steps = counts.steps.get(side);
                    insert(kind, attribute, value, steps.unwrap_or(&BTreeMap::new()));
                }
            }
        }
        table
    }

    /// Returns the most frequent values of an attribute.
    fn most_frequent(&self, attribute: &str, side: usize) -> impl Iterator<Item = &ValueCounts> {
        let mut values: Vec<(f64, &ValueCounts)> = self
            .counts
            .iter()
            .filter(|((own, _), _)| own == attribute)
            .filter_map(|(_, counts)| Some((counts.steps.get(side)?.values().sum(), counts)))
            .collect();
        values.sort_by(|a, b| b.0.total_cmp(&a.0));
        values.into_iter().map(|(_, counts)| counts).take(self.top)
    }
}
