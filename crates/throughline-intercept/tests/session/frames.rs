//! Frames: matched with their requests, rewritten, or passed.

use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use kafka_protocol::messages as km;
use kafka_protocol::messages::BrokerId;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use throughline_intercept::Side;
use throughline_intercept::kafka::{
    ApiKey, ClusterCapacity, FramingError, ServiceNaming, SessionEvent, SessionLimits, Settings,
    SkipReason,
};
use throughline_model::Resource;

use crate::support::pair::{Pair, Process, text};
use crate::support::wire::{
    BatchSpec, FetchSpec, RecordSpec, TOPIC_ID, metadata, metadata_answer, produce, produced,
    read_records, record_set, request, response, unknown, unknown_answer,
};

/// API that is never read.
const LIST_OFFSETS: ApiKey = ApiKey(2);

fn addressed() -> Process {
    Process {
        addresses: Rc::new(HashMap::from([(9092, ("sidecar.local".into(), 19092))])),
        ..Process::default()
    }
}

/// Decodes the body of a response with another implementation.
fn body<M: Decodable>(frame: &[u8], api: ApiKey, version: i16) -> M {
    let length = i32::from_be_bytes(frame[..4].try_into().unwrap());
    assert_eq!(
        length as usize,
        frame.len() - 4,
        "the frame's length is right"
    );
    let head = if api.is_flexible(version).unwrap() && api != ApiKey::API_VERSIONS {
        9
    } else {
        8
    };
    let mut rest = Bytes::copy_from_slice(&frame[head..]);
    let message = M::decode(&mut rest, version).unwrap();
    assert!(rest.is_empty());
    message
}

/// Sends a request and its response. Returns the bytes that the client received.
fn exchange(pair: &mut Pair, question: &Bytes, answer: &Bytes) -> Vec<u8> {
    pair.client(question);
    assert_eq!(pair.take_broker(), *question);
    pair.broker(answer);
    pair.take_client()
}

#[test]
fn addresses_in_metadata_are_rewritten() {
    for version in 0..=13 {
        let mut pair = Pair::of(&addressed(), Settings::default());
        let got = exchange(
            &mut pair,
            &metadata(version, 1),
            &metadata_answer(version, 1),
        );
        let rewritten: km::MetadataResponse = body(&got, ApiKey::METADATA, version);
        assert_eq!(
            (
                rewritten.brokers[0].host.as_str(),
                rewritten.brokers[0].port
            ),
            ("sidecar.local", 19092)
        );
        assert_eq!(rewritten.brokers[0].node_id, BrokerId(3));
    }
}

#[test]
fn addresses_of_coordinators_are_rewritten() {
    let host = || StrBytes::from_static_str("broker");
    for version in 0..=6 {
        let mut pair = Pair::of(&addressed(), Settings::default());
        let mut answer = km::FindCoordinatorResponse::default();
        if version >= 4 {
            let one = km::find_coordinator_response::Coordinator::default()
                .with_host(host())
                .with_port(9092);
            answer = answer.with_coordinators(vec![one]);
        } else {
            answer = answer.with_host(host()).with_port(9092);
        }
        let question = request(
            ApiKey::FIND_COORDINATOR,
            version,
            1,
            &km::FindCoordinatorRequest::default(),
        );
        let got = exchange(
            &mut pair,
            &question,
            &response(ApiKey::FIND_COORDINATOR, version, 1, &answer),
        );
        let rewritten: km::FindCoordinatorResponse = body(&got, ApiKey::FIND_COORDINATOR, version);
        let rewritten = rewritten
            .coordinators
            .first()
            .map_or((&rewritten.host, rewritten.port), |one| {
                (&one.host, one.port)
            });
        assert_eq!(
            (rewritten.0.as_str(), rewritten.1),
            ("sidecar.local", 19092)
        );
    }
}

#[test]
fn addresses_in_describe_cluster_are_rewritten() {
    let mut pair = Pair::of(&addressed(), Settings::default());
    let broker = km::describe_cluster_response::DescribeClusterBroker::default()
        .with_host(StrBytes::from_static_str("broker"))
        .with_port(9092);
    let answer = km::DescribeClusterResponse::default().with_brokers(vec![broker]);
    let question = request(
        ApiKey::DESCRIBE_CLUSTER,
        1,
        1,
        &km::DescribeClusterRequest::default(),
    );
    let got = exchange(
        &mut pair,
        &question,
        &response(ApiKey::DESCRIBE_CLUSTER, 1, 1, &answer),
    );
    let rewritten: km::DescribeClusterResponse = body(&got, ApiKey::DESCRIBE_CLUSTER, 1);
    assert_eq!(
        (
            rewritten.brokers[0].host.as_str(),
            rewritten.brokers[0].port
        ),
        ("sidecar.local", 19092)
    );
}

