//! Produce: injected contexts and producer spans.

use std::sync::Arc;

use bytes::Bytes;
use kafka_protocol::messages as km;
use kafka_protocol::protocol::StrBytes;
use throughline_intercept::Side;
use throughline_intercept::kafka::{
    ApiKey, ClusterCapacity, InjectionMode, SessionEvent, SessionLimits, Settings, SkipReason,
    SpanNaming, TopicPattern, TopicSettings,
};
use throughline_model::context::{Format, HeaderList, Sampling, extract};
use throughline_model::{SpanKind, Status, Value};

use crate::support::pair::{BEGIN, MILLISECOND, Pair, Process, SECOND, attribute, int, text};
use crate::support::wire::{
    BatchSpec, RecordSpec, TOPIC, metadata, metadata_answer, produce, produced, read_records,
    record_set, request, response,
};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn some_records(count: usize) -> Vec<RecordSpec> {
    (0..count)
        .map(|number| RecordSpec::of(&format!("value {number}")))
        .collect()
}

/// Returns the context that a record carries.
fn context(record: &RecordSpec) -> throughline_model::context::SpanContext {
    let mut headers = HeaderList::default();
    for (key, value) in &record.headers {
        headers.push(key, value.as_deref().unwrap_or_default());
    }
    extract(&[Format::W3c], &headers)
        .context
        .unwrap_or_else(|| panic!("no context in {record:?}"))
}

/// Sends one batch. Returns the records that were forwarded.
fn send(pair: &mut Pair, version: i16, batch: &BatchSpec) -> Vec<RecordSpec> {
    pair.client(produce(version, 1, -1, batch.bytes()));
    read_records(&record_set(&pair.take_broker(), version))
}

#[test]
fn every_record_gets_its_own_context_and_a_span_that_the_response_ends() {
    for version in 3..=13 {
        for codec in 0..=4 {
            let mut pair = Pair::new(Settings::default());
            pair.client(metadata(12, 9));
            pair.broker(metadata_answer(12, 9));
            pair.take_broker();
            let batch = BatchSpec::of(some_records(3)).attributes(codec);
            let sent = send(&mut pair, version, &batch);
            assert_eq!(pair.spans.len(), 0, "the broker has not answered");
            pair.now += 5 * MILLISECOND;
            pair.broker(produced(version, 1, 0, 100));
            assert_eq!((pair.spans.len(), pair.injected(), sent.len()), (3, 3, 3));
            for (number, (span, record)) in pair.spans.iter().zip(&sent).enumerate() {
                let context = context(record);
                assert_eq!(
                    (span.trace_id, span.span_id),
                    (context.trace_id, context.span_id)
                );
                assert_eq!(
                    (context.sampling, span.parent_span_id),
                    (Sampling::Sample, None)
                );
                assert_eq!((span.start, span.end), (BEGIN, BEGIN + 5 * MILLISECOND));
                assert_eq!(
                    (span.name.as_str(), span.kind),
                    ("send orders", SpanKind::Producer)
                );
                assert_eq!(int(span, "messaging.kafka.offset"), 100 + number as i64);
                assert_eq!(
                    RecordSpec {
                        headers: Vec::new(),
                        ..record.clone()
                    },
                    batch.records[number],
                    "else it is the same"
                );
                assert_eq!(span.flags, 0x101);
            }
            let ids: std::collections::HashSet<_> =
                pair.spans.iter().map(|span| span.trace_id).collect();
            assert_eq!(ids.len(), 3, "one context per record, never one per batch");
        }
    }
}

