//! Fetch: delivered records and consumer spans.

use throughline_intercept::Side;
use throughline_intercept::kafka::{
    DeliveryMode, InjectionMode, PartitionIndex, SessionEvent, SessionLimits, Settings, SkipReason,
    SpanNaming, SpanRelation, TopicSettings,
};
use throughline_kafka::message::ApiMessage;
use throughline_kafka::message::fetch::FetchResponse;
use throughline_model::{SpanKind, Value};

use crate::support::pair::{
    BEGIN, MILLISECOND, Pair, Process, SECOND, attribute, double, int, text,
};
use crate::support::wire::{
    BatchSpec, CONTROL, FetchSpec, RecordSpec, TOPIC, TRANSACTIONAL, metadata, metadata_answer,
    produce, produced, read_records, record_set,
};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn traced(value: &str) -> RecordSpec {
    RecordSpec::of(value).with("traceparent", TRACEPARENT)
}

/// Fetches once; the response arrives three milliseconds after the request.
fn fetch(
    pair: &mut Pair,
    ask: FetchSpec,
    records: &[u8],
    high_watermark: i64,
    aborted: &[(i64, i64)],
) {
    let question = ask.frame();
    pair.client(&question);
    assert_eq!(pair.take_broker(), question, "a fetch is only read");
    pair.now += 3 * MILLISECOND;
    let answer = ask.answer(records.to_vec(), high_watermark, aborted);
    pair.broker(&answer);
    assert_eq!(pair.take_client(), answer, "its answer too");
}

fn offsets(pair: &Pair) -> Vec<i64> {
    pair.spans
        .iter()
        .map(|span| int(span, "messaging.kafka.offset"))
        .collect()
}

#[test]
fn delivered_record_has_a_child_span_of_its_sender() {
    for version in 4..=18 {
        for codec in 0..=4 {
            let mut pair = Pair::new(Settings::default());
            pair.client(metadata(12, 9));
            pair.broker(metadata_answer(12, 9));
            (pair.to_broker, pair.to_client) = (Vec::new(), Vec::new());
            let batch = BatchSpec::of(vec![traced("a"), RecordSpec::of("b")])
                .at(40)
                .attributes(codec);
            fetch(
                &mut pair,
                FetchSpec {
                    version,
                    offset: Some(40),
                    ..FetchSpec::default()
                },
                &batch.bytes(),
                45,
                &[],
            );
            let [first, second] = &pair.spans[..] else {
                panic!("{} spans", pair.spans.len())
            };
            assert_eq!(
                (first.name.as_str(), first.kind),
                ("process orders", SpanKind::Consumer)
            );
            assert_eq!(
                first.trace_id.to_string(),
                "0af7651916cd43dd8448eb211c80319c"
            );
            assert_eq!(
                first.parent_span_id.unwrap().to_string(),
                "b7ad6b7169203331"
            );
            assert_eq!(first.flags, 0x301);
            let link = &first.links[0];
            assert_eq!(
                (link.trace_id, Some(link.span_id)),
                (first.trace_id, first.parent_span_id)
            );
            assert_eq!(
                link.attribute("opentracing.ref_type"),
                Some(&Value::from("follows_from"))
            );
            assert_eq!((second.parent_span_id, second.links.len()), (None, 0));
            assert_eq!(offsets(&pair), [40, 41]);
            assert_eq!(
                (
                    int(first, "throughline.kafka.lag"),
                    int(second, "throughline.kafka.lag")
                ),
                (4, 3)
            );
            let queued = double(first, "throughline.kafka.queue_time");
            assert!((0.002..0.004).contains(&queued), "{queued} s");
            assert_eq!(first.start, BEGIN + 3 * MILLISECOND);
            assert_eq!(text(first, "messaging.operation.type"), "process");
            let lag = SessionEvent::Lag {
                group: None,
                topic: TOPIC.into(),
                partition: PartitionIndex(0),
                lag: 3,
            };
            assert!(pair.events.contains(&lag), "{:?}", pair.events);
        }
    }
}

