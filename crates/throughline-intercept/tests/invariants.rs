//! The eleven invariants of the data plane, each by its number; and, below `session`, tests of a
//! session by message.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    clippy::wildcard_enum_match_arm,
    reason = "a test may fail by panicking, and knows how large its numbers are"
)]

mod support {
    pub(crate) mod conversation;
    pub(crate) mod network;
    pub(crate) mod pair;
    pub(crate) mod script;
    pub(crate) mod shared_correlator;
    pub(crate) mod wire;
}

mod session {
    mod commit;
    mod contexts;
    mod correlation;
    mod fetch;
    mod frames;
    mod poll;
    mod produce;
    mod replay;
    mod retry;
    pub(crate) mod simulation;
}

use std::time::Duration;

use proptest::prelude::*;
use session::simulation::check;
use support::network::Network;
use support::pair::{Chunking, Pair, Process, SECOND};
use support::script::{FrameKind, Script, ScriptedFrame};
use support::wire::{self, BatchSpec, FetchSpec, RecordSpec, read_records};
use throughline_intercept::Side;
use throughline_intercept::kafka::{
    ClusterCapacity, InjectionMode, SessionEvent, SessionLimits, Settings, SkipReason,
};
use throughline_kafka::batch::RecordBatch;
use throughline_model::Span;

/// Returns settings that inject nothing.
fn observing() -> Settings {
    Settings {
        inject: InjectionMode::Never,
        ..Settings::default()
    }
}

proptest! {
    #[test]
    fn invariant_01_identity_bytes_pass_unmodified_when_nothing_is_injected(seed: u64) {
        let script = Script::random(seed);
        let chunking = Chunking::Random(fastrand::Rng::with_seed(seed));
        let pair = script.play(Pair::new(observing()).cut(chunking));
        prop_assert_eq!(&pair.to_broker, &script.said(Side::Client));
        prop_assert_eq!(&pair.to_client, &script.said(Side::Broker));
    }

    #[test]
    fn invariant_01_identity_bytes_that_are_not_kafka_pass_unmodified(
        client: Vec<u8>,
        broker: Vec<u8>,
        seed: u64,
    ) {
        let mut pair = Pair::new(observing()).cut(Chunking::Random(fastrand::Rng::with_seed(seed)));
        pair.client(&client);
        pair.broker(&broker);
        pair.close(Side::Client);
        pair.close(Side::Broker);
        prop_assert_eq!((&pair.to_broker, &pair.to_client), (&client, &broker));
    }

    #[test]
    fn invariant_02_chunking_does_not_change_the_output(seed: u64, each in 1usize..40) {
        let script = Script::random(seed);
        let whole = script.play(Pair::new(Settings::default()));
        for cut in [Chunking::Each(each), Chunking::Random(fastrand::Rng::with_seed(seed))] {
            let cut = script.play(Pair::new(Settings::default()).cut(cut));
            prop_assert_eq!(&cut.to_broker, &whole.to_broker);
            prop_assert_eq!(&cut.to_client, &whole.to_client);
            prop_assert_eq!(&cut.spans, &whole.spans);
            prop_assert_eq!(&cut.events, &whole.events);
        }
    }

    #[test]
    fn invariant_06_headers_that_are_duplicate_null_or_not_utf8_survive(
        headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
        key: Option<Vec<u8>>,
        value: Option<Vec<u8>>,
        codec in 0i16..5,
    ) {
        let record = RecordSpec { key, value, headers };
        let records = vec![record.clone(), RecordSpec::of("b"), record];
        let batch = BatchSpec::of(records).attributes(codec);
        let mut pair = Pair::new(Settings::default());
        pair.client(wire::produce(9, 1, -1, batch.bytes()));
        let mut sent = read_records(&wire::record_set(&pair.take_broker(), 9));
        for record in &mut sent {
            let ours = record.headers.pop().unwrap();
            prop_assert_eq!(ours.0, b"traceparent");
        }
        prop_assert_eq!(sent, batch.records);
    }

    #[test]
    fn invariant_09_accounting_every_record_has_a_span_or_is_counted(seed: u64) {
        let script = Script::random(seed);
        let capacity = ClusterCapacity { max_spans_per_second: 20, ..ClusterCapacity::default() };
        let limits = SessionLimits { max_open_spans: 12, ..SessionLimits::default() };
        let limited = Settings { limits, ..Settings::default() };
        for settings in [limited, Settings { sample_ratio: 0.5, ..observing() }] {
            let mut pair = script.play(Pair::of(&Process::with(capacity), settings));
            pair.close(Side::Client);
            pair.close(Side::Broker);
            pair.abandon_retries();
            let made = pair.spans.iter().filter(|span| !span.name.starts_with("commit ")).count();
            let unsettled = pair.spans.len() - made;
            let dropped = usize::try_from(pair.dropped()).unwrap();
            let records = script.records();
            // A settle span that the rate does not admit is a counted drop as well.
            prop_assert!(made + dropped >= records, "{made} + {dropped} < {records}");
            let accounted = made + dropped + unsettled;
            prop_assert!(accounted <= records + script.deliveries(), "{accounted} > {records}");
        }
    }
}

