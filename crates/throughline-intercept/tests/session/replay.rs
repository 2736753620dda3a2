//! Batches that were changed and that the broker refuses: the originals take their places.

use bytes::Bytes;
use kafka_protocol::messages as km;
use kafka_protocol::protocol::StrBytes;
use throughline_intercept::Side;
use throughline_intercept::kafka::{
    ApiKey, ClusterCapacity, InjectionMode, SessionEvent, SessionLimits, Settings, SkipReason,
};

use crate::support::pair::{Pair, Process, int, text};
use crate::support::wire::{
    self, BatchSpec, RecordSpec, produce, produced, read_records, record_set, topic_name,
};

const TOO_LARGE: i16 = 10;
const OUT_OF_ORDER_SEQUENCE: i16 = 45;

fn batch() -> BatchSpec {
    BatchSpec::of(vec![RecordSpec::of("a"), RecordSpec::of("b")])
}

fn batch_of_producer(sequence: i32) -> Vec<u8> {
    let mut batch = batch().by(7);
    batch.sequence = sequence;
    batch.bytes()
}

fn replayed(pair: &Pair) -> u32 {
    let count = |event: &SessionEvent| match event {
        SessionEvent::Replayed { partitions } => *partitions,
        _ => 0,
    };
    pair.events.iter().map(count).sum()
}

/// Returns a Produce request of several partitions, version 9.
fn produce_to(correlation: i32, indexes: &[i32]) -> Bytes {
    use km::produce_request::{PartitionProduceData, TopicProduceData};
    let partition = |index: &i32| {
        PartitionProduceData::default()
            .with_index(*index)
            .with_records(Some(batch().bytes().into()))
    };
    let topic = TopicProduceData::default()
        .with_name(topic_name())
        .with_partition_data(indexes.iter().map(partition).collect());
    let body = km::ProduceRequest::default()
        .with_acks(-1)
        .with_timeout_ms(1000)
        .with_topic_data(vec![topic]);
    wire::request(ApiKey::PRODUCE, 9, correlation, &body)
}

/// Returns the response to it: partitions, error codes, offsets.
fn produced_to(correlation: i32, results: &[(i32, i16, i64)]) -> Bytes {
    use km::produce_response::{PartitionProduceResponse, TopicProduceResponse};
    let partition = |(index, error_code, offset): &(i32, i16, i64)| {
        PartitionProduceResponse::default()
            .with_index(*index)
            .with_error_code(*error_code)
            .with_base_offset(*offset)
            .with_log_append_time_ms(-1)
    };
    let topic = TopicProduceResponse::default()
        .with_name(topic_name())
        .with_partition_responses(results.iter().map(partition).collect());
    let body = km::ProduceResponse::default().with_responses(vec![topic]);
    wire::response(ApiKey::PRODUCE, 9, correlation, &body)
}

#[test]
fn refused_batch_is_sent_again_as_it_came() {
    for version in 3..=12 {
        for error_code in [TOO_LARGE, 18, 2, 43, 87] {
            let process = Process::default();
            let mut pair = Pair::of(&process, Settings::default());
            let original = produce(version, 1, -1, batch().bytes());
            pair.client(&original);
            assert_ne!(pair.take_broker(), original);
            pair.broker(produced(version, 1, error_code, -1));
            assert_eq!(
                (pair.take_broker(), pair.take_client()),
                (original.to_vec(), vec![])
            );
            let answer = produced(version, 1, 0, 7);
            pair.broker(&answer);
            assert_eq!(pair.take_client(), answer);
            assert_eq!((pair.spans.len(), replayed(&pair)), (2, 1));
            assert_eq!(int(&pair.spans[1], "messaging.kafka.offset"), 8);
            assert_eq!(pair.spans[0].attribute("error.type"), None);
            let reason = text(&pair.spans[0], "throughline.kafka.not_injected");
            assert_eq!(reason, "refused_before");
            assert_eq!(process.known.borrow().held_bytes(), 0);
            assert!(pair.session.is_idle());
        }
    }
}

#[test]
fn client_sees_the_rejection_of_its_own_batch() {
    let mut pair = Pair::new(Settings::default());
    pair.client(produce(9, 1, -1, batch().bytes()));
    pair.broker(produced(9, 1, TOO_LARGE, -1));
    pair.broker(produced(9, 1, TOO_LARGE, -1));
    assert_eq!(pair.take_client(), produced(9, 1, TOO_LARGE, -1));
    assert_eq!(text(&pair.spans[0], "error.type"), "MESSAGE_TOO_LARGE");
}