#[test]
fn attributes_follow_the_conventions() {
    let mut pair = Pair::new(Settings {
        message_key: true,
        ..Settings::default()
    });
    pair.client(metadata(9, 9));
    pair.broker(metadata_answer(9, 9));
    pair.take_broker();
    send(
        &mut pair,
        9,
        &BatchSpec::of(vec![RecordSpec {
            value: None,
            ..RecordSpec::of("")
        }]),
    );
    pair.broker(produced(9, 1, 0, 100));
    let span = &pair.spans[0];
    let expected = [
        ("messaging.system", "kafka"),
        ("messaging.operation.name", "send"),
        ("messaging.operation.type", "send"),
        ("messaging.destination.name", "orders"),
        ("messaging.destination.partition.id", "0"),
        ("messaging.client.id", "a-client"),
        ("messaging.kafka.cluster.id", "a-cluster"),
        ("messaging.kafka.message.key", "k"),
        ("server.address", "broker"),
        ("client.address", "10.0.0.7"),
    ];
    for (key, value) in expected {
        assert_eq!(text(span, key), value, "{key}");
    }
    assert_eq!(int(span, "server.port"), 9092);
    assert_eq!(int(span, "throughline.kafka.batch_size"), 1);
    assert_eq!(
        attribute(span, "messaging.kafka.message.tombstone"),
        &Value::Bool(true)
    );
    assert_eq!(
        span.attribute("messaging.batch.message_count"),
        None,
        "the span is of one message"
    );
    assert_eq!(span.attribute("throughline.parent.evidence"), None);
}

#[test]
fn context_in_a_record_is_continued_and_the_record_stays_unmodified() {
    let mut pair = Pair::new(Settings::default());
    let own = RecordSpec::of("own")
        .with("traceparent", TRACEPARENT)
        .with("tracestate", "a=1");
    let batch = BatchSpec::of(vec![
        own,
        RecordSpec::of("none"),
        RecordSpec::of("b3").with("B3", "463ac35c9f6413ad-a2fb4a1d1a96d312-1"),
    ]);
    let sent = send(&mut pair, 9, &batch);
    assert_eq!((&sent[0], &sent[2]), (&batch.records[0], &batch.records[2]));
    assert_eq!((sent[1].headers.len(), pair.injected()), (1, 1));
    pair.broker(produced(9, 1, 0, 0));
    let span = &pair.spans[0];
    assert_eq!(
        span.trace_id.to_string(),
        "0af7651916cd43dd8448eb211c80319c"
    );
    assert_eq!(span.parent_span_id.unwrap().to_string(), "b7ad6b7169203331");
    assert_eq!((span.trace_state.as_str(), span.flags), ("a=1", 0x301));
    assert_eq!(text(span, "throughline.parent.evidence"), "header");
    assert_eq!(
        pair.spans[2].parent_span_id.unwrap().to_string(),
        "a2fb4a1d1a96d312"
    );
}

#[test]
fn similar_header_name_does_not_hide_the_context() {
    let mut pair = Pair::new(Settings::default());
    let batch = BatchSpec::of(vec![
        RecordSpec::of("own")
            .with("traceparent", TRACEPARENT)
            .with("Traceparent", "nonsense"),
    ]);
    assert_eq!(send(&mut pair, 9, &batch), batch.records);
    pair.broker(produced(9, 1, 0, 0));
    assert_eq!(
        pair.spans[0].parent_span_id.unwrap().to_string(),
        "b7ad6b7169203331"
    );
}

#[test]
fn batch_of_records_with_contexts_passes_unmodified() {
    let mut pair = Pair::new(Settings::default());
    let frame = produce(
        9,
        1,
        -1,
        BatchSpec::of(vec![RecordSpec::of("own").with("traceparent", TRACEPARENT)])
            .attributes(4)
            .bytes(),
    );
    pair.client(&frame);
    assert_eq!(pair.take_broker(), frame);
}

#[test]
fn unsampled_record_gets_a_context_that_says_so() {
    let mut pair = Pair::new(Settings {
        sample_ratio: 0.0,
        ..Settings::default()
    });
    let dropped = RecordSpec::of("theirs").with("traceparent", TRACEPARENT.replace("-01", "-00"));
    let refused = RecordSpec::of("refused").with("b3", "0");
    let sent = send(
        &mut pair,
        9,
        &BatchSpec::of(vec![
            RecordSpec::of("ours"),
            dropped.clone(),
            refused.clone(),
        ]),
    );
    assert_eq!(context(&sent[0]).sampling, Sampling::Drop);
    assert_eq!(sent[1..], [dropped, refused]);
    pair.broker(produced(9, 1, 0, 0));
    assert_eq!((pair.spans.len(), pair.dropped()), (0, 3));

    let mut pair = Pair::new(Settings {
        sample_ratio: 0.0,
        inject_unsampled: false,
        ..Settings::default()
    });
    let frame = produce(9, 1, -1, BatchSpec::of(some_records(2)).bytes());
    pair.client(&frame);
    assert_eq!(pair.take_broker(), frame);
}

