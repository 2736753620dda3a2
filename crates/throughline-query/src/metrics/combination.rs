//! Series combined with series and numbers, filtered, and selected.

use throughline_store::ComparisonOperator;

use super::series_table::SeriesTable;
use crate::traceql::ArithmeticOperator;

/// Combines series with equal labels; a constant is combined with every series.
pub(super) fn combine(
    left: &SeriesTable,
    operator: ArithmeticOperator,
    right: &SeriesTable,
    (is_left_constant, is_right_constant): (bool, bool),
) -> SeriesTable {
    let constant = |table: &SeriesTable| table.rows.values().next().cloned();
    let mut table = SeriesTable {
        is_partial: left.is_partial || right.is_partial,
        ..SeriesTable::default()
    };
    let rows = if is_left_constant {
        &right.rows
    } else {
        &left.rows
    };
    for (key, row) in rows {
        let left_row = if is_left_constant {
            constant(left)
        } else {
            Some(row.clone())
        };
        let right_row = if is_right_constant {
            constant(right)
        } else {
            right.rows.get(key).cloned()
        };
        let (Some(left_row), Some(right_row)) = (left_row, right_row) else {
            continue;
        };
        let values = left_row.values.iter().zip(&right_row.values);
        let values = values.map(|(left, right)| operator.apply(*left, *right));
        let mut combined = row.clone();
        combined.values = values.collect();
        table.rows.insert(key.clone(), combined);
    }
    table
}

/// Keeps the samples that compare as given.
pub(super) fn filter(
    mut table: SeriesTable,
    operator: ComparisonOperator,
    threshold: f64,
) -> SeriesTable {
    for row in table.rows.values_mut() {
        for value in &mut row.values {
            let order = (*value).partial_cmp(&threshold);
            if !order.is_some_and(|order| operator.accepts(order)) {
                *value = f64::NAN;
            }
        }
    }
    table
}

/// Keeps the greatest or least samples at each time.
pub(super) fn select(mut table: SeriesTable, number: usize, is_greatest: bool) -> SeriesTable {
    let steps = table.rows.values().map(|row| row.values.len()).max();
    for step in 0..steps.unwrap_or_default() {
        let mut values: Vec<(f64, String)> = table
            .rows
            .iter()
            .filter_map(|(key, row)| Some((*row.values.get(step)?, key.clone())))
            .filter(|(value, _)| value.is_finite())
            .collect();
        // Equal values are selected by their labels, so that equal requests give equal results.
        values.sort_by(|a, b| {
            let order = a.0.total_cmp(&b.0);
            let order = if is_greatest { order.reverse() } else { order };
            order.then_with(|| a.1.cmp(&b.1))
        });
        for (_, key) in values.into_iter().skip(number) {
            let row = table.rows.get_mut(&key);
            if let Some(value) = row.and_then(|row| row.values.get_mut(step)) {
                *value = f64::NAN;
            }
        }
    }
    table
}
