//! Compares the views and the edits with Apache Kafka's own classes: a view has the values that
//! Kafka wrote, and an edited message has, byte by byte, what Kafka writes for the changed message.
//! The messages and the program that wrote them are in `goldens/`.

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

use checks::message::{check_body, read_all, rewritten};
use serde_json::{Value, json};
use throughline_kafka::api::ApiKey;
use throughline_kafka::message::endpoint::{NodeEndpoint, NodeEndpoints};
use throughline_kafka::message::{
    ApiMessage, BodySplice, TopicRef, api_versions, cluster, commit, config, fetch, group, produce,
    share,
};
use throughline_kafka::types::TopicId;
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

fn from_hex(text: &Value) -> Vec<u8> {
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16).unwrap()).unwrap();
    text.as_str()
        .unwrap()
        .as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
        self.line.get(variant).map(from_hex)
    }

    /// Returns the values of the view, under the names of the specification; [`None`] for a message
    /// that this crate does not parse.
    fn values(&self, body: &[u8]) -> Option<Value> {
        let version = self.version;
        let is_request = self.line["kind"] == "request";
        let values = match (self.api, is_request) {
            (ApiKey::PRODUCE, true) => produce_request(&parse(body, version)),
            (ApiKey::PRODUCE, false) => produce_response(&parse(body, version)),
            (ApiKey::FETCH, true) => fetch_request(&parse(body, version)),
            (ApiKey::FETCH, false) => fetch_response(&parse(body, version)),
            (ApiKey::SHARE_FETCH, true) => share_fetch_request(&parse(body, version)),
            (ApiKey::SHARE_FETCH, false) => share_fetch_response(&parse(body, version)),
            (ApiKey::SHARE_ACKNOWLEDGE, true) => share_acknowledge_request(&parse(body, version)),
            (ApiKey::SHARE_ACKNOWLEDGE, false) => share_acknowledge_response(&parse(body, version)),
            (ApiKey::METADATA, false) => metadata_response(&parse(body, version)),
            (ApiKey::FIND_COORDINATOR, false) => {
                find_coordinator_response(&parse(body, version), version)
            }
            (ApiKey::DESCRIBE_CLUSTER, false) => describe_cluster_response(&parse(body, version)),
            (ApiKey::API_VERSIONS, true) => api_versions_request(&parse(body, version)),
            (ApiKey::API_VERSIONS, false) => api_versions_response(&parse(body, version)),
            (ApiKey::CREATE_TOPICS, false) => create_topics_response(&parse(body, version)),
            (ApiKey::DESCRIBE_CONFIGS, false) => describe_configs_response(&parse(body, version)),
            (ApiKey::ALTER_CONFIGS | ApiKey::INCREMENTAL_ALTER_CONFIGS, _) => {
                alter_configs(self.api, is_request, body, version)
            }
            (api, true) => return group_request(api, body, version),
            (api, false) => {
                return group_response(api, body, version)
                    .or_else(|| commit_response(api, body, version));
            }
        };
        Some(values)
    }
}

fn parse<'a, M: ApiMessage<'a>>(body: &'a [u8], version: i16) -> M {
    M::parse(body, version)
        .unwrap_or_else(|error| panic!("{} {version}: {error}", M::API))
        .parsed()
        .unwrap_or_else(|| panic!("{} {version} is not supported", M::API))
}

// === values of the views ===

fn all<'a, T: Decode<'a>>(array: WireArray<'a, T>, value: impl Fn(T) -> Value) -> Value {
    array.iter().map(value).collect()
}

fn text(field: Option<WireField<'_>>) -> Value {
    field.map_or(Value::Null, |field| json!(field.text().unwrap()))
}

fn records(field: Option<WireField<'_>>) -> Value {
    field.map_or(Value::Null, |field| json!(to_hex(field.bytes())))
}

/// Returns a topic with its partitions. Fetch calls the name `topic`, the other messages `name`.
fn topic(topic: TopicRef<'_>, name: &str, list: &str, partitions: &Value) -> Value {
    match topic {
        TopicRef::Name(field) => json!({ name: text(Some(field)), list: partitions }),
        TopicRef::Id(id) => json!({ "topic_id": to_hex(&id.0), list: partitions }),
    }
}