#[test]
fn sampling_ratio_applies_to_each_record() {
    let mut pair = Pair::new(Settings {
        sample_ratio: 0.25,
        ..Settings::default()
    });
    let sent = send(&mut pair, 9, &BatchSpec::of(some_records(2000)));
    let sampled = sent
        .iter()
        .filter(|record| context(record).sampling.is_sampled())
        .count();
    assert!(
        (400..600).contains(&sampled),
        "{sampled} of 2000 at a quarter"
    );
    pair.broker(produced(9, 1, 0, 0));
    assert_eq!(
        (pair.spans.len(), pair.dropped() as usize),
        (sampled, 2000 - sampled)
    );
}

#[test]
fn span_ends_with_the_request_when_acks_are_0() {
    let mut pair = Pair::new(Settings::default());
    pair.client(produce(9, 1, 0, BatchSpec::of(some_records(2)).bytes()));
    assert_eq!(pair.spans.len(), 2);
    assert_eq!(pair.spans[0].attribute("messaging.kafka.offset"), None);
    // No response is awaited: the next one belongs to the next request.
    pair.client(produce(9, 2, 1, BatchSpec::of(some_records(1)).bytes()));
    pair.broker(produced(9, 2, 0, 7));
    assert_eq!(
        (
            pair.spans.len(),
            int(&pair.spans[2], "messaging.kafka.offset")
        ),
        (3, 7)
    );
    assert_eq!(pair.skipped(), []);
}

#[test]
fn broker_error_becomes_error_type() {
    let mut pair = Pair::new(Settings::default());
    send(&mut pair, 9, &BatchSpec::of(some_records(1)));
    pair.broker(produced(9, 1, 19, -1));
    pair.abandon_retries();
    let span = &pair.spans[0];
    assert_eq!(text(span, "error.type"), "NOT_ENOUGH_REPLICAS");
    assert_eq!(span.status, Status::Error("NOT_ENOUGH_REPLICAS".to_owned()));
    assert_eq!(span.attribute("messaging.kafka.offset"), None);
}

#[test]
fn disconnect_and_timeout_end_spans_with_errors() {
    let mut pair = Pair::new(Settings::default());
    send(&mut pair, 9, &BatchSpec::of(some_records(1)));
    pair.close(Side::Client);
    assert_eq!(
        pair.spans.len(),
        0,
        "the broker may answer a client that sends no more"
    );
    pair.close(Side::Broker);
    pair.abandon_retries();
    assert_eq!(text(&pair.spans[0], "error.type"), "NETWORK_EXCEPTION");

    let mut pair = Pair::new(Settings::default());
    send(&mut pair, 9, &BatchSpec::of(some_records(1)));
    pair.wait(59 * SECOND);
    assert_eq!(pair.spans.len(), 0);
    pair.wait(2 * SECOND);
    pair.abandon_retries();
    assert_eq!(text(&pair.spans[0], "error.type"), "REQUEST_TIMED_OUT");
    assert_eq!(pair.spans[0].end, BEGIN + 60 * SECOND);
    pair.broker(produced(9, 1, 0, 7));
    assert_eq!(
        (pair.spans.len(), pair.skipped()),
        (1, vec![]),
        "the late answer is nobody's news"
    );
}

