//! Patching: the span id in a record's context becomes that of its consumer span.

use std::ops::Range;

use bytes::Bytes;
use throughline_kafka::batch::{HeaderPatcher, Record, RecordBatches, RecordSetEntry};
use throughline_kafka::types::Offset;
use throughline_model::SpanId;
use throughline_model::context::span_id_offset;

use crate::kafka::handler::message::ApiFrame;
use crate::trace::SpanIdentity;

/// Record set of a response, and the consumer spans of its records.
#[derive(Debug)]
pub(super) struct RecordSetPatch {
    /// Position of the record set in the body.
    pub(super) range: Range<usize>,
    /// Spans by the offsets of their records, in order.
    pub(super) spans: Vec<(Offset, SpanIdentity)>,
}

/// Returns the frame with all patches applied.
pub(super) fn apply(
    patcher: &mut HeaderPatcher,
    response: &ApiFrame<'_>,
    patches: &[RecordSetPatch],
) -> Bytes {
    let mut out = response.bytes.to_vec();
    for patch in patches {
        let mut at = response.body_start + patch.range.start;
        let record_set = at..response.body_start + patch.range.end;
        let record_set = response.bytes.get(record_set).unwrap_or_default();
        for entry in RecordBatches::new(record_set) {
            let end = at + entry.bytes().len();
            if let (RecordSetEntry::Batch(batch), Some(bytes)) = (entry, out.get_mut(at..end)) {
                patch_batch(patcher, bytes, batch.base_offset(), &patch.spans);
            }
            at = end;
        }
    }
    out.into()
}

/// Patches a batch in place; a batch that cannot be patched stays as it is.
fn patch_batch(
    patcher: &mut HeaderPatcher,
    batch: &mut [u8],
    base_offset: Offset,
    spans: &[(Offset, SpanIdentity)],
) {
    let span_of = |record: &Record<'_>| -> Option<(SpanId, SpanId)> {
        let delta = i64::from(record.offset_delta);
        let offset = Offset(base_offset.0.saturating_add(delta));
        let at = spans.binary_search_by_key(&offset, |(it, _)| *it).ok()?;
        let (_, span) = spans.get(at)?;
        Some((span.parent?, span.span_id))
    };
    // The outcome does not matter: a compressed batch was read, and passes unmodified.
    let _outcome = patcher.patch(batch, |record, patches| {
        let Some((sender, consumer)) = span_of(record) else {
            return;
        };
        for header in record.headers() {
            let position = header
                .value
                .and_then(|value| span_id_offset(header.key, value, sender));
            if let Some(at) = position {
                patches.overwrite(record, &header, at, &consumer.to_hex());
            }
        }
    });
}