fn topic_by_id(id: TopicId, partitions: &Value) -> Value {
    json!({ "topic_id": to_hex(&id.0), "partitions": partitions })
}

fn node(endpoint: NodeEndpoint<'_>) -> Value {
    json!({
        "node_id": endpoint.node_id.0,
        "host": text(Some(endpoint.host)),
        "port": endpoint.port,
    })
}

fn nodes(endpoints: &NodeEndpoints<'_>) -> Value {
    endpoints.iter().map(node).collect()
}

fn produce_request(view: &produce::ProduceRequest<'_>) -> Value {
    let partition = |of: produce::ProducePartition<'_>| {
        json!({
            "index": of.index.0,
            "records": records(of.records),
        })
    };
    let topics = all(view.topics, |of| {
        let partitions = all(of.partitions, partition);
        topic(of.topic, "name", "partition_data", &partitions)
    });
    json!({ "acks": view.acks, "topic_data": topics })
}

fn produce_response(view: &produce::ProduceResponse<'_>) -> Value {
    let partition = |of: produce::PartitionProduceResponse| {
        json!({
            "index": of.index.0,
            "error_code": of.error_code,
            "base_offset": of.base_offset.0,
        })
    };
    let topics = all(view.topics, |of| {
        let partitions = all(of.partitions, partition);
        topic(of.topic, "name", "partition_responses", &partitions)
    });
    json!({ "responses": topics, "node_endpoints": nodes(&view.node_endpoints) })
}

fn fetch_request(view: &fetch::FetchRequest<'_>) -> Value {
    let partition = |of: fetch::FetchPartition| {
        json!({
            "partition": of.partition.0,
            "fetch_offset": of.fetch_offset.0,
        })
    };
    let topics = all(view.topics, |of| {
        let partitions = all(of.partitions, partition);
        topic(of.topic, "topic", "partitions", &partitions)
    });
    let forgotten = all(view.forgotten_topics, |of| {
        let partitions = all(of.partitions, |index| json!(index.0));
        topic(of.topic, "topic", "partitions", &partitions)
    });
    json!({
        "isolation_level": view.isolation_level,
        "session_epoch": view.session_epoch,
        "topics": topics,
        "forgotten_topics_data": forgotten,
    })
}

fn fetch_response(view: &fetch::FetchResponse<'_>) -> Value {
    let aborted = |of: fetch::AbortedTransaction| {
        json!({
            "producer_id": of.producer_id,
            "first_offset": of.first_offset.0,
        })
    };
    let partition = |of: fetch::FetchResponsePartition<'_>| {
        json!({
            "partition_index": of.partition_index.0,
            "error_code": of.error_code,
            "high_watermark": of.high_watermark.0,
            "aborted_transactions": all(of.aborted_transactions, aborted),
            "records": records(of.records),
        })
    };
    let topics = all(view.topics, |of| {
        let partitions = all(of.partitions, partition);
        topic(of.topic, "topic", "partitions", &partitions)
    });
    json!({ "responses": topics, "node_endpoints": nodes(&view.node_endpoints) })
}

fn acknowledgements(topics: WireArray<'_, share::ShareTopic<'_>>) -> Value {
    let batch = |of: share::AcknowledgementBatch<'_>| {
        json!({
            "first_offset": of.first_offset.0,
            "last_offset": of.last_offset.0,
            "acknowledge_types": all(of.acknowledge_types, |code| json!(code)),
        })
    };
    let partition = |of: share::SharePartition<'_>| {
        let batches = all(of.acknowledgement_batches, batch);
        json!({ "partition_index": of.partition_index.0, "acknowledgement_batches": batches })
    };
    all(topics, |of| {
        topic_by_id(of.topic_id, &all(of.partitions, partition))
    })
}

fn share_fetch_request(view: &share::ShareFetchRequest<'_>) -> Value {
    json!({ "group_id": text(view.group_id), "topics": acknowledgements(view.topics) })
}

fn share_acknowledge_request(view: &share::ShareAcknowledgeRequest<'_>) -> Value {
    json!({ "group_id": text(view.group_id), "topics": acknowledgements(view.topics) })
}

