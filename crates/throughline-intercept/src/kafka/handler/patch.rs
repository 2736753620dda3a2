//! Patching: the span id in a record's context becomes that of its consumer span.

use bytes::Bytes;
use throughline_kafka::batch::{
    BatchError, BatchOutcome, CompressionCodec, HeaderPatcher, HeaderPatches, Record, RecordBatch,
    RecordBatches, RecordSetEntry,
};
use throughline_kafka::types::Offset;
use throughline_kafka::wire::{Error, WireField};
use throughline_model::SpanId;
use throughline_model::context::span_id_offset;

use crate::kafka::SkipReason;
use crate::kafka::cluster::{ClusterHandle, Scratch};
use crate::kafka::handler::context::HandlerContext;
use crate::kafka::handler::message::ApiFrame;
use crate::kafka::handler::workload::{RecordWork, Workload};
use crate::trace::SpanIdentity;

/// Record set of a response, and the consumer spans of its records.
#[derive(Debug)]
pub(super) struct RecordSetPatch<'a> {
    pub(super) records: WireField<'a>,
    /// Spans by the offsets of their records, in order.
    pub(super) spans: Vec<(Offset, SpanIdentity)>,
}

/// Returns the frame with all patches applied; [`None`] when it does not change.
pub(super) fn apply<C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    scratch: &mut Scratch,
    response: &ApiFrame<'_>,
    patches: &[RecordSetPatch<'_>],
) -> Option<Bytes> {
    // The spans are made in any case; only the records cannot be patched any more.
    if patches.is_empty() || !response.is_buffered {
        return None;
    }
    let mut workload = Workload::new(RecordWork::Change);
    for patch in patches {
        workload.add(patch.records.bytes());
    }
    workload.run::<C, _>(|| apply_to_batches(context, scratch, response, patches))
}

fn apply_to_batches<C: ClusterHandle>(
    context: &mut HandlerContext<C>,
    scratch: &mut Scratch,
    response: &ApiFrame<'_>,
    patches: &[RecordSetPatch<'_>],
) -> Option<Bytes> {
    let has_compressed = |patch: &RecordSetPatch<'_>| {
        let mut entries = RecordBatches::new(patch.records.bytes());
        entries.any(|entry| compressed(&entry).is_some())
    };
    if !patches.iter().any(has_compressed) {
        return Some(apply_in_place(&mut scratch.patcher, response, patches));
    }
    let max_bytes = context.settings.limits.max_inflated_bytes;
    let mut skipped = Vec::new();
    let resealed = rewrite(scratch, response, patches, max_bytes, &mut skipped);
    for (error, records) in skipped {
        context.out.skip(error.into(), records);
    }
    resealed.unwrap_or_else(|_| {
        context.out.skip(SkipReason::Malformed, 0);
        None
    })
}

/// Returns the batch of an entry, if it is compressed.
fn compressed<'a>(entry: &RecordSetEntry<'a>) -> Option<RecordBatch<'a>> {
    match entry {
        RecordSetEntry::Batch(batch) if batch.codec() != CompressionCodec::None => Some(*batch),
        RecordSetEntry::Batch(_)
        | RecordSetEntry::LegacyMessageSet { .. }
        | RecordSetEntry::Partial(_)
        | RecordSetEntry::Malformed(_) => None,
    }
}