#[test]
fn record_sent_and_fetched_through_one_process_is_one_trace() {
    let process = Process::default();
    let mut producer = Pair::of(&process, Settings::default());
    producer.client(produce(
        9,
        1,
        -1,
        BatchSpec::of(vec![RecordSpec::of("a")]).bytes(),
    ));
    let stored = record_set(&producer.take_broker(), 9);
    producer.now += SECOND;
    producer.broker(produced(9, 1, 0, 0));
    let mut consumer = Pair::of(&process, Settings::default());
    consumer.now = producer.now + SECOND;
    fetch(&mut consumer, FetchSpec::default(), &stored, 1, &[]);
    let (sent, received) = (&producer.spans[0], &consumer.spans[0]);
    assert_eq!(
        (received.trace_id, received.parent_span_id),
        (sent.trace_id, Some(sent.span_id))
    );
    let waited = double(received, "throughline.kafka.queue_time.sent");
    assert!((1.0..1.01).contains(&waited), "{waited} s");
}

#[test]
fn links_only_begins_a_trace_with_the_senders_decision() {
    let topic = TopicSettings {
        relation: SpanRelation::LinksOnly,
        ..TopicSettings::default()
    };
    let mut pair = Pair::new(Settings {
        default: topic,
        sample_ratio: 0.0,
        ..Settings::default()
    });
    let unsampled = RecordSpec::of("b").with("traceparent", TRACEPARENT.replace("-01", "-00"));
    fetch(
        &mut pair,
        FetchSpec::default(),
        &BatchSpec::of(vec![traced("a"), unsampled]).bytes(),
        2,
        &[],
    );
    let [span] = &pair.spans[..] else {
        panic!("{} spans", pair.spans.len())
    };
    assert_eq!(span.parent_span_id, None);
    assert_ne!(
        span.trace_id.to_string(),
        "0af7651916cd43dd8448eb211c80319c"
    );
    assert_eq!(
        span.links[0].trace_id.to_string(),
        "0af7651916cd43dd8448eb211c80319c"
    );
    assert_eq!(pair.dropped(), 1);
}

#[test]
fn records_before_the_requested_offset_are_not_delivered() {
    let mut pair = Pair::new(Settings::default());
    let batches = [
        BatchSpec::of(vec![traced("a")]).at(4).bytes(),
        BatchSpec::of(vec![traced("b"), traced("c")]).at(5).bytes(),
    ]
    .concat();
    fetch(
        &mut pair,
        FetchSpec {
            offset: Some(6),
            ..FetchSpec::default()
        },
        &batches,
        7,
        &[],
    );
    assert_eq!(offsets(&pair), [6]);
}

/// kafka-go takes the complete records of a batch that is cut, and goes on behind them; others
/// fetch the batch again.
#[test]
fn records_of_a_batch_that_was_cut_have_one_span_each() {
    let whole = BatchSpec::of(vec![traced("a")]).at(4).bytes();
    let long = traced(&"x".repeat(200));
    let batch = BatchSpec::of(vec![long; 4]).at(5).bytes();
    // Within the last record, so that 5, 6 and 7 are complete.
    let cut = &batch[..batch.len() - 100];
    let cases = [
        // The next position, and the offsets with spans.
        (8, vec![4, 5, 6, 7, 8]),
        (7, vec![4, 5, 6, 7, 8]),
        (5, vec![4, 5, 6, 7, 8]),
        // A seek: no record of the cut batch was taken.
        (9, vec![4]),
        (3, vec![4, 4, 5, 6, 7, 8]),
    ];
    for (next, expected) in cases {
        let mut pair = Pair::new(Settings::default());
        let ask = |correlation, offset| FetchSpec {
            correlation,
            offset: Some(offset),
            ..FetchSpec::default()
        };
        fetch(&mut pair, ask(1, 4), &[&whole, cut].concat(), 9, &[]);
        assert_eq!(offsets(&pair), [4]);
        // A response without records changes nothing.
        fetch(&mut pair, ask(2, next), &[], 9, &[]);
        let rest = if next < 5 {
            [&*whole, &batch].concat()
        } else {
            batch.clone()
        };
        fetch(&mut pair, ask(3, next), &rest, 9, &[]);
        assert_eq!(offsets(&pair), expected, "{next}");
        fetch(&mut pair, ask(4, 9), &[], 9, &[]);
        assert_eq!(offsets(&pair), expected, "{next}");
    }
}