#[test]
fn requests_behind_a_batch_at_risk_wait_for_its_response() {
    let mut pair = Pair::of(&Process::default(), Settings::default());
    pair.client(produce(9, 1, -1, batch().bytes()));
    let changed = record_set(&pair.take_broker(), 9).len();
    let second = produce(9, 2, -1, batch().bytes());
    pair.client(&second);
    pair.client(wire::unknown(3, b"any"));
    assert_eq!(pair.take_broker(), b"", "nothing may overtake the first");
    assert!(pair.session.may_send_requests());
    pair.broker(produced(9, 1, TOO_LARGE, -1));
    assert_eq!(pair.take_broker(), produce(9, 1, -1, batch().bytes()));
    pair.broker(produced(9, 1, 0, 0));
    assert_eq!(pair.take_client(), produced(9, 1, 0, 0));
    // The second one was changed before the limit was known.
    assert_eq!(record_set(&pair.take_broker(), 9).len(), changed);
    pair.broker(produced(9, 2, TOO_LARGE, -1));
    assert_eq!(pair.take_broker(), second);
    pair.broker(produced(9, 2, 0, 2));
    assert_eq!(pair.take_broker(), wire::unknown(3, b"any"));
}

#[test]
fn requests_are_not_held_once_the_topic_has_accepted_the_size() {
    let mut pair = Pair::of(&Process::default(), Settings::default());
    pair.client(produce(9, 1, -1, batch().bytes()));
    pair.broker(produced(9, 1, 0, 0));
    pair.take_broker();
    for number in 2..5 {
        pair.client(produce(9, number, -1, batch().bytes()));
        assert_ne!(pair.take_broker(), b"");
    }
}

#[test]
fn first_batch_of_a_producer_is_at_risk_although_its_size_is_accepted() {
    let mut pair = Pair::new(Settings::default());
    pair.client(produce(9, 1, -1, batch_of_producer(0)));
    pair.take_broker();
    pair.client(produce(9, 2, -1, batch_of_producer(2)));
    assert_eq!(pair.take_broker(), b"");
    pair.broker(produced(9, 1, 0, 0));
    assert_ne!(pair.take_broker(), b"");
}

#[test]
fn batches_behind_a_refused_one_in_the_sequence_are_sent_again_behind_it() {
    let process = Process::default();
    let mut pair = Pair::of(&process, Settings::default());
    pair.client(produce(9, 1, -1, batch_of_producer(0)));
    pair.broker(produced(9, 1, 0, 0));
    pair.take_client();
    let originals =
        [2, 3, 4].map(|number| produce(9, number, -1, batch_of_producer(2 * number - 2)));
    for original in &originals[..2] {
        pair.client(original);
    }
    pair.take_broker();
    // The limit was lowered meanwhile.
    pair.broker(produced(9, 2, TOO_LARGE, -1));
    pair.client(&originals[2]);
    assert_eq!((pair.take_broker(), pair.take_client()), (vec![], vec![]));
    pair.broker(produced(9, 3, OUT_OF_ORDER_SEQUENCE, -1));
    assert_eq!(pair.take_broker(), originals[..2].concat());
    pair.broker(produced(9, 2, 0, 2));
    assert_eq!(
        pair.take_client(),
        b"",
        "responses go together, in their order"
    );
    pair.broker(produced(9, 3, 0, 4));
    let answers = [produced(9, 2, 0, 2), produced(9, 3, 0, 4)].concat();
    assert_eq!(pair.take_client(), answers);
    assert_eq!(pair.take_broker(), originals[2].to_vec());
    pair.broker(produced(9, 4, 0, 6));
    assert_eq!(process.known.borrow().held_bytes(), 0);
}

#[test]
fn only_refused_partitions_are_sent_again_and_results_are_merged() {
    let mut pair = Pair::new(Settings::default());
    pair.client(produce_to(1, &[0, 1, 2]));
    pair.take_broker();
    pair.broker(produced_to(
        1,
        &[(0, 0, 10), (1, TOO_LARGE, -1), (2, 0, 30)],
    ));
    assert_eq!(pair.take_broker(), produce_to(1, &[1]));
    pair.broker(produced_to(1, &[(1, 0, 20)]));
    let merged = produced_to(1, &[(0, 0, 10), (1, 0, 20), (2, 0, 30)]);
    assert_eq!(pair.take_client(), merged);
    assert_eq!(pair.spans.len(), 6);
}