#[test]
fn invariant_03_fail_open_unreadable_records_pass_with_a_reason() {
    let batch = || BatchSpec::of(vec![RecordSpec::of("a"), RecordSpec::of("b")]);
    let mut old = batch().bytes();
    old[16] = 1;
    let mut damaged = batch().bytes();
    let value = damaged.len() - 2;
    damaged[value] ^= 1;
    let mut torn = batch().attributes(4).bytes();
    torn[65] ^= 0xff;
    let long = BatchSpec::of(vec![RecordSpec::of(&"x".repeat(1_048_480))]).bytes();
    let inflating = BatchSpec::of(vec![RecordSpec::of(&"x".repeat(200_000))])
        .attributes(3)
        .bytes();
    let too_many = [batch().bytes(), batch().bytes()].concat();
    let cases = [
        (old, SkipReason::OldFormat),
        (damaged, SkipReason::Checksum),
        (torn, SkipReason::Checksum),
        (long, SkipReason::BatchTooLarge),
        (inflating, SkipReason::Inflated),
        (batch().attributes(6).bytes(), SkipReason::Codec),
        (too_many, SkipReason::Malformed),
        (b"no batch at all".to_vec(), SkipReason::Malformed),
    ];
    for (records, reason) in cases {
        let limits = SessionLimits {
            max_inflated_bytes: 150_000,
            ..SessionLimits::default()
        };
        let mut pair = Pair::new(Settings {
            limits,
            ..Settings::default()
        });
        let frame = wire::produce(9, 1, -1, records);
        pair.client(&frame);
        assert_eq!(pair.take_broker(), frame, "{reason:?}");
        assert!(
            pair.skipped().contains(&reason),
            "{reason:?}: {:?}",
            pair.events
        );
        let answer = wire::produced(9, 1, 0, 0);
        pair.broker(&answer);
        assert_eq!(pair.take_client(), answer);
    }
    // A truncated frame, and an unsupported version.
    let mut torn = wire::produce(9, 1, -1, batch().bytes()).to_vec();
    torn.truncate(60);
    torn[..4].copy_from_slice(&56i32.to_be_bytes());
    let mut newer = wire::produce(13, 2, -1, batch().bytes()).to_vec();
    newer[7] = 99;
    for frame in [torn, newer] {
        let mut pair = Pair::new(Settings::default());
        pair.client(&frame);
        assert_eq!((pair.take_broker(), pair.spans.len()), (frame, 0));
    }
}

#[test]
fn invariant_03_fail_open_cut_frame_is_forwarded_unmodified() {
    let frame = wire::produce(9, 1, -1, BatchSpec::of(vec![RecordSpec::of("a")]).bytes());
    for end in 1..frame.len() {
        let mut pair = Pair::new(Settings::default());
        pair.client(&frame[..end]);
        pair.close(Side::Client);
        assert_eq!(pair.to_broker, frame[..end]);
    }
}

#[test]
fn invariant_04_order_of_frames_and_correlation_ids_is_kept() {
    for seed in 0..64 {
        let script = Script::random(seed);
        let pair = script.play(Pair::new(Settings::default()));
        let numbers = |bytes: &[u8], at: usize| {
            let (mut rest, mut numbers) = (bytes, Vec::new());
            while !rest.is_empty() {
                let (frame, behind) =
                    rest.split_at(4 + u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize);
                numbers.push(frame[at..at + 4].to_vec());
                rest = behind;
            }
            numbers
        };
        assert_eq!(
            numbers(&pair.to_broker, 8),
            numbers(&script.said(Side::Client), 8)
        );
        assert_eq!(
            numbers(&pair.to_client, 4),
            numbers(&script.said(Side::Broker), 4)
        );
    }
}

