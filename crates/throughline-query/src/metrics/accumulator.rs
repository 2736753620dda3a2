//! Collects the values of the spans of each step and series.

use std::collections::BTreeMap;

use super::metrics_range::MetricsRange;
use super::series_table::{MAX_CELLS, MAX_SERIES, SeriesTable};
use crate::evaluate::{TraceView, first_value};
use crate::traceql::{MetricsAggregate, MetricsFunction, QueryValue};

/// Buckets for each power of two of a quantile's histogram: quantiles are exact to 3 %.
const BUCKETS_PER_OCTAVE: f64 = 16.0;

/// Maximum number of buckets in all histograms of a query.
const MAX_BUCKETS: usize = 1_000_000;

/// Nanoseconds of a second.
const SECOND: f64 = 1e9;

/// The value of a span that is collected.
#[derive(Debug, Clone, Copy)]
pub(super) enum SpanValue {
    /// The span counts.
    Occurrence,
    /// Number.
    Number(f64),
}

/// Collects the values of one function.
#[derive(Debug)]
pub(super) struct SeriesBuilder<'a> {
    aggregate: &'a MetricsAggregate,
    range: MetricsRange,
    rows: BTreeMap<String, SeriesCells>,
    buckets: usize,
    is_partial: bool,
}

/// The cells of one series.
#[derive(Debug)]
struct SeriesCells {
    labels: Vec<(String, QueryValue)>,
    cells: Vec<StepCell>,
}

/// The values of one step.
#[derive(Debug, Clone, Default)]
struct StepCell {
    count: f64,
    sum: f64,
    least: f64,
    most: f64,
    /// Values by bucket, for quantiles and histograms.
    buckets: BTreeMap<i32, f64>,
}

// === impl SeriesBuilder ===

impl<'a> SeriesBuilder<'a> {
    pub(super) const fn new(aggregate: &'a MetricsAggregate, range: MetricsRange) -> Self {
        Self {
            aggregate,
            range,
            rows: BTreeMap::new(),
            buckets: 0,
            is_partial: false,
        }
    }

    pub(super) fn add(&mut self, view: &TraceView<'_>, at: usize, step: usize, value: SpanValue) {
        let labels: Vec<(String, QueryValue)> = self
            .aggregate
            .by
            .iter()
            .map(|key| {
                let value = first_value(&key.value, view, at).unwrap_or(QueryValue::Nil);
                (key.label.clone(), value)
            })
            .collect();
        let key = format!("{labels:?}");
        let steps = self.range.step_count();
        if !self.rows.contains_key(&key) {
            if self.rows.len() >= MAX_SERIES
                || (self.rows.len() + 1).saturating_mul(steps) > MAX_CELLS
            {
                self.is_partial = true;
                return;
            }
            let cells = vec![StepCell::default(); steps];
            self.rows.insert(key.clone(), SeriesCells { labels, cells });
        }
        let row = self.rows.get_mut(&key);
        let Some(cell) = row.and_then(|row| row.cells.get_mut(step)) else {
            return;
        };
        let bucket = match (&self.aggregate.function, value) {
            (MetricsFunction::Quantile(..), SpanValue::Number(number)) => {
                bucket(number, BUCKETS_PER_OCTAVE)
            }
            (MetricsFunction::Histogram(_), SpanValue::Number(number)) => bucket(number, 1.0),
            _ => None,
        };
        cell.add(value);
        if let Some(bucket) = bucket {
            if self.buckets >= MAX_BUCKETS && !cell.buckets.contains_key(&bucket) {
                self.is_partial = true;
                return;
            }
            let count = cell.buckets.entry(bucket).or_insert_with(|| {
                self.buckets += 1;
                0.0
            });
            *count += 1.0;
        }
    }

