//! The traces of a segment that can satisfy a prefilter.

use throughline_model::SpanId;
use throughline_store::Prefilter;

use super::{RowDurations, SegmentIndex, TraceBitmap};

/// The rows of a segment, for what its index does not have.
pub(crate) trait SegmentRowSource {
    /// Returns the rows with a span id.
    fn rows_of_span(&self, id: SpanId) -> Vec<u32>;

    /// Returns the durations of all rows; `None` when they cannot be read.
    fn row_durations(&self) -> Option<RowDurations>;
}

/// Returns the traces that can satisfy a prefilter.
pub(crate) fn candidates(
    index: &SegmentIndex,
    prefilter: &Prefilter,
    rows: &impl SegmentRowSource,
) -> TraceBitmap {
    let count = index.traces.len();
    match prefilter {
        Prefilter::Unknown => TraceBitmap::all(count),
        Prefilter::Hash(hash) => index.postings.set(*hash, count),
        Prefilter::Trace(id) => {
            let mut set = TraceBitmap::new(count);
            if let Ok(at) = index.traces.binary_search_by_key(id, |trace| trace.id) {
                set.insert(at);
            }
            set
        }
        Prefilter::Span(id) => of_rows(index, rows.rows_of_span(*id)),
        Prefilter::StartedSince(time) => {
            let starts = index.traces.iter().map(|trace| trace.last_start);
            numbers_of(starts, |start| start >= *time)
        }
        Prefilter::StartedUntil(time) => {
            let starts = index.traces.iter().map(|trace| trace.first_start);
            numbers_of(starts, |start| start <= *time)
        }
        Prefilter::Duration { service, range } => {
            let durations = rows.row_durations();
            durations.map_or_else(
                || TraceBitmap::all(count),
                |it| of_rows(index, it.rows(service.as_deref(), range)),
            )
        }
        Prefilter::All(parts) => {
            let mut set = TraceBitmap::all(count);
            // Rows are looked at last, where the rest leaves any trace.
            let (last, first): (Vec<_>, Vec<_>) = parts.iter().partition(|it| is_about_rows(it));
            for part in first.into_iter().chain(last) {
                if set.iter().next().is_none() {
                    break;
                }
                set.intersect(&candidates(index, part, rows));
            }
            set
        }
        Prefilter::Any(parts) => {
            let mut set = TraceBitmap::new(count);
            for part in parts {
                set.unite(&candidates(index, part, rows));
            }
            set
        }
    }
}

fn of_rows(index: &SegmentIndex, rows: Vec<u32>) -> TraceBitmap {
    let mut set = TraceBitmap::new(index.traces.len());
    let rows = rows.into_iter();
    rows.for_each(|row| set.insert(index.trace_at(row)));
    set
}

fn numbers_of(
    values: impl ExactSizeIterator<Item = u64>,
    accepts: impl Fn(u64) -> bool,
) -> TraceBitmap {
    let mut set = TraceBitmap::new(values.len());
    for (number, value) in values.enumerate() {
        if accepts(value) {
            set.insert(number);
        }
    }
    set
}

const fn is_about_rows(prefilter: &Prefilter) -> bool {
    matches!(prefilter, Prefilter::Duration { .. } | Prefilter::Span(_))
}
