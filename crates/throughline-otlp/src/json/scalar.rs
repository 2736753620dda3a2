//! Scalar fields of proto3's JSON mapping, as leniently as senders require.

use std::fmt;

use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};

/// The hex digits of a trace id, the longest id.
const MAX_ID_DIGITS: usize = 32;

/// A field that may be `null`, which means the default (proto3's JSON mapping).
#[derive(Default)]
pub(super) struct NullableField<T>(pub(super) T);

/// Bytes in hex of either case. Malformed text yields no bytes, so that its span is rejected rather
/// than the request.
#[derive(Default)]
pub(super) struct HexBytes(pub(super) Vec<u8>);

/// A whole number, as a number or as text; wide enough for `u64` and `i64`.
#[derive(Default, Clone, Copy)]
pub(super) struct WholeNumber(i128);

/// A number with a fraction, or `"NaN"`, `"Infinity"`, `"-Infinity"`, or any number as text.
pub(super) struct FloatNumber(pub(super) f64);

/// An enum's number, or the name of a value. Unknown names count as 0.
#[derive(Default)]
pub(super) struct EnumNumber(pub(super) i32);

// === impl NullableField ===

impl<'de, T: Default + Deserialize<'de>> Deserialize<'de> for NullableField<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(
            Option::<T>::deserialize(deserializer)?.unwrap_or_default(),
        ))
    }
}

// === impl HexBytes ===

impl<'de> Deserialize<'de> for HexBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Ok(Self(parse_hex(text.as_bytes()).unwrap_or_default()))
    }
}

/// Parses an even number of hex digits, no more than the longest id has.
fn parse_hex(digits: &[u8]) -> Option<Vec<u8>> {
    // Longer text cannot be an id, and must not cost an allocation of its size.
    if digits.len() > MAX_ID_DIGITS {
        return None;
    }
    let (pairs, []) = digits.as_chunks::<2>() else {
        return None;
    };
    let digit = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|value| u8::try_from(value).ok())
    };
    pairs
        .iter()
        .map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?))
        .collect()
}

// === impl WholeNumber ===

impl<'de> Deserialize<'de> for WholeNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct WholeNumberVisitor;
        impl Visitor<'_> for WholeNumberVisitor {
            type Value = WholeNumber;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number, or a text that holds one")
            }
            fn visit_u64<E>(self, number: u64) -> Result<WholeNumber, E> {
                Ok(WholeNumber(number.into()))
            }
            fn visit_i64<E>(self, number: i64) -> Result<WholeNumber, E> {
                Ok(WholeNumber(number.into()))
            }
            fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<WholeNumber, E> {
                // proto3 accepts 1.0 and 1e3 as whole numbers; a fraction is printed with a point,
                // and rejected by the parser of text.
                self.visit_str(&number.to_string())
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<WholeNumber, E> {
                text.parse().map(WholeNumber).map_err(E::custom)
            }
        }
        deserializer.deserialize_any(WholeNumberVisitor)
    }
}

impl WholeNumber {
    pub(super) fn to_u64(self) -> u64 {
        // Out of range counts as absent, as a missing field does.
        u64::try_from(self.0).unwrap_or_default()
    }

    pub(super) fn to_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or_default()
    }

    pub(super) fn to_i64(self) -> i64 {
        i64::try_from(self.0).unwrap_or_default()
    }
}

// === impl FloatNumber ===

impl<'de> Deserialize<'de> for FloatNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum FloatForm {
            Number(f64),
            Text(String),
        }
        match FloatForm::deserialize(deserializer)? {
            FloatForm::Number(number) => Ok(Self(number)),
            // Rust parses NaN, Infinity and -Infinity in the spelling of proto3.
            FloatForm::Text(text) => text.parse().map(Self).map_err(D::Error::custom),
        }
    }
}

// === impl EnumNumber ===

impl<'de> Deserialize<'de> for EnumNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(untagged)]
        enum EnumForm {
            Number(i32),
            Name(String),
        }
        Ok(Self(match EnumForm::deserialize(deserializer)? {
            EnumForm::Number(number) => number,
            EnumForm::Name(name) => SpanKind::from_str_name(&name)
                .map(i32::from)
                // One type serves both enums: their names are disjoint.
                .or_else(|| StatusCode::from_str_name(&name).map(i32::from))
                .unwrap_or_default(),
        }))
    }
}