#[test]
fn frame_that_must_change_is_buffered_beyond_the_budget() {
    let capacity = ClusterCapacity {
        max_held_bytes: 1000,
        ..ClusterCapacity::default()
    };
    let process = Process {
        addresses: addressed().addresses,
        ..Process::with(capacity)
    };
    let mut pair = Pair::of(&process, Settings::default());
    let broker = km::metadata_response::MetadataResponseBroker::default()
        .with_host(StrBytes::from_static_str("broker"))
        .with_port(9092);
    let answer = km::MetadataResponse::default().with_brokers(vec![broker; 2000]);
    let answer = response(ApiKey::METADATA, 12, 1, &answer);
    pair.client(metadata(12, 1));
    pair.broker(&answer[..100]);
    assert_eq!(
        (
            process.known.borrow().held_bytes(),
            pair.take_client().len()
        ),
        (answer.len(), 0)
    );
    pair.broker(&answer[100..]);
    let rewritten: km::MetadataResponse = body(&pair.take_client(), ApiKey::METADATA, 12);
    assert!(
        rewritten
            .brokers
            .iter()
            .all(|broker| broker.host.as_str() == "sidecar.local")
    );
    assert_eq!(process.known.borrow().held_bytes(), 0);
}

#[test]
fn endpoints_of_new_leaders_in_produce_and_fetch_are_rewritten() {
    let host = || StrBytes::from_static_str("broker");
    let mut pair = Pair::of(&addressed(), Settings::default());
    pair.client(produce(
        10,
        1,
        -1,
        BatchSpec::of(vec![RecordSpec::of("a")]).bytes(),
    ));
    let node = km::produce_response::NodeEndpoint::default()
        .with_host(host())
        .with_port(9092);
    let answer = km::ProduceResponse::default().with_node_endpoints(vec![node]);
    pair.broker(response(ApiKey::PRODUCE, 10, 1, &answer));
    let rewritten: km::ProduceResponse = body(&pair.take_client(), ApiKey::PRODUCE, 10);
    assert_eq!(
        (
            rewritten.node_endpoints[0].host.as_str(),
            rewritten.node_endpoints[0].port
        ),
        ("sidecar.local", 19092)
    );

    let ask = FetchSpec {
        version: 16,
        correlation: 2,
        ..FetchSpec::default()
    };
    pair.client(ask.frame());
    let node = km::fetch_response::NodeEndpoint::default()
        .with_host(host())
        .with_port(9092);
    pair.broker(response(
        ApiKey::FETCH,
        16,
        2,
        &km::FetchResponse::default().with_node_endpoints(vec![node]),
    ));
    let rewritten: km::FetchResponse = body(&pair.take_client(), ApiKey::FETCH, 16);
    assert_eq!(
        (
            rewritten.node_endpoints[0].host.as_str(),
            rewritten.node_endpoints[0].port
        ),
        ("sidecar.local", 19092)
    );
}

#[test]
fn endpoints_of_new_leaders_in_share_groups_are_rewritten() {
    let host = || StrBytes::from_static_str("broker");
    let mut pair = Pair::of(&addressed(), Settings::default());
    pair.client(request(
        ApiKey::SHARE_FETCH,
        1,
        3,
        &km::ShareFetchRequest::default(),
    ));
    let node = km::share_fetch_response::NodeEndpoint::default()
        .with_host(host())
        .with_port(9092);
    pair.broker(response(
        ApiKey::SHARE_FETCH,
        1,
        3,
        &km::ShareFetchResponse::default().with_node_endpoints(vec![node]),
    ));
    let rewritten: km::ShareFetchResponse = body(&pair.take_client(), ApiKey::SHARE_FETCH, 1);
    assert_eq!(
        (
            rewritten.node_endpoints[0].host.as_str(),
            rewritten.node_endpoints[0].port
        ),
        ("sidecar.local", 19092)
    );

    pair.client(request(
        ApiKey::SHARE_ACKNOWLEDGE,
        1,
        4,
        &km::ShareAcknowledgeRequest::default(),
    ));
    let node = km::share_acknowledge_response::NodeEndpoint::default()
        .with_host(host())
        .with_port(9092);
    let answer = km::ShareAcknowledgeResponse::default().with_node_endpoints(vec![node]);
    pair.broker(response(ApiKey::SHARE_ACKNOWLEDGE, 1, 4, &answer));
    let rewritten: km::ShareAcknowledgeResponse =
        body(&pair.take_client(), ApiKey::SHARE_ACKNOWLEDGE, 1);
    assert_eq!(
        (
            rewritten.node_endpoints[0].host.as_str(),
            rewritten.node_endpoints[0].port
        ),
        ("sidecar.local", 19092)
    );
}

