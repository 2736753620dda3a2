//! Compares the views and the edits with another implementation: a view has the values that it
//! encoded in every version, and it decodes the edited messages.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may fail by panicking"
)]

mod checks {
    pub(crate) mod message;
}

use bytes::{Bytes, BytesMut};
use checks::message::{check_body, clamped, read_all, rewritten};
use kafka_protocol::messages::{self as km, BrokerId, GroupId, TopicName, TransactionalId};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use proptest::prelude::*;
use throughline_kafka::api::ApiKey;
use throughline_kafka::message::{
    ApiMessage, BodySplice, ParseOutcome, TopicRef, api_versions, cluster, commit, fetch, group,
    produce, share,
};
use throughline_kafka::types::{NodeId, Offset, PartitionIndex, TopicId};
use throughline_kafka::wire::{Decode, WireArray, WireField};
use uuid::Uuid;

const TOPIC: &str = "a-topic";
const ID: TopicId = TopicId(*b"0123456789abcdef");

fn text(text: &'static str) -> StrBytes {
    StrBytes::from_static_str(text)
}

fn topic_name() -> TopicName {
    TopicName(text(TOPIC))
}

fn id() -> Uuid {
    Uuid::from_bytes(ID.0)
}

fn encoded(message: &impl Encodable, api: ApiKey, version: i16) -> Vec<u8> {
    let mut out = BytesMut::new();
    message
        .encode(&mut out, version)
        .unwrap_or_else(|error| panic!("{api} {version}: {error}"));
    assert!(
        read_all(&out, api, version),
        "{api} {version} can be parsed"
    );
    for end in 0..out.len() {
        read_all(out.get(..end).unwrap(), api, version);
    }
    out.to_vec()
}

fn parse<'a, M: ApiMessage<'a>>(body: &'a [u8], version: i16) -> M {
    match M::parse(body, version) {
        Ok(ParseOutcome::Parsed(message)) => message,
        Ok(ParseOutcome::UnsupportedVersion) => panic!("{} {version} is not supported", M::API),
        Err(error) => panic!("{} {version}: {error}", M::API),
    }
}

fn single<'a, T: Decode<'a>>(array: WireArray<'a, T>) -> T {
    assert_eq!(array.len(), 1);
    array.iter().next().unwrap()
}

fn text_of(field: Option<WireField<'_>>) -> Option<&str> {
    field.and_then(|field| field.text())
}

/// Asserts that the version refers to the topic by id from `ids_since` on.
fn assert_topic(topic: TopicRef<'_>, version: i16, ids_since: i16) {
    let expected = if version >= ids_since {
        (None, Some(ID))
    } else {
        (Some(TOPIC), None)
    };
    assert_eq!((topic.name(), topic.id()), expected);
}

/// Replaces the records by others of various lengths and decodes the message elsewhere.
fn check_record_replacement<M: Decodable>(
    body: &[u8],
    version: i16,
    records: WireField<'_>,
    value: impl Fn(M) -> Option<Bytes>,
) {
    for length in [0, 1, 126, 127, 128, 20_000] {
        let mut splice = BodySplice::default();
        let write = |out: &mut Vec<u8>| {
            out.resize(out.len() + length, b'z');
            Some(())
        };
        splice.replace_field(&records, write).unwrap();
        let mut out = Vec::new();
        splice
            .reseal(&[&[0; 4], body].concat(), 4, &mut out)
            .unwrap();
        let mut rest = Bytes::from(out).slice(4..);
        assert_eq!(
            value(M::decode(&mut rest, version).unwrap()),
            Some(Bytes::from(vec![b'z'; length]))
        );
        assert!(rest.is_empty());
    }
}

/// Rewrites the addresses and decodes them elsewhere.
fn check_address_rewriting<M: Decodable>(
    body: &[u8],
    api: ApiKey,
    version: i16,
    value: impl Fn(M) -> Vec<(StrBytes, i32)>,
) {
    let body =
        rewritten(api, version, body).unwrap_or_else(|| panic!("{api} {version} has no address"));
    let mut rest = Bytes::from(body);
    let addresses = value(M::decode(&mut rest, version).unwrap());
    assert!(rest.is_empty(), "{api} {version}");
    assert_eq!(addresses.len(), 2);
    for address in addresses {
        assert_eq!(
            (address.0.as_str(), address.1),
            ("a.host.that.is.somewhat.longer.than.most", 65_000),
            "{api} {version}"
        );
    }
}

