//! Simulated clients and a broker with sessions between them: no record is lost, duplicated,
//! reordered or unaccounted for, however bytes are cut and whenever connections end.

use std::collections::HashMap;

use throughline_intercept::kafka::{SessionEvent, Settings};
use throughline_model::{Span, SpanId};

use crate::support::network::Network;
use crate::support::pair::int;
use crate::support::wire::RecordSpec;

/// Returns the record without the injected context, and the span that the context names.
fn split(record: &RecordSpec, expected: &RecordSpec) -> (RecordSpec, Option<SpanId>) {
    let context = record
        .header("traceparent")
        .and_then(|value| SpanId::from_hex(str::from_utf8(value.get(36..52)?).ok()?));
    let mut own = record.clone();
    if own.headers.len() > expected.headers.len() {
        assert_eq!(own.headers.pop().unwrap().0, b"traceparent");
    }
    (own, context)
}

fn named<'a>(world: &'a Network, verb: &str) -> Vec<&'a Span> {
    world
        .spans
        .iter()
        .filter(|span| span.name == format!("{verb} orders"))
        .collect()
}

fn counted(world: &Network, count: impl Fn(&SessionEvent) -> u32) -> usize {
    world.events.iter().map(count).sum::<u32>() as usize
}

/// Returns whether the producer decided against recording.
fn has_drop_decision(record: &RecordSpec) -> bool {
    record
        .header("traceparent")
        .is_some_and(|value| value.ends_with(b"-00"))
        || record.header("b3").is_some()
}

/// Returns whether a malformed context is replaced.
fn is_replaced(record: &RecordSpec) -> bool {
    record
        .header("traceparent")
        .is_some_and(|value| value.len() < 55)
}

pub(crate) fn check(world: &Network) {
    let (expected, kept) = (world.expected(), world.broker.records());
    assert_eq!(kept.len(), expected.len(), "each record lies once");
    let got: Vec<&RecordSpec> = world
        .consumer
        .got
        .iter()
        .map(|(_, record)| record)
        .collect();
    assert_eq!(
        got,
        kept.iter().collect::<Vec<_>>(),
        "what is kept is what comes, once and in order"
    );
    assert_eq!(
        world.broker.committed,
        i64::try_from(expected.len()).unwrap()
    );
    let sent: HashMap<SpanId, &Span> = named(world, "send")
        .into_iter()
        .map(|span| (span.span_id, span))
        .collect();
    let processed = named(world, "process");
    for ((offset, record), expected) in world.consumer.got.iter().zip(&expected) {
        let (own, context) = split(record, expected);
        if is_replaced(expected) {
            assert_eq!((&own.key, &own.value), (&expected.key, &expected.value));
        } else {
            assert_eq!(&own, expected, "with all of its own headers");
        }
        let of_it: Vec<_> = processed
            .iter()
            .filter(|span| int(span, "messaging.kafka.offset") == *offset)
            .collect();
        assert_eq!(
            of_it.is_empty(),
            has_drop_decision(expected),
            "offset {offset}"
        );
        for span in of_it {
            assert_eq!(span.parent_span_id, context);
            if own.headers.len() < record.headers.len() {
                assert_eq!(span.trace_id, sent[&context.unwrap()].trace_id, "one trace");
            }
        }
    }
    account(world, sent.len(), processed.len());
}

/// Checks that every record has a span or is counted.
fn account(world: &Network, sent: usize, processed: usize) {
    let unsampled = counted(world, |event| {
        if let SessionEvent::Unsampled { records } = event {
            *records
        } else {
            0
        }
    });
    let dropped = counted(world, |event| {
        if let SessionEvent::SpansDropped { spans, .. } = event {
            *spans
        } else {
            0
        }
    });
    let retried = counted(world, |event| {
        if let SessionEvent::Retried { records } = event {
            *records
        } else {
            0
        }
    });
    let untold = counted(world, |event| {
        if let SessionEvent::Unsettled { records } = event {
            *records
        } else {
            0
        }
    });
    assert!(
        sent <= world.offered && world.offered <= sent + unsampled + dropped + retried,
        "{sent} of {}",
        world.offered
    );
    let is_exact = |spans: &[&Span]| spans.len() <= world.expected().len();
    let sends = named(world, "send");
    assert!(is_exact(&sends), "a record has two producer spans");
    let settled = named(world, "commit").len();
    let known = world.process.known.borrow();
    assert_eq!(
        processed,
        settled + untold + known.pending_deliveries(),
        "each delivery is settled, awaited or given up"
    );
    assert_eq!(known.held_bytes(), 0);
    assert!(
        world
            .spans
            .iter()
            .all(|span| span.start <= span.end && span.end <= world.now)
    );
}

#[test]
fn records_arrive_once_in_order_and_are_traced_without_failures() {
    for seed in 0..100 {
        let mut world = Network::new(seed, Settings::default(), 0);
        world.run();
        check(&world);
        assert_eq!(world.was_cut, 0);
        assert_eq!(
            world.process.known.borrow().pending_deliveries(),
            0,
            "all is committed"
        );
    }
}

#[test]
fn records_arrive_once_in_order_and_are_traced_despite_cut_connections() {
    let mut cut = 0;
    for seed in 0..400 {
        let mut world = Network::new(seed, Settings::default(), 4);
        world.run();
        check(&world);
        cut += world.was_cut;
    }
    assert!(cut > 400, "{cut} cuts");
}

#[test]
fn same_seed_gives_the_same_simulation() {
    let run = |seed| {
        let mut world = Network::new(seed, Settings::default(), 4);
        world.run();
        (world.now, world.spans, world.events, world.consumer.got)
    };
    assert_eq!(run(11), run(11));
    assert_ne!(run(11).0, run(12).0);
}