#[test]
fn address_without_a_local_port_stays() {
    let process = Process {
        addresses: Rc::new(HashMap::from([(1, ("x".into(), 2))])),
        ..Process::default()
    };
    let mut pair = Pair::of(&process, Settings::default());
    let answer = metadata_answer(12, 1);
    assert_eq!(exchange(&mut pair, &metadata(12, 1), &answer), answer);
}

fn api_versions(keys: &[(i16, i16, i16)]) -> km::ApiVersionsResponse {
    use km::api_versions_response::{ApiVersion, FinalizedFeatureKey};
    let keys = keys.iter().map(|(key, low, high)| {
        ApiVersion::default()
            .with_api_key(*key)
            .with_min_version(*low)
            .with_max_version(*high)
    });
    let feature = FinalizedFeatureKey::default()
        .with_name(StrBytes::from_static_str("transaction.version"))
        .with_max_version_level(2)
        .with_min_version_level(2);
    km::ApiVersionsResponse::default()
        .with_api_keys(keys.collect())
        .with_finalized_features(vec![feature])
}

#[test]
fn only_versions_of_apis_that_are_read_are_narrowed() {
    let asked = request(
        ApiKey::API_VERSIONS,
        3,
        1,
        &km::ApiVersionsRequest::default(),
    );
    let today = response(
        ApiKey::API_VERSIONS,
        3,
        1,
        &api_versions(&[(0, 0, 13), (1, 4, 18), (3, 0, 13), (9999, 0, 99)]),
    );
    let mut pair = Pair::new(Settings::default());
    assert_eq!(
        exchange(&mut pair, &asked, &today),
        today,
        "a broker of today is understood"
    );
    let schedule_event = response(
        ApiKey::API_VERSIONS,
        3,
        1,
        &api_versions(&[(0, 0, 14), (1, 4, 19), (3, 0, 14), (9999, 0, 99)]),
    );
    let got: km::ApiVersionsResponse = body(
        &exchange(&mut pair, &asked, &schedule_event),
        ApiKey::API_VERSIONS,
        3,
    );
    let keys: Vec<_> = got
        .api_keys
        .iter()
        .map(|key| (key.api_key, key.min_version, key.max_version))
        .collect();
    assert_eq!(keys, [(0, 0, 13), (1, 4, 18), (3, 0, 13), (9999, 0, 99)]);
    assert_eq!(
        got.finalized_features.len(),
        1,
        "Produce 13 has the transactions that the feature promises"
    );
    let mut pair = Pair::of(&addressed(), Settings::default());
    let got: km::ApiVersionsResponse = body(
        &exchange(&mut pair, &asked, &today),
        ApiKey::API_VERSIONS,
        3,
    );
    assert_eq!(
        got.api_keys[1].max_version, 15,
        "no fetch has to be held for the addresses behind it"
    );
    // KIP-511: a broker that does not support the version answers in version 0.
    let mut answer = bytes::BytesMut::new();
    let old = api_versions(&[(18, 0, 4)])
        .with_error_code(35)
        .with_finalized_features(Vec::new());
    old.encode(&mut answer, 0).unwrap();
    let length = (4 + answer.len() as i32).to_be_bytes();
    let answer = Bytes::from([&length[..], &[0, 0, 0, 1], &answer].concat());
    assert_eq!(exchange(&mut pair, &asked, &answer), answer);
}

