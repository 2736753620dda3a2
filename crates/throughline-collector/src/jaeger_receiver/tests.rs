use proptest::prelude::*;
use throughline_model::{SpanKind, Status, Value};

use super::batch::{decode_agent_call, decode_batch};
use super::thrift::ThriftProtocol;

/// A call `emitBatch` as Apache's Thrift for Python writes it, in the compact protocol: one span
/// of service `shop` with a boolean, a negative number and a fraction among its tags.
const COMPACT_CALL: &[u8] = b"\x82\x21\x00\x09emitBatch\x1c\x1c\x18\x04shop\x00\x19\x1c\
    \x16\x02\x16\x04\x16\x06\x16\x00\x18\x03GET\x25\x02\x16\xd0\x0f\x16\x14\x19\x3c\
    \x18\x01b\x15\x04\x31\x00\x18\x01n\x15\x06\x46\x05\x00\x18\x01d\x15\x02\
    \x27\x00\x00\x00\x00\x00\x00\xf8\x3f\x00\x00\x00\x00";

#[test]
fn compact_calls_are_read_with_booleans_negative_numbers_and_fractions() {
    let decoded = decode_agent_call(COMPACT_CALL).unwrap();
    let [span] = decoded.spans.as_slice() else {
        panic!("{decoded:?}");
    };
    assert_eq!(span.service(), "shop");
    assert_eq!(span.trace_id.to_string(), format!("{:016x}{:016x}", 2, 1));
    assert_eq!(span.span_id.to_string(), format!("{:016x}", 3));
    assert_eq!((span.parent_span_id, span.name.as_str()), (None, "GET"));
    assert_eq!(
        (span.start, span.end, span.flags),
        (1_000_000, 1_010_000, 1)
    );
    assert_eq!(span.attribute("b"), Some(&Value::Bool(true)));
    assert_eq!(span.attribute("n"), Some(&Value::Int(-3)));
    assert_eq!(span.attribute("d"), Some(&Value::Double(1.5)));
}

#[test]
fn tags_of_kind_status_and_scope_become_those_parts() {
    let batch = Batch::default()
        .text_tag("span.kind", "consumer")
        .text_tag("error", "no such order")
        .text_tag("otel.scope.name", "shop.client")
        .text_tag("w3c.tracestate", "a=b");
    let decoded = decode_batch(&batch.bytes(7, 0, &[]), ThriftProtocol::Binary).unwrap();
    let span = &decoded.spans[0];
    assert_eq!(span.kind, SpanKind::Consumer);
    assert_eq!(span.status, Status::Error("no such order".to_owned()));
    assert_eq!(span.scope.name, "shop.client");
    assert_eq!(span.trace_state, "a=b");
    assert!(span.attributes.is_empty(), "{:?}", span.attributes);

    let decoded = decode_batch(
        &Batch::default().text_tag("error", "false").bytes(7, 0, &[]),
        ThriftProtocol::Binary,
    );
    assert_eq!(decoded.unwrap().spans[0].status, Status::Unset);
}

#[test]
fn references_become_parent_and_links() {
    const CHILD_OF: i32 = 0;
    const FOLLOWS_FROM: i32 = 1;
    // Trace and span ids of the references; the span is 7 in trace 1, with parent field and
    // expected parent and links.
    for (parent, references, expected_parent, links) in [
        (9, vec![], Some(9), vec![]),
        (9, vec![(CHILD_OF, 1, 9)], Some(9), vec![]),
        // As the Java client sends a span that follows from another.
        (
            0,
            vec![(FOLLOWS_FROM, 1, 9)],
            Some(9),
            vec![("follows_from", 9)],
        ),
        // As the Python client does.
        (
            9,
            vec![(FOLLOWS_FROM, 1, 9)],
            Some(9),
            vec![("follows_from", 9)],
        ),
        (
            0,
            vec![(FOLLOWS_FROM, 1, 8), (CHILD_OF, 1, 9)],
            Some(9),
            vec![("follows_from", 8)],
        ),
        // A span of another trace cannot be the parent.
        (
            0,
            vec![(FOLLOWS_FROM, 2, 9)],
            None,
            vec![("follows_from", 9)],
        ),
        (0, vec![(CHILD_OF, 1, 0)], None, vec![]),
    ] {
        let batch = Batch::default().bytes(7, parent, &references);
        let decoded = decode_batch(&batch, ThriftProtocol::Binary).unwrap();
        let span = &decoded.spans[0];
        let number = |id: throughline_model::SpanId| u64::from_be_bytes(id.to_bytes());
        assert_eq!(
            span.parent_span_id.map(number),
            expected_parent,
            "{references:?}"
        );
        let own: Vec<_> = span
            .links
            .iter()
            .map(|link| {
                let kind = link
                    .attribute("opentracing.ref_type")
                    .and_then(Value::as_str);
                (kind.unwrap_or_default(), number(link.span_id))
            })
            .collect();
        assert_eq!(own, links, "{references:?}");
    }
}

