//! Messages: what Apache Kafka's own classes write is what the views say, and what is changed here is, byte by byte, what they write
//! of the changed message. The bytes are in `goldens/`, with the program that wrote them.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail by panicking"
)]

mod checks {
    pub(crate) mod message;
}

use checks::message::{any_body, read_all, rewritten};
use serde_json::{Value, json};
use throughline_kafka::api::ApiKey;
use throughline_kafka::message::{
    ApiMessage, BodySplice, TopicRef, api_versions, cluster, fetch, group, produce, share,
};
use throughline_kafka::types::PartitionIndex;
use throughline_kafka::wire::{Decode, WireArray, WireField};

/// A message as Kafka's classes write it.
struct Golden {
    line: Value,
    api: ApiKey,
    version: i16,
}

fn goldens(kinds: &[&str]) -> Vec<Golden> {
    let golden = |line: &str| {
        let line: Value = serde_json::from_str(line).unwrap();
        let number = |name: &str| i16::try_from(line[name].as_i64().unwrap()).unwrap();
        Golden {
            api: ApiKey(number("api")),
            version: number("version"),
            line,
        }
    };
    include_str!("goldens/messages.jsonl")
        .lines()
        .map(golden)
        .filter(|golden| kinds.contains(&golden.line["kind"].as_str().unwrap()))
        .collect()
}

fn hex(text: &Value) -> Vec<u8> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    text.as_str()
        .unwrap()
        .as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

// === impl Golden ===

impl Golden {
    fn name(&self) -> String {
        format!(
            "{} {} {}",
            self.line["name"], self.line["kind"], self.version
        )
    }

    fn bytes(&self, variant: &str) -> Option<Vec<u8>> {
        self.line.get(variant).map(hex)
    }

    /// What a view says of these bytes, under the names that the specification has; [`None`] when this crate has no view of
    /// them.
    fn said(&self, body: &[u8]) -> Option<Value> {
        let version = self.version;
        let is_request = self.line["kind"] == "request";
        match (self.api, is_request) {
            (ApiKey::PRODUCE, true) => Some(produce_request(&open(body, version))),
            (ApiKey::PRODUCE, false) => Some(produce_response(&open(body, version))),
            (ApiKey::FETCH, true) => Some(fetch_request(&open(body, version))),
            (ApiKey::FETCH, false) => Some(fetch_response(&open(body, version))),
            (ApiKey::SHARE_FETCH, true) => Some(share_fetch_request(&open(body, version))),
            (ApiKey::SHARE_FETCH, false) => Some(share_fetch_response(&open(body, version))),
            (ApiKey::SHARE_ACKNOWLEDGE, true) => {
                Some(share_acknowledge_request(&open(body, version)))
            }
            (ApiKey::SHARE_ACKNOWLEDGE, false) => {
                Some(share_acknowledge_response(&open(body, version)))
            }
            (ApiKey::METADATA, false) => Some(metadata_response(&open(body, version))),
            (ApiKey::FIND_COORDINATOR, false) => {
                Some(find_coordinator_response(&open(body, version), version))
            }
            (ApiKey::DESCRIBE_CLUSTER, false) => {
                Some(describe_cluster_response(&open(body, version)))
            }
            (ApiKey::API_VERSIONS, false) => Some(api_versions_response(&open(body, version))),
            (api, true) => request_of_a_group(api, body, version),
            (api, false) => response_without_addresses(api, body, version),
        }
    }
}

fn open<'a, M: ApiMessage<'a>>(body: &'a [u8], version: i16) -> M {
    let opened =
        M::parse(body, version).unwrap_or_else(|error| panic!("{} {version}: {error}", M::API));
    opened
        .parsed()
        .unwrap_or_else(|| panic!("{} {version} is not known", M::API))
}

// === what the views say ===

fn all<'a, T: Decode<'a>>(array: WireArray<'a, T>, said: impl Fn(T) -> Value) -> Value {
    array.iter().map(said).collect()
}

fn text(field: Option<WireField<'_>>) -> Value {
    field.map_or(Value::Null, |field| json!(field.text().unwrap()))
}

fn blob(field: Option<WireField<'_>>) -> Value {
    field.map_or(Value::Null, |field| json!(in_hex(field.bytes())))
}