#[test]
fn fetch_session_keeps_earlier_positions() {
    let mut pair = Pair::new(Settings::default());
    let batch = |offset| BatchSpec::of(vec![traced("a")]).at(offset).bytes();
    fetch(
        &mut pair,
        FetchSpec {
            epoch: 0,
            correlation: 1,
            offset: Some(5),
            ..FetchSpec::default()
        },
        &[],
        5,
        &[],
    );
    // KIP-227: an unchanged partition is not named again.
    fetch(
        &mut pair,
        FetchSpec {
            epoch: 1,
            correlation: 2,
            offset: None,
            ..FetchSpec::default()
        },
        &batch(5),
        6,
        &[],
    );
    fetch(
        &mut pair,
        FetchSpec {
            epoch: 2,
            correlation: 3,
            offset: Some(6),
            ..FetchSpec::default()
        },
        &batch(5),
        6,
        &[],
    );
    assert_eq!(offsets(&pair), [5]);
    // A full request replaces all positions.
    fetch(
        &mut pair,
        FetchSpec {
            epoch: 0,
            correlation: 4,
            offset: None,
            ..FetchSpec::default()
        },
        &batch(6),
        7,
        &[],
    );
    assert_eq!(
        (offsets(&pair), pair.skipped()),
        (vec![5], vec![SkipReason::Capacity])
    );
}

#[test]
fn fetch_response_is_read_with_the_positions_of_its_own_request() {
    let mut pair = Pair::new(Settings::default());
    let ask = |correlation, offset| FetchSpec {
        correlation,
        offset: Some(offset),
        epoch: 1,
        ..FetchSpec::default()
    };
    pair.client(ask(1, 5).frame());
    pair.client(ask(2, 6).frame());
    pair.broker(ask(1, 5).answer(BatchSpec::of(vec![traced("a")]).at(5).bytes(), 6, &[]));
    pair.broker(ask(2, 6).answer(BatchSpec::of(vec![traced("b")]).at(6).bytes(), 7, &[]));
    assert_eq!(offsets(&pair), [5, 6]);
}

#[test]
fn read_committed_leaves_out_aborted_transactions() {
    let mark = |offset, producer, kind: u8| {
        let mark = RecordSpec {
            key: Some(vec![0, 0, 0, kind]),
            value: Some(vec![0; 6]),
            headers: Vec::new(),
        };
        BatchSpec::of(vec![mark])
            .at(offset)
            .by(producer)
            .attributes(TRANSACTIONAL | CONTROL)
            .bytes()
    };
    let part = |offset, producer| {
        BatchSpec::of(vec![traced("a")])
            .at(offset)
            .by(producer)
            .attributes(TRANSACTIONAL)
            .bytes()
    };
    let log = [
        part(0, 7),
        part(1, 8),
        BatchSpec::of(vec![traced("plain")]).at(2).bytes(),
        mark(3, 7, 0),
        part(4, 7),
        mark(5, 8, 1),
        mark(6, 7, 1),
    ]
    .concat();
    let mut pair = Pair::new(Settings::default());
    fetch(
        &mut pair,
        FetchSpec {
            read_committed: true,
            ..FetchSpec::default()
        },
        &log,
        7,
        &[(7, 0)],
    );
    assert_eq!(offsets(&pair), [1, 2, 4]);
    let mut pair = Pair::new(Settings::default());
    fetch(&mut pair, FetchSpec::default(), &log, 7, &[]);
    assert_eq!(offsets(&pair), [0, 1, 2, 4]);
}

