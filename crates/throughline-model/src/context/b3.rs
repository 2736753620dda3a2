//! B3 (openzipkin/b3-propagation): one header `b3`, or several `x-b3-*`. Trace ids of 16 or 32 lower-case digits.

use super::w3c::lower_hex;
use super::{Carrier, CarrierMut, Extracted, Sampling, SpanContext};
use crate::{SpanId, TraceId};

const SINGLE: &str = "b3";
const TRACE_ID: &str = "x-b3-traceid";
const SPAN_ID: &str = "x-b3-spanid";
const PARENT_SPAN_ID: &str = "x-b3-parentspanid";
const SAMPLED: &str = "x-b3-sampled";
const FLAGS: &str = "x-b3-flags";

/// `{trace}-{span}[-{decision}[-{parent}]]`, or the decision alone.
pub(super) fn extract_single(carrier: &(impl Carrier + ?Sized), found: &mut Extracted) {
    let Some(value) = carrier.last(SINGLE) else {
        return;
    };
    if let Some(sampling) = decision(value) {
        found.sampling = found.sampling.or(Some(sampling));
        return;
    }
    match parse_single(value) {
        Some(context) => found.context = Some(context),
        None => found.reject(),
    }
}

pub(super) fn extract_multi(carrier: &(impl Carrier + ?Sized), found: &mut Extracted) {
    let sampling = sampling_of_multi(carrier, found);
    match (carrier.last(TRACE_ID), carrier.last(SPAN_ID)) {
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

pub(super) fn inject_single(context: &SpanContext, carrier: &mut (impl CarrierMut + ?Sized)) {
    let decision = match context.sampling {
        Sampling::Deferred => "",
        Sampling::Drop => "-0",
        Sampling::Sample => "-1",
        Sampling::Debug => "-d",
    };
    let value = format!("{}-{}{decision}", context.trace_id, context.span_id);
    carrier.replace(SINGLE, value.as_bytes());
}

pub(super) fn inject_multi(context: &SpanContext, carrier: &mut (impl CarrierMut + ?Sized)) {
    carrier.replace(TRACE_ID, &context.trace_id.to_hex());
    carrier.replace(SPAN_ID, &context.span_id.to_hex());
    // It named the parent of the span that is replaced here.
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
    // A parent is allowed and says nothing to us, but it must be an id.
    if let Some(parent) = fields.next() {
        self::span_id(parent)?;
    }
    fields
        .next()
        .is_none()
        .then(|| SpanContext::new(trace_id, span_id, sampling))
}

/// `x-b3-flags: 1` is debug and stands above `x-b3-sampled`, which old senders wrote as `true` and `false`.
fn sampling_of_multi(carrier: &(impl Carrier + ?Sized), found: &mut Extracted) -> Option<Sampling> {
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
    if !matches!(digits.len(), 16 | 32) {
        return None;
    }
    TraceId::from_bytes(lower_hex(digits)?.to_be_bytes())
}

fn span_id(digits: &[u8]) -> Option<SpanId> {
    if digits.len() != 16 {
        return None;
    }
    SpanId::from_bytes(u64::try_from(lower_hex(digits)?).ok()?.to_be_bytes())
}