    pub(super) fn into_table(self) -> SeriesTable {
        let mut table = SeriesTable {
            is_partial: self.is_partial,
            ..SeriesTable::default()
        };
        #[expect(clippy::cast_precision_loss, reason = "a step is far below 2^53 ns")]
        let seconds = self.range.step as f64 / SECOND;
        for SeriesCells { labels, cells } in self.rows.into_values() {
            let mut insert = |value: &dyn Fn(&StepCell) -> f64| {
                let values = cells.iter().map(value).collect();
                table.insert(labels.clone(), values);
            };
            match &self.aggregate.function {
                MetricsFunction::Rate => insert(&|cell| cell.count / seconds),
                MetricsFunction::Count | MetricsFunction::Compare { .. } => {
                    insert(&|cell| cell.count);
                }
                MetricsFunction::Minimum(_) => insert(&|cell| cell.of_values(cell.least)),
                MetricsFunction::Maximum(_) => insert(&|cell| cell.of_values(cell.most)),
                MetricsFunction::Average(_) => {
                    insert(&|cell| cell.of_values(cell.sum / cell.count));
                }
                MetricsFunction::Sum(_) => insert(&|cell| cell.of_values(cell.sum)),
                MetricsFunction::Quantile(_, quantiles) => {
                    for quantile in quantiles {
                        let mut labels = labels.clone();
                        labels.push(("p".to_owned(), QueryValue::Number(*quantile)));
                        let values = cells.iter().map(|cell| cell.quantile(*quantile));
                        table.insert(labels, values.collect());
                    }
                }
                MetricsFunction::Histogram(_) => insert_histogram(&mut table, &labels, &cells),
            }
        }
        table
    }
}

/// Inserts a series for each power of two that has values.
fn insert_histogram(table: &mut SeriesTable, labels: &[(String, QueryValue)], cells: &[StepCell]) {
    let mut buckets: Vec<i32> = cells
        .iter()
        .flat_map(|cell| cell.buckets.keys().copied())
        .collect();
    buckets.sort_unstable();
    buckets.dedup();
    for bucket in buckets {
        let mut labels = labels.to_vec();
        let bound = QueryValue::Number(upper_bound(bucket, 1.0));
        labels.push(("__bucket".to_owned(), bound));
        let counts = cells
            .iter()
            .map(|cell| cell.buckets.get(&bucket).copied().unwrap_or_default());
        table.insert(labels, counts.collect());
    }
}

/// Returns the bucket of a value; all that are not positive share the lowest.
fn bucket(value: f64, per_octave: f64) -> Option<i32> {
    if !value.is_finite() {
        return None;
    }
    if value <= 0.0 {
        return Some(i32::MIN);
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the exponent of a double has 11 bits"
    )]
    let bucket = (value.log2() * per_octave).ceil() as i32;
    Some(bucket)
}

fn upper_bound(bucket: i32, per_octave: f64) -> f64 {
    if bucket == i32::MIN {
        return 0.0;
    }
    (f64::from(bucket) / per_octave).exp2()
}

// === impl StepCell ===

impl StepCell {
    fn add(&mut self, value: SpanValue) {
        let is_first = self.count == 0.0;
        self.count += 1.0;
        if let SpanValue::Number(number) = value {
            self.sum += number;
            self.least = if is_first {
                number
            } else {
                number.min(self.least)
            };
            self.most = if is_first {
                number
            } else {
                number.max(self.most)
            };
        }
    }

    /// Returns a value of the step, or that there is none.
    fn of_values(&self, value: f64) -> f64 {
        if self.count == 0.0 { f64::NAN } else { value }
    }

    /// Returns a quantile. The middle of a bucket stands for its values, within those seen.
    fn quantile(&self, quantile: f64) -> f64 {
        let rank = (quantile * self.count).ceil().max(1.0);
        let mut seen = 0.0;
        for (bucket, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                let middle = if *bucket == i32::MIN {
                    0.0
                } else {
                    let below = upper_bound(*bucket - 1, BUCKETS_PER_OCTAVE);
                    f64::midpoint(below, upper_bound(*bucket, BUCKETS_PER_OCTAVE))
                };
                return middle.clamp(self.least, self.most);
            }
        }
        f64::NAN
    }
}
