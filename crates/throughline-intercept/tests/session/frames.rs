//! Frames through a session: what answers what, what is rewritten, what passes.

use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;
use kafka_protocol::messages as km;
use kafka_protocol::messages::BrokerId;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use throughline_intercept::Side;
use throughline_intercept::kafka::{
    ApiKey, Capacity, FramingError, Limits, Notice, Reason, Service, Settings,
};
use throughline_model::Resource;

use crate::support::pair::{Pair, Process, text};
use crate::support::wire::{
    Ask, Lot, Rec, TOPIC_ID, metadata, metadata_answer, produce, produced, record_set, request,
    response, told, unknown, unknown_answer,
};

fn addressed() -> Process {
    Process {
        addresses: Rc::new(HashMap::from([(9092, ("sidecar.local".into(), 19092))])),
        ..Process::default()
    }
}

/// The body of a response, by another implementation.
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

/// Asks and answers; gives what the client got.
fn exchange(pair: &mut Pair, question: &Bytes, answer: &Bytes) -> Vec<u8> {
    pair.client(question);
    assert_eq!(pair.take_broker(), *question);
    pair.broker(answer);
    pair.take_client()
}

#[test]
fn a_client_is_told_our_addresses_in_every_answer_that_has_some() {
    let host = || StrBytes::from_static_str("broker");
    for version in 0..=13 {
        let mut pair = Pair::of(&addressed(), Settings::default());
        let got = exchange(
            &mut pair,
            &metadata(version, 1),
            &metadata_answer(version, 1),
        );
        let told: km::MetadataResponse = body(&got, ApiKey::METADATA, version);
        assert_eq!(
            (told.brokers[0].host.as_str(), told.brokers[0].port),
            ("sidecar.local", 19092)
        );
        assert_eq!(told.brokers[0].node_id, BrokerId(3));
    }
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
        let told: km::FindCoordinatorResponse = body(&got, ApiKey::FIND_COORDINATOR, version);
        let told = told
            .coordinators
            .first()
            .map_or((&told.host, told.port), |one| (&one.host, one.port));
        assert_eq!((told.0.as_str(), told.1), ("sidecar.local", 19092));
    }
    let mut pair = Pair::of(&addressed(), Settings::default());
    let broker = km::describe_cluster_response::DescribeClusterBroker::default()
        .with_host(host())
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
    let told: km::DescribeClusterResponse = body(&got, ApiKey::DESCRIBE_CLUSTER, 1);
    assert_eq!(
        (told.brokers[0].host.as_str(), told.brokers[0].port),
        ("sidecar.local", 19092)
    );
}

#[test]
fn what_must_be_changed_is_held_past_the_budget_and_counted() {
    let capacity = Capacity {
        max_held_bytes: 1000,
        ..Capacity::default()
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
        (process.known.borrow().held(), pair.take_client().len()),
        (answer.len(), 0)
    );
    pair.broker(&answer[100..]);
    let told: km::MetadataResponse = body(&pair.take_client(), ApiKey::METADATA, 12);
    assert!(
        told.brokers
            .iter()
            .all(|broker| broker.host.as_str() == "sidecar.local")
    );
    assert_eq!(process.known.borrow().held(), 0);
}