#[test]
fn request_without_acks_is_taken_back_as_well() {
    let mut pair = Pair::of(&Process::default(), Settings::default());
    let original = produce(9, 1, 0, batch().bytes());
    pair.client(&original);
    let sent = pair.take_broker();
    assert_eq!(read_records(&record_set(&sent, 9)).len(), 2);
    pair.broker(produced(9, 1, TOO_LARGE, -1));
    assert_eq!(
        (pair.take_broker(), pair.take_client()),
        (original.to_vec(), vec![])
    );
    assert!(pair.session.is_idle(), "the original has no response");
    // Small batches of the topic are below what was refused.
    let small = BatchSpec::of(vec![RecordSpec::of("")]).bytes();
    pair.client(produce(9, 2, 0, small));
    pair.broker(produced(9, 2, 0, 7));
    assert_eq!(pair.take_client(), b"", "the client expects no response");
}

#[test]
fn cut_between_the_attempts_gives_the_client_no_response() {
    let process = Process::default();
    let mut pair = Pair::of(&process, Settings::default());
    pair.client(produce(9, 1, -1, batch().bytes()));
    pair.client(produce(9, 2, -1, batch().bytes()));
    pair.broker(produced(9, 1, TOO_LARGE, -1));
    pair.broker(&produced(9, 1, 0, 7)[..9]);
    pair.close(Side::Broker);
    pair.close(Side::Client);
    assert_eq!(pair.take_client(), b"");
    pair.abandon_retries();
    assert_eq!(pair.spans.len(), 4);
    assert_eq!(text(&pair.spans[0], "error.type"), "NETWORK_EXCEPTION");
    assert_eq!(process.known.borrow().held_bytes(), 0);
}

/// The broker reads no request that is longer than `socket.request.max.bytes`.
#[test]
fn request_at_which_the_broker_closed_the_connection_is_not_enlarged_again() {
    let large = |value: &str| BatchSpec::of(vec![RecordSpec::of(&value.repeat(100_000))]).bytes();
    let process = Process::default();
    let mut first = Pair::of(&process, Settings::default());
    let original = produce(9, 1, -1, large("a"));
    first.client(&original);
    let refused_bytes = first.take_broker().len();
    assert!(refused_bytes > original.len());
    first.close(Side::Broker);
    let event = SessionEvent::RequestRefused {
        bytes: refused_bytes,
    };
    assert!(first.events.contains(&event));
    let mut second = Pair::of(&process, Settings::default());
    second.client(&original);
    assert_eq!(second.take_broker(), original);
    second.broker(produced(9, 1, 0, 7));
    second.abandon_retries();
    assert_eq!(second.spans.len(), 1, "one producer span of both attempts");
    let reason = text(&second.spans[0], "throughline.kafka.not_injected");
    assert_eq!(reason, "batch_too_large");
    // Shorter requests get contexts.
    second.client(produce(9, 2, -1, batch().bytes()));
    assert!(second.take_broker().len() > produce(9, 2, -1, batch().bytes()).len());
}

#[test]
fn end_of_a_connection_limits_no_request_that_was_not_sent_enlarged() {
    let large = || BatchSpec::of(vec![RecordSpec::of(&"a".repeat(100_000))]).bytes();
    for (injects, side) in [(false, Side::Broker), (true, Side::Client)] {
        let process = Process::default();
        let settings = || {
            let mut settings = Settings::default();
            if !injects {
                settings.inject = InjectionMode::Never;
            }
            settings
        };
        let mut first = Pair::of(&process, settings());
        first.client(produce(9, 1, -1, large()));
        first.close(side);
        first.close(side.opposite());
        assert_eq!(
            process.known.borrow().refused_request_bytes(first.now),
            None
        );
    }
}

#[test]
fn replay_waits_for_the_end_of_a_frame_that_is_passing() {
    let limits = SessionLimits {
        max_frame_bytes: 1000,
        ..SessionLimits::default()
    };
    let mut pair = Pair::new(Settings {
        limits,
        ..Settings::default()
    });
    let original = produce(9, 1, -1, batch().bytes());
    pair.client(&original);
    let long = BatchSpec::of(vec![RecordSpec::of(&"x".repeat(2000))]).bytes();
    let long = produce(9, 2, -1, long);
    pair.client(&long[..1500]);
    pair.take_broker();
    pair.broker(produced(9, 1, TOO_LARGE, -1));
    assert_eq!(pair.take_broker(), b"");
    pair.client(&long[1500..]);
    assert_eq!(pair.take_broker(), &long[1500..]);
    pair.broker(produced(9, 2, 0, 0));
    assert_eq!(pair.take_broker(), original);
    pair.broker(produced(9, 1, 0, 1));
    let answers = [produced(9, 1, 0, 1), produced(9, 2, 0, 0)].concat();
    assert_eq!(pair.take_client(), answers);
}

