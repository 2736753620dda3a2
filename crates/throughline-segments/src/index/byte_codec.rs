//! Numbers and texts as bytes.

use throughline_model::TraceId;

/// Appends a number in groups of seven bits, the lowest first.
pub(super) fn write_varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(low_bits(number) | 0x80);
        number >>= 7;
    }
    out.push(low_bits(number));
}

const fn low_bits(number: u64) -> u8 {
    (number & 0x7f) as u8
}

pub(super) fn write_text(out: &mut Vec<u8>, text: &str) {
    write_varint(out, text.len() as u64);
    out.extend_from_slice(text.as_bytes());
}

/// Takes a number from the front.
pub(super) fn read_varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Takes the number of the entries of a list; at most as many as there are bytes.
pub(super) fn read_count(bytes: &mut &[u8]) -> Option<usize> {
    let count = usize::try_from(read_varint(bytes)?).ok()?;
    (count <= bytes.len()).then_some(count)
}

pub(super) fn read_u32(bytes: &mut &[u8]) -> Option<u32> {
    u32::try_from(read_varint(bytes)?).ok()
}

pub(super) fn read_text(bytes: &mut &[u8]) -> Option<String> {
    let length = read_count(bytes)?;
    let (text, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    String::from_utf8(text.to_vec()).ok()
}

pub(super) fn read_trace_id(bytes: &mut &[u8]) -> Option<TraceId> {
    let (id, rest) = bytes.split_first_chunk::<16>()?;
    *bytes = rest;
    TraceId::from_bytes(*id)
}