#[test]
fn invariant_05_caps_bound_everything_that_a_peer_claims_or_repeats() {
    let process = Process::default();
    // A frame of 60 MB is announced and does not arrive: only received bytes are held.
    let mut pair = Pair::of(&process, Settings::default());
    pair.client([&60_000_000i32.to_be_bytes()[..], &[0, 0, 0, 9], &[0; 100]].concat());
    // Requests without responses, endless partitions, deliveries without commits.
    let limits = SessionLimits {
        max_in_flight: 100,
        max_partitions: 100,
        max_open_spans: 100,
        ..SessionLimits::default()
    };
    let mut pair = Pair::of(
        &process,
        Settings {
            limits,
            ..Settings::default()
        },
    );
    for number in 0..1000 {
        pair.client(wire::produce(
            9,
            number,
            1,
            BatchSpec::of(vec![RecordSpec::of("a")]).bytes(),
        ));
        pair.to_broker.clear();
    }
    pair.close(Side::Broker);
    pair.abandon_retries();
    assert_eq!(pair.spans.len(), 100);
    let capacity = ClusterCapacity {
        max_deliveries: 50,
        ..ClusterCapacity::default()
    };
    let process = Process::with(capacity);
    let mut pair = Pair::of(&process, Settings::default());
    for round in 0..100 {
        let ask = FetchSpec {
            correlation: round,
            ..FetchSpec::default()
        };
        pair.client(ask.frame());
        let batch =
            BatchSpec::of(vec![RecordSpec::of("a"), RecordSpec::of("b")]).at(2 * i64::from(round));
        pair.broker(ask.answer(batch.bytes(), 2, &[]));
    }
    assert_eq!(
        (
            process.known.borrow().pending_deliveries(),
            pair.spans.len()
        ),
        (50, 200)
    );
}

#[test]
fn invariant_07_no_waiting_for_spans_that_are_not_polled() {
    let mut pair = Pair::new(Settings::default());
    for number in 0..100 {
        let frame = wire::produce(
            9,
            number,
            1,
            BatchSpec::of(vec![RecordSpec::of("a")]).bytes(),
        );
        let (session, now) = (&mut pair.session, pair.now);
        session.handle_bytes(Side::Client, now, frame);
        assert!(
            session.poll_transmit().is_some(),
            "the request goes on at once"
        );
        session.handle_bytes(Side::Broker, now, wire::produced(9, number, 0, 0));
        assert!(session.poll_transmit().is_some(), "so does its answer");
    }
}

#[test]
fn invariant_08_arguments_same_seed_and_times_give_the_same_spans() {
    let run = || Script::random(5).play(Pair::new(Settings::default())).spans;
    let slow = || {
        std::hint::black_box(std::time::Instant::now() + Duration::from_millis(3));
        run()
    };
    assert_eq!(run(), slow());
    assert!(!run().is_empty());
}

#[test]
fn invariant_09_accounting_no_request_ends_without_a_span_or_a_drop() {
    let send = |acks| wire::produce(9, 1, acks, BatchSpec::of(vec![RecordSpec::of("a")]).bytes());
    type End = fn(&mut Pair);
    let endings: [(&str, End); 6] = [
        ("success", |pair| pair.broker(wire::produced(9, 1, 0, 0))),
        ("error", |pair| pair.broker(wire::produced(9, 1, 3, -1))),
        ("timeout", |pair| pair.wait(61 * SECOND)),
        ("disconnect", |pair| pair.close(Side::Broker)),
        ("disconnect within the answer", |pair| {
            pair.broker(&wire::produced(9, 1, 0, 0)[..12]);
            pair.close(Side::Broker);
        }),
        ("nonsense", |pair| pair.broker([0xff; 8])),
    ];
    for (how, end) in endings {
        let mut pair = Pair::new(Settings::default());
        pair.client(send(-1));
        end(&mut pair);
        pair.close(Side::Client);
        pair.close(Side::Broker);
        pair.abandon_retries();
        assert_eq!(
            pair.spans.len() as u32 + pair.dropped(),
            1,
            "{how}: {:?}",
            pair.events
        );
    }
    // A client may still send after the broker has closed.
    let mut pair = Pair::new(Settings::default());
    pair.close(Side::Broker);
    pair.client(send(-1));
    pair.close(Side::Client);
    pair.abandon_retries();
    assert_eq!(
        (pair.spans.len(), pair.dropped()),
        (1, 0),
        "{:?}",
        pair.events
    );
    let mut pair = Pair::new(Settings::default());
    pair.client(send(0));
    pair.close(Side::Broker);
    assert_eq!(
        (pair.spans.len(), pair.dropped()),
        (1, 0),
        "no answer comes, and none is missed"
    );
}