#[test]
fn nothing_is_changed_when_the_original_cannot_be_kept() {
    let process = Process::with(ClusterCapacity {
        max_held_bytes: 10,
        ..ClusterCapacity::default()
    });
    let mut pair = Pair::of(&process, Settings::default());
    let frame = produce(9, 1, -1, batch().bytes());
    pair.client(&frame);
    assert_eq!(pair.take_broker(), frame);
    assert_eq!(pair.skipped(), [SkipReason::Budget]);
}

/// Returns the response to DescribeConfigs of a resource, version 4.
fn described(resource_type: i8, name: &str, key: &str, value: &str) -> Bytes {
    use km::describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult};
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let config = DescribeConfigsResourceResult::default()
        .with_name(text(key))
        .with_value(Some(text(value)));
    let result = DescribeConfigsResult::default()
        .with_resource_type(resource_type)
        .with_resource_name(text(name))
        .with_configs(vec![config]);
    let body = km::DescribeConfigsResponse::default().with_results(vec![result]);
    wire::response(ApiKey::DESCRIBE_CONFIGS, 4, 1, &body)
}

/// Returns an IncrementalAlterConfigs of the topic, version 1, and the response to it.
fn altered(value: &str, error_code: i16) -> [Bytes; 2] {
    use km::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
    use km::incremental_alter_configs_response::AlterConfigsResourceResponse;
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let config = AlterableConfig::default()
        .with_name(text("max.message.bytes"))
        .with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(2)
        .with_resource_name(text("orders"))
        .with_configs(vec![config]);
    let request = km::IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let result = AlterConfigsResourceResponse::default()
        .with_error_code(error_code)
        .with_resource_type(2)
        .with_resource_name(text("orders"));
    let response = km::IncrementalAlterConfigsResponse::default().with_responses(vec![result]);
    let api = ApiKey::INCREMENTAL_ALTER_CONFIGS;
    [
        wire::request(api, 1, 1, &request),
        wire::response(api, 1, 1, &response),
    ]
}

/// Returns whether a batch of about this size gets contexts in a process.
fn is_injected(process: &Process, bytes: usize) -> bool {
    let mut pair = Pair::of(process, Settings::default());
    let batch = BatchSpec::of(vec![RecordSpec::of(&"x".repeat(bytes))]).bytes();
    let original = produce(9, 1, -1, batch);
    pair.client(&original);
    pair.take_broker() != original
}

#[test]
fn limits_in_configurations_that_pass_are_learned() {
    let process = Process::default();
    assert!(is_injected(&process, 900) && !is_injected(&process, 2_000_000));
    let describe = km::DescribeConfigsRequest::default();
    let answers = [
        (
            described(4, "1", "message.max.bytes", "3000000"),
            [true, true],
        ),
        (
            described(2, "orders", "max.message.bytes", "1000"),
            [false, false],
        ),
        (
            described(2, "orders", "max.message.bytes", "many"),
            [false, false],
        ),
    ];
    for (answer, [small, large]) in answers {
        let mut admin = Pair::of(&process, Settings::default());
        admin.client(wire::request(ApiKey::DESCRIBE_CONFIGS, 4, 1, &describe));
        admin.broker(&answer);
        assert_eq!(admin.take_client(), answer);
        assert_eq!(admin.skipped(), []);
        assert_eq!(is_injected(&process, 900), small);
        assert_eq!(is_injected(&process, 2_000_000), large);
    }
    for (error_code, is_applied) in [(40, false), (0, true)] {
        let [request, response] = altered("5000000", error_code);
        let mut admin = Pair::of(&process, Settings::default());
        admin.client(&request);
        admin.broker(&response);
        assert_eq!(is_injected(&process, 2_000_000), is_applied);
    }
}

#[test]
fn limit_of_a_created_topic_is_learned() {
    use km::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
    let text = |text: &str| StrBytes::from_string(text.to_owned());
    let process = Process::default();
    let config = CreatableTopicConfigs::default()
        .with_name(text("max.message.bytes"))
        .with_value(Some(text("1000")));
    let topic = CreatableTopicResult::default()
        .with_name(topic_name())
        .with_configs(Some(vec![config]));
    let body = km::CreateTopicsResponse::default().with_topics(vec![topic]);
    let mut admin = Pair::of(&process, Settings::default());
    let request = km::CreateTopicsRequest::default();
    admin.client(wire::request(ApiKey::CREATE_TOPICS, 7, 1, &request));
    admin.broker(wire::response(ApiKey::CREATE_TOPICS, 7, 1, &body));
    assert!(!is_injected(&process, 900) && is_injected(&process, 100));
}