fn in_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A topic by name or by id, with what else is said of it. Fetch calls the name `topic`.
fn topic(topic: TopicRef<'_>, name: &str, list: &str, partitions: &Value) -> Value {
    match topic {
        TopicRef::Name(field) => json!({ name: text(Some(field)), list: partitions }),
        TopicRef::Id(id) => json!({ "topic_id": in_hex(&id.0), list: partitions }),
    }
}

fn produce_request(view: &produce::ProduceRequest<'_>) -> Value {
    let partition = |one: produce::PartitionProduceData<'_>| json!({ "index": one.index.0, "records": blob(one.records) });
    let topics = all(view.topics, |one| {
        topic(
            one.topic,
            "name",
            "partition_data",
            &all(one.partitions, partition),
        )
    });
    json!({
        "transactional_id": text(view.transactional_id), "acks": view.acks, "timeout_ms": view.timeout_ms,
        "topic_data": topics,
    })
}

fn produce_response(view: &produce::ProduceResponse<'_>) -> Value {
    let partition = |one: produce::PartitionProduceResponse| {
        json!({
            "index": one.index.0, "error_code": one.error_code, "base_offset": one.base_offset.0,
            "log_append_time_ms": one.log_append_time_ms.0,
        })
    };
    let topics = all(view.topics, |one| {
        topic(
            one.topic,
            "name",
            "partition_responses",
            &all(one.partitions, partition),
        )
    });
    let nodes: Value = view.node_endpoints.iter().map(node).collect();
    json!({ "responses": topics, "throttle_time_ms": view.throttle_time_ms, "node_endpoints": nodes })
}

fn node(endpoint: throughline_kafka::message::endpoint::BrokerEndpoint<'_>) -> Value {
    json!({ "node_id": endpoint.node_id.0, "host": text(Some(endpoint.host)), "port": endpoint.port })
}

fn fetch_request(view: &fetch::FetchRequest<'_>) -> Value {
    let partition = |one: fetch::FetchPartition| json!({ "partition": one.partition.0, "fetch_offset": one.fetch_offset.0 });
    let topics = all(view.topics, |one| {
        topic(
            one.topic,
            "topic",
            "partitions",
            &all(one.partitions, partition),
        )
    });
    let numbers = |array: WireArray<'_, PartitionIndex>| -> Value {
        array.iter().map(|index| index.0).collect()
    };
    let forgotten = all(view.forgotten_topics, |one| {
        topic(one.topic, "topic", "partitions", &numbers(one.partitions))
    });
    json!({
        "max_wait_ms": view.max_wait_ms, "min_bytes": view.min_bytes, "isolation_level": view.isolation_level,
        "session_id": view.session_id, "session_epoch": view.session_epoch, "topics": topics,
        "forgotten_topics_data": forgotten,
    })
}

fn fetch_response(view: &fetch::FetchResponse<'_>) -> Value {
    let aborted = |one: fetch::AbortedTransaction| json!({ "producer_id": one.producer_id, "first_offset": one.first_offset.0 });
    let partition = |one: fetch::FetchPartitionData<'_>| {
        json!({
            "partition_index": one.partition_index.0, "error_code": one.error_code,
            "high_watermark": one.high_watermark.0, "last_stable_offset": one.last_stable_offset.0,
            "log_start_offset": one.log_start_offset.0, "aborted_transactions": all(one.aborted_transactions, aborted),
            "records": blob(one.records),
        })
    };
    let topics = all(view.topics, |one| {
        topic(
            one.topic,
            "topic",
            "partitions",
            &all(one.partitions, partition),
        )
    });
    let nodes: Value = view.node_endpoints.iter().map(node).collect();
    json!({
        "throttle_time_ms": view.throttle_time_ms, "error_code": view.error_code, "session_id": view.session_id,
        "responses": topics, "node_endpoints": nodes,
    })
}

fn acknowledged(topics: WireArray<'_, share::ShareTopic<'_>>) -> Value {
    let batch = |one: share::AcknowledgementBatch<'_>| {
        let types: Value = one.acknowledge_types.iter().collect();
        json!({ "first_offset": one.first_offset.0, "last_offset": one.last_offset.0, "acknowledge_types": types })
    };
    let partition = |one: share::SharePartition<'_>| {
        let batches = all(one.acknowledgement_batches, batch);
        json!({ "partition_index": one.partition_index.0, "acknowledgement_batches": batches })
    };
    all(
        topics,
        |one| json!({ "topic_id": in_hex(&one.topic_id.0), "partitions": all(one.partitions, partition) }),
    )
}