#[test]
fn invariant_10_one_reseal_redoes_lengths_checksum_and_budget() {
    for version in 3..=13 {
        for codec in 0..=4 {
            // Sizes around the limits of varints, of a record and of a record set.
            for size in [0, 1, 40, 60, 63, 64, 120, 126, 127, 8_100, 8_190, 16_300] {
                let batch =
                    BatchSpec::of(vec![RecordSpec::of(&"x".repeat(size)), RecordSpec::of("b")])
                        .attributes(codec);
                let mut pair = Pair::new(Settings::default());
                pair.client(wire::produce(version, 1, -1, batch.bytes()));
                let records = wire::record_set(&pair.take_broker(), version);
                assert!(RecordBatch::new(&records).is_some_and(|batch| batch.has_valid_checksum()));
                assert_eq!(read_records(&records).len(), 2);
            }
        }
    }
}

/// Checks that random scripts cover every kind of frame: otherwise the tests above prove nothing.
#[test]
fn random_scripts_contain_frames_of_every_kind() {
    let scripts: Vec<Script> = (0..64).map(Script::random).collect();
    let lines = || scripts.iter().flat_map(|script| &script.lines);
    assert!(lines().any(|line| matches!(
        line,
        ScriptedFrame {
            step: FrameKind::Produce { .. },
            ..
        }
    )));
    assert!(lines().any(|line| matches!(
        line,
        ScriptedFrame {
            step: FrameKind::Fetch { .. },
            ..
        }
    )));
    assert!(lines().any(|line| matches!(
        line,
        ScriptedFrame {
            step: FrameKind::Commit,
            ..
        }
    )));
    let spans: Vec<Span> = scripts
        .iter()
        .flat_map(|script| script.play(Pair::new(Settings::default())).spans)
        .collect();
    for name in ["send orders", "process orders", "commit orders"] {
        assert!(spans.iter().any(|span| span.name == name), "{name}");
    }
    let events: Vec<SessionEvent> = scripts
        .iter()
        .flat_map(|script| script.play(Pair::new(Settings::default())).events)
        .collect();
    assert!(
        events
            .iter()
            .any(|event| matches!(event, SessionEvent::Injected { .. }))
    );
}

#[test]
fn fuzz_seeds_pass() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/session");
    let mut count = 0;
    for entry in std::fs::read_dir(seeds).unwrap() {
        support::conversation::check_conversation(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 16, "the seeds are gone");
}

proptest! {
    #[test]
    fn any_conversation_keeps_the_invariants(
        how: u8,
        seed: u64,
        noise in proptest::collection::vec((any::<u16>(), any::<u8>()), 0..6),
    ) {
        let mut input = conversation(how, seed);
        for (at, byte) in noise {
            let at = usize::from(at) % input.len();
            input[at] = byte;
        }
        support::conversation::check_conversation(&input);
    }
}

/// Returns a script in the input format of the fuzz target.
fn conversation(how: u8, seed: u64) -> Vec<u8> {
    let mut out = vec![how];
    for line in &Script::random(seed).lines {
        for piece in line
            .frame
            .chunks(if seed.is_multiple_of(3) { 50 } else { 60_000 })
        {
            out.push(if line.from == Side::Client { 7 } else { 3 });
            out.extend(u16::try_from(piece.len()).unwrap().to_be_bytes());
            out.extend(piece);
        }
    }
    out
}

#[test]
fn invariant_11_refusal_a_changed_batch_that_is_refused_costs_the_client_nothing() {
    let (mut refused, mut cut) = (0, 0);
    for seed in 0..300 {
        // Limits change, the broker recompresses, and connections are cut between two attempts.
        let mut world = Network::new(seed, Settings::default(), 3).with_refusals();
        world.run();
        check(&world);
        refused += world.broker.refused;
        cut += world.was_cut;
    }
    assert!(refused > 200 && cut > 200, "{refused} refused, {cut} cuts");
}
