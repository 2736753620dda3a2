//! The facts of every span that searches by duration and the map need, without a look at the
//! segment.

use std::ops::RangeInclusive;

use throughline_model::SpanKind;

use super::byte_codec::{read_count, read_text, read_u32, write_text, write_varint};
use crate::columns::{HotColumns, KINDS, SealedOrder, SpanRow};

/// Traces with more spans than this are read as a whole.
const MAX_SIMPLE_SPANS: usize = 4096;

/// The facts of all rows of a segment, in their order.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct RowFacts {
    pub(crate) services: Vec<String>,
    pub(crate) rows: Vec<RowFact>,
    /// Traces of which the facts are not all that the map needs, by number, in rising order.
    complex: Vec<u32>,
    /// Other traces to whose summary an attribute matters, likewise.
    detailed: Vec<u32>,
}

/// The services and durations of all rows.
#[derive(Debug)]
pub(crate) struct RowDurations {
    services: Vec<String>,
    /// Numbers of services and codes of durations, as bytes.
    rows: (Vec<u8>, Vec<u8>),
}

/// The facts of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RowFact {
    /// Number in [`RowFacts::services`].
    pub(crate) service: u16,
    /// Code of the duration; see [`duration_code`].
    pub(crate) duration: u16,
    /// Number of the parent's row in the trace, plus one; 0 without one in the trace.
    pub(super) parent: u16,
    pub(super) bits: u8,
}

const FAILED: u8 = 8;
const KIND_BITS: u8 = 7;

// === impl RowFact ===

impl RowFact {
    pub(crate) const fn failed(self) -> bool {
        self.bits & FAILED != 0
    }

    pub(crate) const fn is_client(self) -> bool {
        matches!(self.kind(), SpanKind::Client)
    }

    const fn kind(self) -> SpanKind {
        match self.bits & KIND_BITS {
            1 => SpanKind::Internal,
            2 => SpanKind::Server,
            3 => SpanKind::Client,
            4 => SpanKind::Producer,
            5 => SpanKind::Consumer,
            _ => SpanKind::Unspecified,
        }
    }

    /// Returns the row of the parent among those of the trace.
    pub(crate) fn parent(self) -> Option<usize> {
        usize::from(self.parent).checked_sub(1)
    }
}

/// Returns a code of a duration that keeps the order, exact to a thousandth.
fn duration_code(duration: u64) -> u16 {
    let Some(power) = duration.checked_ilog2().filter(|power| *power >= 11) else {
        return u16::try_from(duration).unwrap_or_default();
    };
    let step = (duration >> (power - 10)) & 1023;
    u16::try_from(2048 + u64::from(power - 11) * 1024 + step).unwrap_or(u16::MAX)
}

/// Returns the smallest duration with a code.
pub(crate) fn least_duration(code: u16) -> u64 {
    let code = u64::from(code);
    let Some(above) = code.checked_sub(2048) else {
        return code;
    };
    let power = above / 1024 + 11;
    (1024 + above % 1024) << (power - 10).min(53)
}

// === impl RowFacts ===

impl RowFacts {
    pub(crate) fn of(columns: &HotColumns, order: &SealedOrder) -> Self {
        let mut facts = Self {
            rows: Vec::with_capacity(order.rows.len()),
            ..Self::default()
        };
        let services = 0..u32::try_from(columns.services().len()).unwrap_or_default();
        facts.services.extend(
            services.map(|service| {
                String::from_utf8_lossy(columns.services().get(service)).into_owned()
            }),
        );
        let has_room = facts.services.len() <= usize::from(u16::MAX);
        let mut rows = order.rows.as_slice();
        for (number, (_, count)) in (0..).zip(&order.traces) {
            let (own, others) = rows
                .split_at_checked(*count as usize)
                .unwrap_or((rows, &[]));
            rows = others;
            if !has_room || !facts.push_trace(columns, own) {
                facts.complex.push(number);
            } else if !has_outline(columns, own) {
                facts.detailed.push(number);
            }
        }
        facts
    }