fn share_fetch_request(view: &share::ShareFetchRequest<'_>) -> Value {
    json!({
        "group_id": text(view.group_id), "member_id": text(view.member_id),
        "share_session_epoch": view.share_session_epoch, "topics": acknowledged(view.topics),
    })
}

fn share_acknowledge_request(view: &share::ShareAcknowledgeRequest<'_>) -> Value {
    json!({
        "group_id": text(view.group_id), "member_id": text(view.member_id),
        "share_session_epoch": view.share_session_epoch, "topics": acknowledged(view.topics),
    })
}

fn share_fetch_response(view: &share::ShareFetchResponse<'_>) -> Value {
    let acquired = |one: share::AcquiredRecords| {
        json!({
            "first_offset": one.first_offset.0, "last_offset": one.last_offset.0, "delivery_count": one.delivery_count,
        })
    };
    let partition = |one: share::ShareFetchPartitionData<'_>| {
        json!({
            "partition_index": one.partition_index.0, "error_code": one.error_code,
            "acknowledge_error_code": one.acknowledge_error_code, "records": blob(one.records),
            "acquired_records": all(one.acquired_records, acquired),
        })
    };
    let topics = all(
        view.topics,
        |one| json!({ "topic_id": in_hex(&one.topic_id.0), "partitions": all(one.partitions, partition) }),
    );
    let nodes: Value = view.node_endpoints.iter().map(node).collect();
    json!({
        "throttle_time_ms": view.throttle_time_ms, "error_code": view.error_code, "responses": topics,
        "node_endpoints": nodes,
    })
}

fn share_acknowledge_response(view: &share::ShareAcknowledgeResponse<'_>) -> Value {
    let partition = |one: share::ShareAcknowledgePartitionData| json!({ "partition_index": one.partition_index.0, "error_code": one.error_code });
    let topics = all(
        view.topics,
        |one| json!({ "topic_id": in_hex(&one.topic_id.0), "partitions": all(one.partitions, partition) }),
    );
    let nodes: Value = view.node_endpoints.iter().map(node).collect();
    json!({
        "throttle_time_ms": view.throttle_time_ms, "error_code": view.error_code, "responses": topics,
        "node_endpoints": nodes,
    })
}

fn metadata_response(view: &cluster::MetadataResponse<'_>) -> Value {
    let topics = all(view.topics, |one| {
        assert_eq!(one.partition_count, 2, "two of everything");
        json!({ "error_code": one.error_code, "name": text(one.name), "topic_id": in_hex(&one.topic_id.0) })
    });
    let brokers = all(view.brokers, |one| node(one.endpoint));
    json!({ "brokers": brokers, "cluster_id": text(view.cluster_id), "topics": topics })
}

fn find_coordinator_response(view: &cluster::FindCoordinatorResponse<'_>, version: i16) -> Value {
    let coordinators: Vec<Value> = view
        .coordinators()
        .map(|one| {
            let mut said = node(one.endpoint);
            said["key"] = text(one.key);
            said["error_code"] = json!(one.error_code);
            said
        })
        .collect();
    if version < 4 {
        coordinators.into_iter().next().unwrap()
    } else {
        json!({ "coordinators": coordinators })
    }
}

fn describe_cluster_response(view: &cluster::DescribeClusterResponse<'_>) -> Value {
    let broker = |one: cluster::DescribeClusterBroker<'_>| {
        let endpoint = one.endpoint;
        json!({ "broker_id": endpoint.node_id.0, "host": text(Some(endpoint.host)), "port": endpoint.port })
    };
    json!({ "cluster_id": text(view.cluster_id), "brokers": all(view.brokers, broker) })
}

fn api_versions_response(view: &api_versions::ApiVersionsResponse<'_>) -> Value {
    let key = |one: api_versions::ApiVersion| json!({ "api_key": one.api_key.0, "min_version": one.min_version, "max_version": one.max_version });
    let feature = |one: api_versions::FinalizedFeatureKey<'_>| {
        json!({
            "name": text(Some(one.name)), "max_version_level": one.max_version_level,
            "min_version_level": one.min_version_level,
        })
    };
    let features = view
        .finalized_features
        .as_ref()
        .map_or(json!([]), |features| all(features.features, feature));
    json!({
        "error_code": view.error_code, "api_keys": all(view.api_keys, key), "finalized_features": features,
    })
}