#[test]
fn unreadable_records_pass_and_are_counted() {
    let whole = BatchSpec::of(vec![traced("a")]).bytes();
    let mut old = BatchSpec::of(vec![traced("a")]).bytes();
    old[16] = 1;
    let mut broken = BatchSpec::of(vec![traced("a"), traced("b")])
        .attributes(4)
        .bytes();
    broken[70] ^= 0xff;
    let unknown = BatchSpec::of(vec![traced("a")]).attributes(5).bytes();
    let cases: [(&[u8], &[SkipReason], usize); 5] = [
        (&whole[..whole.len() - 3], &[], 0),
        (&[&whole[..], &whole[..40]].concat(), &[], 1),
        (&old, &[SkipReason::OldFormat], 0),
        (&broken, &[SkipReason::Codec], 0),
        (&unknown, &[SkipReason::Codec], 0),
    ];
    for (records, reasons, spans) in cases {
        let mut pair = Pair::new(Settings::default());
        fetch(&mut pair, FetchSpec::default(), records, 2, &[]);
        assert_eq!(
            (pair.skipped().as_slice(), pair.spans.len()),
            (reasons, spans)
        );
    }
}

#[test]
fn records_beyond_the_decompression_limit_are_not_read() {
    let limits = SessionLimits {
        max_inflated_bytes: 100_000,
        ..SessionLimits::default()
    };
    let mut pair = Pair::new(Settings {
        limits,
        ..Settings::default()
    });
    let batch = BatchSpec::of(vec![RecordSpec::of(&"x".repeat(200_000))]).attributes(4);
    fetch(&mut pair, FetchSpec::default(), &batch.bytes(), 1, &[]);
    assert_eq!(
        (pair.skipped(), pair.spans.len(), pair.dropped()),
        (vec![SkipReason::Inflated], 0, 1)
    );
}

#[test]
fn lag_is_reported_for_partitions_without_records() {
    let mut pair = Pair::new(Settings::default());
    fetch(
        &mut pair,
        FetchSpec {
            offset: Some(5),
            ..FetchSpec::default()
        },
        &[],
        9,
        &[],
    );
    let lag = SessionEvent::Lag {
        group: None,
        topic: TOPIC.into(),
        partition: PartitionIndex(0),
        lag: 4,
    };
    assert!(pair.events.contains(&lag), "{:?}", pair.events);
}

#[test]
fn consumer_behind_a_transaction_marker_has_no_lag() {
    let mark = RecordSpec {
        key: Some(vec![0, 0, 0, 1]),
        value: Some(vec![0; 6]),
        headers: Vec::new(),
    };
    let mark = BatchSpec::of(vec![mark])
        .at(1)
        .by(7)
        .attributes(TRANSACTIONAL | CONTROL)
        .bytes();
    let log = [
        BatchSpec::of(vec![traced("a")])
            .by(7)
            .attributes(TRANSACTIONAL)
            .bytes(),
        mark,
    ]
    .concat();
    let mut pair = Pair::new(Settings::default());
    fetch(
        &mut pair,
        FetchSpec {
            read_committed: true,
            ..FetchSpec::default()
        },
        &log,
        2,
        &[],
    );
    let lag = SessionEvent::Lag {
        group: None,
        topic: TOPIC.into(),
        partition: PartitionIndex(0),
        lag: 0,
    };
    assert!(pair.events.contains(&lag), "{:?}", pair.events);
    assert_eq!(int(&pair.spans[0], "throughline.kafka.lag"), 0);
}

#[test]
fn fetch_session_continues_on_another_connection() {
    let process = Process::default();
    let mut first = Pair::of(&process, Settings::default());
    let begin = FetchSpec {
        epoch: 0,
        ..FetchSpec::default()
    };
    fetch(&mut first, begin, &[], 0, &[]);
    first.close(Side::Client);
    first.close(Side::Broker);
    // The partition has not changed: the request does not name it.
    let next = FetchSpec {
        epoch: 1,
        offset: None,
        ..FetchSpec::default()
    };
    let mut second = Pair::of(&process, Settings::default());
    let batch = BatchSpec::of(vec![traced("a")]).bytes();
    fetch(&mut second, next, &batch, 1, &[]);
    assert_eq!((second.skipped(), second.spans.len()), (vec![], 1));
}

