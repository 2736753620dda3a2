//! B3 (openzipkin/b3-propagation): one header `b3`, or several `x-b3-*`. Trace ids have 16 or 32
//! lower-case digits.

use super::codec::{FormatCodec, IdPair, SpanIdLocation};
use super::{Baggage, Carrier, CarrierMut, PropagatedContext, Sampling, SpanContext};
use crate::id::parse_lower_hex;
use crate::{SpanId, TraceId};

const SINGLE: &str = "b3";
const TRACE_ID: &str = "x-b3-traceid";
const SPAN_ID: &str = "x-b3-spanid";
const PARENT_SPAN_ID: &str = "x-b3-parentspanid";
const SAMPLED: &str = "x-b3-sampled";
const FLAGS: &str = "x-b3-flags";
/// OpenTelemetry's B3 propagator reads both forms, whichever it writes.
const FAMILY: &str = "b3";

pub(super) const SINGLE_CODEC: FormatCodec = FormatCodec {
    name: "b3",
    family: FAMILY,
    headers: &[SINGLE],
    span_id: Some(SpanIdLocation {
        header: SINGLE,
        offset: |value| Some(1 + value.iter().position(|byte| *byte == b'-')?),
    }),
    carries_baggage: false,
    extract: extract_single,
    inject: inject_single,
};

pub(super) const MULTI_CODEC: FormatCodec = FormatCodec {
    name: "b3multi",
    family: FAMILY,
    headers: &[TRACE_ID, SPAN_ID, SAMPLED, FLAGS],
    span_id: Some(SpanIdLocation {
        header: SPAN_ID,
        offset: |_| Some(0),
    }),
    carries_baggage: false,
    extract: extract_multi,
    inject: inject_multi,
};

/// Reads `{trace}-{span}[-{decision}[-{parent}]]`, or the decision alone.
fn extract_single(carrier: &dyn Carrier, found: &mut PropagatedContext) {
    let Some(value) = carrier.last(SINGLE) else {
        return;
    };
    // `b3: 0` alone is the form that a sender uses to refuse recording without a trace.
    if let Some(sampling) = decision(value) {
        found.sampling = found.sampling.or(Some(sampling));
        return;
    }
    match parse_single(value) {
        Some(context) => found.context = Some(context),
        None => found.reject(),
    }
}

fn extract_multi(carrier: &dyn Carrier, found: &mut PropagatedContext) {
    // Read first: the decision is valid with ids and without.
    let sampling = sampling_of_multi(carrier, found);
    match (carrier.last(TRACE_ID), carrier.last(SPAN_ID)) {
        // A decision without ids is legal: it holds for the trace that starts here.
        (None, None) => found.sampling = found.sampling.or(sampling),
        (Some(trace), Some(span)) => match (trace_id(trace), span_id(span)) {
            (Some(trace_id), Some(span_id)) => {
                found.context = Some(SpanContext::new(
                    trace_id,
                    span_id,
                    sampling.unwrap_or(Sampling::Deferred),
                ));
            }
            _ => found.reject(),
        },
        _ => found.reject(),
    }
}

fn inject_single(context: &SpanContext, _baggage: &Baggage, carrier: &mut dyn CarrierMut) {
    let decision: &[u8] = match context.sampling {
        Sampling::Deferred => b"",
        Sampling::Drop => b"-0",
        Sampling::Sample => b"-1",
        Sampling::Debug => b"-d",
    };
    // The optional parent is left out: receivers do not need it, and the specification allows it.
    let value = IdPair::new(context, b'-', decision);
    carrier.replace(SINGLE, value.as_bytes());
}

fn inject_multi(context: &SpanContext, _baggage: &Baggage, carrier: &mut dyn CarrierMut) {
    carrier.replace(TRACE_ID, &context.trace_id.to_hex());
    carrier.replace(SPAN_ID, &context.span_id.to_hex());
    // The old value names the parent of another span than the one written here.
    carrier.remove(PARENT_SPAN_ID);
    let (sampled, flags): (Option<&[u8]>, Option<&[u8]>) = match context.sampling {
        Sampling::Deferred => (None, None),
        Sampling::Drop => (Some(b"0"), None),
        Sampling::Sample => (Some(b"1"), None),
        // Debug implies sampled, and saying both is discouraged.
        Sampling::Debug => (None, Some(b"1")),
    };
    for (name, value) in [(SAMPLED, sampled), (FLAGS, flags)] {
        match value {
            Some(value) => carrier.replace(name, value),
            None => carrier.remove(name),
        }
    }
}

fn parse_single(value: &[u8]) -> Option<SpanContext> {
    let mut fields = value.split(|byte| *byte == b'-');
    let trace_id = trace_id(fields.next()?)?;
    let span_id = span_id(fields.next()?)?;
    let sampling = match fields.next() {
        None => Sampling::Deferred,
        Some(field) => decision(field)?,
    };
    // The parent's id is optional and unused here, but it must be well-formed.
    if let Some(parent) = fields.next() {
        self::span_id(parent)?;
    }
    fields
        .next()
        .is_none()
        .then(|| SpanContext::new(trace_id, span_id, sampling))
}

/// Reads the decision: `x-b3-flags: 1` is debug and overrides `x-b3-sampled`, which old senders
/// wrote as `true` and `false`.
fn sampling_of_multi(carrier: &dyn Carrier, found: &mut PropagatedContext) -> Option<Sampling> {
    if carrier.last(FLAGS) == Some(b"1") {
        return Some(Sampling::Debug);
    }
    let value = carrier.last(SAMPLED)?;
    if value == b"1" || value.eq_ignore_ascii_case(b"true") {
        Some(Sampling::Sample)
    } else if value == b"0" || value.eq_ignore_ascii_case(b"false") {
        Some(Sampling::Drop)
    } else {
        found.reject();
        None
    }
}

fn decision(field: &[u8]) -> Option<Sampling> {
    match field {
        b"0" => Some(Sampling::Drop),
        b"1" => Some(Sampling::Sample),
        b"d" => Some(Sampling::Debug),
        _ => None,
    }
}

fn trace_id(digits: &[u8]) -> Option<TraceId> {
    // 64-bit ids are still common in B3; they are padded with zeros on the left.
    if !matches!(digits.len(), 16 | 32) {
        return None;
    }
    TraceId::from_bytes(parse_lower_hex(digits)?.to_be_bytes())
}

fn span_id(digits: &[u8]) -> Option<SpanId> {
    // Unlike Jaeger, B3 requires all digits.
    if digits.len() != 16 {
        return None;
    }
    SpanId::from_bytes(u64::try_from(parse_lower_hex(digits)?).ok()?.to_be_bytes())
}