fn request_of_a_group(api: ApiKey, body: &[u8], version: i16) -> Option<Value> {
    let said = match api {
        ApiKey::JOIN_GROUP => {
            let view: group::JoinGroupRequest<'_> = open(body, version);
            json!({ "group_id": text(Some(view.group_id)), "member_id": text(Some(view.member_id)) })
        }
        ApiKey::SYNC_GROUP => {
            let view: group::SyncGroupRequest<'_> = open(body, version);
            let (group, member) = (text(Some(view.group_id)), text(Some(view.member_id)));
            json!({ "group_id": group, "generation_id": view.generation_id, "member_id": member })
        }
        ApiKey::CONSUMER_GROUP_HEARTBEAT => {
            let view: group::ConsumerGroupHeartbeatRequest<'_> = open(body, version);
            let (group, member) = (text(Some(view.group_id)), text(Some(view.member_id)));
            json!({ "group_id": group, "member_id": member, "member_epoch": view.member_epoch })
        }
        ApiKey::OFFSET_COMMIT => {
            let view: group::OffsetCommitRequest<'_> = open(body, version);
            let partition = |one: group::OffsetCommitRequestPartition| json!({ "partition_index": one.partition_index.0, "committed_offset": one.committed_offset.0 });
            json!({
                "group_id": text(Some(view.group_id)), "member_id": text(Some(view.member_id)),
                "generation_id_or_member_epoch": view.generation_id_or_member_epoch,
                "topics": all(view.topics, |one| topic(one.topic, "name", "partitions", &all(one.partitions, partition))),
            })
        }
        ApiKey::TXN_OFFSET_COMMIT => {
            let view: group::TxnOffsetCommitRequest<'_> = open(body, version);
            let partition = |one: group::TxnOffsetCommitRequestPartition| json!({ "partition_index": one.partition_index.0, "committed_offset": one.committed_offset.0 });
            json!({
                "transactional_id": text(Some(view.transactional_id)), "group_id": text(Some(view.group_id)),
                "producer_id": view.producer_id, "producer_epoch": view.producer_epoch,
                "topics": all(view.topics, |one| topic(one.topic, "name", "partitions", &all(one.partitions, partition))),
            })
        }
        _ => return None,
    };
    Some(said)
}

fn response_without_addresses(api: ApiKey, body: &[u8], version: i16) -> Option<Value> {
    let partition = |one: group::OffsetCommitResponsePartition| json!({ "partition_index": one.partition_index.0, "error_code": one.error_code });
    let said = match api {
        ApiKey::OFFSET_COMMIT => {
            let view: group::OffsetCommitResponse<'_> = open(body, version);
            let topics = all(view.topics, |one| {
                topic(
                    one.topic,
                    "name",
                    "partitions",
                    &all(one.partitions, partition),
                )
            });
            json!({ "topics": topics })
        }
        ApiKey::TXN_OFFSET_COMMIT => {
            let view: group::TxnOffsetCommitResponse<'_> = open(body, version);
            let topics = all(view.topics, |one| {
                topic(
                    one.topic,
                    "name",
                    "partitions",
                    &all(one.partitions, partition),
                )
            });
            json!({ "topics": topics })
        }
        _ => return None,
    };
    Some(said)
}

/// All that is said here is said there; of what the version does not have, nothing is said here. Gives the number of values
/// that both say.
fn agree(here: &Value, there: &Value, path: &str) -> usize {
    match (here, there) {
        (Value::Object(here), Value::Object(there)) => here
            .iter()
            .map(|(name, value)| match there.get(name) {
                Some(there) => agree(value, there, &format!("{path}.{name}")),
                None => {
                    let nothing = [
                        json!(null),
                        json!(0),
                        json!(-1),
                        json!([]),
                        json!("0".repeat(32)),
                    ];
                    assert!(
                        nothing.contains(value),
                        "{path}.{name} is {value}, and the version has none"
                    );
                    0
                }
            })
            .sum(),
        (Value::Array(here), Value::Array(there)) => {
            assert_eq!(here.len(), there.len(), "{path}");
            here.iter()
                .zip(there)
                .map(|(here, there)| agree(here, there, path))
                .sum()
        }
        _ => {
            assert_eq!(here, there, "{path}");
            1
        }
    }
}