#[test]
fn records_of_a_recreated_topic_are_not_redeliveries() {
    let mut pair = Pair::new(Settings::default());
    let batch = |offset| {
        BatchSpec::of(vec![traced("a"), traced("b")])
            .at(offset)
            .bytes()
    };
    fetch(
        &mut pair,
        FetchSpec {
            offset: Some(40),
            ..FetchSpec::default()
        },
        &batch(40),
        42,
        &[],
    );
    fetch(
        &mut pair,
        FetchSpec {
            correlation: 2,
            ..FetchSpec::default()
        },
        &batch(0),
        2,
        &[],
    );
    assert_eq!(offsets(&pair), [40, 41, 0, 1]);
    assert!(
        pair.spans
            .iter()
            .all(|span| span.attribute("throughline.kafka.redelivered").is_none())
    );
}

const PARENT: &str = "b7ad6b7169203331";

/// Returns settings that patch records on their way to a consumer.
fn patching(relation: SpanRelation) -> Settings {
    Settings {
        default: TopicSettings {
            deliver: DeliveryMode::Patch,
            relation,
            ..TopicSettings::default()
        },
        ..Settings::default()
    }
}

/// Returns the record set of a response, version 12.
fn fetch_response(frame: &[u8]) -> Vec<u8> {
    let response = FetchResponse::parse(&frame[9..], 12).unwrap().parsed();
    let response = response.unwrap();
    let topic = response.topics.iter().next().unwrap();
    let partition = topic.partitions.iter().next().unwrap();
    partition.records.unwrap().bytes().to_vec()
}

#[test]
fn patched_record_names_the_consumer_span_and_nothing_else_changes() {
    let topic = TopicSettings {
        deliver: DeliveryMode::Patch,
        ..TopicSettings::default()
    };
    let mut pair = Pair::new(Settings {
        default: topic,
        ..Settings::default()
    });
    let b3 = "463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-1";
    let batch = BatchSpec::of(vec![
        traced("a").with("x", TRACEPARENT),
        RecordSpec::of("b"),
        RecordSpec::of("c").with("b3", b3),
    ]);
    let compressed = BatchSpec::of(vec![traced("a")]).at(3).attributes(3);
    let records = [batch.bytes(), compressed.bytes()].concat();
    let ask = FetchSpec::default();
    pair.client(ask.frame());
    pair.broker(ask.answer(records, 4, &[]));
    let [first, _, third, fourth] = &pair.spans[..] else {
        panic!("{} spans", pair.spans.len())
    };
    let mut expected = batch;
    expected.records[0].headers[0].1 = Some(
        TRACEPARENT
            .replace("b7ad6b7169203331", &first.span_id.to_string())
            .into(),
    );
    expected.records[2].headers[0].1 = Some(
        b3.replace("a2fb4a1d1a96d312", &third.span_id.to_string())
            .into(),
    );
    let mut patched = compressed;
    patched.records[0].headers[0].1 = Some(
        TRACEPARENT
            .replace("b7ad6b7169203331", &fourth.span_id.to_string())
            .into(),
    );
    let answer = ask.answer([expected.bytes(), patched.bytes()].concat(), 4, &[]);
    assert_eq!(pair.take_client(), answer);
}

#[test]
fn compressed_records_are_patched_in_every_codec_within_the_limits() {
    let values: Vec<RecordSpec> = (0..300).map(|_| traced("a")).collect();
    for codec in 0..=4 {
        for is_limited in [false, true] {
            let mut settings = patching(SpanRelation::ParentAndLink);
            if is_limited {
                settings.limits.max_inflated_bytes = 1000;
            }
            let mut pair = Pair::new(settings);
            let records = [
                BatchSpec::of(values.clone()).attributes(codec).bytes(),
                BatchSpec::of(vec![RecordSpec::of("b")]).at(300).bytes(),
            ];
            let ask = FetchSpec::default();
            pair.client(ask.frame());
            let answer = ask.answer(records.concat(), 301, &[]);
            pair.broker(&answer);
            let sent = pair.take_client();
            if is_limited && codec > 0 {
                assert_eq!(sent, answer);
                assert!(pair.skipped().contains(&SkipReason::Inflated));
                continue;
            }
            let response = fetch_response(&sent);
            let records = read_records(&response);
            assert_eq!(records.len(), 301, "codec {codec}");
            for (record, span) in records.iter().zip(&pair.spans).take(300) {
                let expected = TRACEPARENT.replace(PARENT, &span.span_id.to_string());
                assert_eq!(record.header("traceparent"), Some(expected.as_bytes()));
            }
            assert_eq!(pair.skipped(), []);
        }
    }
}