#[test]
fn batch_that_would_exceed_the_limit_passes_unmodified_and_is_traced() {
    let process = Process::default();
    let mut pair = Pair::of(&process, Settings::default());
    // 12 bytes under the limit: a Java client fills batches up to it.
    let room = 1_048_588 - 12 - BatchSpec::of(vec![RecordSpec::of("")]).bytes().len() - 4;
    let batch = BatchSpec::of(vec![RecordSpec::of(&"x".repeat(room))]);
    assert!((1_048_570..=1_048_576).contains(&batch.bytes().len()));
    let frame = produce(9, 1, -1, batch.bytes());
    pair.client(&frame);
    assert_eq!(pair.take_broker(), frame);
    assert_eq!(pair.skipped(), [SkipReason::BatchTooLarge]);
    pair.broker(produced(9, 1, 0, 7));
    assert_eq!(
        text(&pair.spans[0], "throughline.kafka.not_injected"),
        "batch_too_large"
    );
    // Many small records, some of which got a context before the limit was reached.
    let topic = TopicSettings {
        max_message_bytes: Some(1000),
        ..TopicSettings::default()
    };
    pair.session.handle_settings(Arc::new(Settings {
        default: topic,
        ..Settings::default()
    }));
    let frame = produce(9, 2, -1, BatchSpec::of(some_records(30)).bytes());
    pair.client(&frame);
    assert_eq!(pair.take_broker(), frame);
    pair.broker(produced(9, 2, 0, 8));
    assert_eq!((pair.spans.len(), pair.injected()), (31, 0));
    let offsets: Vec<_> = pair.spans[1..]
        .iter()
        .map(|span| int(span, "messaging.kafka.offset"))
        .collect();
    assert_eq!(offsets, (8..38).collect::<Vec<_>>());
}

#[test]
fn request_that_would_exceed_the_limit_passes_unmodified() {
    let limits = SessionLimits {
        max_request_bytes: 2000,
        ..SessionLimits::default()
    };
    let mut pair = Pair::new(Settings {
        limits,
        ..Settings::default()
    });
    let frame = produce(9, 1, -1, BatchSpec::of(some_records(50)).bytes());
    assert!(frame.len() < 2000);
    pair.client(&frame);
    assert_eq!((pair.take_broker(), pair.injected()), (frame.to_vec(), 0));
    pair.broker(produced(9, 1, 0, 8));
    assert_eq!(pair.spans.len(), 50);
    assert_eq!(
        text(&pair.spans[0], "throughline.kafka.not_injected"),
        "batch_too_large"
    );
}

#[test]
fn rejected_injection_is_not_repeated() {
    for (error_code, reason) in [
        (10, SkipReason::BatchTooLarge),
        (2, SkipReason::RefusedBefore),
        (87, SkipReason::RefusedBefore),
    ] {
        let mut pair = Pair::new(Settings::default());
        let batch = BatchSpec::of(some_records(4));
        send(&mut pair, 9, &batch);
        pair.broker(produced(9, 1, error_code, -1));
        // The original takes its place.
        assert_eq!(pair.take_broker(), produce(9, 1, -1, batch.bytes()));
        pair.broker(produced(9, 1, 0, 7));
        assert!(pair.events.contains(&SessionEvent::InjectionRejected {
            topic: TOPIC.into(),
            error_code
        }));
        let again = produce(9, 2, -1, batch.bytes());
        pair.client(&again);
        assert_eq!(
            (pair.take_broker(), pair.skipped()),
            (again.to_vec(), vec![reason])
        );
    }
    let mut pair = Pair::new(Settings::default());
    send(&mut pair, 9, &BatchSpec::of(some_records(1)));
    pair.broker(produced(9, 1, 6, -1));
    assert_eq!(
        send(&mut pair, 9, &BatchSpec::of(some_records(1)))[0]
            .headers
            .len(),
        1,
        "a new leader is no reason"
    );
}

#[test]
fn injection_resumes_when_unmodified_records_are_rejected_too() {
    let mut pair = Pair::new(Settings::default());
    let batch = BatchSpec::of(some_records(1));
    for _ in 0..2 {
        assert_eq!(send(&mut pair, 9, &batch)[0].headers.len(), 1);
        pair.broker(produced(9, 1, 87, -1));
        // The original, sent in its place, is rejected as well.
        assert_eq!(pair.take_broker(), produce(9, 1, -1, batch.bytes()));
        pair.broker(produced(9, 1, 87, -1));
    }
}