// === tests ===

#[test]
fn every_version_that_kafka_writes_is_opened_and_says_what_was_written() {
    let (mut opened, mut values) = (0, 0);
    for golden in goldens(&["request", "response"]) {
        let body = golden.bytes("full").unwrap();
        let Some(said) = golden.said(&body) else {
            continue;
        };
        opened += 1;
        values += agree(&said, &golden.line["says"], &golden.name());
        assert!(
            read_all(
                &golden.bytes("default").unwrap(),
                golden.api,
                golden.version
            ),
            "{} by default",
            golden.name()
        );
        for end in 0..body.len() {
            read_all(&body[..end], golden.api, golden.version);
        }
    }
    assert!(
        opened > 130 && values > 1_500,
        "{opened} messages, {values} values: the goldens are gone"
    );
}

#[test]
fn moved_addresses_are_the_bytes_that_kafka_writes() {
    let mut moved = 0;
    for golden in goldens(&["response"]) {
        let Some(expected) = golden.bytes("moved") else {
            continue;
        };
        let body = rewritten(golden.api, golden.version, &golden.bytes("full").unwrap());
        assert_eq!(body, Some(expected), "{}", golden.name());
        moved += 1;
    }
    assert!(moved > 30, "{moved} messages with addresses");
}

#[test]
fn longer_records_make_the_bytes_that_kafka_writes() {
    let mut changed = 0;
    for golden in goldens(&["request", "response"]) {
        let Some(expected) = golden.bytes("longer") else {
            continue;
        };
        let body = golden.bytes("full").unwrap();
        let mut splice = BodySplice::default();
        for records in records(&golden, &body) {
            let write = |out: &mut Vec<u8>| {
                out.resize(out.len() + 300, b'z');
                Some(())
            };
            splice.replace_field(&records, write).unwrap();
        }
        let mut out = Vec::new();
        splice
            .reseal(&[&[0; 4], &body[..]].concat(), 4, &mut out)
            .unwrap();
        assert_eq!(out[4..], expected, "{}", golden.name());
        changed += 1;
    }
    assert!(changed > 25, "{changed} messages with records");
}

fn records<'a>(golden: &Golden, body: &'a [u8]) -> Vec<WireField<'a>> {
    let version = golden.version;
    match golden.api {
        ApiKey::PRODUCE => {
            let view: produce::ProduceRequest<'_> = open(body, version);
            view.topics
                .iter()
                .flat_map(|topic| topic.partitions)
                .filter_map(|partition| partition.records)
                .collect()
        }
        ApiKey::FETCH => {
            let view: fetch::FetchResponse<'_> = open(body, version);
            view.topics
                .iter()
                .flat_map(|topic| topic.partitions)
                .filter_map(|partition| partition.records)
                .collect()
        }
        _ => {
            let view: share::ShareFetchResponse<'_> = open(body, version);
            view.topics
                .iter()
                .flat_map(|topic| topic.partitions)
                .filter_map(|partition| partition.records)
                .collect()
        }
    }
}

#[test]
fn narrowed_versions_are_the_bytes_that_kafka_writes() {
    let goldens = goldens(&["clamped"]);
    assert_eq!(goldens.len(), 6);
    for golden in goldens {
        let body = golden.bytes("full").unwrap();
        let mut splice = BodySplice::default();
        let most = |api, low, high: i16| match api {
            ApiKey::PRODUCE => (low, high.min(11)),
            ApiKey::FETCH => (low, high.min(16)),
            _ => (low, high),
        };
        let count = api_versions::clamp(golden.version, &body, &mut splice, most)
            .unwrap()
            .parsed();
        assert_eq!(count, Some(2), "{}", golden.name());
        let mut out = Vec::new();
        splice
            .reseal(&[&[0; 4], &body[..]].concat(), 4, &mut out)
            .unwrap();
        assert_eq!(
            out[4..],
            golden.bytes("narrow").unwrap(),
            "{}",
            golden.name()
        );
    }
}

#[test]
fn what_holds_for_any_body_holds_for_these() {
    for golden in goldens(&["request", "response", "clamped"]) {
        let key = u8::try_from(golden.api.0).unwrap();
        let version = u8::try_from(golden.version + 1).unwrap();
        any_body(&[&[key, version], &golden.bytes("full").unwrap()[..]].concat());
    }
}