#[test]
fn compressed_records_that_are_not_to_be_changed_are_counted() {
    let mut settings = patching(SpanRelation::ParentAndLink);
    settings.default.inject = InjectionMode::Uncompressed;
    let mut pair = Pair::new(settings);
    let batch = BatchSpec::of(vec![traced("a"), RecordSpec::of("b")]).attributes(4);
    let ask = FetchSpec::default();
    pair.client(ask.frame());
    let answer = ask.answer(batch.bytes(), 2, &[]);
    pair.broker(&answer);
    assert_eq!(pair.take_client(), answer);
    let event = SessionEvent::Skipped {
        reason: SkipReason::Compressed,
        records: 1,
    };
    assert!(pair.events.contains(&event), "{:?}", pair.events);
}

#[test]
fn record_with_a_consumer_span_in_another_trace_keeps_its_context_and_is_counted() {
    let mut pair = Pair::new(patching(SpanRelation::LinksOnly));
    let batch = BatchSpec::of(vec![traced("a"), RecordSpec::of("b"), traced("c")]);
    let ask = FetchSpec::default();
    pair.client(ask.frame());
    let answer = ask.answer(batch.bytes(), 3, &[]);
    pair.broker(&answer);
    assert_eq!(pair.take_client(), answer);
    let event = SessionEvent::Skipped {
        reason: SkipReason::LinksOnly,
        records: 2,
    };
    assert!(pair.events.contains(&event), "{:?}", pair.events);
}

#[test]
fn topic_is_named_by_its_id_until_its_name_is_known() {
    let process = Process::default();
    let ask = FetchSpec {
        version: 13,
        ..FetchSpec::default()
    };
    let mut pair = Pair::of(&process, Settings::default());
    fetch(
        &mut pair,
        ask,
        &BatchSpec::of(vec![traced("a")]).bytes(),
        1,
        &[],
    );
    assert_eq!(pair.spans[0].name, "process id:YW4taWQtb2Ytb3JkZXJzIQ");
    // Another connection of the process learns the name.
    let mut other = Pair::of(&process, Settings::default());
    other.client(metadata(12, 1));
    other.broker(metadata_answer(12, 1));
    fetch(
        &mut pair,
        ask,
        &BatchSpec::of(vec![traced("a")]).bytes(),
        1,
        &[],
    );
    assert_eq!(pair.spans[1].name, "process orders");
    assert_eq!(
        text(&pair.spans[1], "messaging.kafka.cluster.id"),
        "a-cluster"
    );
}

#[test]
fn second_span_contexts_are_read_under_opentracing_naming() {
    let record = RecordSpec::of("a").with(
        "second_span_uber-trace-id",
        "463ac35c9f6413ad:a2fb4a1d1a96d312:0:1",
    );
    let mut pair = Pair::new(Settings {
        naming: SpanNaming::OpenTracing,
        ..Settings::default()
    });
    fetch(
        &mut pair,
        FetchSpec::default(),
        &BatchSpec::of(vec![record.clone()]).bytes(),
        1,
        &[],
    );
    let span = &pair.spans[0];
    assert_eq!(
        (span.name.as_str(), int(span, "offset")),
        ("From_orders", 0)
    );
    assert_eq!(span.parent_span_id.unwrap().to_string(), "a2fb4a1d1a96d312");
    let mut pair = Pair::new(Settings::default());
    fetch(
        &mut pair,
        FetchSpec::default(),
        &BatchSpec::of(vec![record]).bytes(),
        1,
        &[],
    );
    assert_eq!(pair.spans[0].parent_span_id, None);
}

