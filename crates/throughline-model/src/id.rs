//! Trace and span ids. An id of all zeros is no id (W3C Trace Context level 2, section 3.2.2.3), so none can be made.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

/// The id of a trace: 16 bytes, not all zero. Ids of 8 bytes (B3, Jaeger) are padded with zeros on the left.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(NonZeroU128);

/// The id of a span: 8 bytes, not all zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(NonZeroU64);

// === impl TraceId ===

impl TraceId {
    /// From 16 bytes in network order; `None` when all are zero.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Option<Self> {
        match NonZeroU128::new(u128::from_be_bytes(bytes)) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The 16 bytes in network order.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }

    /// From 1 to 32 hex digits of either case, padded with zeros on the left, as people type ids and Jaeger writes them.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        parse_hex(hex.as_bytes(), 32)
            .and_then(NonZeroU128::new)
            .map(Self)
    }

    /// Exactly 32 lower-case hex digits, as W3C and B3 write them.
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
    /// From 8 bytes in network order; `None` when all are zero.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 8]) -> Option<Self> {
        match NonZeroU64::new(u64::from_be_bytes(bytes)) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The 8 bytes in network order.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }

    /// From 1 to 16 hex digits of either case, padded with zeros on the left.
    #[must_use]
    pub fn from_hex(hex: &str) -> Option<Self> {
        let number = parse_hex(hex.as_bytes(), 16)?;
        u64::try_from(number)
            .ok()
            .and_then(NonZeroU64::new)
            .map(Self)
    }

    /// Exactly 16 lower-case hex digits.
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

/// Reads 1 to `most` hex digits (at most 32) of either case.
pub(crate) fn parse_hex(digits: &[u8], most: usize) -> Option<u128> {
    if digits.is_empty() || digits.len() > most.min(32) {
        return None;
    }
    let (high, low) = digits.split_at(digits.len().saturating_sub(16));
    Some(u128::from(parse_word(high)?) << 64 | u128::from(parse_word(low)?))
}

/// Reads up to 16 hex digits; fewer are padded with zeros on the left.
fn parse_word(digits: &[u8]) -> Option<u64> {
    if let Ok(digits) = digits.try_into() {
        return parse_full_word(digits);
    }
    let mut padded = [b'0'; 16];
    let start = padded.len().checked_sub(digits.len())?;
    padded.get_mut(start..)?.copy_from_slice(digits);
    parse_full_word(&padded)
}

/// Reads 16 hex digits, all at once: none waits for the one before it.
fn parse_full_word(digits: &[u8; 16]) -> Option<u64> {
    let decimals = digits.map(|digit| digit.wrapping_sub(b'0'));
    // An upper-case letter is a lower-case one without the bit 0x20.
    let letters = digits.map(|digit| (digit | 0x20).wrapping_sub(b'a'));
    let mut values = [0; 16];
    let mut wrong = false;
    for ((value, decimal), letter) in values.iter_mut().zip(decimals).zip(letters) {
        wrong |= (decimal > 9) & (letter > 5);
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
    (!wrong).then_some(u64::from_be_bytes(bytes))
}

/// Fills `out`, an even number of digits, with the low hex digits of `number`, most significant first.
pub(crate) fn write_hex(number: u128, out: &mut [u8]) {
    let bytes = number.to_be_bytes();
    for (pair, byte) in out.rchunks_exact_mut(2).zip(bytes.iter().rev()) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
    }
}

/// A number below 16 as a digit.
const fn digit(nibble: u8) -> u8 {
    nibble + if nibble < 10 { b'0' } else { b'a' - 10 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zero_is_no_id() {
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
    fn what_is_no_hex_or_too_long_is_refused() {
        for bad in ["", "+1", "0x1", "g", "463ac35c9f6413ad48485a3953bb61240"] {
            assert_eq!(TraceId::from_hex(bad), None, "{bad:?}");
        }
        assert_eq!(SpanId::from_hex("10000000000000000"), None);
    }

    #[test]
    fn digits_and_display_agree() {
        let trace = TraceId::from_hex("0af7651916cd43dd8448eb211c80319c").unwrap();
        assert_eq!(trace.to_hex().as_slice(), trace.to_string().as_bytes());
        let span = SpanId::from_hex("00f067aa0ba902b7").unwrap();
        assert_eq!(span.to_hex().as_slice(), span.to_string().as_bytes());
        assert_eq!(SpanId::from_bytes(span.to_bytes()), Some(span));
        assert_eq!(TraceId::from_bytes(trace.to_bytes()), Some(trace));
    }
}