fn share_fetch_response(view: &share::ShareFetchResponse<'_>) -> Value {
    let acquired = |of: share::AcquiredRecords| {
        json!({
            "first_offset": of.first_offset.0,
            "last_offset": of.last_offset.0,
            "delivery_count": of.delivery_count,
        })
    };
    let partition = |of: share::ShareFetchResponsePartition<'_>| {
        json!({
            "partition_index": of.partition_index.0,
            "error_code": of.error_code,
            "acknowledge_error_code": of.acknowledge_error_code,
            "records": records(of.records),
            "acquired_records": all(of.acquired_records, acquired),
        })
    };
    let topics = all(view.topics, |of| {
        topic_by_id(of.topic_id, &all(of.partitions, partition))
    });
    json!({
        "error_code": view.error_code,
        "responses": topics,
        "node_endpoints": nodes(&view.node_endpoints),
    })
}

fn share_acknowledge_response(view: &share::ShareAcknowledgeResponse<'_>) -> Value {
    let partition = |of: share::ShareAcknowledgeResponsePartition| {
        json!({
            "partition_index": of.partition_index.0,
            "error_code": of.error_code,
        })
    };
    let topics = all(view.topics, |of| {
        topic_by_id(of.topic_id, &all(of.partitions, partition))
    });
    json!({
        "error_code": view.error_code,
        "responses": topics,
        "node_endpoints": nodes(&view.node_endpoints),
    })
}

fn metadata_response(view: &cluster::MetadataResponse<'_>) -> Value {
    let topics = all(view.topics, |of| {
        json!({
            "error_code": of.error_code,
            "name": text(of.name),
            "topic_id": to_hex(&of.topic_id.0),
        })
    });
    json!({
        "brokers": all(view.brokers, |of| node(of.endpoint)),
        "cluster_id": text(view.cluster_id),
        "topics": topics,
    })
}

fn find_coordinator_response(view: &cluster::FindCoordinatorResponse<'_>, version: i16) -> Value {
    let mut coordinators = view.coordinators().map(node);
    if version < 4 {
        coordinators.next().unwrap()
    } else {
        json!({ "coordinators": coordinators.collect::<Vec<_>>() })
    }
}

fn describe_cluster_response(view: &cluster::DescribeClusterResponse<'_>) -> Value {
    let broker = |of: cluster::DescribeClusterBroker<'_>| {
        json!({
            "broker_id": of.endpoint.node_id.0,
            "host": text(Some(of.endpoint.host)),
            "port": of.endpoint.port,
        })
    };
    json!({ "cluster_id": text(view.cluster_id), "brokers": all(view.brokers, broker) })
}

fn create_topics_response(view: &config::CreateTopicsResponse<'_>) -> Value {
    let config = |of: config::CreatedTopicConfig<'_>| config_value(of.name, of.value);
    let topic = |of: config::CreatableTopicResult<'_>| {
        let mut topic = json!({ "name": text(Some(of.name)), "error_code": of.error_code });
        if let Some(configs) = of.configs {
            topic["configs"] = all(configs, config);
        }
        topic
    };
    json!({ "topics": all(view.topics, topic) })
}

fn describe_configs_response(view: &config::DescribeConfigsResponse<'_>) -> Value {
    let config = |of: config::DescribedConfig<'_>| config_value(of.name, of.value);
    let result = |of: config::DescribeConfigsResult<'_>| {
        json!({
            "error_code": of.error_code,
            "resource_type": of.resource_type,
            "resource_name": text(Some(of.resource_name)),
            "configs": all(of.configs, config),
        })
    };
    json!({ "results": all(view.results, result) })
}

fn alter_configs(api: ApiKey, is_request: bool, body: &[u8], version: i16) -> Value {
    if !is_request {
        let responses = if api == ApiKey::ALTER_CONFIGS {
            parse::<config::AlterConfigsResponse<'_>>(body, version).responses
        } else {
            parse::<config::IncrementalAlterConfigsResponse<'_>>(body, version).responses
        };
        let response = |of: config::AlteredResource<'_>| {
            json!({
                "error_code": of.error_code,
                "resource_type": of.resource_type,
                "resource_name": text(Some(of.resource_name)),
            })
        };
        return json!({ "responses": all(responses, response) });
    }
    if api == ApiKey::ALTER_CONFIGS {
        let view: config::AlterConfigsRequest<'_> = parse(body, version);
        let config = |of: config::AlterableConfig<'_>| config_value(of.name, of.value);
        let resource = |of: config::AlterConfigsResource<'_>| {
            json!({
                "resource_type": of.resource_type,
                "resource_name": text(Some(of.resource_name)),
                "configs": all(of.configs, config),
            })
        };
        let resources = all(view.resources, resource);
        return json!({ "resources": resources, "validate_only": view.validate_only });
    }
    let view: config::IncrementalAlterConfigsRequest<'_> = parse(body, version);
    let config = |of: config::IncrementalConfig<'_>| {
        let mut config = config_value(of.name, of.value);
        config["config_operation"] = json!(of.config_operation);
        config
    };
    let resource = |of: config::IncrementalConfigsResource<'_>| {
        json!({
            "resource_type": of.resource_type,
            "resource_name": text(Some(of.resource_name)),
            "configs": all(of.configs, config),
        })
    };
    let resources = all(view.resources, resource);
    json!({ "resources": resources, "validate_only": view.validate_only })
}