    /// Adds the rows of a trace; returns whether they are all that the map needs.
    fn push_trace(&mut self, columns: &HotColumns, rows: &[SpanRow]) -> bool {
        let mut is_simple = rows.len() <= MAX_SIMPLE_SPANS;
        let parents = is_simple.then(|| ParentFinder::new(rows));
        is_simple &= parents.as_ref().is_some_and(|it| !it.has_shared_ids);
        for row in rows {
            let kind = KINDS
                .get(usize::from(row.kind))
                .copied()
                .unwrap_or_default();
            let is_message = matches!(kind, SpanKind::Producer | SpanKind::Consumer);
            is_simple &= !is_message && !row.is_special();
            let parent = row.parent_span_id.zip(parents.as_ref());
            let parent = parent.and_then(|(id, finder)| finder.find(rows, id));
            let service = columns.origin(row.origin).map_or(0, |it| it.service);
            self.rows.push(RowFact {
                service: u16::try_from(service).unwrap_or_default(),
                duration: duration_code(row.end.saturating_sub(row.start)),
                parent: parent.map_or(0, |at| u16::try_from(at + 1).unwrap_or_default()),
                bits: row.kind | if row.failed() { FAILED } else { 0 },
            });
        }
        is_simple
    }

    /// Returns whether the facts of a trace are all that the map needs.
    pub(crate) fn is_simple(&self, trace: usize) -> bool {
        !has_number(&self.complex, trace)
    }

    /// Returns whether the summary of a trace follows from ids, times, names, kinds and statuses
    /// alone.
    pub(super) fn is_outlined(&self, trace: usize) -> bool {
        self.is_simple(trace) && !has_number(&self.detailed, trace)
    }

    /// Returns all but the rows and what the index has of each trace.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        write_varint(&mut out, self.services.len() as u64);
        self.services.iter().for_each(|it| write_text(&mut out, it));
        write_varint(&mut out, self.complex.len() as u64);
        let mut last = 0;
        for trace in &self.complex {
            write_varint(&mut out, u64::from(trace - last));
            last = *trace;
        }
        out
    }

    /// Returns a column of the rows.
    pub(super) fn column<const N: usize>(&self, bytes: impl Fn(&RowFact) -> [u8; N]) -> Vec<u8> {
        self.rows.iter().flat_map(bytes).collect()
    }

    pub(super) fn parse(mut bytes: &[u8]) -> Option<Self> {
        let bytes = &mut bytes;
        let mut facts = Self::default();
        for _ in 0..read_count(bytes)? {
            facts.services.push(read_text(bytes)?);
        }
        let mut last = 0u32;
        for _ in 0..read_count(bytes)? {
            last = last.checked_add(read_u32(bytes)?)?;
            facts.complex.push(last);
        }
        Some(facts)
    }

    /// Sets the rows from their columns; `None` when these are not of one length.
    pub(super) fn set_rows(
        &mut self,
        services: &[u8],
        durations: &[u8],
        parents: &[u8],
        bits: &[u8],
    ) -> Option<()> {
        let is_whole = |column: &[u8]| column.len() == bits.len() * 2;
        (is_whole(services) && is_whole(durations) && is_whole(parents)).then_some(())?;
        let rest = numbers(durations).zip(numbers(parents)).zip(bits);
        let rows = numbers(services).zip(rest);
        let rows = rows.map(|(service, ((duration, parent), bits))| RowFact {
            service,
            duration,
            parent,
            bits: *bits,
        });
        self.rows = rows.collect();
        Some(())
    }
}

/// Returns whether a list in rising order has a number.
fn has_number(list: &[u32], number: usize) -> bool {
    let number = u32::try_from(number).unwrap_or(u32::MAX);
    list.binary_search(&number).is_ok()
}

/// Returns the numbers of a column.
fn numbers(column: &[u8]) -> impl Iterator<Item = u16> {
    let (pairs, _) = column.as_chunks::<2>();
    pairs.iter().map(|pair| u16::from_le_bytes(*pair))
}

