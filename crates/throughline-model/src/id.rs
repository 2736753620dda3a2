//! Trace and span ids. All zeros is invalid (W3C Trace Context level 2, section 3.2.2.3), so these
//! types cannot hold it.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

/// The id of a trace: 16 bytes, not all zero. Ids of 8 bytes (B3, Jaeger) are padded with zeros on
/// the left.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(NonZeroU128);

/// The id of a span: 8 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(NonZeroU64);

// === impl TraceId ===

impl TraceId {
    /// Converts 16 bytes in network order; `None` when all are zero.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        match NonZeroU128::new(u128::from_be_bytes(bytes)) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// Returns the 16 bytes in network order.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }

    /// Parses 1 to 32 hex digits of either case, padded with zeros on the left, as people type ids
    /// and Jaeger writes them.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        parse_hex(hex.as_bytes(), 32)
            .and_then(NonZeroU128::new)
            .map(Self)
    }

    /// Returns 32 lower-case hex digits, as W3C and B3 write them.
    #[must_use]
    pub fn to_hex(self) -> [u8; 32] {
        let mut out = [b'0'; 32];
        write_hex(self.0.get(), &mut out);
        out
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

// === impl SpanId ===

impl SpanId {
    /// Converts 8 bytes in network order; `None` when all are zero.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Option<Self> {
        match NonZeroU64::new(u64::from_be_bytes(bytes)) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// Returns the 8 bytes in network order.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }

    /// Parses 1 to 16 hex digits of either case, padded with zeros on the left.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        let number = parse_hex(hex.as_bytes(), 16)?;
        u64::try_from(number)
            .ok()
            .and_then(NonZeroU64::new)
            .map(Self)
    }

    /// Returns 16 lower-case hex digits.
    #[must_use]
    pub fn to_hex(self) -> [u8; 16] {
        let mut out = [b'0'; 16];
        write_hex(u128::from(self.0.get()), &mut out);
        out
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanId({self})")
    }
}

/// Parses 1 to `max_digits` hex digits (32 at most) of either case.
pub(crate) fn parse_hex(digits: &[u8], max_digits: usize) -> Option<u128> {
    if digits.is_empty() || digits.len() > max_digits.min(32) {
        return None;
    }
    // Two words of 64 bits: a trace id is parsed in two steps, a span id in one.
    let (high, low) = digits.split_at(digits.len().saturating_sub(16));
    Some(u128::from(parse_word(high)?) << 64 | u128::from(parse_word(low)?))
}

/// Parses up to 32 hex digits, of which none may be upper-case: W3C and B3 forbid those.
pub(crate) fn parse_lower_hex(digits: &[u8]) -> Option<u128> {
    if digits.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    parse_hex(digits, 32)
}

/// Parses up to 16 hex digits; fewer are padded with zeros on the left.
fn parse_word(digits: &[u8]) -> Option<u64> {
    if let Ok(digits) = digits.try_into() {
        return parse_full_word(digits);
    }
    let mut padded = [b'0'; 16];
    // At most 16 digits reach this point, so the subtraction cannot fail.
    let start = padded.len().checked_sub(digits.len())?;
    padded.get_mut(start..)?.copy_from_slice(digits);
    parse_full_word(&padded)
}

/// Parses 16 hex digits side by side, without a branch on any of them, so that the compiler can use
/// vector instructions.
fn parse_full_word(digits: &[u8; 16]) -> Option<u64> {
    let decimals = digits.map(|digit| digit.wrapping_sub(b'0'));
    // An upper-case letter is a lower-case one without the bit 0x20.
    let letters = digits.map(|digit| (digit | 0x20).wrapping_sub(b'a'));
    let mut values = [0; 16];
    // Collected over all digits, and checked once at the end.
    let mut is_invalid = false;
    for ((value, decimal), letter) in values.iter_mut().zip(decimals).zip(letters) {
        is_invalid |= (decimal > 9) & (letter > 5);
        *value = if decimal <= 9 {
            decimal
        } else {
            letter.wrapping_add(10)
        };
    }
    let mut bytes = [0; 8];
    for (byte, pair) in bytes.iter_mut().zip(values.chunks_exact(2)) {
        *byte = pair
            .iter()
            .fold(0, |byte: u8, value| byte << 4 | value & 0xf);
    }
    (!is_invalid).then_some(u64::from_be_bytes(bytes))
}

/// Fills `out`, an even number of digits, with the low hex digits of `number`, most significant
/// first.
pub(crate) fn write_hex(number: u128, out: &mut [u8]) {
    let bytes = number.to_be_bytes();
    for (pair, byte) in out.rchunks_exact_mut(2).zip(bytes.iter().rev()) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
    }
}

/// Returns the digit of a number below 16.
const fn digit(nibble: u8) -> u8 {
    nibble + if nibble < 10 { b'0' } else { b'a' - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_zeros_is_invalid() {
        assert_eq!(TraceId::from_bytes([0; 16]), None);
        assert_eq!(SpanId::from_bytes([0; 8]), None);
        assert_eq!(TraceId::from_hex(&"0".repeat(32)), None);
        assert_eq!(SpanId::from_hex("0"), None);
    }

    #[test]
    fn short_hex_is_padded_on_the_left() {
        let id = TraceId::from_hex("463ac35c9f6413ad").unwrap();
        assert_eq!(id.to_string(), "0000000000000000463ac35c9f6413ad");
        assert_eq!(
            SpanId::from_hex("F").unwrap().to_string(),
            "000000000000000f"
        );
    }

    #[test]
    fn non_hex_and_overlong_ids_are_rejected() {
        for bad in ["", "+1", "0x1", "g", "463ac35c9f6413ad48485a3953bb61240"] {
            assert_eq!(TraceId::from_hex(bad), None, "{bad:?}");
        }
        assert_eq!(SpanId::from_hex("10000000000000000"), None);
    }

    #[test]
    fn hex_digits_and_display_agree() {
        let trace = TraceId::from_hex("0af7651916cd43dd8448eb211c80319c").unwrap();
        assert_eq!(trace.to_hex().as_slice(), trace.to_string().as_bytes());
        let span = SpanId::from_hex("00f067aa0ba902b7").unwrap();
        assert_eq!(span.to_hex().as_slice(), span.to_string().as_bytes());
        assert_eq!(SpanId::from_bytes(span.to_bytes()), Some(span));
        assert_eq!(TraceId::from_bytes(trace.to_bytes()), Some(trace));
    }
}
