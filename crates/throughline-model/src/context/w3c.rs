//! W3C Trace Context level 2: `traceparent` (section 3.2) and `tracestate` (section 3.3).

use super::codec::{FormatCodec, SpanIdLocation};
use super::{Baggage, Carrier, CarrierMut, PropagatedContext, Sampling, SpanContext, TraceState};
use crate::id::{parse_lower_hex, write_hex};
use crate::{SpanId, TraceId, flag};

const TRACEPARENT: &str = "traceparent";
const TRACESTATE: &str = "tracestate";
/// Length of a `traceparent` of version 00: `00-` + 32 + `-` + 16 + `-` + 2.
const TRACEPARENT_BYTES: usize = 55;
const SPAN_ID_OFFSET: usize = 36;

pub(super) const CODEC: FormatCodec = FormatCodec {
    name: "tracecontext",
    family: "tracecontext",
    headers: &[TRACEPARENT, TRACESTATE],
    span_id: Some(SpanIdLocation {
        header: TRACEPARENT,
        offset: |_| Some(SPAN_ID_OFFSET),
    }),
    carries_baggage: false,
    extract,
    inject,
};

fn extract(carrier: &dyn Carrier, found: &mut PropagatedContext) {
    let Some(value) = carrier.last(TRACEPARENT) else {
        return;
    };
    // Without a valid `traceparent` the `tracestate` must not be used (section 3.3.1).
    let Some(mut context) = parse(value) else {
        return found.reject();
    };
    // Several `tracestate` headers form one list, unlike `traceparent` (section 3.3.1).
    let mut members = Vec::new();
    carrier.each(&mut |name, value| {
        if name.eq_ignore_ascii_case(TRACESTATE.as_bytes()) {
            members.extend(value);
        }
    });
    match TraceState::from_headers(&members) {
        Some(state) => context.trace_state = state,
        // An invalid `tracestate` does not invalidate `traceparent` (section 3.3.1.1).
        None => found.reject(),
    }
    found.context = Some(context);
}

fn inject(context: &SpanContext, _baggage: &Baggage, carrier: &mut dyn CarrierMut) {
    carrier.replace(TRACEPARENT, &format(context));
    if context.trace_state.is_empty() {
        // A `tracestate` left from another sender would belong to the wrong context.
        carrier.remove(TRACESTATE);
    } else {
        carrier.replace(TRACESTATE, context.trace_state.as_str().as_bytes());
    }
}

fn parse(value: &[u8]) -> Option<SpanContext> {
    // Of a later version the fixed part is read as version 00 (section 3.2.4, "Versioning").
    let (fixed, rest) = value.split_at_checked(TRACEPARENT_BYTES)?;
    let (version, fixed) = field(fixed, 2)?;
    match version {
        // A later version may append fields, after a dash; ff is forbidden (3.2.2.1).
        b"ff" => return None,
        b"00" if !rest.is_empty() => return None,
        _ if !rest.is_empty() && !rest.starts_with(b"-") => return None,
        _ => parse_lower_hex(version)?,
    };
    let (trace_id, fixed) = field(fixed, 32)?;
    let (span_id, flags) = field(fixed, 16)?;
    let flags = u8::try_from(parse_lower_hex(flags)?).ok()?;
    // Other flag bits are reserved: they are ignored here and sent as zero (section 3.2.2.5.3).
    Some(SpanContext {
        trace_id: TraceId::from_bytes(parse_lower_hex(trace_id)?.to_be_bytes())?,
        span_id: SpanId::from_bytes(u64::try_from(parse_lower_hex(span_id)?).ok()?.to_be_bytes())?,
        sampling: if flags & flag::SAMPLED == 0 {
            Sampling::Drop
        } else {
            Sampling::Sample
        },
        random: flags & flag::RANDOM != 0,
        trace_state: TraceState::default(),
    })
}

/// Splits `length` bytes and the dash behind them from the rest.
fn field(bytes: &[u8], length: usize) -> Option<(&[u8], &[u8])> {
    match bytes.split_at_checked(length)? {
        (field, [b'-', rest @ ..]) => Some((field, rest)),
        _ => None,
    }
}

fn format(context: &SpanContext) -> [u8; TRACEPARENT_BYTES] {
    let mut digits = [0; 2];
    write_hex(u128::from(context.trace_flags()), &mut digits);
    // Written into an array: this runs for every record, and formatting would cost several times
    // more.
    let mut out = [b'-'; TRACEPARENT_BYTES];
    let fields: [(usize, &[u8]); 4] = [
        (0, b"00"),
        (3, &context.trace_id.to_hex()),
        (SPAN_ID_OFFSET, &context.span_id.to_hex()),
        (53, &digits),
    ];
    for (start, field) in fields {
        if let Some(slot) = out.get_mut(start..start + field.len()) {
            slot.copy_from_slice(field);
        }
    }
    out
}
