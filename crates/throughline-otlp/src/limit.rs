//! The bounds on the decoded size of a request.
//!
//! An empty span is two bytes on the wire and some 250 in memory, so a limit on bytes alone lets a
//! body of 64 MiB become gigabytes. Counting the messages first costs a pass over the bytes and no
//! allocation.

use crate::error::Error;

/// Maximum number of spans, attributes, events, links and nested values in one request. At up to
/// 260 bytes each in memory, the worst request decodes to about a gigabyte; an ordinary one of 64
/// MiB holds up to some three million.
pub(crate) const MAX_MESSAGES: usize = 4_000_000;
/// Maximum number of objects and lists in one body of JSON. They take more bytes than protobuf's
/// messages, in the body (twice) and in memory (580 at most): the worst decodes to about a gigabyte
/// too.
const MAX_JSON_BRACKETS: usize = 2_000_000;
/// Maximum number of commas in one body of JSON. A value after a comma takes up to 180 bytes in
/// memory, and two bytes in the body.
const MAX_JSON_COMMAS: usize = 4_000_000;
/// The nesting at which prost gives up.
pub(crate) const MAX_DEPTH: u32 = 100;
/// The longest varint.
const MAX_VARINT_BYTES: usize = 10;

/// Rejects JSON that would decode to too much memory, of spans in OTLP's or another format.
///
/// # Errors
///
/// [`Error::TooMany`].
pub(crate) fn check_json(body: &[u8]) -> Result<(), Error> {
    check_brackets(body, MAX_JSON_BRACKETS)?;
    let commas = body.iter().filter(|byte| **byte == b',').count();
    if commas > MAX_JSON_COMMAS {
        return Err(Error::TooMany);
    }
    Ok(())
}

/// Counts the messages nested in a protobuf request. Malformed bytes end the count without an
/// error, because the decoder reports them.
pub(crate) fn check_protobuf(body: &[u8], max_messages: usize) -> Result<(), Error> {
    let mut budget = max_messages;
    count_messages(MessageKind::Request, body, &mut budget, 0)
}

fn check_brackets(body: &[u8], max_brackets: usize) -> Result<(), Error> {
    // Lists as well as objects, because serde takes either for a message. Brackets inside of text
    // count too; the bound leaves room for them.
    let brackets = body
        .iter()
        .filter(|byte| matches!(byte, b'{' | b'['))
        .count();
    if brackets > max_brackets {
        Err(Error::TooMany)
    } else {
        Ok(())
    }
}

/// The messages of a request that contain others.
#[derive(Clone, Copy)]
pub(crate) enum MessageKind {
    Request,
    ResourceSpans,
    Resource,
    ScopeSpans,
    Span,
    /// Scope, event and link: attributes in a field of this number, no other message.
    WithAttributes {
        attributes: u64,
    },
    KeyValue,
    AnyValue,
    Array,
    KeyValueList,
    /// References attributes of the resource by lists of texts, which count too.
    EntityRef,
    Leaf,
}

// === impl MessageKind ===

impl MessageKind {
    /// Returns the message in the field of this number, if it holds one (`trace.proto`,
    /// `common.proto`).
    pub(crate) const fn child(self, field: u64) -> Option<Self> {
        match (self, field) {
            (Self::Request, 1) => Some(Self::ResourceSpans),
            (Self::ResourceSpans, 1) => Some(Self::Resource),
            (Self::ResourceSpans, 2) => Some(Self::ScopeSpans),
            (Self::ScopeSpans, 1) => Some(Self::WithAttributes { attributes: 3 }),
            (Self::ScopeSpans, 2) => Some(Self::Span),
            (Self::Resource, 1) | (Self::Span, 9) | (Self::KeyValueList, 1) => Some(Self::KeyValue),
            (Self::Resource, 3) => Some(Self::EntityRef),
            (Self::EntityRef, 3 | 4) | (Self::Span, 15) => Some(Self::Leaf),
            (Self::Span, 11) => Some(Self::WithAttributes { attributes: 3 }),
            (Self::Span, 13) => Some(Self::WithAttributes { attributes: 4 }),
            (Self::WithAttributes { attributes }, field) if field == attributes => {
                Some(Self::KeyValue)
            }
            (Self::KeyValue, 2) | (Self::Array, 1) => Some(Self::AnyValue),
            (Self::AnyValue, 5) => Some(Self::Array),
            (Self::AnyValue, 6) => Some(Self::KeyValueList),
            // Fields with other numbers hold scalars or text, which cost no more than their bytes.
            _ => None,
        }
    }

    /// Returns whether the field of this number holds text.
    pub(crate) const fn is_text(self, field: u64) -> bool {
        match self {
            Self::ResourceSpans | Self::ScopeSpans => field == 3,
            Self::Span => matches!(field, 3 | 5),
            // A scope has a name and a version; an event has a name; a link has a state.
            Self::WithAttributes { attributes: 3 } => matches!(field, 1 | 2),
            Self::WithAttributes { .. } => field == 3,
            Self::KeyValue | Self::AnyValue => field == 1,
            Self::EntityRef => matches!(field, 1 | 2),
            // The message of a status, or an item of a list of texts, which has no fields.
            Self::Leaf => field == 2,
            Self::Request | Self::Resource | Self::Array | Self::KeyValueList => false,
        }
    }
}

