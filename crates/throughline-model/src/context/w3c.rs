//! W3C Trace Context level 2: `traceparent` (section 3.2) and `tracestate` (section 3.3).

use super::{Carrier, CarrierMut, Extracted, Sampling, SpanContext, TraceState};
use crate::id::{parse_hex, write_hex};
use crate::{SpanId, TraceId};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// `00-` + 32 + `-` + 16 + `-` + 2.
const LENGTH: usize = 55;
const SAMPLED: u8 = 0x01;
const RANDOM: u8 = 0x02;

pub(super) fn extract(carrier: &(impl Carrier + ?Sized), found: &mut Extracted) {
    let Some(value) = carrier.last(TRACEPARENT) else {
        return;
    };
    let Some(mut context) = parse(value) else {
        return found.reject();
    };
    let mut members = Vec::new();
    carrier.each(&mut |name, value| {
        if name.eq_ignore_ascii_case(TRACESTATE.as_bytes()) {
            members.extend(value);
        }
    });
    match TraceState::from_headers(&members) {
        Some(state) => context.trace_state = state,
        None => found.reject(),
    }
    found.context = Some(context);
}

pub(super) fn inject(context: &SpanContext, carrier: &mut (impl CarrierMut + ?Sized)) {
    carrier.replace(TRACEPARENT, &format(context));
    if context.trace_state.is_empty() {
        carrier.remove(TRACESTATE);
    } else {
        carrier.replace(TRACESTATE, context.trace_state.as_str().as_bytes());
    }
}

fn parse(value: &[u8]) -> Option<SpanContext> {
    let (fixed, rest) = value.split_at_checked(LENGTH)?;
    let (version, fixed) = field(fixed, 2)?;
    match version {
        // A later version may append fields, after a dash; ff is forbidden (3.2.2.1).
        b"ff" => return None,
        b"00" if !rest.is_empty() => return None,
        _ if !rest.is_empty() && !rest.starts_with(b"-") => return None,
        _ => lower_hex(version)?,
    };
    let (trace_id, fixed) = field(fixed, 32)?;
    let (span_id, flags) = field(fixed, 16)?;
    let flags = u8::try_from(lower_hex(flags)?).ok()?;
    Some(SpanContext {
        trace_id: TraceId::from_bytes(lower_hex(trace_id)?.to_be_bytes())?,
        span_id: SpanId::from_bytes(u64::try_from(lower_hex(span_id)?).ok()?.to_be_bytes())?,
        sampling: if flags & SAMPLED == 0 {
            Sampling::Drop
        } else {
            Sampling::Sample
        },
        random: flags & RANDOM != 0,
        trace_state: TraceState::default(),
    })
}

/// Splits off `length` bytes and the dash behind them.
fn field(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    match bytes.split_at_checked(length)? {
        (field, [b'-', rest @ ..]) => Some((field, rest)),
        _ => None,
    }
}

/// W3C and B3 allow lower-case digits only.
pub(super) fn lower_hex(digits: &[u8]) -> Option<u128> {
    if digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    parse_hex(digits, 32)
}

fn format(context: &SpanContext) -> [u8; LENGTH] {
    let mut flags = if context.sampling.is_sampled() {
        SAMPLED
    } else {
        0
    };
    if context.random {
        flags |= RANDOM;
    }
    let mut digits = [0; 2];
    write_hex(u128::from(flags), &mut digits);
    let mut out = [b'-'; LENGTH];
    let fields: [(usize, &[u8]); 4] = [
        (0, b"00"),
        (3, &context.trace_id.to_hex()),
        (36, &context.span_id.to_hex()),
        (53, &digits),
    ];
    for (start, field) in fields {
        if let Some(place) = out.get_mut(start..start + field.len()) {
            place.copy_from_slice(field);
        }
    }
    out
}
