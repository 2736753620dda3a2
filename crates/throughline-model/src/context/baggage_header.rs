//! The header `baggage` (W3C Baggage, section 3.3).

use super::baggage::is_octet;
use super::codec::FormatCodec;
use super::trace_state::trim;
use super::{Baggage, Carrier, CarrierMut, PropagatedContext, SpanContext, percent};

const HEADER: &str = "baggage";

pub(super) const CODEC: FormatCodec = FormatCodec {
    name: "baggage",
    family: "baggage",
    headers: &[HEADER],
    span_id: None,
    carries_baggage: true,
    extract,
    inject,
};

/// Reads the members of all `baggage` headers.
fn extract(carrier: &dyn Carrier, found: &mut PropagatedContext) {
    carrier.each(&mut |name, value| {
        if !name.eq_ignore_ascii_case(HEADER.as_bytes()) {
            return;
        }
        let members = value
            .unwrap_or_default()
            .split(|byte| *byte == b',')
            .map(trim);
        for member in members.filter(|member| !member.is_empty()) {
            // A bad member is left out alone (section 3.3.1): the others are still wanted.
            if !insert_member(member, &mut found.baggage) {
                found.reject();
            }
        }
    });
}

/// Writes the header `baggage`, or removes it when there is nothing to carry.
fn inject(_context: &SpanContext, baggage: &Baggage, carrier: &mut dyn CarrierMut) {
    if baggage.is_empty() {
        // A header left from another sender would be propagated under this trace.
        return carrier.remove(HEADER);
    }
    let mut header = String::new();
    for entry in baggage.iter() {
        if !header.is_empty() {
            header.push(',');
        }
        header.push_str(entry.key());
        header.push('=');
        header.push_str(&percent::encode(entry.value(), is_octet));
        if !entry.metadata().is_empty() {
            header.push(';');
            header.push_str(entry.metadata());
        }
    }
    carrier.replace(HEADER, header.as_bytes());
}

/// Inserts a member of the form `key = value [; properties]`.
fn insert_member(member: &[u8], baggage: &mut Baggage) -> bool {
    // Everything but ASCII must be percent-encoded (section 3.3.1.3), so other bytes are malformed.
    let Ok(member) = std::str::from_utf8(member) else {
        return false;
    };
    // Properties are not interpreted, but must be propagated (section 3.3.1.2).
    let (pair, metadata) = member.split_once(';').unwrap_or((member, ""));
    let Some((key, value)) = pair.split_once('=') else {
        return false;
    };
    let value = value.trim_matches([' ', '\t']);
    value.bytes().all(is_octet)
        && baggage.insert(
            key.trim_matches([' ', '\t']),
            percent::decode(value.as_bytes()),
            metadata.trim_matches([' ', '\t']),
        )
}
