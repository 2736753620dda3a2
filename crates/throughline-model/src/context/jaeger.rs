//! Jaeger's own format: `uber-trace-id: {trace}:{span}:{parent}:{flags}`, and `uberctx-<key>` for
//! baggage.
//!
//! Ids are hex, and leading zeros may be left out. The HTTP carriers of Jaeger's clients
//! percent-encode values (`:` as `%3A`), the text-map carriers used with Kafka do not: both are
//! read.

use super::codec::{FormatCodec, IdPair, SpanIdLocation};
use super::{Baggage, Carrier, CarrierMut, PropagatedContext, Sampling, SpanContext, percent};
use crate::id::parse_hex;
use crate::{SpanId, TraceId};

const UBER_TRACE_ID: &str = "uber-trace-id";
const BAGGAGE_PREFIX: &str = "uberctx-";
const SAMPLED: u8 = 0x01;
const DEBUG: u8 = 0x02;

pub(super) const CODEC: FormatCodec = FormatCodec {
    name: "jaeger",
    family: "jaeger",
    headers: &[UBER_TRACE_ID],
    span_id: Some(SpanIdLocation {
        header: UBER_TRACE_ID,
        offset: |value| Some(1 + value.iter().position(|byte| *byte == b':')?),
    }),
    carries_baggage: true,
    extract,
    inject,
};

fn extract(carrier: &dyn Carrier, found: &mut PropagatedContext) {
    carrier.each(&mut |name, value| {
        // Baggage entries have a header each, so all names must be visited.
        let Some((prefix, key)) = name.split_at_checked(BAGGAGE_PREFIX.len()) else {
            return;
        };
        if !prefix.eq_ignore_ascii_case(BAGGAGE_PREFIX.as_bytes()) {
            return;
        }
        let Some((key, value)) = std::str::from_utf8(key)
            .ok()
            .zip(value.map(percent::decode))
        else {
            return found.reject();
        };
        // The header `baggage` may hold the same entry, with metadata that this format cannot
        // carry.
        if found.baggage.get(key) != Some(&value) && !found.baggage.insert(key, value, "") {
            found.reject();
        }
    });
    // Another format in front of this one won; its baggage is merged all the same.
    if found.context.is_some() {
        return;
    }
    let Some(value) = carrier.last(UBER_TRACE_ID) else {
        return;
    };
    match parse(&percent::decode(value)) {
        Some(context) => found.context = Some(context),
        None => found.reject(),
    }
}

fn inject(context: &SpanContext, baggage: &Baggage, carrier: &mut dyn CarrierMut) {
    // The parent field is deprecated: receivers ignore it, senders write 0. Behind it, the flags.
    let end: &[u8] = match context.sampling {
        Sampling::Debug => b":0:3",
        Sampling::Sample => b":0:1",
        // The format cannot express a deferred decision; no flag is the closest it has.
        Sampling::Drop | Sampling::Deferred => b":0:0",
    };
    let value = IdPair::new(context, b':', end);
    carrier.replace(UBER_TRACE_ID, value.as_bytes());
    for entry in baggage.iter() {
        // Stale entries of another sender remain: their names are unknown, and they are baggage all
        // the same.
        let name = format!("{BAGGAGE_PREFIX}{}", entry.key());
        let value = percent::encode(entry.value(), |byte| matches!(byte, 0x20..=0x7e));
        carrier.replace(&name, value.as_bytes());
    }
}

fn parse(value: &str) -> Option<SpanContext> {
    let mut fields = value.split(':');
    let trace_id = TraceId::from_hex(fields.next()?)?;
    let span_id = SpanId::from_hex(fields.next()?)?;
    // The parent's id is unused, but a value with a malformed one is not this format.
    parse_hex(fields.next()?.as_bytes(), 16)?;
    // Flags are up to two hex digits, without leading zero.
    let flags = u8::try_from(parse_hex(fields.next()?.as_bytes(), 2)?).ok()?;
    let sampling = match (flags & SAMPLED != 0, flags & DEBUG != 0) {
        // The debug flag has a meaning only together with the sampled flag.
        (true, true) => Sampling::Debug,
        (true, false) => Sampling::Sample,
        (false, _) => Sampling::Drop,
    };
    fields
        .next()
        .is_none()
        .then(|| SpanContext::new(trace_id, span_id, sampling))
}
