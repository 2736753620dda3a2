//! Trace ids in the spellings that clients use.

use base64::Engine as _;
use base64::alphabet::{STANDARD, URL_SAFE};
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use throughline_model::TraceId;

use super::state::QueryError;

/// Clients pad base64 or not.
const LENIENT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);

const ENGINES: [GeneralPurpose; 2] = [
    GeneralPurpose::new(&STANDARD, LENIENT),
    GeneralPurpose::new(&URL_SAFE, LENIENT),
];

/// Longest base64 text of 16 bytes.
const MAX_BASE64_LENGTH: usize = 24;

/// Parses an id in hex, with or without leading zeros, or its 8 or 16 bytes in base64, which is
/// what protobuf's JSON prints.
pub(super) fn parse(text: &str) -> Result<TraceId, QueryError> {
    // Hex first: some texts are valid in both notations.
    TraceId::from_hex(text)
        .or_else(|| from_base64(text))
        .ok_or_else(|| {
            QueryError::Invalid(format!(
                "{text:?} is not a trace id: use up to 32 hex digits, not all zero"
            ))
        })
}

fn from_base64(text: &str) -> Option<TraceId> {
    // Bounds the work before the two alphabets are tried.
    if text.len() > MAX_BASE64_LENGTH {
        return None;
    }
    let bytes = ENGINES.iter().find_map(|engine| engine.decode(text).ok())?;
    // A 64-bit id is the low half of a 128-bit one.
    let padded: [u8; 16] = match <[u8; 8]>::try_from(bytes.as_slice()) {
        Ok(short) => u128::from(u64::from_be_bytes(short)).to_be_bytes(),
        Err(_) => bytes.try_into().ok()?,
    };
    TraceId::from_bytes(padded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_an_id_are_equal() {
        let id = parse("0000000000000000463ac35c9f6413ad").unwrap();
        for text in [
            "463ac35c9f6413ad",
            "463AC35C9F6413AD",
            "RjrDXJ9kE60=",
            "AAAAAAAAAABGOsNcn2QTrQ==",
        ] {
            assert_eq!(parse(text).unwrap(), id, "{text}");
        }
    }

    #[test]
    fn other_texts_than_ids_are_rejected() {
        for text in [
            "",
            "0",
            "xyz",
            "AAAAAAAAAAAAAAAAAAAAAA==",
            "463ac35c9f6413ad463ac35c9f6413ad4",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
