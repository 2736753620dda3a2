//! Fetch through a session: which records are delivered, and the spans of them.

use throughline_intercept::kafka::{
    DeliveryMode, PartitionIndex, SessionEvent, SessionLimits, Settings, SkipReason, SpanNaming,
    SpanRelation, TopicSettings,
};
use throughline_model::{SpanKind, Value};

use crate::support::pair::{
    BEGIN, MILLISECOND, Pair, Process, SECOND, attribute, double, int, text,
};
use crate::support::wire::{
    Ask, CONTROL, Lot, Rec, TOPIC, TRANSACTIONAL, metadata, metadata_answer, produce, produced,
    record_set,
};

const TRACEPARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn traced(value: &str) -> Rec {
    Rec::of(value).with("traceparent", TRACEPARENT)
}

/// Fetches once; the answer comes three milliseconds after the question, all at once.
fn fetch(pair: &mut Pair, ask: Ask, records: &[u8], high_watermark: i64, aborted: &[(i64, i64)]) {
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
fn every_record_delivered_has_a_span_below_its_senders() {
    for version in 4..=18 {
        for codec in 0..=4 {
            let mut pair = Pair::new(Settings::default());
            pair.client(metadata(12, 9));
            pair.broker(metadata_answer(12, 9));
            (pair.to_broker, pair.to_client) = (Vec::new(), Vec::new());
            let lot = Lot::of(vec![traced("a"), Rec::of("b")])
                .at(40)
                .attributes(codec);
            fetch(
                &mut pair,
                Ask {
                    version,
                    offset: Some(40),
                    ..Ask::default()
                },
                &lot.bytes(),
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
fn a_record_sent_and_fetched_through_one_process_is_one_trace() {
    let process = Process::default();
    let mut producer = Pair::of(&process, Settings::default());
    producer.client(produce(9, 1, -1, Lot::of(vec![Rec::of("a")]).bytes()));
    let stored = record_set(&producer.take_broker(), 9);
    producer.now += SECOND;
    producer.broker(produced(9, 1, 0, 0));
    let mut consumer = Pair::of(&process, Settings::default());
    consumer.now = producer.now + SECOND;
    fetch(&mut consumer, Ask::default(), &stored, 1, &[]);
    let (sent, received) = (&producer.spans[0], &consumer.spans[0]);
    assert_eq!(
        (received.trace_id, received.parent_span_id),
        (sent.trace_id, Some(sent.span_id))
    );
    let waited = double(received, "throughline.kafka.queue_time.sent");
    assert!((1.0..1.01).contains(&waited), "{waited} s");
}

#[test]
fn links_only_begins_a_trace_that_the_sender_decides_on() {
    let topic = TopicSettings {
        relation: SpanRelation::LinksOnly,
        ..TopicSettings::default()
    };
    let mut pair = Pair::new(Settings {
        default: topic,
        sample_ratio: 0.0,
        ..Settings::default()
    });
    let unsampled = Rec::of("b").with("traceparent", TRACEPARENT.replace("-01", "-00"));
    fetch(
        &mut pair,
        Ask::default(),
        &Lot::of(vec![traced("a"), unsampled]).bytes(),
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
fn records_before_the_offset_asked_for_are_not_delivered() {
    let mut pair = Pair::new(Settings::default());
    let lots = [
        Lot::of(vec![traced("a")]).at(4).bytes(),
        Lot::of(vec![traced("b"), traced("c")]).at(5).bytes(),
    ]
    .concat();
    fetch(
        &mut pair,
        Ask {
            offset: Some(6),
            ..Ask::default()
        },
        &lots,
        7,
        &[],
    );
    assert_eq!(offsets(&pair), [6]);
}

#[test]
fn a_fetch_session_remembers_what_was_asked_for_before() {
    let mut pair = Pair::new(Settings::default());
    let lot = |offset| Lot::of(vec![traced("a")]).at(offset).bytes();
    fetch(
        &mut pair,
        Ask {
            epoch: 0,
            correlation: 1,
            offset: Some(5),
            ..Ask::default()
        },
        &[],
        5,
        &[],
    );
    // Nothing has changed, so the partition is not named again.
    fetch(
        &mut pair,
        Ask {
            epoch: 1,
            correlation: 2,
            offset: None,
            ..Ask::default()
        },
        &lot(5),
        6,
        &[],
    );
    fetch(
        &mut pair,
        Ask {
            epoch: 2,
            correlation: 3,
            offset: Some(6),
            ..Ask::default()
        },
        &lot(5),
        6,
        &[],
    );
    assert_eq!(offsets(&pair), [5]);
    // A new session forgets it all.
    fetch(
        &mut pair,
        Ask {
            epoch: 0,
            correlation: 4,
            offset: None,
            ..Ask::default()
        },
        &lot(6),
        7,
        &[],
    );
    assert_eq!(
        (offsets(&pair), pair.passed()),
        (vec![5], vec![SkipReason::Capacity])
    );
}

#[test]
fn the_answer_to_a_fetch_is_read_by_what_that_fetch_asked_and_not_the_next() {
    let mut pair = Pair::new(Settings::default());
    let ask = |correlation, offset| Ask {
        correlation,
        offset: Some(offset),
        epoch: 1,
        ..Ask::default()
    };
    pair.client(ask(1, 5).frame());
    pair.client(ask(2, 6).frame());
    pair.broker(ask(1, 5).answer(Lot::of(vec![traced("a")]).at(5).bytes(), 6, &[]));
    pair.broker(ask(2, 6).answer(Lot::of(vec![traced("b")]).at(6).bytes(), 7, &[]));
    assert_eq!(offsets(&pair), [5, 6]);
}

#[test]
fn a_reader_of_committed_records_is_not_given_those_of_aborted_transactions() {
    let mark = |offset, producer, kind: u8| {
        let mark = Rec {
            key: Some(vec![0, 0, 0, kind]),
            value: Some(vec![0; 6]),
            headers: Vec::new(),
        };
        Lot::of(vec![mark])
            .at(offset)
            .by(producer)
            .attributes(TRANSACTIONAL | CONTROL)
            .bytes()
    };
    let part = |offset, producer| {
        Lot::of(vec![traced("a")])
            .at(offset)
            .by(producer)
            .attributes(TRANSACTIONAL)
            .bytes()
    };
    let log = [
        part(0, 7),
        part(1, 8),
        Lot::of(vec![traced("plain")]).at(2).bytes(),
        mark(3, 7, 0),
        part(4, 7),
        mark(5, 8, 1),
        mark(6, 7, 1),
    ]
    .concat();
    let mut pair = Pair::new(Settings::default());
    fetch(
        &mut pair,
        Ask {
            read_committed: true,
            ..Ask::default()
        },
        &log,
        7,
        &[(7, 0)],
    );
    assert_eq!(offsets(&pair), [1, 2, 4]);
    let mut pair = Pair::new(Settings::default());
    fetch(&mut pair, Ask::default(), &log, 7, &[]);
    assert_eq!(offsets(&pair), [0, 1, 2, 4]);
}

#[test]
fn what_cannot_be_read_passes_and_is_counted() {
    let whole = Lot::of(vec![traced("a")]).bytes();
    let mut old = Lot::of(vec![traced("a")]).bytes();
    old[16] = 1;
    let mut broken = Lot::of(vec![traced("a"), traced("b")])
        .attributes(4)
        .bytes();
    broken[70] ^= 0xff;
    let unknown = Lot::of(vec![traced("a")]).attributes(5).bytes();
    let cases: [(&[u8], &[SkipReason], usize); 5] = [
        (&whole[..whole.len() - 3], &[], 0),
        (&[&whole[..], &whole[..40]].concat(), &[], 1),
        (&old, &[SkipReason::OldFormat], 0),
        (&broken, &[SkipReason::Codec], 0),
        (&unknown, &[SkipReason::Codec], 0),
    ];
    for (records, reasons, spans) in cases {
        let mut pair = Pair::new(Settings::default());
        fetch(&mut pair, Ask::default(), records, 2, &[]);
        assert_eq!(
            (pair.passed().as_slice(), pair.spans.len()),
            (reasons, spans)
        );
    }
}

#[test]
fn records_that_inflate_without_end_are_not_read() {
    let limits = SessionLimits {
        max_inflated_bytes: 100_000,
        ..SessionLimits::default()
    };
    let mut pair = Pair::new(Settings {
        limits,
        ..Settings::default()
    });
    let lot = Lot::of(vec![Rec::of(&"x".repeat(200_000))]).attributes(4);
    fetch(&mut pair, Ask::default(), &lot.bytes(), 1, &[]);
    assert_eq!(
        (pair.passed(), pair.spans.len(), pair.dropped()),
        (vec![SkipReason::Inflated], 0, 1)
    );
}

#[test]
fn lag_is_told_for_partitions_that_bring_nothing() {
    let mut pair = Pair::new(Settings::default());
    fetch(
        &mut pair,
        Ask {
            offset: Some(5),
            ..Ask::default()
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
fn who_has_passed_the_mark_at_the_end_of_a_transaction_is_not_behind() {
    let mark = Rec {
        key: Some(vec![0, 0, 0, 1]),
        value: Some(vec![0; 6]),
        headers: Vec::new(),
    };
    let mark = Lot::of(vec![mark])
        .at(1)
        .by(7)
        .attributes(TRANSACTIONAL | CONTROL)
        .bytes();
    let log = [
        Lot::of(vec![traced("a")])
            .by(7)
            .attributes(TRANSACTIONAL)
            .bytes(),
        mark,
    ]
    .concat();
    let mut pair = Pair::new(Settings::default());
    fetch(
        &mut pair,
        Ask {
            read_committed: true,
            ..Ask::default()
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
}

#[test]
fn records_of_a_topic_made_anew_do_not_come_again() {
    let mut pair = Pair::new(Settings::default());
    let lot = |offset| Lot::of(vec![traced("a"), traced("b")]).at(offset).bytes();
    fetch(
        &mut pair,
        Ask {
            offset: Some(40),
            ..Ask::default()
        },
        &lot(40),
        42,
        &[],
    );
    fetch(
        &mut pair,
        Ask {
            correlation: 2,
            ..Ask::default()
        },
        &lot(0),
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

#[test]
fn a_patched_record_names_the_consumer_span_and_nothing_else_changes() {
    let topic = TopicSettings {
        deliver: DeliveryMode::Patch,
        ..TopicSettings::default()
    };
    let mut pair = Pair::new(Settings {
        default: topic,
        ..Settings::default()
    });
    let b3 = "463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-1";
    let lot = Lot::of(vec![
        traced("a").with("x", TRACEPARENT),
        Rec::of("b"),
        Rec::of("c").with("b3", b3),
    ]);
    let compressed = Lot::of(vec![traced("a")]).at(3).attributes(3);
    let records = [lot.bytes(), compressed.bytes()].concat();
    let ask = Ask::default();
    pair.client(ask.frame());
    pair.broker(ask.answer(records, 4, &[]));
    let [first, _, third, _] = &pair.spans[..] else {
        panic!("{} spans", pair.spans.len())
    };
    let mut expected = lot;
    expected.records[0].headers[0].1 = Some(
        TRACEPARENT
            .replace("b7ad6b7169203331", &first.span_id.to_string())
            .into(),
    );
    expected.records[2].headers[0].1 = Some(
        b3.replace("a2fb4a1d1a96d312", &third.span_id.to_string())
            .into(),
    );
    let answer = ask.answer([expected.bytes(), compressed.bytes()].concat(), 4, &[]);
    assert_eq!(pair.take_client(), answer);
}

#[test]
fn an_id_stands_for_a_topic_until_its_name_is_known() {
    let process = Process::default();
    let ask = Ask {
        version: 13,
        ..Ask::default()
    };
    let mut pair = Pair::of(&process, Settings::default());
    fetch(&mut pair, ask, &Lot::of(vec![traced("a")]).bytes(), 1, &[]);
    assert_eq!(pair.spans[0].name, "process id:YW4taWQtb2Ytb3JkZXJzIQ");
    // Another connection of the process asks.
    let mut other = Pair::of(&process, Settings::default());
    other.client(metadata(12, 1));
    other.broker(metadata_answer(12, 1));
    fetch(&mut pair, ask, &Lot::of(vec![traced("a")]).bytes(), 1, &[]);
    assert_eq!(pair.spans[1].name, "process orders");
    assert_eq!(
        text(&pair.spans[1], "messaging.kafka.cluster.id"),
        "a-cluster"
    );
}

#[test]
fn contexts_of_old_opentracing_clients_are_read_with_its_names() {
    let record = Rec::of("a").with(
        "second_span_uber-trace-id",
        "463ac35c9f6413ad:a2fb4a1d1a96d312:0:1",
    );
    let mut pair = Pair::new(Settings {
        naming: SpanNaming::OpenTracing,
        ..Settings::default()
    });
    fetch(
        &mut pair,
        Ask::default(),
        &Lot::of(vec![record.clone()]).bytes(),
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
        Ask::default(),
        &Lot::of(vec![record]).bytes(),
        1,
        &[],
    );
    assert_eq!(pair.spans[0].parent_span_id, None);
}

#[test]
fn a_frame_that_is_too_long_or_past_the_budget_passes_unread() {
    let lot = Lot::of(vec![traced(&"x".repeat(20_000))]).bytes();
    let limits = SessionLimits {
        max_frame_bytes: 15_000,
        ..SessionLimits::default()
    };
    let mut pair = Pair::new(Settings {
        limits,
        ..Settings::default()
    });
    fetch(&mut pair, Ask::default(), &lot, 1, &[]);
    assert_eq!(
        (pair.passed(), pair.spans.len()),
        (vec![SkipReason::FrameTooLarge], 0)
    );

    let process = Process::default();
    let mut pair = Pair::of(&process, Settings::default());
    assert!(process.known.borrow_mut().reserve_bytes(256 << 20));
    fetch(&mut pair, Ask::default(), &lot, 1, &[]);
    assert_eq!(
        (pair.passed(), pair.spans.len()),
        (vec![SkipReason::Budget], 0)
    );
}

#[test]
fn what_is_reserved_is_given_back_however_it_ends() {
    let process = Process::default();
    let held = || process.known.borrow().held_bytes();
    let ask = Ask::default();
    let answer = ask.answer(Lot::of(vec![traced(&"x".repeat(20_000))]).bytes(), 1, &[]);
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
    pair.close(throughline_intercept::Side::Broker);
    assert_eq!((held(), pair.take_client().len()), (0, 20));
    drop(begin());
    assert_eq!(held(), 0);
}

#[test]
fn a_record_that_comes_again_says_so_and_is_settled_once() {
    let process = Process::default();
    let mut pair = Pair::of(&process, Settings::default());
    let lot = Lot::of(vec![traced("a"), traced("b")]).bytes();
    for correlation in 0..2 {
        fetch(
            &mut pair,
            Ask {
                correlation,
                ..Ask::default()
            },
            &lot,
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
fn a_tombstone_is_told() {
    let mut pair = Pair::new(Settings::default());
    fetch(
        &mut pair,
        Ask::default(),
        &Lot::of(vec![Rec {
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
