//! Batches that their producer sends again: one producer span for each record, and one trace.

use throughline_intercept::Side;
use throughline_intercept::kafka::{ClusterCapacity, SessionEvent, Settings};
use throughline_model::Span;

use crate::support::pair::{MILLISECOND, Pair, Process, SECOND, int, text};
use crate::support::wire::{BatchSpec, RecordSpec, produce, produced, read_records, record_set};

const NOT_LEADER: i16 = 6;

/// Returns a batch of an idempotent producer.
fn batch(sequence: i32) -> BatchSpec {
    let mut batch = BatchSpec::of(vec![RecordSpec::of("a"), RecordSpec::of("b")]).by(7);
    batch.sequence = sequence;
    batch
}

fn contexts(frame: &[u8]) -> Vec<String> {
    let context = |record: &RecordSpec| {
        let value = record.header("traceparent").unwrap_or_default();
        String::from_utf8(value.to_vec()).unwrap()
    };
    let records = read_records(&record_set(frame, 9));
    records.iter().map(context).collect()
}

/// Returns the context that names a span.
fn context_of(span: &Span) -> String {
    format!("00-{}-{}-01", span.trace_id, span.span_id)
}

fn retried(pair: &Pair) -> u32 {
    let count = |event: &SessionEvent| match event {
        SessionEvent::Retried { records } => *records,
        _ => 0,
    };
    pair.events.iter().map(count).sum()
}

/// Sends a batch on a connection. Returns the contexts that the broker gets.
fn send(pair: &mut Pair, correlation: i32, batch: &BatchSpec) -> Vec<String> {
    pair.client(produce(9, correlation, -1, batch.bytes()));
    contexts(&pair.take_broker())
}

#[test]
fn retry_after_a_cut_has_the_spans_and_contexts_of_the_first_attempt() {
    let plain = BatchSpec::of(vec![RecordSpec::of("a"), RecordSpec::of("b")]);
    let orders = [[Side::Client, Side::Broker], [Side::Broker, Side::Client]];
    for batch in [batch(0), batch(4), plain, batch(0).attributes(4)] {
        for sides in orders {
            let process = Process::default();
            let mut first = Pair::of(&process, Settings::default());
            let sent = send(&mut first, 1, &batch);
            for side in sides {
                first.close(side);
            }
            assert_eq!(first.take_spans(), []);
            let mut second = Pair::seeded(&process, Settings::default(), 8);
            second.now += 300 * MILLISECOND;
            assert_eq!(send(&mut second, 9, &batch), sent);
            second.broker(produced(9, 9, 0, 7));
            second.abandon_retries();
            let spans = second.take_spans();
            assert_eq!(spans.iter().map(context_of).collect::<Vec<_>>(), sent);
            assert_eq!(spans[0].start, first.now);
            assert_eq!(spans[0].end, second.now);
            assert_eq!(spans[0].attribute("error.type"), None);
            assert_eq!(int(&spans[0], "messaging.kafka.offset"), 7);
            assert_eq!(int(&spans[0], "throughline.kafka.attempts"), 2);
            let event = &spans[0].events[0];
            assert_eq!((event.name.as_str(), event.time), ("retry", second.now));
            assert_eq!(
                event.attributes[0].value.as_str(),
                Some("NETWORK_EXCEPTION")
            );
            assert_eq!(retried(&second), 2);
        }
    }
}

#[test]
fn response_to_a_client_that_is_gone_ends_the_spans_once() {
    for is_retried_first in [false, true] {
        let process = Process::default();
        let mut first = Pair::of(&process, Settings::default());
        let sent = send(&mut first, 1, &batch(0));
        first.close(Side::Client);
        let mut second = Pair::seeded(&process, Settings::default(), 8);
        if is_retried_first {
            assert_eq!(send(&mut second, 2, &batch(0)), sent);
            first.broker(produced(9, 1, 0, 7));
        } else {
            first.broker(produced(9, 1, 0, 7));
            assert_eq!(send(&mut second, 2, &batch(0)), sent);
        }
        first.close(Side::Broker);
        second.broker(produced(9, 2, 0, 7));
        second.abandon_retries();
        let spans = [first.take_spans(), second.take_spans()].concat();
        assert_eq!(spans.iter().map(context_of).collect::<Vec<_>>(), sent);
    }
}

#[test]
fn retry_of_a_batch_after_a_lost_response_has_no_other_span() {
    let process = Process::default();
    let mut first = Pair::of(&process, Settings::default());
    let sent = send(&mut first, 1, &batch(0));
    first.broker(produced(9, 1, 0, 7));
    first.close(Side::Client);
    first.close(Side::Broker);
    assert_eq!(first.take_spans().len(), 2);
    for _ in 0..3 {
        let mut again = Pair::seeded(&process, Settings::default(), 9);
        assert_eq!(send(&mut again, 2, &batch(0)), sent);
        again.broker(produced(9, 2, 0, 7));
        again.close(Side::Client);
        again.close(Side::Broker);
        assert_eq!((again.take_spans(), retried(&again)), (vec![], 2));
    }
}