fn config_value(name: WireField<'_>, value: Option<WireField<'_>>) -> Value {
    json!({ "name": text(Some(name)), "value": text(value) })
}

fn api_versions_request(view: &api_versions::ApiVersionsRequest<'_>) -> Value {
    let name = view.client_software_name;
    name.map_or_else(
        || json!({}),
        |name| json!({ "client_software_name": name.text() }),
    )
}

fn api_versions_response(view: &api_versions::ApiVersionsResponse<'_>) -> Value {
    let key = |of: api_versions::ApiVersion| {
        json!({
            "api_key": of.api_key.0,
            "min_version": of.min_version,
            "max_version": of.max_version,
        })
    };
    let feature =
        |of: api_versions::FinalizedFeatureKey<'_>| json!({ "name": text(Some(of.name)) });
    let features = view
        .finalized_features
        .as_ref()
        .map_or(json!([]), |features| all(features.features, feature));
    json!({ "api_keys": all(view.api_keys, key), "finalized_features": features })
}

fn member(group_id: WireField<'_>, member_id: WireField<'_>) -> Value {
    json!({ "group_id": text(Some(group_id)), "member_id": text(Some(member_id)) })
}

fn group_response(api: ApiKey, body: &[u8], version: i16) -> Option<Value> {
    Some(match api {
        ApiKey::SYNC_GROUP => {
            let view: group::SyncGroupResponse<'_> = parse(body, version);
            json!({ "error_code": view.error_code, "assignment": records(view.assignment) })
        }
        ApiKey::CONSUMER_GROUP_HEARTBEAT => {
            let view: group::ConsumerGroupHeartbeatResponse<'_> = parse(body, version);
            let assigned = |of: group::AssignedTopicId<'_>| {
                json!({
                    "topic_id": to_hex(&of.topic_id.0),
                    "partitions": all(of.partitions, |index| json!(index.0)),
                })
            };
            let assignment = view
                .assignment
                .map(|of| json!({ "topic_partitions": all(of.topic_partitions, assigned) }));
            json!({
                "error_code": view.error_code,
                "member_id": text(view.member_id),
                "assignment": assignment,
            })
        }
        _ => return None,
    })
}

fn group_request(api: ApiKey, body: &[u8], version: i16) -> Option<Value> {
    let values = match api {
        ApiKey::JOIN_GROUP => {
            let view: group::JoinGroupRequest<'_> = parse(body, version);
            json!({
                "group_id": text(Some(view.group_id)),
                "member_id": text(Some(view.member_id)),
                "protocol_type": text(Some(view.protocol_type)),
            })
        }
        ApiKey::SYNC_GROUP => {
            let view: group::SyncGroupRequest<'_> = parse(body, version);
            member(view.group_id, view.member_id)
        }
        ApiKey::HEARTBEAT => {
            let view: group::HeartbeatRequest<'_> = parse(body, version);
            member(view.group_id, view.member_id)
        }
        ApiKey::LEAVE_GROUP => {
            let view: group::LeaveGroupRequest<'_> = parse(body, version);
            let leaving =
                |of: group::LeavingMember<'_>| json!({ "member_id": text(Some(of.member_id)) });
            json!({
                "group_id": text(Some(view.group_id)),
                "member_id": text(view.member_id),
                "members": all(view.members, leaving),
            })
        }
        ApiKey::CONSUMER_GROUP_HEARTBEAT => {
            let view: group::ConsumerGroupHeartbeatRequest<'_> = parse(body, version);
            json!({
                "group_id": text(Some(view.group_id)),
                "member_id": text(Some(view.member_id)),
                "member_epoch": view.member_epoch,
            })
        }
        ApiKey::STREAMS_GROUP_HEARTBEAT => {
            let view: group::StreamsGroupHeartbeatRequest<'_> = parse(body, version);
            json!({
                "group_id": text(Some(view.group_id)),
                "member_id": text(Some(view.member_id)),
                "member_epoch": view.member_epoch,
            })
        }
        _ => return commit_request(api, body, version),
    };
    Some(values)
}