#[test]
fn api_table_has_the_names_and_flexible_versions_of_kafka() {
    let mut count = 0;
    for api in (0..100).map(ApiKey) {
        let (Some(name), Ok(other)) = (api.name(), km::ApiKey::try_from(api.0)) else {
            continue;
        };
        assert_eq!(name, format!("{other:?}"));
        let versions = other.valid_versions();
        for version in versions.min..=versions.max {
            let is_flexible = other.request_header_version(version) >= 2;
            assert_eq!(
                api.is_flexible(version),
                Some(is_flexible),
                "{api} {version}"
            );
        }
        count += 1;
    }
    assert!(count > 60, "only {count} APIs");
}

#[test]
fn produce_requests_have_the_encoded_values() {
    for version in 3..=13 {
        let partition = km::produce_request::PartitionProduceData::default()
            .with_index(3)
            .with_records(Some(Bytes::from_static(b"records")));
        let topic = km::produce_request::TopicProduceData::default();
        let topic = if version >= 13 {
            topic.with_topic_id(id())
        } else {
            topic.with_name(topic_name())
        };
        let request = km::ProduceRequest::default()
            .with_transactional_id(Some(TransactionalId(text("tx"))))
            .with_acks(-1)
            .with_timeout_ms(77)
            .with_topic_data(vec![topic.with_partition_data(vec![partition])]);
        let body = encoded(&request, ApiKey::PRODUCE, version);
        let view: produce::ProduceRequest<'_> = parse(&body, version);
        assert_eq!(view.acks, -1);
        let topic = single(view.topics);
        assert_topic(topic.topic, version, 13);
        let partition = single(topic.partitions);
        assert_eq!(
            (partition.index, partition.records.unwrap().bytes()),
            (PartitionIndex(3), &b"records"[..])
        );
        check_record_replacement(
            &body,
            version,
            partition.records.unwrap(),
            |request: km::ProduceRequest| {
                request
                    .topic_data
                    .first()?
                    .partition_data
                    .first()?
                    .records
                    .clone()
            },
        );
    }
}

#[test]
fn produce_responses_have_the_encoded_values() {
    use km::produce_response::{
        BatchIndexAndErrorMessage, LeaderIdAndEpoch, NodeEndpoint, PartitionProduceResponse,
        TopicProduceResponse,
    };
    for version in 3..=13 {
        let mut partition = PartitionProduceResponse::default()
            .with_index(3)
            .with_error_code(6)
            .with_base_offset(1 << 40)
            .with_log_append_time_ms(99);
        if version >= 8 {
            partition = partition.with_record_errors(vec![BatchIndexAndErrorMessage::default()]);
        }
        let topic = TopicProduceResponse::default();
        let topic = if version >= 13 {
            topic.with_topic_id(id())
        } else {
            topic.with_name(topic_name())
        };
        let mut response = km::ProduceResponse::default().with_throttle_time_ms(5);
        if version >= 10 {
            partition = partition
                .with_current_leader(LeaderIdAndEpoch::default().with_leader_id(BrokerId(1)));
            let node = NodeEndpoint::default()
                .with_host(text("h"))
                .with_port(9092)
                .with_rack(Some(text("r")));
            response =
                response.with_node_endpoints(vec![node.clone().with_node_id(BrokerId(1)), node]);
        }
        let response =
            response.with_responses(vec![topic.with_partition_responses(vec![partition])]);
        let body = encoded(&response, ApiKey::PRODUCE, version);
        let view: produce::ProduceResponse<'_> = parse(&body, version);
        let topic = single(view.topics);
        assert_topic(topic.topic, version, 13);
        let expected = produce::PartitionProduceResponse {
            index: PartitionIndex(3),
            error_code: 6,
            base_offset: Offset(1 << 40),
        };
        assert_eq!(single(topic.partitions), expected);
        assert_eq!(
            view.node_endpoints.iter().count(),
            if version >= 10 { 2 } else { 0 }
        );
        if version >= 10 {
            check_address_rewriting(
                &body,
                ApiKey::PRODUCE,
                version,
                |response: km::ProduceResponse| {
                    response
                        .node_endpoints
                        .into_iter()
                        .map(|node| (node.host, node.port))
                        .collect()
                },
            );
        }
    }
}