/// Tokens that a client and a broker exchange after SaslHandshake version 0, with their sender.
type Tokens = [(Side, &'static [u8])];

/// Performs SaslHandshake version 0, and checks that the tokens after it pass.
fn authenticate(pair: &mut Pair, mechanism: &str, tokens: &Tokens) {
    let mechanism = StrBytes::from_string(mechanism.to_owned());
    let handshake = km::SaslHandshakeRequest::default().with_mechanism(mechanism);
    let handshake = request(ApiKey::SASL_HANDSHAKE, 0, 1, &handshake);
    let answer = km::SaslHandshakeResponse::default();
    let answer = response(ApiKey::SASL_HANDSHAKE, 0, 1, &answer);
    assert_eq!(exchange(pair, &handshake, &answer), answer);
    for (side, token) in tokens {
        let length = i32::try_from(token.len()).unwrap().to_be_bytes();
        let token = [&length, *token].concat();
        let got = if *side == Side::Client {
            pair.client(&token);
            pair.take_broker()
        } else {
            pair.broker(&token);
            pair.take_client()
        };
        assert_eq!(got, token);
    }
}

#[test]
fn sasl_tokens_without_headers_pass_and_later_frames_are_read() {
    let (client, broker) = (Side::Client, Side::Broker);
    let mechanisms: [(&str, &Tokens); 4] = [
        ("PLAIN", &[(client, b"\0\x03me\0secret"), (broker, b"")]),
        (
            "SCRAM-SHA-256",
            &[
                (client, b"n,,n=me,r=1"),
                (broker, b"r=12,s="),
                (client, b"c=biws"),
                (broker, b"v="),
            ],
        ),
        (
            "OAUTHBEARER",
            &[(client, b"n,,\x01auth=Bearer x\x01\x01"), (broker, b"")],
        ),
        // The client's second token is empty, its last one has no answer.
        (
            "GSSAPI",
            &[
                (client, b"\x60\x82\0\x01a"),
                (broker, b"\x60b"),
                (client, b""),
                (broker, b"\x05\x04c"),
                (client, b"\x05\x04d"),
            ],
        ),
    ];
    for (mechanism, tokens) in mechanisms {
        for cut in [1, 5, 100_000] {
            let mut pair = Pair::of(&addressed(), Settings::default())
                .cut(crate::support::pair::Chunking::Each(cut));
            authenticate(&mut pair, mechanism, tokens);
            let got = exchange(&mut pair, &metadata(12, 2), &metadata_answer(12, 2));
            let rewritten: km::MetadataResponse = body(&got, ApiKey::METADATA, 12);
            assert_eq!(
                rewritten.brokers[0].host.as_str(),
                "sidecar.local",
                "{mechanism}"
            );
            pair.client(produce(
                9,
                3,
                -1,
                BatchSpec::of(vec![RecordSpec::of("a")]).bytes(),
            ));
            pair.broker(produced(9, 3, 0, 7));
            assert_eq!(
                (pair.spans.len(), pair.skipped()),
                (1, vec![SkipReason::SaslTokens]),
                "{mechanism}"
            );
            assert!(pair.session.is_idle());
        }
    }
}

#[test]
fn bytes_that_are_not_a_token_pass_with_the_rest_of_the_connection() {
    let mut pair = Pair::new(Settings::default());
    pair.client(request(
        ApiKey::SASL_HANDSHAKE,
        0,
        1,
        &km::SaslHandshakeRequest::default(),
    ));
    pair.take_broker();
    pair.client([0xff; 9]);
    assert_eq!(pair.take_broker(), [0xff; 9]);
    assert!(pair.events.contains(&SessionEvent::FramingFailed {
        side: Side::Client,
        error: FramingError::InvalidLength(-1)
    }));
}

#[test]
fn frames_behind_sasl_authenticate_are_read() {
    let mut pair = Pair::new(Settings::default());
    let handshake = request(
        ApiKey::SASL_HANDSHAKE,
        1,
        1,
        &km::SaslHandshakeRequest::default(),
    );
    exchange(
        &mut pair,
        &handshake,
        &response(
            ApiKey::SASL_HANDSHAKE,
            1,
            1,
            &km::SaslHandshakeResponse::default(),
        ),
    );
    let authenticate = request(
        ApiKey::SASL_AUTHENTICATE,
        2,
        2,
        &km::SaslAuthenticateRequest::default(),
    );
    let answer = response(
        ApiKey::SASL_AUTHENTICATE,
        2,
        2,
        &km::SaslAuthenticateResponse::default(),
    );
    exchange(&mut pair, &authenticate, &answer);
    pair.client(produce(
        9,
        3,
        -1,
        BatchSpec::of(vec![RecordSpec::of("a")]).bytes(),
    ));
    pair.broker(produced(9, 3, 0, 7));
    assert_eq!(pair.spans.len(), 1);
}

#[test]
fn tls_and_nonsense_pass_and_are_reported() {
    let mut pair = Pair::new(Settings::default());
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    pair.client(hello);
    assert_eq!(
        (pair.take_broker(), &pair.events[..]),
        (hello.to_vec(), &[SessionEvent::ClientSpeaksTls][..])
    );
    let mut pair = Pair::new(Settings::default());
    pair.broker([0xff, 0xff, 0xff, 0xff, 1, 2]);
    assert_eq!(pair.take_client(), [0xff, 0xff, 0xff, 0xff, 1, 2]);
    assert_eq!(
        pair.events,
        [SessionEvent::FramingFailed {
            side: Side::Broker,
            error: FramingError::InvalidLength(-1)
        }]
    );
}

#[test]
fn acks_are_read_from_a_produce_that_is_too_long_to_buffer() {
    let limits = SessionLimits {
        max_frame_bytes: 300,
        ..SessionLimits::default()
    };
    for cut in [1, 7, 100_000] {
        for acks in [0, 1] {
            let mut pair = Pair::new(Settings {
                limits,
                ..Settings::default()
            })
            .cut(crate::support::pair::Chunking::Each(cut));
            let long = produce(
                9,
                1,
                acks,
                BatchSpec::of(vec![RecordSpec::of(&"x".repeat(500))]).bytes(),
            );
            pair.client(&long);
            assert_eq!(pair.take_broker(), long);
            pair.client(produce(
                9,
                2,
                1,
                BatchSpec::of(vec![RecordSpec::of("a")]).bytes(),
            ));
            if acks != 0 {
                pair.broker(produced(9, 1, 0, 7));
            }
            pair.broker(produced(9, 2, 0, 8));
            assert_eq!(
                (pair.spans.len(), pair.skipped()),
                (1, vec![SkipReason::FrameTooLarge])
            );
        }
    }
}

#[test]
fn response_without_a_request_closes_no_span() {
    let mut pair = Pair::new(Settings::default());
    pair.client(produce(
        9,
        1,
        1,
        BatchSpec::of(vec![RecordSpec::of("a")]).bytes(),
    ));
    pair.broker(produced(9, 77, 0, 7));
    assert_eq!(
        (pair.spans.len(), pair.skipped()),
        (0, vec![SkipReason::OutOfOrder])
    );
    pair.broker(produced(9, 1, 0, 7));
    assert_eq!(pair.spans.len(), 1);
}

#[test]
fn responses_out_of_order_pass_and_are_counted() {
    let mut pair = Pair::new(Settings::default());
    pair.client(produce(
        9,
        1,
        1,
        BatchSpec::of(vec![RecordSpec::of("a")]).bytes(),
    ));
    pair.client(produce(
        9,
        2,
        1,
        BatchSpec::of(vec![RecordSpec::of("b")]).bytes(),
    ));
    pair.broker(produced(9, 2, 0, 7));
    pair.broker(produced(9, 1, 0, 8));
    assert_eq!((pair.spans.len(), pair.dropped()), (1, 1));
    assert!(pair.session.is_idle());
}

#[test]
fn requests_beyond_the_in_flight_limit_pass_untraced() {
    let limits = SessionLimits {
        max_in_flight: 2,
        ..SessionLimits::default()
    };
    let mut pair = Pair::new(Settings {
        limits,
        ..Settings::default()
    });
    for number in 0..4 {
        pair.client(produce(
            9,
            number,
            1,
            BatchSpec::of(vec![RecordSpec::of("a")]).bytes(),
        ));
    }
    for number in 0..4 {
        pair.broker(produced(9, number, 0, 7));
    }
    assert_eq!((pair.spans.len(), pair.dropped()), (2, 2));
    assert!(pair.session.is_idle());
}

#[test]
fn client_id_can_name_the_service() {
    let resource = Resource::of_service("sidecar").into();
    let mut pair = Pair::new(Settings {
        service: ServiceNaming::ByClientId,
        resource,
        ..Settings::default()
    });
    pair.client(produce(
        9,
        1,
        0,
        BatchSpec::of(vec![RecordSpec::of("a")]).bytes(),
    ));
    assert_eq!(pair.spans[0].service(), "a-client");
    assert_eq!(text(&pair.spans[0], "messaging.client.id"), "a-client");
}

#[test]
fn record_set_of_another_magic_passes() {
    let mut old = BatchSpec::of(vec![RecordSpec::of("a")]).bytes();
    old[16] = 1;
    let mut pair = Pair::new(Settings::default());
    let frame = produce(3, 1, 1, old);
    pair.client(&frame);
    assert_eq!(
        (pair.take_broker(), pair.skipped()),
        (frame.to_vec(), vec![SkipReason::OldFormat])
    );
}

#[test]
fn unknown_requests_pass_in_order() {
    let mut pair = Pair::new(Settings::default());
    let (question, answer) = (unknown(1, b"what?"), unknown_answer(1, b"that"));
    assert_eq!(exchange(&mut pair, &question, &answer), answer);
    assert!(pair.events.contains(&SessionEvent::Request(ApiKey(9999))));
    pair.client(produce(
        13,
        2,
        1,
        BatchSpec::of(vec![RecordSpec::of("a")]).bytes(),
    ));
    assert_eq!(
        read_records(&record_set(&pair.take_broker(), 13))[0]
            .headers
            .len(),
        1
    );
    pair.broker(produced(13, 2, 0, 0));
    let name = format!("send id:{}", "YW4taWQtb2Ytb3JkZXJzIQ");
    assert_eq!(
        (pair.spans[0].name.as_str(), TOPIC_ID.len()),
        (name.as_str(), 16)
    );
}

#[test]
fn request_with_an_internal_error_and_later_ones_pass_unmodified() {
    let process = Process::default();
    let mut pair = Pair::of(&process, Settings::default());
    process.panics_once.set(true);
    for correlation in [1, 2] {
        let frame = produce(
            9,
            correlation,
            -1,
            BatchSpec::of(vec![RecordSpec::of("a")]).bytes(),
        );
        pair.client(&frame);
        assert_eq!(pair.take_broker(), frame);
        let answer = produced(9, correlation, 0, 0);
        pair.broker(&answer);
        assert_eq!(pair.take_client(), answer);
        assert!(pair.session.is_idle());
        assert_eq!(
            (pair.skipped(), pair.injected()),
            (vec![SkipReason::Panic], 0),
            "nothing is tried again"
        );
    }
    let mut other = Pair::of(&process, Settings::default());
    other.client(produce(
        9,
        1,
        -1,
        BatchSpec::of(vec![RecordSpec::of("a")]).bytes(),
    ));
    assert_eq!(other.injected(), 1, "other connections go on");
}

#[test]
fn large_request_with_an_internal_error_releases_its_bytes() {
    let process = Process::default();
    let mut pair = Pair::of(&process, Settings::default());
    let frame = produce(
        9,
        1,
        -1,
        BatchSpec::of(vec![RecordSpec::of(&"x".repeat(40_000))]).bytes(),
    );
    pair.client(&frame[..30]);
    assert!(process.known.borrow().held_bytes() > 40_000);
    process.panics_once.set(true);
    pair.client(&frame[30..]);
    assert_eq!(
        (pair.take_broker(), pair.skipped()),
        (frame.to_vec(), vec![SkipReason::Panic])
    );
    assert_eq!(process.known.borrow().held_bytes(), 0);
}

#[test]
fn response_with_an_internal_error_passes_and_later_addresses_are_still_rewritten() {
    let process = addressed();
    let mut pair = Pair::of(&process, Settings::default());
    pair.client(metadata(12, 1));
    pair.client(produce(
        9,
        2,
        -1,
        BatchSpec::of(vec![RecordSpec::of("a")]).bytes(),
    ));
    process.panics_once.set(true);
    pair.broker(metadata_answer(12, 1));
    assert_eq!(pair.take_client(), metadata_answer(12, 1));
    pair.broker(produced(9, 2, 0, 0));
    assert_eq!(pair.take_client(), produced(9, 2, 0, 0));
    assert_eq!(
        (pair.dropped(), pair.take_spans().len()),
        (1, 0),
        "what was open is given up and counted"
    );
    pair.take_broker();
    let got = exchange(&mut pair, &metadata(12, 3), &metadata_answer(12, 3));
    let rewritten: km::MetadataResponse = body(&got, ApiKey::METADATA, 12);
    assert_eq!(
        (
            rewritten.brokers[0].host.as_str(),
            rewritten.brokers[0].port
        ),
        ("sidecar.local", 19092)
    );
}

#[test]
fn internal_error_at_the_end_holds_nothing_back() {
    let process = Process::default();
    let mut pair = Pair::of(&process, Settings::default());
    let frame = produce(
        9,
        1,
        -1,
        BatchSpec::of(vec![RecordSpec::of(&"x".repeat(40_000))]).bytes(),
    );
    pair.client(&frame[..50]);
    process.panics_once.set(true);
    pair.close(Side::Client);
    pair.close(Side::Broker);
    assert_eq!(pair.take_broker(), frame[..50]);
    assert_eq!(
        pair.skipped(),
        [SkipReason::Disconnected, SkipReason::Panic]
    );
}

#[test]
fn tls_alert_of_a_broker_passes_and_is_reported() {
    let mut pair = Pair::new(Settings::default());
    pair.client(metadata(12, 1));
    let alert = [0x15, 3, 3, 0, 2, 2, 40];
    pair.broker(alert);
    assert_eq!(pair.take_client(), alert);
    assert!(
        pair.events.contains(&SessionEvent::FramingFailed {
            side: Side::Broker,
            error: FramingError::Tls
        }),
        "{:?}",
        pair.events
    );
}

#[test]
fn unsupported_version_of_an_api_that_is_read_passes_and_is_counted() {
    let newer = |api: ApiKey| {
        let mut frame =
            produce(9, 1, -1, BatchSpec::of(vec![RecordSpec::of("a")]).bytes()).to_vec();
        frame[4..6].copy_from_slice(&api.0.to_be_bytes());
        frame[6..8].copy_from_slice(&99_i16.to_be_bytes());
        frame
    };
    let response = unknown_answer(1, b"of version 99");
    for api in [
        ApiKey::PRODUCE,
        ApiKey::FETCH,
        ApiKey::METADATA,
        ApiKey::OFFSET_COMMIT,
        ApiKey::TXN_OFFSET_COMMIT,
        ApiKey::JOIN_GROUP,
        ApiKey::SYNC_GROUP,
        ApiKey::CONSUMER_GROUP_HEARTBEAT,
        ApiKey::SHARE_FETCH,
        ApiKey::SHARE_ACKNOWLEDGE,
        ApiKey::DESCRIBE_CLUSTER,
        ApiKey::API_VERSIONS,
    ] {
        let mut pair = Pair::new(Settings::default());
        let request = newer(api);
        pair.client(&request);
        pair.broker(&response);
        assert_eq!(pair.take_broker(), request, "{api}");
        assert_eq!(pair.take_client(), response, "{api}");
        assert_eq!(pair.skipped(), [SkipReason::Version], "{api}");
        assert_eq!((pair.spans.len(), pair.injected()), (0, 0), "{api}");
    }
}

#[test]
fn unsupported_version_of_an_api_that_is_never_read_is_not_counted() {
    for (api, is_counted) in [(LIST_OFFSETS, false), (ApiKey::FIND_COORDINATOR, true)] {
        for (process, is_counted) in [(Process::default(), false), (addressed(), is_counted)] {
            let mut pair = Pair::of(&process, Settings::default());
            let mut request = metadata(12, 1).to_vec();
            request[4..6].copy_from_slice(&api.0.to_be_bytes());
            request[6..8].copy_from_slice(&99_i16.to_be_bytes());
            pair.client(&request);
            let counted = pair.skipped() == [SkipReason::Version];
            assert_eq!(
                (pair.take_broker(), counted),
                (request, is_counted),
                "{api}"
            );
        }
    }
}

#[test]
fn frame_that_a_disconnect_cuts_passes_and_is_counted() {
    let records = BatchSpec::of(vec![RecordSpec::of("a")]).bytes();
    let request = produce(9, 1, -1, records);
    let mut pair = Pair::new(Settings::default());
    pair.client(&request[..30]);
    pair.close(Side::Client);
    pair.close(Side::Broker);
    assert_eq!(pair.take_broker(), request[..30]);
    assert_eq!(pair.skipped(), [SkipReason::Disconnected]);

    let mut pair = Pair::new(Settings::default());
    pair.client(&request);
    pair.broker(&produced(9, 1, 0, 0)[..20]);
    pair.close(Side::Broker);
    pair.close(Side::Client);
    assert_eq!(pair.skipped(), [SkipReason::Disconnected]);
    pair.abandon_retries();
    assert_eq!(text(&pair.spans[0], "error.type"), "NETWORK_EXCEPTION");
}