#[test]
fn injection_can_be_disabled_globally_or_per_topic() {
    let off = TopicSettings {
        inject: InjectionMode::Never,
        ..TopicSettings::default()
    };
    let switches = [
        Settings {
            inject: InjectionMode::Never,
            ..Settings::default()
        },
        Settings {
            topics: vec![(TopicPattern::new("ord*"), off)],
            ..Settings::default()
        },
        Settings {
            write: Vec::new(),
            ..Settings::default()
        },
    ];
    for settings in switches {
        let mut pair = Pair::new(settings);
        let frame = produce(9, 1, -1, BatchSpec::of(some_records(2)).bytes());
        pair.client(&frame);
        assert_eq!(pair.take_broker(), frame);
        pair.broker(produced(9, 1, 0, 3));
        assert_eq!(
            (pair.spans.len(), pair.injected(), pair.skipped()),
            (2, 0, vec![])
        );
    }
}

#[test]
fn new_settings_apply_to_open_connections() {
    let mut pair = Pair::new(Settings::default());
    assert_eq!(
        send(&mut pair, 9, &BatchSpec::of(some_records(1)))[0]
            .headers
            .len(),
        1
    );
    pair.session.handle_settings(
        Settings {
            inject: InjectionMode::Never,
            ..Settings::default()
        }
        .into(),
    );
    assert_eq!(
        send(&mut pair, 9, &BatchSpec::of(some_records(1)))[0]
            .headers
            .len(),
        0
    );
}

#[test]
fn malformed_context_is_replaced_and_other_headers_stay() {
    let mut pair = Pair::new(Settings::default());
    let mut record = RecordSpec::of("v")
        .with("a", "1")
        .with("traceparent", "nonsense")
        .with("a", "2")
        .with(b"\xff\0", "3");
    record.headers.push((b"null".to_vec(), None));
    let sent = send(&mut pair, 9, &BatchSpec::of(vec![record.clone()]));
    record.headers.remove(1);
    let (ours, theirs) = sent[0].headers.split_last().unwrap();
    assert_eq!(
        (theirs, ours.0.as_slice()),
        (record.headers.as_slice(), b"traceparent".as_slice())
    );
}

#[test]
fn configured_formats_are_injected() {
    let mut pair = Pair::new(Settings {
        write: vec![Format::B3Single, Format::Jaeger],
        ..Settings::default()
    });
    let sent = send(&mut pair, 9, &BatchSpec::of(some_records(1)));
    pair.broker(produced(9, 1, 0, 0));
    let span = &pair.spans[0];
    let b3 = format!("{}-{}-1", span.trace_id, span.span_id);
    assert_eq!(sent[0].header("b3"), Some(b3.as_bytes()));
    let jaeger = format!("{}:{}:0:1", span.trace_id, span.span_id);
    assert_eq!(sent[0].header("uber-trace-id"), Some(jaeger.as_bytes()));
}

#[test]
fn span_rate_limits_spans_of_many_records() {
    let process = Process::with(ClusterCapacity {
        max_spans_per_second: 10,
        ..ClusterCapacity::default()
    });
    let mut pair = Pair::of(&process, Settings::default());
    let sent = send(&mut pair, 9, &BatchSpec::of(some_records(100)));
    pair.broker(produced(9, 1, 0, 0));
    assert_eq!((pair.spans.len(), pair.dropped()), (10, 90));
    let sampled: Vec<_> = sent
        .iter()
        .map(|record| context(record).sampling.is_sampled())
        .collect();
    assert_eq!(
        sampled,
        [[true; 10].to_vec(), [false; 90].to_vec()].concat(),
        "nobody behind traces the others"
    );
    pair.now += SECOND / 2;
    send(&mut pair, 9, &BatchSpec::of(some_records(100)));
    pair.broker(produced(9, 1, 0, 0));
    assert_eq!(pair.spans.len(), 15);
}

