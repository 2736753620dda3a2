//! Percent-encoding (RFC 3986, section 2.1), as baggage uses it.

/// Decodes `%XX`; what is not followed by two digits stays as it is, and what is not UTF-8 becomes U+FFFD, as W3C Baggage
/// (section 3.3.1.3) asks.
pub(super) fn decode(value: &[u8]) -> String {
    let mut out = Vec::with_capacity(value.len());
    let mut rest = value;
    while let [first, tail @ ..] = rest {
        let (byte, after) = escaped(rest).unwrap_or((*first, tail));
        out.push(byte);
        rest = after;
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Encodes every byte that is not `plain`, and `%` itself.
pub(super) fn encode(value: &str, plain: impl Fn(u8) -> bool) -> String {
    let mut out = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte != b'%' && byte.is_ascii() && plain(byte) {
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
