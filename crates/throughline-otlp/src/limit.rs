//! The bound on what a request may unfold to.
//!
//! An empty span is two bytes on the wire and some 250 in memory, so a limit on bytes alone lets 64 MiB of body become
//! gigabytes. Counting the messages first costs a walk over the bytes and no allocation.

use crate::Error;

/// The most spans, attributes, events, links and nested values in one request. At up to 260 bytes each in memory, the worst request
/// unfolds to about a gigabyte; an ordinary one of 64 MiB holds up to some three million.
pub(crate) const MESSAGES_MAX: usize = 4_000_000;

/// The most objects and lists in one body of JSON: they take more bytes than protobuf's messages, in the body (twice) and in memory
/// (580 at most), so that the worst unfolds to about a gigabyte too.
pub(crate) const BRACKETS_MAX: usize = 2_000_000;

/// Counts the messages nested in a protobuf request. Malformed bytes end the walk: the decoder is the one to complain.
pub(crate) fn check_protobuf(body: &[u8], most: usize) -> Result<(), Error> {
    let mut budget = most;
    walk(Kind::Request, body, &mut budget, 0)
}

/// Counts the objects and lists of JSON: serde takes either for a message. Brackets in text count too, which the bound leaves room for.
pub(crate) fn check_json(body: &[u8], most: usize) -> Result<(), Error> {
    let brackets = body
        .iter()
        .filter(|byte| matches!(byte, b'{' | b'['))
        .count();
    if brackets > most {
        Err(Error::TooMany)
    } else {
        Ok(())
    }
}

/// The messages of a request, as far as they hold others.
#[derive(Clone, Copy)]
enum Kind {
    Request,
    ResourceSpans,
    Resource,
    ScopeSpans,
    Span,
    /// Event and link: attributes in a field of their own, no other message.
    Detail {
        attributes: u64,
    },
    KeyValue,
    AnyValue,
    Array,
    KeyValues,
    /// Names attributes of the resource: lists of texts, which count too.
    EntityRef,
    Leaf,
}

impl Kind {
    /// The message in the field of this number, if it holds one. Numbers from `trace.proto` and `common.proto`.
    const fn child(self, field: u64) -> Option<Self> {
        match (self, field) {
            (Self::Request, 1) => Some(Self::ResourceSpans),
            (Self::ResourceSpans, 1) => Some(Self::Resource),
            (Self::ResourceSpans, 2) => Some(Self::ScopeSpans),
            (Self::ScopeSpans, 1) => Some(Self::Detail { attributes: 3 }),
            (Self::ScopeSpans, 2) => Some(Self::Span),
            (Self::Resource, 1) | (Self::Span, 9) | (Self::KeyValues, 1) => Some(Self::KeyValue),
            (Self::Resource, 3) => Some(Self::EntityRef),
            (Self::EntityRef, 3 | 4) | (Self::Span, 15) => Some(Self::Leaf),
            (Self::Span, 11) => Some(Self::Detail { attributes: 3 }),
            (Self::Span, 13) => Some(Self::Detail { attributes: 4 }),
            (Self::Detail { attributes }, field) if field == attributes => Some(Self::KeyValue),
            (Self::KeyValue, 2) | (Self::Array, 1) => Some(Self::AnyValue),
            (Self::AnyValue, 5) => Some(Self::Array),
            (Self::AnyValue, 6) => Some(Self::KeyValues),
            _ => None,
        }
    }
}

fn walk(kind: Kind, mut bytes: &[u8], budget: &mut usize, depth: u32) -> Result<(), Error> {
    // prost refuses deeper messages than this.
    if depth > 100 {
        return Ok(());
    }
    while let Some((field, content, rest)) = next_field(bytes) {
        bytes = rest;
        let (Some(child), Some(content)) = (kind.child(field), content) else {
            continue;
        };
        *budget = budget.checked_sub(1).ok_or(Error::TooMany)?;
        walk(child, content, budget, depth + 1)?;
    }
    Ok(())
}

/// The next field: its number, its bytes when it has a length, and what follows. `None` at the end or at malformed bytes.
///
/// The marks around a group are fields without content: prost passes over a group, and what follows it counts. What is in it counts
/// too, which is too much and does no harm.
fn next_field(bytes: &[u8]) -> Option<(u64, Option<&[u8]>, &[u8])> {
    let (key, rest) = varint(bytes)?;
    let field = key >> 3;
    match key & 7 {
        0 => varint(rest).map(|(_, rest)| (field, None, rest)),
        1 => rest
            .split_at_checked(8)
            .map(|(_, rest)| (field, None, rest)),
        2 => {
            let (length, rest) = varint(rest)?;
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
    for (index, byte) in bytes.iter().take(10).enumerate() {
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

    /// A field of number `field` with `content`.
    fn field(field: u8, content: &[u8]) -> Vec<u8> {
        let mut out = vec![field << 3 | 2];
        prost::encoding::encode_varint(content.len() as u64, &mut out);
        out.extend_from_slice(content);
        out
    }

    #[test]
    fn empty_spans_count_though_they_are_two_bytes_each() {
        let body = field(1, &field(2, &[2 << 3 | 2, 0].repeat(1000)));
        assert!(check_protobuf(&body, 1002).is_ok());
        assert!(matches!(check_protobuf(&body, 1001), Err(Error::TooMany)));
    }

    #[test]
    fn attributes_count_wherever_they_are() {
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
        assert!(check_json(body.as_bytes(), 1006).is_ok());
        assert!(matches!(
            check_json(body.as_bytes(), 1005),
            Err(Error::TooMany)
        ));
    }

    #[test]
    fn empty_lists_count_because_serde_takes_them_for_objects() {
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
            check_json(body.as_bytes(), 1005),
            Err(Error::TooMany)
        ));
    }

    #[test]
    fn what_follows_an_unknown_group_counts_because_prost_reads_on() {
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
    fn malformed_bytes_do_not_stop_or_trouble_the_count() {
        for bytes in [&[0xff; 12][..], &[10, 200], &[10], &[15, 0], &[9, 1, 2]] {
            assert!(check_protobuf(bytes, 1).is_ok(), "{bytes:?}");
        }
    }
}