#[test]
fn opentracing_naming_applies_to_names_and_tags() {
    let mut pair = Pair::new(Settings {
        naming: SpanNaming::OpenTracing,
        ..Settings::default()
    });
    send(&mut pair, 9, &BatchSpec::of(some_records(1)));
    pair.broker(produced(9, 1, 7, -1));
    pair.abandon_retries();
    let span = &pair.spans[0];
    assert_eq!(
        (span.name.as_str(), span.kind),
        ("To_orders", SpanKind::Producer)
    );
    assert_eq!(text(span, "span.kind"), "producer");
    assert_eq!(text(span, "component"), "java-kafka");
    assert_eq!(text(span, "message_bus.destination"), "orders");
    assert_eq!(int(span, "partition"), 0);
    assert_eq!(attribute(span, "error"), &Value::Bool(true));
    assert_eq!(span.events[0].name, "error");
    assert_eq!(span.attribute("messaging.system"), None);
}

#[test]
fn topic_that_may_be_excluded_is_not_injected_into() {
    let off = TopicSettings {
        inject: InjectionMode::Never,
        ..TopicSettings::default()
    };
    let topics = vec![(TopicPattern::new("secret-*"), off)];
    let mut pair = Pair::new(Settings {
        topics,
        ..Settings::default()
    });
    let frame = produce(13, 1, -1, BatchSpec::of(some_records(1)).bytes());
    pair.client(&frame);
    assert_eq!(
        (pair.take_broker(), pair.skipped()),
        (frame.to_vec(), vec![SkipReason::UnknownTopic])
    );
    pair.broker(produced(13, 1, 0, 0));
    assert_eq!(
        text(&pair.spans[0], "throughline.kafka.not_injected"),
        "unknown_topic"
    );
    // The topic has another name than the excluded one.
    pair.client(metadata(12, 2));
    pair.broker(metadata_answer(12, 2));
    pair.take_broker();
    assert_eq!(
        send(&mut pair, 13, &BatchSpec::of(some_records(1)))[0]
            .headers
            .len(),
        1
    );
}

/// Returns a Produce of one record to each partition, and its response, with offsets 100 +
/// partition.
fn to_partitions(sent: &[i32], answered: &[i32]) -> (Bytes, Bytes) {
    use km::produce_request::{PartitionProduceData, TopicProduceData};
    use km::produce_response::{PartitionProduceResponse, TopicProduceResponse};
    let name = || km::TopicName(StrBytes::from_static_str(TOPIC));
    let batch = Bytes::from(BatchSpec::of(some_records(1)).bytes());
    let of = |index: &i32| {
        PartitionProduceData::default()
            .with_index(*index)
            .with_records(Some(batch.clone()))
    };
    let topic = TopicProduceData::default()
        .with_name(name())
        .with_partition_data(sent.iter().map(of).collect());
    let question = km::ProduceRequest::default()
        .with_acks(-1)
        .with_topic_data(vec![topic]);
    let of = |index: &i32| {
        PartitionProduceResponse::default()
            .with_index(*index)
            .with_base_offset(i64::from(100 + index))
    };
    let topic = TopicProduceResponse::default()
        .with_name(name())
        .with_partition_responses(answered.iter().map(of).collect());
    let answer = km::ProduceResponse::default().with_responses(vec![topic]);
    (
        request(ApiKey::PRODUCE, 9, 1, &question),
        response(ApiKey::PRODUCE, 9, 1, &answer),
    )
}

#[test]
fn partitions_are_answered_once_in_any_order() {
    let cases: [(&[i32], &[i32], &[i64]); 4] = [
        (&[0, 1, 2, 3], &[0, 1, 2, 3], &[100, 101, 102, 103]),
        (&[0, 1, 2, 3], &[0, 3, 2, 1], &[100, 103, 102, 101]),
        (&[0, 1, 2, 3], &[9, 1, 1, 0], &[101, 100]),
        (&[5, 5, 6], &[6, 5, 5, 5], &[106, 105, 105]),
    ];
    for (sent, answered, offsets) in cases {
        let mut pair = Pair::new(Settings::default());
        let (question, answer) = to_partitions(sent, answered);
        pair.client(question);
        pair.broker(answer);
        let numbers: Vec<_> = pair
            .spans
            .iter()
            .map(|span| int(span, "messaging.kafka.offset"))
            .collect();
        assert_eq!(numbers, offsets);
        assert_eq!(
            numbers.len() + pair.dropped() as usize,
            sent.len(),
            "what is not answered is counted"
        );
    }
}
