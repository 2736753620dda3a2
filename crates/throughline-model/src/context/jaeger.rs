//! Jaeger's own format: `uber-trace-id: {trace}:{span}:{parent}:{flags}` and `uberctx-<key>` for baggage.
//!
//! Ids are hex of any length up to theirs, without leading zeros if the sender likes. The HTTP carriers of Jaeger's
//! clients percent-encode values (`:` as `%3A`), the text-map carriers used with Kafka do not: both are read.

use super::{Baggage, Carrier, CarrierMut, Extracted, Sampling, SpanContext, percent};
use crate::id::parse_hex;
use crate::{SpanId, TraceId};

const UBER_TRACE_ID: &str = "uber-trace-id";
const BAGGAGE_PREFIX: &str = "uberctx-";
const SAMPLED: u8 = 0x01;
const DEBUG: u8 = 0x02;

pub(super) fn extract(carrier: &(impl Carrier + ?Sized), found: &mut Extracted) {
    carrier.each(&mut |name, value| {
        let Some((prefix, key)) = name.split_at_checked(BAGGAGE_PREFIX.len()) else {
            return;
        };
        if !prefix.eq_ignore_ascii_case(BAGGAGE_PREFIX.as_bytes()) {
            return;
        }
        let Some((key, value)) = str::from_utf8(key).ok().zip(value.map(percent::decode)) else {
            return found.reject();
        };
        // The header `baggage` may have brought the same entry, with metadata that this format cannot carry.
        if found.baggage.get(key) != Some(&value) && !found.baggage.insert(key, value, "") {
            found.reject();
        }
    });
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

pub(super) fn inject(
    context: &SpanContext,
    baggage: &Baggage,
    carrier: &mut (impl CarrierMut + ?Sized),
) {
    let flags = match context.sampling {
        Sampling::Debug => SAMPLED | DEBUG,
        Sampling::Sample => SAMPLED,
        // The format cannot defer: no flag is the nearest it has.
        Sampling::Drop | Sampling::Deferred => 0,
    };
    // The parent field is deprecated: receivers ignore it, senders write 0.
    let value = format!("{}:{}:0:{flags:x}", context.trace_id, context.span_id);
    carrier.replace(UBER_TRACE_ID, value.as_bytes());
    for entry in baggage.iter() {
        let name = format!("{BAGGAGE_PREFIX}{}", entry.key());
        let value = percent::encode(entry.value(), |byte| matches!(byte, 0x20..=0x7e));
        carrier.replace(&name, value.as_bytes());
    }
}

fn parse(value: &str) -> Option<SpanContext> {
    let mut fields = value.split(':');
    let trace_id = TraceId::from_hex(fields.next()?)?;
    let span_id = SpanId::from_hex(fields.next()?)?;
    parse_hex(fields.next()?.as_bytes(), 16)?;
    let flags = u8::try_from(parse_hex(fields.next()?.as_bytes(), 2)?).ok()?;
    let sampling = match (flags & SAMPLED != 0, flags & DEBUG != 0) {
        (true, true) => Sampling::Debug,
        (true, false) => Sampling::Sample,
        (false, _) => Sampling::Drop,
    };
    fields
        .next()
        .is_none()
        .then(|| SpanContext::new(trace_id, span_id, sampling))
}