#[test]
fn spans_without_ids_are_rejected_alone() {
    let decoded = decode_batch(&Batch::default().bytes(0, 9, &[]), ThriftProtocol::Binary).unwrap();
    assert_eq!((decoded.spans.len(), decoded.rejected.total()), (0, 1));
}

#[test]
fn announced_lengths_and_nesting_cost_nothing() {
    // A list of two billion structs, and nothing of it.
    let lists = b"\x0f\x00\x02\x0c\x7f\xff\xff\xff";
    // A text of two gigabytes.
    let text = b"\x0b\x00\x09\x7f\xff\xff\xff";
    for body in [&lists[..], &text[..]] {
        assert!(decode_batch(body, ThriftProtocol::Binary).is_err());
    }
    let nested = b"\x0c\x00\x09".repeat(100_000);
    let error = decode_batch(&nested, ThriftProtocol::Binary).unwrap_err();
    assert!(error.to_string().contains("nested"), "{error}");
    // Lists in lists, each of which takes one byte.
    let nested = [&b"\x99\x19"[..], &vec![0x19; 100_000]].concat();
    let error = decode_batch(&nested, ThriftProtocol::Compact).unwrap_err();
    assert!(error.to_string().contains("nested"), "{error}");
}

proptest! {
    #[test]
    fn mutated_messages_never_panic(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        length in any::<prop::sample::Index>(),
    ) {
        let binary = Batch::default().text_tag("a", "b").bytes(7, 9, &[(0, 1, 9)]);
        for original in [COMPACT_CALL, &binary] {
            let mut bytes = original.to_vec();
            for (index, byte) in &changes {
                let index = index.index(bytes.len());
                bytes[index] = *byte;
            }
            bytes.truncate(length.index(bytes.len() + 1));
            decode_agent_call(&bytes).map(drop).unwrap_or_default();
            for protocol in [ThriftProtocol::Binary, ThriftProtocol::Compact] {
                decode_batch(&bytes, protocol).map(drop).unwrap_or_default();
            }
        }
    }
}

/// A batch with one span in the binary protocol.
#[derive(Default)]
struct Batch {
    tags: Vec<u8>,
    tag_count: i32,
}

impl Batch {
    fn text_tag(mut self, key: &str, text: &str) -> Self {
        for (id, value) in [(1, key), (3, text)] {
            self.tags.push(11);
            self.tags.extend(i16::to_be_bytes(id));
            self.tags
                .extend(i32::to_be_bytes(i32::try_from(value.len()).unwrap()));
            self.tags.extend(value.as_bytes());
        }
        self.tags.push(0);
        self.tag_count += 1;
        self
    }

    /// Returns the bytes of a batch whose span has these ids and references.
    fn bytes(&self, span: i64, parent: i64, references: &[(i32, i64, i64)]) -> Vec<u8> {
        let long = |out: &mut Vec<u8>, id: i16, value: i64| {
            out.push(10);
            out.extend(id.to_be_bytes());
            out.extend(value.to_be_bytes());
        };
        let list = |out: &mut Vec<u8>, id: i16, count: i32| {
            out.push(15);
            out.extend(id.to_be_bytes());
            out.push(12);
            out.extend(count.to_be_bytes());
        };
        let mut out = Vec::new();
        list(&mut out, 2, 1);
        long(&mut out, 1, 1);
        long(&mut out, 3, span);
        long(&mut out, 4, parent);
        list(&mut out, 6, i32::try_from(references.len()).unwrap());
        for (kind, trace, span) in references {
            out.extend(b"\x08\x00\x01");
            out.extend(kind.to_be_bytes());
            long(&mut out, 2, *trace);
            long(&mut out, 4, *span);
            out.push(0);
        }
        list(&mut out, 10, self.tag_count);
        out.extend(&self.tags);
        // The end of the span, and that of the batch.
        out.extend([0, 0]);
        out
    }
}