#[test]
fn fetch_requests_have_the_encoded_values() {
    use km::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
    for version in 4..=18 {
        let partition = FetchPartition::default()
            .with_partition(2)
            .with_fetch_offset(1 << 33);
        let topic = FetchTopic::default();
        let topic = if version >= 13 {
            topic.with_topic_id(id())
        } else {
            topic.with_topic(topic_name())
        };
        let mut request = km::FetchRequest::default()
            .with_max_wait_ms(500)
            .with_min_bytes(1)
            .with_isolation_level(1)
            .with_topics(vec![topic.with_partitions(vec![partition])]);
        if version >= 7 {
            let forgotten = ForgottenTopic::default().with_partitions(vec![1, 2]);
            request = request
                .with_session_id(8)
                .with_session_epoch(9)
                .with_forgotten_topics_data(vec![forgotten]);
        }
        if version >= 12 {
            request = request.with_cluster_id(Some(text("c")));
        }
        let body = encoded(&request, ApiKey::FETCH, version);
        let view: fetch::FetchRequest<'_> = parse(&body, version);
        assert_eq!(view.isolation_level, 1);
        assert_eq!(view.session_epoch, if version >= 7 { 9 } else { -1 });
        let topic = single(view.topics);
        assert_topic(topic.topic, version, 13);
        assert_eq!(
            single(topic.partitions),
            fetch::FetchPartition {
                partition: PartitionIndex(2),
                fetch_offset: Offset(1 << 33)
            }
        );
    }
}

fn fetch_response(version: i16) -> km::FetchResponse {
    use km::fetch_response::{
        AbortedTransaction, EpochEndOffset, FetchableTopicResponse, NodeEndpoint, PartitionData,
    };
    let aborted = AbortedTransaction::default()
        .with_producer_id(km::ProducerId(4))
        .with_first_offset(5);
    let mut partition = PartitionData::default()
        .with_partition_index(2)
        .with_error_code(6)
        .with_high_watermark(100)
        .with_last_stable_offset(90)
        .with_aborted_transactions(Some(vec![aborted]))
        .with_records(Some(Bytes::from_static(b"records")));
    if version >= 5 {
        partition = partition.with_log_start_offset(10);
    }
    if version >= 12 {
        partition = partition.with_diverging_epoch(EpochEndOffset::default().with_epoch(1));
    }
    let topic = FetchableTopicResponse::default();
    let topic = if version >= 13 {
        topic.with_topic_id(id())
    } else {
        topic.with_topic(topic_name())
    };
    let mut response =
        km::FetchResponse::default().with_responses(vec![topic.with_partitions(vec![partition])]);
    if version >= 7 {
        response = response.with_session_id(8).with_error_code(70);
    }
    if version >= 16 {
        let node = NodeEndpoint::default().with_host(text("h")).with_port(9092);
        response = response.with_node_endpoints(vec![node.clone().with_node_id(BrokerId(1)), node]);
    }
    response
}

#[test]
fn fetch_responses_have_the_encoded_values() {
    let records_of = |response: km::FetchResponse| {
        let partition = response.responses.first()?.partitions.first()?;
        partition.records.clone()
    };
    let addresses_of = |response: km::FetchResponse| {
        let nodes = response.node_endpoints.into_iter();
        nodes.map(|node| (node.host, node.port)).collect()
    };
    for version in 4..=18 {
        let body = encoded(&fetch_response(version), ApiKey::FETCH, version);
        let view: fetch::FetchResponse<'_> = parse(&body, version);
        let topic = single(view.topics);
        assert_topic(topic.topic, version, 13);
        let partition = single(topic.partitions);
        assert_eq!(
            (partition.partition_index, partition.error_code),
            (PartitionIndex(2), 6)
        );
        assert_eq!(partition.high_watermark, Offset(100));
        let aborted = single(partition.aborted_transactions);
        assert_eq!((aborted.producer_id, aborted.first_offset), (4, Offset(5)));
        check_record_replacement(&body, version, partition.records.unwrap(), records_of);
        if version >= 16 {
            check_address_rewriting(&body, ApiKey::FETCH, version, addresses_of);
        }
    }
}