/// Returns the frame with other record sets: those of compressed batches change their lengths.
fn rewrite(
    scratch: &mut Scratch,
    response: &ApiFrame<'_>,
    patches: &[RecordSetPatch<'_>],
    max_inflated_bytes: usize,
    skipped: &mut Vec<(BatchError, u32)>,
) -> Result<Option<Bytes>, Error> {
    let Scratch {
        patcher, splice, ..
    } = scratch;
    // Scratch comes from a pool: it may hold the changes of another connection's frame.
    splice.clear();
    for patch in patches {
        splice.replace_field(&patch.records, |out| {
            for entry in RecordBatches::new(patch.records.bytes()) {
                let reason = append_patched(patcher, &entry, &patch.spans, max_inflated_bytes, out);
                skipped.extend(reason);
            }
            Some(())
        })?;
    }
    let mut out = Vec::with_capacity(response.bytes.len());
    splice.reseal(response.bytes, response.body_start, &mut out)?;
    Ok(Some(out.into()))
}

/// Appends an entry with its patches. Returns why a compressed batch stays as it is, and the number
/// of its records.
fn append_patched(
    patcher: &mut HeaderPatcher,
    entry: &RecordSetEntry<'_>,
    spans: &[(Offset, SpanIdentity)],
    max_inflated_bytes: usize,
    out: &mut Vec<u8>,
) -> Option<(BatchError, u32)> {
    let begin = out.len();
    let Some(batch) = compressed(entry) else {
        out.extend_from_slice(entry.bytes());
        if let (RecordSetEntry::Batch(batch), Some(bytes)) = (entry, out.get_mut(begin..)) {
            patch_batch(patcher, bytes, batch.base_offset(), spans);
        }
        return None;
    };
    let patches = SpanPatches::new(batch.base_offset(), spans);
    let outcome = patcher.patch_compressed(batch, max_inflated_bytes, out, |record, to| {
        patches.add(record, to);
    });
    match outcome {
        BatchOutcome::Changed(_) => None,
        BatchOutcome::Skipped(error) => {
            out.extend_from_slice(entry.bytes());
            let records = u32::try_from(batch.record_count()).unwrap_or(0);
            Some((error, records))
        }
        BatchOutcome::Unchanged => {
            out.extend_from_slice(entry.bytes());
            None
        }
    }
}

/// Returns the frame with patches that change no length.
fn apply_in_place(
    patcher: &mut HeaderPatcher,
    response: &ApiFrame<'_>,
    patches: &[RecordSetPatch<'_>],
) -> Bytes {
    // The frame is shared with the framer: it is copied once, then patched in place.
    let mut out = response.bytes.to_vec();
    for patch in patches {
        let mut at = response.body_start + patch.records.range().start;
        for entry in RecordBatches::new(patch.records.bytes()) {
            let end = at + entry.bytes().len();
            if let (RecordSetEntry::Batch(batch), Some(bytes)) = (entry, out.get_mut(at..end)) {
                patch_batch(patcher, bytes, batch.base_offset(), &patch.spans);
            }
            at = end;
        }
    }
    out.into()
}

/// Patches an uncompressed batch in place; a batch that cannot be patched stays as it is.
fn patch_batch(
    patcher: &mut HeaderPatcher,
    batch: &mut [u8],
    base_offset: Offset,
    spans: &[(Offset, SpanIdentity)],
) {
    let spans = SpanPatches::new(base_offset, spans);
    // The outcome does not matter: it was read, and passes unmodified.
    let _outcome = patcher.patch(batch, |record, patches| spans.add(record, patches));
}

/// Consumer spans of the records of a batch.
#[derive(Debug, Clone, Copy)]
struct SpanPatches<'s> {
    base_offset: Offset,
    spans: &'s [(Offset, SpanIdentity)],
}

// === impl SpanPatches ===

impl<'s> SpanPatches<'s> {
    const fn new(base_offset: Offset, spans: &'s [(Offset, SpanIdentity)]) -> Self {
        Self { base_offset, spans }
    }

    /// Returns the ids of the sender's span and of the consumer span of a record.
    fn ids_of(self, record: &Record<'_>) -> Option<(SpanId, SpanId)> {
        let delta = i64::from(record.offset_delta);
        let offset = Offset(self.base_offset.0.saturating_add(delta));
        // Offsets ascend within a record set, and so do the spans.
        let at = self.spans.binary_search_by_key(&offset, |(it, _)| *it);
        let (_, span) = self.spans.get(at.ok()?)?;
        Some((span.parent?, span.span_id))
    }

    /// Adds the patches of a record.
    fn add(self, record: &Record<'_>, patches: &mut HeaderPatches) {
        let Some((sender, consumer)) = self.ids_of(record) else {
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
    }
}
