//! The facts of every span that searches by duration and the map need, without a look at the
//! segment.

use throughline_model::SpanKind;

use super::byte_codec::{read_count, read_text, read_u32, read_varint, write_text, write_varint};
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
}

/// The facts of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RowFact {
    /// Number in [`RowFacts::services`].
    pub(crate) service: u16,
    /// Code of the duration; see [`duration_code`].
    pub(crate) duration: u16,
    /// Distance to the row of the parent, plus one; 0 without one in the trace.
    parent: u16,
    bits: u8,
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
pub(crate) fn duration_code(duration: u64) -> u16 {
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
        let trace = u32::try_from(trace).unwrap_or(u32::MAX);
        self.complex.binary_search(&trace).is_err()
    }

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
        write_varint(&mut out, self.rows.len() as u64);
        // One column after the other: each compresses better by itself.
        let columns: [fn(&RowFact) -> u16; 4] = [
            |row| row.service,
            |row| row.duration,
            |row| row.parent,
            |row| row.bits.into(),
        ];
        for column in columns {
            out.extend(self.rows.iter().flat_map(|row| column(row).to_le_bytes()));
        }
        out
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
        let rows = usize::try_from(read_varint(bytes)?).ok()?;
        (rows.checked_mul(8)? == bytes.len()).then_some(())?;
        let mut columns = bytes.chunks_exact((rows * 2).max(1)).map(|column| {
            column.chunks_exact(2).map(|it| {
                let number: [u8; 2] = it.try_into().unwrap_or_default();
                u16::from_le_bytes(number)
            })
        });
        if rows == 0 {
            return Some(facts);
        }
        let services = columns.next()?;
        let rest = columns.next()?.zip(columns.next()?).zip(columns.next()?);
        facts.rows = services
            .zip(rest)
            .map(|(service, ((duration, parent), bits))| RowFact {
                service,
                duration,
                parent,
                bits: u8::try_from(bits).unwrap_or_default(),
            })
            .collect();
        Some(facts)
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