#[test]
fn share_fetches_have_the_encoded_values() {
    use km::share_fetch_response::{
        AcquiredRecords, NodeEndpoint, PartitionData, ShareFetchableTopicResponse,
    };
    let acquired = AcquiredRecords::default()
        .with_first_offset(3)
        .with_last_offset(7)
        .with_delivery_count(2);
    let partition = PartitionData::default()
        .with_partition_index(1)
        .with_error_code(6)
        .with_acknowledge_error_code(7)
        .with_records(Some(Bytes::from_static(b"records")))
        .with_acquired_records(vec![acquired]);
    let topic = ShareFetchableTopicResponse::default()
        .with_topic_id(id())
        .with_partitions(vec![partition]);
    let node = NodeEndpoint::default().with_host(text("h")).with_port(9092);
    let response = km::ShareFetchResponse::default()
        .with_responses(vec![topic])
        .with_node_endpoints(vec![node.clone(), node]);
    let body = encoded(&response, ApiKey::SHARE_FETCH, 1);
    let view: share::ShareFetchResponse<'_> = parse(&body, 1);
    let topic = single(view.topics);
    assert_eq!(topic.topic_id, ID);
    let partition = single(topic.partitions);
    assert_eq!(
        (
            partition.partition_index,
            partition.error_code,
            partition.acknowledge_error_code
        ),
        (PartitionIndex(1), 6, 7)
    );
    let expected = share::AcquiredRecords {
        first_offset: Offset(3),
        last_offset: Offset(7),
        delivery_count: 2,
    };
    assert_eq!(single(partition.acquired_records), expected);
    check_address_rewriting(
        &body,
        ApiKey::SHARE_FETCH,
        1,
        |response: km::ShareFetchResponse| {
            response
                .node_endpoints
                .into_iter()
                .map(|node| (node.host, node.port))
                .collect()
        },
    );
    let batch = km::share_fetch_request::AcknowledgementBatch::default()
        .with_first_offset(5)
        .with_last_offset(6);
    let partition = km::share_fetch_request::FetchPartition::default()
        .with_partition_index(2)
        .with_acknowledgement_batches(vec![batch.with_acknowledge_types(vec![1, 3])]);
    let topic = km::share_fetch_request::FetchTopic::default()
        .with_topic_id(id())
        .with_partitions(vec![partition]);
    let request = km::ShareFetchRequest::default()
        .with_group_id(Some(GroupId(text("g"))))
        .with_member_id(Some(text("m")))
        .with_topics(vec![topic]);
    let body = encoded(&request, ApiKey::SHARE_FETCH, 1);
    let view: share::ShareFetchRequest<'_> = parse(&body, 1);
    assert_eq!(text_of(view.group_id), Some("g"));
    assert_acknowledged(view.topics);
}