/// Returns whether no attribute matters to the summary of a simple trace: its root is not a client,
/// whose destination is shown, and no span says how its parent was found.
fn has_outline(columns: &HotColumns, rows: &[SpanRow]) -> bool {
    let has_root = rows.iter().any(|row| row.parent_span_id.is_none());
    let first = rows.first().map_or(0, |row| row.start);
    rows.iter().all(|row| {
        let may_be_root = if has_root {
            row.parent_span_id.is_none()
        } else {
            row.start == first
        };
        let kind = KINDS.get(usize::from(row.kind));
        let is_call = matches!(kind, Some(SpanKind::Client | SpanKind::Producer));
        let has_destination = may_be_root && is_call;
        !has_destination && !row.is_fragment() && !columns.has_evidence(row)
    })
}

// === impl RowDurations ===

impl RowDurations {
    pub(super) fn new(services: Vec<String>, numbers: Vec<u8>, codes: Vec<u8>) -> Option<Self> {
        (numbers.len() == codes.len()).then_some(Self {
            services,
            rows: (numbers, codes),
        })
    }

    /// Returns the rows of a service, or of any, whose duration can be in a range.
    pub(super) fn rows(&self, service: Option<&str>, range: &RangeInclusive<u64>) -> Vec<u32> {
        let number = service.map(|name| self.services.iter().position(|own| own == name));
        let number = match number {
            // No span has the service.
            Some(None) => return Vec::new(),
            Some(Some(number)) => u16::try_from(number).ok(),
            None => None,
        };
        let codes = duration_code(*range.start())..=duration_code(*range.end());
        let rows = (0..).zip(numbers(&self.rows.1).zip(numbers(&self.rows.0)));
        let rows = rows.filter(|(_, (code, service))| {
            codes.contains(code) && number.is_none_or(|number| *service == number)
        });
        rows.map(|(row, _)| row).collect()
    }
}

/// Finds rows of a trace by their span ids.
struct ParentFinder {
    /// Span ids with their rows, sorted; only for a trace of many spans.
    sorted: Vec<(throughline_model::SpanId, usize)>,
    has_shared_ids: bool,
}

/// Rows of a trace that are looked through one by one.
const FEW_ROWS: usize = 16;

impl ParentFinder {
    fn new(rows: &[SpanRow]) -> Self {
        let mut sorted = Vec::new();
        if rows.len() <= FEW_ROWS {
            let has_twin = |(at, row): (usize, &SpanRow)| {
                let rest = rows.get(at + 1..).unwrap_or_default();
                rest.iter().any(|other| other.span_id == row.span_id)
            };
            let has_shared_ids = rows.iter().enumerate().any(has_twin);
            return Self {
                sorted,
                has_shared_ids,
            };
        }
        sorted.extend(rows.iter().enumerate().map(|(at, row)| (row.span_id, at)));
        sorted.sort_unstable();
        let has_shared_ids = sorted.windows(2).any(|pair| match pair {
            [a, b] => a.0 == b.0,
            _ => false,
        });
        Self {
            sorted,
            has_shared_ids,
        }
    }

    fn find(&self, rows: &[SpanRow], id: throughline_model::SpanId) -> Option<usize> {
        if rows.len() <= FEW_ROWS {
            return rows.iter().position(|row| row.span_id == id);
        }
        let at = self.sorted.binary_search_by_key(&id, |(own, _)| *own);
        self.sorted.get(at.ok()?).map(|(_, row)| *row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_keep_the_order_of_durations() {
        let mut last = 0;
        for power in 0..64 {
            for part in 0..40u64 {
                let base = 1u64 << power;
                let duration = base + base / 40 * part;
                let code = duration_code(duration);
                assert!(code >= last, "{duration}");
                last = code;
                let least = least_duration(code);
                assert!(least <= duration && duration - least <= duration / 1000);
                assert_eq!(duration_code(least), code);
            }
        }
        assert!(duration_code(u64::MAX) >= last);
    }
}