fn commit_request(api: ApiKey, body: &[u8], version: i16) -> Option<Value> {
    let values = match api {
        ApiKey::OFFSET_COMMIT => {
            let view: commit::OffsetCommitRequest<'_> = parse(body, version);
            let partition = |of: commit::OffsetCommitRequestPartition| {
                json!({
                    "partition_index": of.partition_index.0,
                    "committed_offset": of.committed_offset.0,
                })
            };
            let topics = all(view.topics, |of| {
                let partitions = all(of.partitions, partition);
                topic(of.topic, "name", "partitions", &partitions)
            });
            json!({
                "group_id": text(Some(view.group_id)),
                "member_id": text(Some(view.member_id)),
                "topics": topics,
            })
        }
        ApiKey::TXN_OFFSET_COMMIT => {
            let view: commit::TxnOffsetCommitRequest<'_> = parse(body, version);
            let partition = |of: commit::TxnOffsetCommitRequestPartition| {
                json!({
                    "partition_index": of.partition_index.0,
                    "committed_offset": of.committed_offset.0,
                })
            };
            let topics = all(view.topics, |of| {
                let partitions = all(of.partitions, partition);
                topic(of.topic, "name", "partitions", &partitions)
            });
            json!({ "group_id": text(Some(view.group_id)), "topics": topics })
        }
        _ => return None,
    };
    Some(values)
}

fn commit_response(api: ApiKey, body: &[u8], version: i16) -> Option<Value> {
    let partition = |of: commit::OffsetCommitResponsePartition| {
        json!({
            "partition_index": of.partition_index.0,
            "error_code": of.error_code,
        })
    };
    let topics = match api {
        ApiKey::OFFSET_COMMIT => {
            let view: commit::OffsetCommitResponse<'_> = parse(body, version);
            all(view.topics, |of| {
                let partitions = all(of.partitions, partition);
                topic(of.topic, "name", "partitions", &partitions)
            })
        }
        ApiKey::TXN_OFFSET_COMMIT => {
            let view: commit::TxnOffsetCommitResponse<'_> = parse(body, version);
            all(view.topics, |of| {
                let partitions = all(of.partitions, partition);
                topic(of.topic, "name", "partitions", &partitions)
            })
        }
        _ => return None,
    };
    Some(json!({ "topics": topics }))
}

/// Asserts that every value of the view is the one that Kafka wrote, and that a field that the
/// version does not have is empty. Returns the number of compared values.
fn compare(view: &Value, kafka: &Value, path: &str) -> usize {
    match (view, kafka) {
        (Value::Object(view), Value::Object(kafka)) => view
            .iter()
            .map(|(name, value)| match kafka.get(name) {
                Some(kafka) => compare(value, kafka, &format!("{path}.{name}")),
                None => {
                    let empty = [
                        json!(null),
                        json!(0),
                        json!(-1),
                        json!([]),
                        json!("0".repeat(32)),
                    ];
                    assert!(
                        empty.contains(value),
                        "{path}.{name} is {value}, but the version has no such field"
                    );
                    0
                }
            })
            .sum(),
        (Value::Array(view), Value::Array(kafka)) => {
            assert_eq!(view.len(), kafka.len(), "{path}");
            view.iter()
                .zip(kafka)
                .map(|(view, kafka)| compare(view, kafka, path))
                .sum()
        }
        _ => {
            assert_eq!(view, kafka, "{path}");
            1
        }
    }
}

// === tests ===