/// Asserts that record 5 of partition 2 is accepted and record 6 rejected.
fn assert_acknowledged(topics: WireArray<'_, share::ShareTopic<'_>>) {
    let topic = single(topics);
    assert_eq!(topic.topic_id, ID);
    let partition = single(topic.partitions);
    assert_eq!(partition.partition_index, PartitionIndex(2));
    let batch = single(partition.acknowledgement_batches);
    assert_eq!(
        (batch.first_offset, batch.last_offset),
        (Offset(5), Offset(6))
    );
    assert_eq!(batch.acknowledge_types.iter().collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn share_acknowledgements_have_the_encoded_values() {
    let batch = km::share_acknowledge_request::AcknowledgementBatch::default()
        .with_first_offset(5)
        .with_last_offset(6);
    let partition = km::share_acknowledge_request::AcknowledgePartition::default()
        .with_partition_index(2)
        .with_acknowledgement_batches(vec![batch.with_acknowledge_types(vec![1, 3])]);
    let topic = km::share_acknowledge_request::AcknowledgeTopic::default();
    let request = km::ShareAcknowledgeRequest::default()
        .with_group_id(Some(GroupId(text("g"))))
        .with_topics(vec![
            topic.with_topic_id(id()).with_partitions(vec![partition]),
        ]);
    let body = encoded(&request, ApiKey::SHARE_ACKNOWLEDGE, 1);
    let view: share::ShareAcknowledgeRequest<'_> = parse(&body, 1);
    assert_eq!(text_of(view.group_id), Some("g"));
    assert_acknowledged(view.topics);
}

#[test]
fn transactional_commits_have_the_encoded_values() {
    use km::txn_offset_commit_request::{
        TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
    };
    for version in 0..=5 {
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(2)
            .with_committed_offset(1 << 40);
        let topic = TxnOffsetCommitRequestTopic::default()
            .with_name(topic_name())
            .with_partitions(vec![partition]);
        let request = km::TxnOffsetCommitRequest::default()
            .with_transactional_id(text("t").into())
            .with_group_id(GroupId(text("g")))
            .with_producer_id(7.into())
            .with_producer_epoch(3)
            .with_topics(vec![topic]);
        let body = encoded(&request, ApiKey::TXN_OFFSET_COMMIT, version);
        let view: commit::TxnOffsetCommitRequest<'_> = parse(&body, version);
        assert_eq!(view.group_id.text(), Some("g"));
        let topic = single(view.topics);
        assert_topic(topic.topic, version, 6);
        let expected = commit::TxnOffsetCommitRequestPartition {
            partition_index: PartitionIndex(2),
            committed_offset: Offset(1 << 40),
        };
        assert_eq!(single(topic.partitions), expected);
    }
}

#[test]
fn share_acknowledge_responses_have_the_endpoints_of_leaders() {
    use km::share_acknowledge_response::{
        NodeEndpoint, PartitionData, ShareAcknowledgeTopicResponse,
    };
    let topic =
        ShareAcknowledgeTopicResponse::default().with_partitions(vec![PartitionData::default()]);
    let node = NodeEndpoint::default().with_host(text("h")).with_port(9092);
    let response = km::ShareAcknowledgeResponse::default()
        .with_responses(vec![topic])
        .with_node_endpoints(vec![node.clone(), node]);
    let mut body = BytesMut::new();
    response.encode(&mut body, 1).unwrap();
    check_address_rewriting(
        &body,
        ApiKey::SHARE_ACKNOWLEDGE,
        1,
        |response: km::ShareAcknowledgeResponse| {
            response
                .node_endpoints
                .into_iter()
                .map(|node| (node.host, node.port))
                .collect()
        },
    );
    // Version 2 adds four bytes after throttle time, error code and null message (KIP-1222).
    let newer = [
        body.get(..7).unwrap(),
        &[0, 0, 0, 9],
        body.get(7..).unwrap(),
    ]
    .concat();
    let view: share::ShareAcknowledgeResponse<'_> = parse(&newer, 2);
    assert_eq!(view.node_endpoints.iter().count(), 2);
}

#[test]
fn metadata_has_the_encoded_values() {
    use km::metadata_response::{
        MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
    };
    for version in 0..=13 {
        let nodes = vec![BrokerId(1), BrokerId(2)];
        let mut partition = MetadataResponsePartition::default()
            .with_replica_nodes(nodes.clone())
            .with_isr_nodes(nodes.clone());
        if version >= 5 {
            partition = partition.with_offline_replicas(nodes);
        }
        let mut topic = MetadataResponseTopic::default()
            .with_name(Some(topic_name()))
            .with_partitions(vec![partition.clone(), partition]);
        if version >= 10 {
            topic = topic.with_topic_id(id());
        }
        let broker = MetadataResponseBroker::default()
            .with_host(text("h"))
            .with_port(9092);
        let mut response = km::MetadataResponse::default()
            .with_brokers(vec![broker.clone().with_node_id(BrokerId(7)), broker])
            .with_topics(vec![topic]);
        if version >= 2 {
            response = response.with_cluster_id(Some(text("cluster")));
        }
        let body = encoded(&response, ApiKey::METADATA, version);
        let view: cluster::MetadataResponse<'_> = parse(&body, version);
        assert_eq!(
            text_of(view.cluster_id),
            (version >= 2).then_some("cluster")
        );
        let broker = view.brokers.iter().next().unwrap().endpoint;
        assert_eq!(
            (broker.node_id, broker.host.text(), broker.port),
            (NodeId(7), Some("h"), 9092)
        );
        let topic = single(view.topics);
        assert_eq!(text_of(topic.name), Some(TOPIC));
        assert_eq!(
            topic.topic_id,
            if version >= 10 { ID } else { TopicId::ZERO }
        );
        check_address_rewriting(
            &body,
            ApiKey::METADATA,
            version,
            |response: km::MetadataResponse| {
                response
                    .brokers
                    .into_iter()
                    .map(|broker| (broker.host, broker.port))
                    .collect()
            },
        );
    }
}

#[test]
fn coordinators_and_cluster_brokers_are_read_and_rewritten() {
    use km::describe_cluster_response::DescribeClusterBroker;
    use km::find_coordinator_response::Coordinator;
    for version in 0..=6 {
        let (host, port) = (text("h"), 9092);
        let response = km::FindCoordinatorResponse::default();
        let response = if version >= 4 {
            let one = Coordinator::default()
                .with_key(text("g"))
                .with_node_id(BrokerId(3))
                .with_host(host)
                .with_port(port);
            let failed = Coordinator::default()
                .with_node_id(BrokerId(-1))
                .with_port(-1)
                .with_error_code(15);
            response.with_coordinators(vec![one.clone(), failed, one])
        } else {
            response
                .with_node_id(BrokerId(3))
                .with_host(host)
                .with_port(port)
        };
        let mut body = BytesMut::new();
        response.encode(&mut body, version).unwrap();
        let view: cluster::FindCoordinatorResponse<'_> = parse(&body, version);
        let first = view.coordinators().next().unwrap();
        assert_eq!(first.node_id, NodeId(3));
        check_address_rewriting(
            &body,
            ApiKey::FIND_COORDINATOR,
            version,
            |response: km::FindCoordinatorResponse| match response.coordinators.len() {
                0 => vec![(response.host, response.port); 2],
                _ => response
                    .coordinators
                    .into_iter()
                    .filter(|one| one.error_code == 0)
                    .map(|one| (one.host, one.port))
                    .collect(),
            },
        );
    }
    for version in 0..=2 {
        let broker = DescribeClusterBroker::default()
            .with_host(text("h"))
            .with_port(9092);
        let response = km::DescribeClusterResponse::default()
            .with_cluster_id(text("cluster"))
            .with_brokers(vec![broker.clone().with_broker_id(BrokerId(1)), broker]);
        let mut body = BytesMut::new();
        response.encode(&mut body, version).unwrap();
        let view: cluster::DescribeClusterResponse<'_> = parse(&body, version);
        assert_eq!(text_of(view.cluster_id), Some("cluster"));
        check_address_rewriting(
            &body,
            ApiKey::DESCRIBE_CLUSTER,
            version,
            |response: km::DescribeClusterResponse| {
                response
                    .brokers
                    .into_iter()
                    .map(|broker| (broker.host, broker.port))
                    .collect()
            },
        );
    }
}

fn versions(features: bool) -> km::ApiVersionsResponse {
    use km::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
    let key = |key, low, high| {
        ApiVersion::default()
            .with_api_key(key)
            .with_min_version(low)
            .with_max_version(high)
    };
    let response = km::ApiVersionsResponse::default().with_api_keys(vec![
        key(0, 0, 13),
        key(1, 4, 18),
        key(3, 0, 13),
    ]);
    if !features {
        return response;
    }
    let feature = |name, level| {
        FinalizedFeatureKey::default()
            .with_name(text(name))
            .with_max_version_level(level)
    };
    response
        .with_supported_features(vec![
            SupportedFeatureKey::default().with_name(text("transaction.version")),
        ])
        .with_finalized_features_epoch(7)
        .with_finalized_features(vec![
            feature("metadata.version", 27),
            feature("transaction.version", 2),
        ])
}

#[test]
fn version_ranges_are_restricted_but_never_extended() {
    for version in 0..=4 {
        let body = encoded(&versions(version >= 3), ApiKey::API_VERSIONS, version);
        let clamped = clamped(version, &body).unwrap();
        let mut rest = Bytes::from(clamped);
        let response = km::ApiVersionsResponse::decode(&mut rest, version).unwrap();
        assert!(rest.is_empty());
        let keys: Vec<_> = response
            .api_keys
            .iter()
            .map(|key| (key.api_key, key.min_version, key.max_version))
            .collect();
        assert_eq!(
            keys,
            [(0, 0, 3), (1, 4, 18), (3, 0, 3)],
            "a range that would become empty is kept"
        );
        let features: Vec<_> = response
            .finalized_features
            .iter()
            .map(|feature| feature.name.as_str())
            .collect();
        assert_eq!(
            features,
            if version >= 3 {
                &["metadata.version"][..]
            } else {
                &[]
            }
        );
        if version >= 3 {
            assert_eq!(
                (
                    response.finalized_features_epoch,
                    response.supported_features.len()
                ),
                (7, 1)
            );
        }
    }
}

#[test]
fn transaction_version_is_removed_when_produce_is_limited_below_12() {
    let body = encoded(&versions(true), ApiKey::API_VERSIONS, 3);
    let clamp = |key, high| {
        let mut splice = BodySplice::default();
        let done = api_versions::clamp(3, &body, &mut splice, |of, _, _| {
            if of == key { (9, high) } else { (0, 99) }
        });
        let mut out = Vec::new();
        splice
            .reseal(&[&[0; 4], &body[..]].concat(), 4, &mut out)
            .unwrap();
        (
            done,
            km::ApiVersionsResponse::decode(&mut Bytes::from(out).slice(4..), 3).unwrap(),
        )
    };
    let (done, twelve) = clamp(ApiKey::PRODUCE, 12);
    assert_eq!(done, Ok(ParseOutcome::Parsed(1)));
    assert_eq!(twelve.finalized_features.len(), 2);
    let (_, eleven) = clamp(ApiKey::PRODUCE, 11);
    assert_eq!(eleven.finalized_features.len(), 1);
    let produce = eleven.api_keys.first().unwrap();
    assert_eq!(
        (produce.min_version, produce.max_version),
        (0, 11),
        "the lowest version of Produce is never raised"
    );
    let (_, fetch) = clamp(ApiKey::FETCH, 12);
    assert_eq!(
        (
            fetch.finalized_features.len(),
            fetch.api_keys.get(1).unwrap().min_version
        ),
        (2, 9)
    );
}

#[test]
fn response_to_an_unsupported_version_is_parsed_as_version_0() {
    let body = encoded(
        &versions(false).with_error_code(35),
        ApiKey::API_VERSIONS,
        0,
    );
    let view: api_versions::ApiVersionsResponse<'_> = parse(&body, 5);
    assert_eq!(view.api_keys.len(), 3);
}

#[test]
fn group_requests_and_commits_have_the_encoded_values() {
    use km::join_group_request::JoinGroupRequestProtocol;
    let (group_id, member) = (GroupId(text("g")), text("m"));
    for version in 0..=9 {
        let request = km::JoinGroupRequest::default()
            .with_group_id(group_id.clone())
            .with_member_id(member.clone())
            .with_protocols(vec![JoinGroupRequestProtocol::default()]);
        let body = encoded(&request, ApiKey::JOIN_GROUP, version);
        let view: group::JoinGroupRequest<'_> = parse(&body, version);
        assert_eq!(view.group_id.text(), Some("g"));
    }
    for version in 0..=5 {
        let request = km::SyncGroupRequest::default()
            .with_group_id(group_id.clone())
            .with_generation_id(4)
            .with_member_id(member.clone());
        let body = encoded(&request, ApiKey::SYNC_GROUP, version);
        let view: group::SyncGroupRequest<'_> = parse(&body, version);
        assert_eq!(view.group_id.text(), Some("g"));
    }
    for version in 0..=1 {
        let request = km::ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group_id.clone())
            .with_member_id(member.clone())
            .with_member_epoch(5);
        let body = encoded(&request, ApiKey::CONSUMER_GROUP_HEARTBEAT, version);
        let view: group::ConsumerGroupHeartbeatRequest<'_> = parse(&body, version);
        assert_eq!(view.group_id.text(), Some("g"));
    }
    let assignment = b"\0\x03\0\0\0\x01\0\x01t\0\0\0\x02\0\0\0\x04\0\0\0\x05\0\0\0\0";
    let view = group::ConsumerProtocolAssignment::parse(assignment).unwrap();
    let topic = single(view.assigned_partitions);
    assert_eq!(topic.topic.text(), Some("t"));
    let partitions: Vec<_> = topic.partitions.iter().collect();
    assert_eq!(partitions, [PartitionIndex(4), PartitionIndex(5)]);
    assert!(group::ConsumerProtocolAssignment::parse(b"eager").is_err());
    for version in 2..=9 {
        check_commit(version);
    }
    // kafka_protocol does not encode version 10. It is version 9 with an id instead of the name: a
    // compact name of 15 bytes has the size of an id.
    let topic = km::offset_commit_request::OffsetCommitRequestTopic::default()
        .with_name(TopicName(text("123456789abcdef")));
    let mut body = BytesMut::new();
    km::OffsetCommitRequest::default()
        .with_topics(vec![topic])
        .encode(&mut body, 9)
        .unwrap();
    let view: commit::OffsetCommitRequest<'_> = parse(&body, 10);
    assert_eq!(
        single(view.topics).topic.id(),
        Some(TopicId(*b"\x10123456789abcdef"))
    );
}

fn check_commit(version: i16) {
    use km::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    use km::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(2)
        .with_committed_offset(1 << 35);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name())
        .with_partitions(vec![partition]);
    let request = km::OffsetCommitRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_generation_id_or_member_epoch(6)
        .with_member_id(text("m"))
        .with_topics(vec![topic]);
    let body = encoded(&request, ApiKey::OFFSET_COMMIT, version);
    let view: commit::OffsetCommitRequest<'_> = parse(&body, version);
    assert_eq!(view.group_id.text(), Some("g"));
    let topic = single(view.topics);
    assert_topic(topic.topic, version, 10);
    assert_eq!(
        single(topic.partitions),
        commit::OffsetCommitRequestPartition {
            partition_index: PartitionIndex(2),
            committed_offset: Offset(1 << 35)
        }
    );

    let partition = OffsetCommitResponsePartition::default()
        .with_partition_index(2)
        .with_error_code(22);
    let topic = OffsetCommitResponseTopic::default()
        .with_name(topic_name())
        .with_partitions(vec![partition]);
    let body = encoded(
        &km::OffsetCommitResponse::default().with_topics(vec![topic]),
        ApiKey::OFFSET_COMMIT,
        version,
    );
    let view: commit::OffsetCommitResponse<'_> = parse(&body, version);
    assert_eq!(
        single(single(view.topics).partitions),
        commit::OffsetCommitResponsePartition {
            partition_index: PartitionIndex(2),
            error_code: 22
        }
    );
}