#[test]
fn a_client_is_told_our_addresses_of_new_leaders() {
    let host = || StrBytes::from_static_str("broker");
    let mut pair = Pair::of(&addressed(), Settings::default());
    pair.client(produce(10, 1, -1, Lot::of(vec![Rec::of("a")]).bytes()));
    let node = km::produce_response::NodeEndpoint::default()
        .with_host(host())
        .with_port(9092);
    let answer = km::ProduceResponse::default().with_node_endpoints(vec![node]);
    pair.broker(response(ApiKey::PRODUCE, 10, 1, &answer));
    let told: km::ProduceResponse = body(&pair.take_client(), ApiKey::PRODUCE, 10);
    assert_eq!(
        (
            told.node_endpoints[0].host.as_str(),
            told.node_endpoints[0].port
        ),
        ("sidecar.local", 19092)
    );

    let ask = Ask {
        version: 16,
        correlation: 2,
        ..Ask::default()
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
    let told: km::FetchResponse = body(&pair.take_client(), ApiKey::FETCH, 16);
    assert_eq!(
        (
            told.node_endpoints[0].host.as_str(),
            told.node_endpoints[0].port
        ),
        ("sidecar.local", 19092)
    );

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
    let told: km::ShareFetchResponse = body(&pair.take_client(), ApiKey::SHARE_FETCH, 1);
    assert_eq!(
        (
            told.node_endpoints[0].host.as_str(),
            told.node_endpoints[0].port
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
    let told: km::ShareAcknowledgeResponse =
        body(&pair.take_client(), ApiKey::SHARE_ACKNOWLEDGE, 1);
    assert_eq!(
        (
            told.node_endpoints[0].host.as_str(),
            told.node_endpoints[0].port
        ),
        ("sidecar.local", 19092)
    );
}

#[test]
fn an_address_that_the_driver_does_not_know_stays() {
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
fn versions_are_narrowed_to_what_can_be_read_and_only_those_of_what_is_read() {
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
    let later = response(
        ApiKey::API_VERSIONS,
        3,
        1,
        &api_versions(&[(0, 0, 14), (1, 4, 19), (3, 0, 14), (9999, 0, 99)]),
    );
    let got: km::ApiVersionsResponse = body(
        &exchange(&mut pair, &asked, &later),
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
    // A broker that does not know the version answers in version 0.
    let mut answer = bytes::BytesMut::new();
    let old = api_versions(&[(18, 0, 4)])
        .with_error_code(35)
        .with_finalized_features(Vec::new());
    old.encode(&mut answer, 0).unwrap();
    let length = (4 + answer.len() as i32).to_be_bytes();
    let answer = Bytes::from([&length[..], &[0, 0, 0, 1], &answer].concat());
    assert_eq!(exchange(&mut pair, &asked, &answer), answer);
}

/// What a client and a broker say after SaslHandshake version 0: whose it is, and the token.
type Tokens = [(Side, &'static [u8])];

#[test]
fn sasl_tokens_without_headers_pass_and_hide_nothing_behind_them() {
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
        // The last token but one is empty, the last one has no answer.
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
                .cut(crate::support::pair::Cut::Each(cut));
            let handshake = km::SaslHandshakeRequest::default()
                .with_mechanism(StrBytes::from_static_str(mechanism));
            let handshake = request(ApiKey::SASL_HANDSHAKE, 0, 1, &handshake);
            let answer = response(
                ApiKey::SASL_HANDSHAKE,
                0,
                1,
                &km::SaslHandshakeResponse::default(),
            );
            assert_eq!(exchange(&mut pair, &handshake, &answer), answer);
            for (side, token) in tokens {
                let token = [&i32::try_from(token.len()).unwrap().to_be_bytes(), *token].concat();
                let got = if *side == client {
                    pair.client(&token);
                    pair.take_broker()
                } else {
                    pair.broker(&token);
                    pair.take_client()
                };
                assert_eq!(got, token, "{mechanism}");
            }
            let got = exchange(&mut pair, &metadata(12, 2), &metadata_answer(12, 2));
            let told: km::MetadataResponse = body(&got, ApiKey::METADATA, 12);
            assert_eq!(
                told.brokers[0].host.as_str(),
                "sidecar.local",
                "{mechanism}"
            );
            pair.client(produce(9, 3, -1, Lot::of(vec![Rec::of("a")]).bytes()));
            pair.broker(produced(9, 3, 0, 7));
            assert_eq!(
                (pair.spans.len(), pair.passed()),
                (1, vec![Reason::SaslTokens]),
                "{mechanism}"
            );
            assert!(pair.session.is_idle());
        }
    }
}

#[test]
fn what_is_no_token_passes_like_the_rest_of_its_connection() {
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
    assert!(pair.notices.contains(&Notice::Lost {
        side: Side::Client,
        loss: FramingError::InvalidLength(-1)
    }));
}

#[test]
fn sasl_tokens_with_headers_hide_nothing() {
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
    pair.client(produce(9, 3, -1, Lot::of(vec![Rec::of("a")]).bytes()));
    pair.broker(produced(9, 3, 0, 7));
    assert_eq!(pair.spans.len(), 1);
}

#[test]
fn tls_and_nonsense_pass_and_are_told() {
    let mut pair = Pair::new(Settings::default());
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
    pair.client(hello);
    assert_eq!(
        (pair.take_broker(), &pair.notices[..]),
        (hello.to_vec(), &[Notice::ClientSpeaksTls][..])
    );
    let mut pair = Pair::new(Settings::default());
    pair.broker([0xff, 0xff, 0xff, 0xff, 1, 2]);
    assert_eq!(pair.take_client(), [0xff, 0xff, 0xff, 0xff, 1, 2]);
    assert_eq!(
        pair.notices,
        [Notice::Lost {
            side: Side::Broker,
            loss: FramingError::InvalidLength(-1)
        }]
    );
}

#[test]
fn a_produce_too_long_to_be_held_still_says_whether_it_is_answered() {
    let limits = Limits {
        max_frame_bytes: 300,
        ..Limits::default()
    };
    for cut in [1, 7, 100_000] {
        for acks in [0, 1] {
            let mut pair = Pair::new(Settings {
                limits,
                ..Settings::default()
            })
            .cut(crate::support::pair::Cut::Each(cut));
            let long = produce(9, 1, acks, Lot::of(vec![Rec::of(&"x".repeat(500))]).bytes());
            pair.client(&long);
            assert_eq!(pair.take_broker(), long);
            pair.client(produce(9, 2, 1, Lot::of(vec![Rec::of("a")]).bytes()));
            if acks != 0 {
                pair.broker(produced(9, 1, 0, 7));
            }
            pair.broker(produced(9, 2, 0, 8));
            assert_eq!(
                (pair.spans.len(), pair.passed()),
                (1, vec![Reason::FrameTooLarge])
            );
        }
    }
}

#[test]
fn an_answer_to_nothing_closes_nothing() {
    let mut pair = Pair::new(Settings::default());
    pair.client(produce(9, 1, 1, Lot::of(vec![Rec::of("a")]).bytes()));
    pair.broker(produced(9, 77, 0, 7));
    assert_eq!(
        (pair.spans.len(), pair.passed()),
        (0, vec![Reason::OutOfOrder])
    );
    pair.broker(produced(9, 1, 0, 7));
    assert_eq!(pair.spans.len(), 1);
}

#[test]
fn answers_in_another_order_pass_and_are_counted() {
    let mut pair = Pair::new(Settings::default());
    pair.client(produce(9, 1, 1, Lot::of(vec![Rec::of("a")]).bytes()));
    pair.client(produce(9, 2, 1, Lot::of(vec![Rec::of("b")]).bytes()));
    pair.broker(produced(9, 2, 0, 7));
    pair.broker(produced(9, 1, 0, 8));
    assert_eq!((pair.spans.len(), pair.dropped()), (1, 1));
    assert!(pair.session.is_idle());
}

#[test]
fn more_requests_than_are_remembered_pass_untraced() {
    let limits = Limits {
        max_in_flight: 2,
        ..Limits::default()
    };
    let mut pair = Pair::new(Settings {
        limits,
        ..Settings::default()
    });
    for number in 0..4 {
        pair.client(produce(9, number, 1, Lot::of(vec![Rec::of("a")]).bytes()));
    }
    for number in 0..4 {
        pair.broker(produced(9, number, 0, 7));
    }
    assert_eq!((pair.spans.len(), pair.dropped()), (2, 2));
    assert!(pair.session.is_idle());
}

#[test]
fn a_client_can_be_a_service_of_its_own() {
    let resource = Resource::of_service("sidecar").into();
    let mut pair = Pair::new(Settings {
        service: Service::ByClientId,
        resource,
        ..Settings::default()
    });
    pair.client(produce(9, 1, 0, Lot::of(vec![Rec::of("a")]).bytes()));
    assert_eq!(pair.spans[0].service(), "a-client");
    assert_eq!(text(&pair.spans[0], "messaging.client.id"), "a-client");
}

#[test]
fn a_record_set_of_another_magic_passes() {
    let mut old = Lot::of(vec![Rec::of("a")]).bytes();
    old[16] = 1;
    let mut pair = Pair::new(Settings::default());
    let frame = produce(3, 1, 1, old);
    pair.client(&frame);
    assert_eq!(
        (pair.take_broker(), pair.passed()),
        (frame.to_vec(), vec![Reason::OldFormat])
    );
}

#[test]
fn requests_that_nobody_knows_pass_with_their_answers_and_in_their_order() {
    let mut pair = Pair::new(Settings::default());
    let (question, answer) = (unknown(1, b"what?"), unknown_answer(1, b"that"));
    assert_eq!(exchange(&mut pair, &question, &answer), answer);
    assert!(pair.notices.contains(&Notice::Request(ApiKey(9999))));
    pair.client(produce(13, 2, 1, Lot::of(vec![Rec::of("a")]).bytes()));
    assert_eq!(
        told(&record_set(&pair.take_broker(), 13))[0].headers.len(),
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
fn a_request_in_which_we_err_goes_on_as_it_came_and_so_does_all_behind_it() {
    let process = Process::default();
    let mut pair = Pair::of(&process, Settings::default());
    process.breaks_once.set(true);
    for correlation in [1, 2] {
        let frame = produce(9, correlation, -1, Lot::of(vec![Rec::of("a")]).bytes());
        pair.client(&frame);
        assert_eq!(pair.take_broker(), frame);
        let answer = produced(9, correlation, 0, 0);
        pair.broker(&answer);
        assert_eq!(pair.take_client(), answer);
        assert!(pair.session.is_idle());
        assert_eq!(
            (pair.passed(), pair.injected()),
            (vec![Reason::Panic], 0),
            "nothing is tried again"
        );
    }
    let mut other = Pair::of(&process, Settings::default());
    other.client(produce(9, 1, -1, Lot::of(vec![Rec::of("a")]).bytes()));
    assert_eq!(other.injected(), 1, "other connections go on");
}

#[test]
fn a_large_request_in_which_we_err_gives_its_memory_back() {
    let process = Process::default();
    let mut pair = Pair::of(&process, Settings::default());
    let frame = produce(
        9,
        1,
        -1,
        Lot::of(vec![Rec::of(&"x".repeat(40_000))]).bytes(),
    );
    pair.client(&frame[..30]);
    assert!(process.known.borrow().held() > 40_000);
    process.breaks_once.set(true);
    pair.client(&frame[30..]);
    assert_eq!(
        (pair.take_broker(), pair.passed()),
        (frame.to_vec(), vec![Reason::Panic])
    );
    assert_eq!(process.known.borrow().held(), 0);
}

#[test]
fn an_answer_in_which_we_err_goes_on_as_it_came_and_later_ones_are_changed_that_must_be() {
    let process = addressed();
    let mut pair = Pair::of(&process, Settings::default());
    pair.client(metadata(12, 1));
    pair.client(produce(9, 2, -1, Lot::of(vec![Rec::of("a")]).bytes()));
    process.breaks_once.set(true);
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
    let told: km::MetadataResponse = body(&got, ApiKey::METADATA, 12);
    assert_eq!(
        (told.brokers[0].host.as_str(), told.brokers[0].port),
        ("sidecar.local", 19092)
    );
}

#[test]
fn an_error_of_ours_at_the_end_holds_nothing_back() {
    let process = Process::default();
    let mut pair = Pair::of(&process, Settings::default());
    let frame = produce(
        9,
        1,
        -1,
        Lot::of(vec![Rec::of(&"x".repeat(40_000))]).bytes(),
    );
    pair.client(&frame[..50]);
    process.breaks_once.set(true);
    pair.close(Side::Client);
    pair.close(Side::Broker);
    assert_eq!(pair.take_broker(), frame[..50]);
    assert_eq!(pair.passed(), [Reason::Panic]);
}

#[test]
fn a_broker_that_expects_tls_is_known_by_its_alert_which_passes() {
    let mut pair = Pair::new(Settings::default());
    pair.client(metadata(12, 1));
    let alert = [0x15, 3, 3, 0, 2, 2, 40];
    pair.broker(alert);
    assert_eq!(pair.take_client(), alert);
    assert!(
        pair.notices.contains(&Notice::Lost {
            side: Side::Broker,
            loss: FramingError::Tls
        }),
        "{:?}",
        pair.notices
    );
}