#[test]
fn views_have_the_values_that_kafka_wrote_in_every_version() {
    let (mut messages, mut compared) = (0, 0);
    for golden in goldens(&["request", "response"]) {
        let body = golden.bytes("full").unwrap();
        let Some(values) = golden.values(&body) else {
            continue;
        };
        messages += 1;
        compared += compare(&values, &golden.line["says"], &golden.name());
        let default = golden.bytes("default").unwrap();
        assert!(
            read_all(&default, golden.api, golden.version),
            "{} with default values",
            golden.name()
        );
        for end in 0..body.len() {
            read_all(&body[..end], golden.api, golden.version);
        }
    }
    assert!(
        messages > 130 && compared > 1_000,
        "only {messages} messages and {compared} values: goldens are missing"
    );
}

#[test]
fn all_supported_versions_have_goldens() {
    let goldens = goldens(&["request", "response"]);
    for api in (0..100).map(ApiKey) {
        for version in api.supported_versions().into_iter().flatten() {
            let is_golden = |golden: &&Golden| golden.api == api && golden.version == version;
            assert!(
                goldens.iter().any(|golden| is_golden(&golden)),
                "{api} {version} has no golden"
            );
        }
    }
}

#[test]
fn rewritten_addresses_are_the_bytes_that_kafka_writes() {
    let mut count = 0;
    for golden in goldens(&["response"]) {
        // Its hosts are those of applications, for interactive queries, and stay.
        let is_of_brokers = golden.api != ApiKey::STREAMS_GROUP_HEARTBEAT;
        let Some(expected) = golden.bytes("moved").filter(|_| is_of_brokers) else {
            continue;
        };
        let body = rewritten(golden.api, golden.version, &golden.bytes("full").unwrap());
        assert_eq!(body, Some(expected), "{}", golden.name());
        count += 1;
    }
    assert!(count > 30, "only {count} messages with addresses");
}

#[test]
fn longer_records_are_the_bytes_that_kafka_writes() {
    let mut count = 0;
    for golden in goldens(&["request", "response"]) {
        let Some(expected) = golden.bytes("longer") else {
            continue;
        };
        let body = golden.bytes("full").unwrap();
        let mut splice = BodySplice::default();
        for records in record_fields(&golden, &body) {
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
        count += 1;
    }
    assert!(count > 25, "only {count} messages with records");
}

fn record_fields<'a>(golden: &Golden, body: &'a [u8]) -> Vec<WireField<'a>> {
    let version = golden.version;
    match golden.api {
        ApiKey::PRODUCE => {
            let view: produce::ProduceRequest<'_> = parse(body, version);
            view.topics
                .iter()
                .flat_map(|topic| topic.partitions)
                .filter_map(|partition| partition.records)
                .collect()
        }
        ApiKey::FETCH => {
            let view: fetch::FetchResponse<'_> = parse(body, version);
            view.topics
                .iter()
                .flat_map(|topic| topic.partitions)
                .filter_map(|partition| partition.records)
                .collect()
        }
        _ => {
            let view: share::ShareFetchResponse<'_> = parse(body, version);
            view.topics
                .iter()
                .flat_map(|topic| topic.partitions)
                .filter_map(|partition| partition.records)
                .collect()
        }
    }
}

#[test]
fn clamped_versions_are_the_bytes_that_kafka_writes() {
    let goldens = goldens(&["clamped"]);
    assert_eq!(goldens.len(), 6);
    for golden in goldens {
        let body = golden.bytes("full").unwrap();
        let mut splice = BodySplice::default();
        let limit = |api, min, max: i16| match api {
            ApiKey::PRODUCE => (min, max.min(11)),
            ApiKey::FETCH => (min, max.min(16)),
            _ => (min, max),
        };
        let count = api_versions::clamp(golden.version, &body, &mut splice, limit)
            .unwrap()
            .parsed();
        assert_eq!(count, Some(2), "{}", golden.name());
        let mut out = Vec::new();
        splice
            .reseal(&[&[0; 4], &body[..]].concat(), 4, &mut out)
            .unwrap();
        let expected = golden.bytes("narrow").unwrap();
        assert_eq!(out[4..], expected, "{}", golden.name());
    }
}

#[test]
fn goldens_pass_the_checks_of_arbitrary_bodies() {
    for golden in goldens(&["request", "response", "clamped"]) {
        let key = u8::try_from(golden.api.0).unwrap();
        let version = u8::try_from(golden.version + 1).unwrap();
        check_body(&[&[key, version], &golden.bytes("full").unwrap()[..]].concat());
    }
}