#[test]
fn unsupported_version_is_an_outcome_and_not_an_error() {
    let supported = ApiKey::PRODUCE.supported_versions().unwrap();
    for version in [-1, supported.start() - 1, supported.end() + 1, i16::MAX] {
        assert!(matches!(
            produce::ProduceRequest::parse(&[], version),
            Ok(ParseOutcome::UnsupportedVersion)
        ));
    }
}

#[test]
fn sizes_of_a_hostile_body_are_rejected() {
    // A null transactional id, acks and timeout, then a huge number of topics.
    for count in [i32::MAX, 1_000_001, 1_000_000] {
        let body = [&[0xff, 0xff, 0, 1, 0, 0, 0, 0][..], &count.to_be_bytes()].concat();
        assert!(produce::ProduceRequest::parse(&body, 3).is_err());
    }
    let body = [&[0, 0, 1, 0, 0, 0, 0][..], &[0xff, 0xff, 0xff, 0xff, 0x0f]].concat();
    assert!(produce::ProduceRequest::parse(&body, 9).is_err());
    let body = [
        &[0, 0, 1, 0, 0, 0, 0, 1][..],
        &[0xff, 0xff, 0xff, 0xff, 0x0f],
    ]
    .concat();
    assert!(
        produce::ProduceRequest::parse(&body, 9).is_err(),
        "a huge number of tagged fields"
    );
}

