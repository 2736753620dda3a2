//! Percent-encoding (RFC 3986, section 2.1), as baggage uses it.

/// Decodes `%XX`. A `%` without two digits behind it is kept, and bytes that are not UTF-8 become
/// U+FFFD (W3C Baggage, section 3.3.1.3).
pub(super) fn decode(value: &[u8]) -> String {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, tail @ ..] = rest {
        // A `%` without two digits is data of a sender that did not encode: it is kept.
        let (byte, after) = escaped(rest).unwrap_or((*first, tail));
        out.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Encodes `%`, and every byte for which `is_plain` is false.
pub(super) fn encode(value: &str, is_plain: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte != b'%' && byte.is_ascii() && is_plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(digit(byte >> 4));
            out.push(digit(byte & 0xf));
        }
    }
    out
}

fn escaped(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let [b'%', high, low, after @ ..] = bytes else {
        return None;
    };
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let byte = u8::try_from(digit(high)? << 4 | digit(low)?).ok()?;
    Some((byte, after))
}

fn digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16)
        .unwrap_or('0')
        .to_ascii_uppercase()
}