#[test]
fn retriable_error_is_an_event_and_the_last_error_ends_the_span() {
    let process = Process::default();
    let mut pair = Pair::of(&process, Settings::default());
    let sent = send(&mut pair, 1, &batch(0));
    pair.broker(produced(9, 1, NOT_LEADER, -1));
    assert_eq!(send(&mut pair, 2, &batch(0)), sent);
    pair.broker(produced(9, 2, NOT_LEADER, -1));
    assert_eq!(send(&mut pair, 3, &batch(0)), sent);
    // TOPIC_AUTHORIZATION_FAILED is final.
    pair.broker(produced(9, 3, 29, -1));
    let spans = pair.take_spans();
    assert_eq!(spans.len(), 2);
    assert_eq!(text(&spans[1], "error.type"), "TOPIC_AUTHORIZATION_FAILED");
    assert_eq!(int(&spans[1], "throughline.kafka.attempts"), 3);
    let errors: Vec<_> = spans[1].events.iter().map(|it| &it.attributes[0]).collect();
    assert!(
        errors
            .iter()
            .all(|it| it.value.as_str() == Some("NOT_LEADER_OR_FOLLOWER"))
    );
    assert_eq!(errors.len(), 2);
}

#[test]
fn failed_span_ends_when_the_delivery_has_timed_out() {
    let process = Process::default();
    let mut pair = Pair::of(&process, Settings::default());
    let sent = send(&mut pair, 1, &batch(0));
    pair.broker(produced(9, 1, NOT_LEADER, -1));
    let end = pair.now;
    let span = || {
        process
            .known
            .borrow_mut()
            .poll_abandoned_span(end + 120 * SECOND - 1)
    };
    assert_eq!((pair.take_spans(), span()), (vec![], None));
    let mut known = process.known.borrow_mut();
    let spans: Vec<Span> =
        std::iter::from_fn(|| known.poll_abandoned_span(end + 120 * SECOND)).collect();
    drop(known);
    assert_eq!(spans.iter().map(context_of).collect::<Vec<_>>(), sent);
    assert_eq!(text(&spans[0], "error.type"), "NOT_LEADER_OR_FOLLOWER");
    pair.now += 120 * SECOND;
    assert_ne!(send(&mut pair, 2, &batch(0)), sent, "another trace");
}

#[test]
fn other_batches_are_not_retries() {
    let process = Process::default();
    let mut first = Pair::of(&process, Settings::default());
    let sent = send(&mut first, 1, &batch(4));
    first.close(Side::Broker);
    let plain = BatchSpec::of(vec![RecordSpec::of("a"), RecordSpec::of("b")]);
    let longer = BatchSpec {
        records: vec![RecordSpec::of("a")],
        ..batch(4)
    };
    let later = BatchSpec {
        timestamp: plain.timestamp + 1,
        ..batch(4)
    };
    for other in [batch(6), batch(4).by(8), longer, later, plain] {
        let mut second = Pair::seeded(&process, Settings::default(), 8);
        let contexts = send(&mut second, 2, &other);
        assert!(contexts.iter().all(|it| !sent.contains(it)), "{other:?}");
        assert_eq!(retried(&second), 0);
    }
}

#[test]
fn equal_batches_without_a_time_are_not_retries() {
    let batch = BatchSpec {
        // The time of the last record is 5 ms later.
        timestamp: -6,
        ..BatchSpec::of(vec![RecordSpec::of("a")])
    };
    let process = Process::default();
    for round in 0..3 {
        let mut pair = Pair::of(&process, Settings::default());
        send(&mut pair, 1, &batch);
        pair.broker(produced(9, 1, 0, round));
        pair.close(Side::Client);
        pair.close(Side::Broker);
        assert_eq!((pair.take_spans().len(), retried(&pair)), (1, 0));
    }
}

#[test]
fn records_that_were_not_sampled_stay_unsampled() {
    for ratio in [0.0, 0.5] {
        for seed in 0..20 {
            let process = Process::default();
            let settings = || Settings {
                sample_ratio: ratio,
                ..Settings::default()
            };
            let mut first = Pair::of(&process, settings());
            // Another trace id for each round.
            for number in 0..seed {
                send(&mut first, number, &batch(2 * number));
                first.broker(produced(9, number, 0, 0));
            }
            first.take_spans();
            let sent = send(&mut first, 99, &batch(2 * seed));
            first.close(Side::Broker);
            let mut second = Pair::seeded(&process, settings(), 8);
            let again = send(&mut second, 2, &batch(2 * seed));
            second.broker(produced(9, 2, 0, 7));
            let sampled = |it: &&String| it.ends_with("-01");
            let expected: Vec<_> = sent.iter().filter(sampled).collect();
            assert_eq!(again.iter().filter(sampled).collect::<Vec<_>>(), expected);
            let spans: Vec<_> = second.spans.iter().map(context_of).collect();
            assert_eq!(spans.iter().collect::<Vec<_>>(), expected);
        }
    }
}

#[test]
fn table_of_attempts_is_bounded_and_its_spans_are_not_lost() {
    let process = Process::with(ClusterCapacity {
        max_attempted: 40,
        ..ClusterCapacity::default()
    });
    let mut pair = Pair::of(&process, Settings::default());
    for number in 0..100 {
        send(&mut pair, number, &batch(2 * number));
        pair.broker(produced(9, number, NOT_LEADER, -1));
    }
    let mut known = process.known.borrow_mut();
    let early = std::iter::from_fn(|| known.poll_abandoned_span(0)).count();
    drop(known);
    assert_eq!(early, 180);
    pair.abandon_retries();
    assert_eq!(pair.spans.len(), 20);
}