#[test]
fn edits_out_of_order_or_past_the_end_are_rejected() {
    let mut splice = BodySplice::default();
    splice.replace(4..6, b"abc").unwrap();
    assert!(splice.replace(5..7, b"").is_err());
    assert!(splice.replace(0..2, b"").is_err());
    let mut out = Vec::new();
    assert!(splice.reseal(&[0; 9], 4, &mut out).is_err());
    assert!(out.is_empty());
    splice.reseal(&[0; 10], 4, &mut out).unwrap();
    assert_eq!(out, [0, 0, 0, 7, 0, 0, 0, 0, b'a', b'b', b'c']);
    splice.clear();
    out.clear();
    splice.reseal(&[0, 0, 0, 2, 8, 9], 4, &mut out).unwrap();
    assert_eq!(out, [0, 0, 0, 2, 8, 9], "no edit is the identity");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 5_000, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(
        key in prop::sample::select(vec![0u8, 1, 3, 8, 10, 11, 14, 18, 28, 60, 68, 78, 79]),
        version in 0u8..20,
        body in proptest::collection::vec(
            prop_oneof![Just(0u8), Just(1), 0u8..4, any::<u8>()],
            0..120,
        ),
    ) {
        check_body(&[&[key, version], &body[..]].concat());
    }
}

/// The seeds of the fuzz target, which include every input that once failed.
#[test]
fn fuzz_seeds_pass() {
    let seeds = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../fuzz/seeds/kafka_message"
    );
    let mut count = 0;
    for entry in std::fs::read_dir(seeds).unwrap() {
        check_body(&std::fs::read(entry.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 15, "seeds are missing");
}
