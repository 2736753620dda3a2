//! Odd contexts in records, case by case, as `docs/contexts.md` lists them.

use throughline_intercept::kafka::Settings;

use crate::support::pair::Pair;
use crate::support::wire::{BatchSpec, RecordSpec, produce, produced, read_records, record_set};

/// Headers of a record; a null value is [`None`].
type Headers = Vec<(&'static str, Option<Vec<u8>>)>;

/// Treatment of a record.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The record passes unmodified, and its span is a child of the context with this span id.
    Continues(&'static str),
    /// A trace begins. These headers of the record stay beside the new context.
    Begins(&'static [&'static str]),
    /// The record passes unmodified, without a span.
    Unrecorded,
}

use Outcome::{Begins, Continues, Unrecorded};

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const A: &str = "b7ad6b7169203331";
const B: &str = "00f067aa0ba902b7";

fn traceparent(span: &str) -> String {
    format!("00-{TRACE}-{span}-01")
}

fn header(name: &'static str, value: impl AsRef<[u8]>) -> (&'static str, Option<Vec<u8>>) {
    (name, Some(value.as_ref().to_vec()))
}

/// Returns the cases, under their names in the table.
#[expect(
    clippy::too_many_lines,
    reason = "a table, one entry for each row of the documentation"
)]
fn cases() -> Vec<(&'static str, Headers, Outcome)> {
    let (a, b) = (traceparent(A), traceparent(B));
    let parent = |value: &dyn AsRef<[u8]>| header("traceparent", value.as_ref());
    let b3 = format!("{TRACE}-{A}-1");
    let uber = format!("{TRACE}:{A}:0:1");
    vec![
        (
            "valid, then malformed",
            vec![parent(&a), parent(&"x")],
            Continues(A),
        ),
        (
            "malformed, then valid",
            vec![parent(&"x"), parent(&a)],
            Continues(A),
        ),
        (
            "valid, then null",
            vec![parent(&a), ("traceparent", None)],
            Continues(A),
        ),
        (
            "two different ones",
            vec![parent(&a), parent(&b)],
            Continues(B),
        ),
        ("empty value", vec![parent(&"")], Begins(&[])),
        ("null value", vec![("traceparent", None)], Begins(&[])),
        (
            "name in another case",
            vec![header("Traceparent", &a)],
            Continues(A),
        ),
        (
            "names in two cases",
            vec![header("traceparent", &a), header("Traceparent", &b)],
            Continues(A),
        ),
        (
            "malformed, and valid in another case",
            vec![header("Traceparent", &a), parent(&"x")],
            Continues(A),
        ),
        (
            "digits in capitals",
            vec![parent(&a.to_uppercase())],
            Begins(&[]),
        ),
        (
            "version ff",
            vec![parent(&a.replacen("00", "ff", 1))],
            Begins(&[]),
        ),
        (
            "later version with more fields",
            vec![parent(&format!("{}-more", a.replacen("00", "01", 1)))],
            Continues(A),
        ),
        (
            "version 00 with more fields",
            vec![parent(&format!("{a}-more"))],
            Begins(&[]),
        ),
        (
            "trace id of zeros",
            vec![parent(&a.replace(TRACE, &"0".repeat(32)))],
            Begins(&[]),
        ),
        (
            "span id of zeros",
            vec![parent(&traceparent(&"0".repeat(16)))],
            Begins(&[]),
        ),
        ("overlong", vec![parent(&a.repeat(1000))], Begins(&[])),
        ("not UTF-8", vec![parent(&[0xff; 55])], Begins(&[])),
        (
            "white space around",
            vec![parent(&format!(" {a} "))],
            Begins(&[]),
        ),
        (
            "tracestate alone",
            vec![header("tracestate", "k=v"), header("Tracestate", "k=v")],
            Begins(&[]),
        ),
        (
            "malformed tracestate",
            vec![parent(&a), header("tracestate", "not a list")],
            Continues(A),
        ),
        (
            "baggage alone",
            vec![header("baggage", "k=v")],
            Begins(&["baggage"]),
        ),
        (
            "two formats",
            vec![header("b3", &b3), parent(&b)],
            Continues(B),
        ),
        (
            "one format is malformed",
            vec![parent(&"x"), header("b3", &b3)],
            Continues(A),
        ),
        (
            "b3 in one header and in several",
            vec![
                header("X-B3-TraceId", TRACE),
                header("X-B3-SpanId", B),
                header("b3", &b3),
            ],
            Continues(A),
        ),
        (
            "b3 without a span id",
            vec![header("x-b3-traceid", TRACE)],
            Begins(&["x-b3-traceid"]),
        ),
        ("b3: 0", vec![header("b3", "0")], Unrecorded),
        (
            "uber-trace-id, percent-encoded",
            vec![header("uber-trace-id", uber.replace(':', "%3A"))],
            Continues(A),
        ),
        (
            "uber-trace-id without leading zeros",
            vec![header("uber-trace-id", "7b:f067aa0ba902b7:0:1")],
            Continues(B),
        ),
        (
            "many malformed ones",
            (0..20).map(|_| parent(&"x")).collect(),
            Begins(&[]),
        ),
    ]
}

#[test]
fn odd_contexts_are_treated_as_documented() {
    let table = include_str!("../../../../docs/contexts.md");
    for (name, headers, expected) in cases() {
        assert!(
            table.contains(&format!("| {name} |")),
            "{name} is not in the table"
        );
        let mut record = RecordSpec::of("a");
        for (key, value) in headers {
            record.headers.push((key.as_bytes().to_vec(), value));
        }
        for codec in [0, 3] {
            let mut pair = Pair::new(Settings::default());
            let batch = BatchSpec::of(vec![record.clone()]).attributes(codec);
            pair.client(produce(9, 1, -1, batch.bytes()));
            let sent = read_records(&record_set(&pair.take_broker(), 9)).remove(0);
            pair.broker(produced(9, 1, 0, 0));
            let span = pair.take_spans().pop();
            let parent = span.as_ref().and_then(|it| it.parent_span_id);
            match expected {
                Continues(id) => {
                    assert_eq!(parent.unwrap().to_string(), id, "{name}");
                    assert_eq!(sent, record, "{name}");
                }
                Begins(kept) => {
                    let span = span.unwrap();
                    assert_eq!(parent, None, "{name}");
                    let keys: Vec<_> = sent.headers.iter().map(|(key, _)| key.clone()).collect();
                    let expected = [kept, &["traceparent"]].concat();
                    let expected: Vec<_> = expected.iter().map(|it| it.as_bytes()).collect();
                    assert_eq!(keys, expected, "{name}");
                    let context = format!("00-{}-{}-01", span.trace_id, span.span_id);
                    assert_eq!(
                        sent.header("traceparent"),
                        Some(context.as_bytes()),
                        "{name}"
                    );
                }
                Unrecorded => assert_eq!((&sent, span), (&record, None), "{name}"),
            }
        }
    }
}
