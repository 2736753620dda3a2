//! Series by their labels, with a value for each step.

use std::collections::BTreeMap;

use super::metrics_range::MetricsRange;
use crate::traceql::QueryValue;

/// Maximum number of series of a result.
pub(super) const MAX_SERIES: usize = 1000;

/// Maximum number of cells, series times steps, of one function.
pub(super) const MAX_CELLS: usize = 1_000_000;

/// Samples with common labels.
#[derive(Debug, Clone)]
pub struct MetricSeries {
    /// Names and values.
    pub labels: Vec<(String, QueryValue)>,
    /// Samples, by rising time.
    pub samples: Vec<MetricSample>,
}

/// A value at a time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MetricSample {
    /// End of the step, in nanoseconds since the Unix epoch.
    pub time: u64,
    /// Value; a duration in seconds.
    pub value: f64,
}

/// Series by their labels as text: one value for each step, not a number where there is none.
#[derive(Debug, Default)]
pub(super) struct SeriesTable {
    pub(super) rows: BTreeMap<String, SeriesRow>,
    pub(super) is_partial: bool,
}

#[derive(Debug, Clone)]
pub(super) struct SeriesRow {
    pub(super) labels: Vec<(String, QueryValue)>,
    pub(super) values: Vec<f64>,
}

// === impl SeriesTable ===

impl SeriesTable {
    pub(super) fn constant(number: f64, range: MetricsRange) -> Self {
        let row = SeriesRow {
            labels: Vec::new(),
            values: vec![number; range.step_count()],
        };
        Self {
            rows: BTreeMap::from([(String::new(), row)]),
            is_partial: false,
        }
    }

    pub(super) fn insert(&mut self, labels: Vec<(String, QueryValue)>, values: Vec<f64>) {
        let row = SeriesRow { labels, values };
        self.rows.insert(format!("{:?}", row.labels), row);
    }
}

// === impl SeriesRow ===

impl SeriesRow {
    /// Returns the series of the steps with a value; `None` when there are none.
    pub(super) fn into_series(self, range: MetricsRange) -> Option<MetricSeries> {
        let values = self.values.into_iter().enumerate();
        let samples: Vec<MetricSample> = values
            .filter(|(_, value)| value.is_finite())
            .map(|(step, value)| MetricSample {
                time: range.time_of(step),
                value,
            })
            .collect();
        (!samples.is_empty()).then_some(MetricSeries {
            labels: self.labels,
            samples,
        })
    }
}