#[test]
fn frame_over_the_size_limit_or_the_budget_passes_unread() {
    let batch = BatchSpec::of(vec![traced(&"x".repeat(20_000))]).bytes();
    let limits = SessionLimits {
        max_frame_bytes: 15_000,
        ..SessionLimits::default()
    };
    let mut pair = Pair::new(Settings {
        limits,
        ..Settings::default()
    });
    fetch(&mut pair, FetchSpec::default(), &batch, 1, &[]);
    assert_eq!(
        (pair.skipped(), pair.spans.len()),
        (vec![SkipReason::FrameTooLarge], 0)
    );

    let process = Process::default();
    let mut pair = Pair::of(&process, Settings::default());
    assert!(process.known.borrow_mut().reserve_bytes(256 << 20));
    fetch(&mut pair, FetchSpec::default(), &batch, 1, &[]);
    assert_eq!(
        (pair.skipped(), pair.spans.len()),
        (vec![SkipReason::Budget], 0)
    );
}

#[test]
fn reserved_bytes_are_released_however_a_frame_ends() {
    let process = Process::default();
    let held = || process.known.borrow().held_bytes();
    let ask = FetchSpec::default();
    let answer = ask.answer(
        BatchSpec::of(vec![traced(&"x".repeat(20_000))]).bytes(),
        1,
        &[],
    );
    let begin = || {
        let mut pair = Pair::of(&process, Settings::default());
        pair.client(ask.frame());
        pair.broker(&answer[..20]);
        assert_eq!(held(), answer.len());
        pair
    };
    let mut pair = begin();
    pair.broker(&answer[20..]);
    assert_eq!(held(), 0);
    let mut pair = begin();
    pair.close(Side::Broker);
    assert_eq!((held(), pair.take_client().len()), (0, 20));
    drop(begin());
    assert_eq!(held(), 0);
}

#[test]
fn redelivered_record_is_marked_and_settled_once() {
    let process = Process::default();
    let mut pair = Pair::of(&process, Settings::default());
    let batch = BatchSpec::of(vec![traced("a"), traced("b")]).bytes();
    for correlation in 0..2 {
        fetch(
            &mut pair,
            FetchSpec {
                correlation,
                ..FetchSpec::default()
            },
            &batch,
            2,
            &[],
        );
    }
    let again: Vec<_> = pair
        .spans
        .iter()
        .map(|span| span.attribute("throughline.kafka.redelivered"))
        .collect();
    assert_eq!(
        again,
        [
            None,
            None,
            Some(&Value::Bool(true)),
            Some(&Value::Bool(true))
        ]
    );
    assert_eq!(process.known.borrow().pending_deliveries(), 2);
}

#[test]
fn tombstone_has_an_attribute() {
    let mut pair = Pair::new(Settings::default());
    fetch(
        &mut pair,
        FetchSpec::default(),
        &BatchSpec::of(vec![RecordSpec {
            value: None,
            ..traced("")
        }])
        .bytes(),
        1,
        &[],
    );
    assert_eq!(
        attribute(&pair.spans[0], "messaging.kafka.message.tombstone"),
        &Value::Bool(true)
    );
}

#[test]
fn records_for_a_client_that_closed_have_neither_spans_nor_lag() {
    let mut pair = Pair::new(Settings::default());
    let ask = FetchSpec {
        version: 12,
        offset: Some(40),
        ..FetchSpec::default()
    };
    pair.client(ask.frame());
    pair.close(Side::Client);
    let batch = BatchSpec::of(vec![traced("a")]).at(40);
    let answer = ask.answer(batch.bytes(), 45, &[]);
    pair.broker(&answer);
    assert_eq!(pair.take_client(), answer, "a client may still read");
    assert!(pair.spans.is_empty(), "{:?}", pair.spans);
    let has_lag = pair
        .events
        .iter()
        .any(|it| matches!(it, SessionEvent::Lag { .. }));
    assert!(!has_lag, "{:?}", pair.events);
}
