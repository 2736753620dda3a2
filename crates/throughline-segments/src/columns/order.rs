//! The order of a segment: by trace, then by start.

use super::{HotColumns, SpanRow};

/// The rows in the order of a segment.
#[derive(Debug, Default)]
pub(crate) struct SealedOrder {
    /// Copies: each column is written in a pass over them.
    pub(crate) rows: Vec<SpanRow>,
    /// Number of each row in the columns.
    pub(crate) numbers: Vec<u32>,
    /// Traces with the numbers of their rows.
    pub(crate) traces: Vec<(u32, u32)>,
}

// === impl SealedOrder ===

impl SealedOrder {
    /// Orders the rows of spans that were settled.
    pub(crate) fn of(columns: &HotColumns) -> Self {
        let mut traces: Vec<_> = columns
            .traces()
            .map(|(number, it)| (it.id, number))
            .collect();
        traces.sort_unstable();
        let mut order = Self {
            rows: Vec::with_capacity(columns.spans()),
            numbers: Vec::with_capacity(columns.spans()),
            traces: Vec::with_capacity(traces.len()),
        };
        let (mut numbers, mut own) = (Vec::new(), Vec::new());
        for (_, trace) in traces {
            numbers.clear();
            own.clear();
            columns.rows_into(trace, &mut numbers);
            own.extend(numbers.iter().filter_map(|number| {
                let row = columns.row(*number)?;
                Some((row.start, *number, row))
            }));
            // Those that start at once stay in the order in which they came.
            own.sort_by_key(|(start, ..)| *start);
            order.rows.extend(own.iter().map(|(_, _, row)| **row));
            order
                .numbers
                .extend(own.iter().map(|(_, number, _)| *number));
            let count = u32::try_from(own.len()).unwrap_or(u32::MAX);
            order.traces.push((trace, count));
        }
        order
    }
}