/// Takes the messages below this one from the budget.
fn count_messages(
    kind: MessageKind,
    mut bytes: &[u8],
    budget: &mut usize,
    depth: u32,
) -> Result<(), Error> {
    // prost rejects deeper messages, so the recursion needs no more.
    if depth > MAX_DEPTH {
        return Ok(());
    }
    while let Some((field, content, rest)) = next_field(bytes) {
        bytes = rest;
        let (Some(child), Some(content)) = (kind.child(field), content) else {
            continue;
        };
        // One budget for the whole request, whatever the shape of the tree.
        *budget = budget.checked_sub(1).ok_or(Error::TooMany)?;
        count_messages(child, content, budget, depth + 1)?;
    }
    Ok(())
}

/// Splits off the next field: its number, its bytes when it has a length, and the rest. `None` at
/// the end or at malformed bytes.
///
/// The marks around a group are fields without content: prost skips a group and reads on behind it.
/// Its content counts here, which errs on the safe side.
pub(crate) fn next_field(bytes: &[u8]) -> Option<(u64, Option<&[u8]>, &[u8])> {
    let (key, rest) = varint(bytes)?;
    let field = key >> 3;
    // Wire types (protobuf.dev, "Encoding"): varint, 64 bits, length-delimited, group, 32 bits.
    match key & 7 {
        0 => varint(rest).map(|(_, rest)| (field, None, rest)),
        1 => rest
            .split_at_checked(8)
            .map(|(_, rest)| (field, None, rest)),
        2 => {
            let (length, rest) = varint(rest)?;
            // A length beyond the end is malformed, and ends the count.
            let (content, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            Some((field, Some(content), rest))
        }
        3 | 4 => Some((field, None, rest)),
        5 => rest
            .split_at_checked(4)
            .map(|(_, rest)| (field, None, rest)),
        _ => None,
    }
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut number = 0;
    for (index, byte) in bytes.iter().take(MAX_VARINT_BYTES).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return bytes.get(index + 1..).map(|rest| (number, rest));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Encodes a field with this content.
    fn field(field: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![field << 3 | 2];
        prost::encoding::encode_varint(content.len() as u64, &mut out);
        out.extend_from_slice(content);
        out
    }

    #[test]
    fn empty_spans_count() {
        let body = field(1, &field(2, &[2 << 3 | 2, 0].repeat(1000)));
        assert!(check_protobuf(&body, 1002).is_ok());
        assert!(matches!(check_protobuf(&body, 1001), Err(Error::TooMany)));
    }

    #[test]
    fn attributes_count_in_every_message() {
        let attributes = |number: u8| [number << 3 | 2, 0].repeat(1000);
        let array = field(1, &field(2, &field(5, &attributes(1))));
        for body in [
            field(1, &field(1, &attributes(1))),
            field(1, &field(1, &field(3, &attributes(4)))),
            field(1, &field(1, &array)),
            field(1, &field(2, &field(1, &attributes(3)))),
            field(1, &field(2, &field(2, &attributes(9)))),
            field(1, &field(2, &field(2, &field(11, &attributes(3))))),
            field(1, &field(2, &field(2, &field(13, &attributes(4))))),
        ] {
            assert!(
                matches!(check_protobuf(&body, 1000), Err(Error::TooMany)),
                "{:?}",
                body.get(..12)
            );
        }
    }

    #[test]
    fn empty_objects_count() {
        let body = format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}{{}}]}}]}}]}}"#,
            "{},".repeat(999)
        );
        assert!(check_brackets(body.as_bytes(), 1006).is_ok());
        assert!(matches!(
            check_brackets(body.as_bytes(), 1005),
            Err(Error::TooMany)
        ));
    }

    #[test]
    fn empty_lists_count_like_objects() {
        let body = format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}[]]}}]}}]}}"#,
            "[],".repeat(999)
        );
        assert_eq!(
            crate::decode_json(body.as_bytes())
                .unwrap()
                .rejected
                .total(),
            1000
        );
        assert!(matches!(
            check_brackets(body.as_bytes(), 1005),
            Err(Error::TooMany)
        ));
    }

    #[test]
    fn messages_behind_an_unknown_group_count() {
        let group = [15 << 3 | 3, 15 << 3 | 4];
        let spans = [&group[..], &[2 << 3 | 2, 0].repeat(1000)].concat();
        let body = [&group[..], &field(1, &field(2, &spans))].concat();
        assert_eq!(
            crate::decode_protobuf(&body).unwrap().rejected.total(),
            1000
        );
        assert!(matches!(check_protobuf(&body, 1001), Err(Error::TooMany)));
    }

    #[test]
    fn malformed_bytes_end_the_count_without_an_error() {
        for bytes in [&[0xff; 12][..], &[10, 200], &[10], &[15, 0], &[9, 1, 2]] {
            assert!(check_protobuf(bytes, 1).is_ok(), "{bytes:?}");
        }
    }
}
