//! Properties of any message body, well-formed or not. Shared by the tests and the fuzz target.

use bytes::Bytes;
use throughline_kafka::api::ApiKey;
use throughline_kafka::frame::RequestHeader;
use throughline_kafka::message::{
    ApiMessage, BodySplice, address, api_versions, cluster, commit, config, fetch, group, produce,
    share,
};
use throughline_kafka::wire::{Decode, WireArray, WireField};

/// The host of every rewritten address.
const NEW_HOST: &str = "a.host.that.is.somewhat.longer.than.most";

/// The port of every rewritten address.
const NEW_PORT: i32 = 65_000;

/// Parses the body as every message of this API and reads all fields of the views. Returns whether
/// one of them could be parsed.
pub(crate) fn read_all(body: &[u8], api: ApiKey, version: i16) -> bool {
    let mut reader = BodyReader {
        body,
        version,
        is_parsed: false,
    };
    match api {
        ApiKey::PRODUCE => {
            reader.read(|request: produce::ProduceRequest<'_>| {
                request
                    .topics
                    .iter()
                    .flat_map(|topic| topic.partitions)
                    .filter_map(|partition| partition.records)
                    .collect()
            });
            reader.read(|response: produce::ProduceResponse<'_>| {
                for topic in response.topics {
                    check_length(topic.partitions);
                }
                response
                    .node_endpoints
                    .iter()
                    .map(|endpoint| endpoint.host)
                    .collect()
            });
        }
        ApiKey::FETCH => {
            reader.read(|request: fetch::FetchRequest<'_>| {
                for topic in request.topics {
                    check_length(topic.partitions);
                }
                Vec::new()
            });
            reader.read(|response: fetch::FetchResponse<'_>| {
                response
                    .topics
                    .iter()
                    .flat_map(|topic| topic.partitions)
                    .filter_map(|partition| partition.records)
                    .collect()
            });
        }
        ApiKey::SHARE_FETCH => {
            reader.read(|request: share::ShareFetchRequest<'_>| {
                request.group_id.into_iter().collect()
            });
            reader.read(|response: share::ShareFetchResponse<'_>| {
                response
                    .topics
                    .iter()
                    .flat_map(|topic| topic.partitions)
                    .filter_map(|partition| partition.records)
                    .collect()
            });
        }
        _ => reader.read_cluster(api),
    }
    reader.is_parsed
}

struct BodyReader<'a> {
    body: &'a [u8],
    version: i16,
    is_parsed: bool,
}

impl<'a> BodyReader<'a> {
    fn read_cluster(&mut self, api: ApiKey) {
        match api {
            ApiKey::METADATA => self.read(|response: cluster::MetadataResponse<'_>| {
                check_length(response.topics);
                let hosts = response.brokers.iter().map(|broker| broker.endpoint.host);
                let names = response.topics.iter().filter_map(|topic| topic.name);
                response
                    .cluster_id
                    .into_iter()
                    .chain(names)
                    .chain(hosts)
                    .collect()
            }),
            ApiKey::FIND_COORDINATOR => {
                self.read(|response: cluster::FindCoordinatorResponse<'_>| {
                    response
                        .coordinators()
                        .map(|endpoint| endpoint.host)
                        .collect()
                });
            }
            ApiKey::DESCRIBE_CLUSTER => {
                self.read(|response: cluster::DescribeClusterResponse<'_>| {
                    let hosts = response.brokers.iter().map(|broker| broker.endpoint.host);
                    response.cluster_id.into_iter().chain(hosts).collect()
                });
            }
            ApiKey::API_VERSIONS => {
                self.read(|request: api_versions::ApiVersionsRequest<'_>| {
                    request.client_software_name.into_iter().collect()
                });
                self.read(|response: api_versions::ApiVersionsResponse<'_>| {
                    check_length(response.api_keys);
                    response
                        .finalized_features
                        .iter()
                        .flat_map(|features| features.features)
                        .map(|feature| feature.name)
                        .collect()
                });
            }
            ApiKey::CREATE_TOPICS => self.read(|response: config::CreateTopicsResponse<'_>| {
                let configs = response.topics.iter().filter_map(|topic| topic.configs);
                configs.flatten().map(|config| config.name).collect()
            }),
            ApiKey::DESCRIBE_CONFIGS => {
                self.read(|response: config::DescribeConfigsResponse<'_>| {
                    let configs = response.results.iter().flat_map(|result| result.configs);
                    configs.map(|config| config.name).collect()
                });
            }
            ApiKey::ALTER_CONFIGS | ApiKey::INCREMENTAL_ALTER_CONFIGS => self.read_alter(api),
            _ => self.read_group(api),
        }
    }

    fn read_alter(&mut self, api: ApiKey) {
        if api == ApiKey::ALTER_CONFIGS {
            self.read(|request: config::AlterConfigsRequest<'_>| {
                let configs = request.resources.iter().flat_map(|it| it.configs);
                configs.map(|config| config.name).collect()
            });
            self.read(|response: config::AlterConfigsResponse<'_>| {
                response
                    .responses
                    .iter()
                    .map(|it| it.resource_name)
                    .collect()
            });
        } else {
            self.read(|request: config::IncrementalAlterConfigsRequest<'_>| {
                let configs = request.resources.iter().flat_map(|it| it.configs);
                configs.map(|config| config.name).collect()
            });
            self.read(|response: config::IncrementalAlterConfigsResponse<'_>| {
                response
                    .responses
                    .iter()
                    .map(|it| it.resource_name)
                    .collect()
            });
        }
    }

    fn read_group(&mut self, api: ApiKey) {
        match api {
            ApiKey::JOIN_GROUP => {
                self.read(|request: group::JoinGroupRequest<'_>| vec![request.group_id]);
            }
            ApiKey::SYNC_GROUP => {
                self.read(|request: group::SyncGroupRequest<'_>| {
                    vec![request.group_id, request.member_id]
                });
                self.read(|response: group::SyncGroupResponse<'_>| {
                    response.assignment.into_iter().for_each(check_assignment);
                    response.assignment.into_iter().collect()
                });
            }
            ApiKey::HEARTBEAT => {
                self.read(|request: group::HeartbeatRequest<'_>| {
                    vec![request.group_id, request.member_id]
                });
            }
            ApiKey::LEAVE_GROUP => {
                self.read(|request: group::LeaveGroupRequest<'_>| {
                    let members = request.members.iter().map(|member| member.member_id);
                    let members = members.chain(request.member_id);
                    members.chain([request.group_id]).collect()
                });
            }
            ApiKey::CONSUMER_GROUP_HEARTBEAT => {
                self.read(|request: group::ConsumerGroupHeartbeatRequest<'_>| {
                    vec![request.group_id, request.member_id]
                });
                self.read(|response: group::ConsumerGroupHeartbeatResponse<'_>| {
                    if let Some(assignment) = response.assignment {
                        check_length(assignment.topic_partitions);
                    }
                    response.member_id.into_iter().collect()
                });
            }
            ApiKey::STREAMS_GROUP_HEARTBEAT => {
                self.read(|request: group::StreamsGroupHeartbeatRequest<'_>| {
                    vec![request.group_id, request.member_id]
                });
            }
            _ => self.read_commit(api),
        }
    }

    fn read_commit(&mut self, api: ApiKey) {
        match api {
            ApiKey::OFFSET_COMMIT => {
                self.read(|request: commit::OffsetCommitRequest<'_>| {
                    for topic in request.topics {
                        check_length(topic.partitions);
                    }
                    vec![request.group_id]
                });
                self.read(|response: commit::OffsetCommitResponse<'_>| {
                    check_length(response.topics);
                    Vec::new()
                });
            }
            ApiKey::TXN_OFFSET_COMMIT => {
                self.read(|request: commit::TxnOffsetCommitRequest<'_>| {
                    for topic in request.topics {
                        check_length(topic.partitions);
                    }
                    vec![request.group_id]
                });
                self.read(|response: commit::TxnOffsetCommitResponse<'_>| {
                    check_length(response.topics);
                    Vec::new()
                });
            }
            ApiKey::SHARE_ACKNOWLEDGE => {
                self.read(|request: share::ShareAcknowledgeRequest<'_>| {
                    request.group_id.into_iter().collect()
                });
                self.read(|response: share::ShareAcknowledgeResponse<'_>| {
                    check_length(response.topics);
                    Vec::new()
                });
            }
            _ => {}
        }
    }

    /// Parses the body as one message and checks the positions of the fields that `fields` returns.
    fn read<M: ApiMessage<'a>>(&mut self, fields: impl FnOnce(M) -> Vec<WireField<'a>>) {
        let Some(message) = M::parse(self.body, self.version)
            .ok()
            .and_then(|outcome| outcome.parsed())
        else {
            return;
        };
        self.is_parsed = true;
        for field in fields(message) {
            assert_eq!(
                self.body.get(field.range()),
                Some(field.bytes()),
                "the range of a field contains its bytes"
            );
        }
    }
}

/// Asserts that iteration returns as many elements as the array states.
fn check_assignment(field: WireField<'_>) {
    if let Ok(assignment) = group::ConsumerProtocolAssignment::parse(field.bytes()) {
        check_length(assignment.assigned_partitions);
    }
}

fn check_length<'a, T: Decode<'a>>(array: WireArray<'a, T>) {
    assert_eq!(u32::try_from(array.iter().count()), Ok(array.len()));
}

/// Checks all properties. The first two bytes are an API and a version, the others a body.
pub(crate) fn check_body(bytes: &[u8]) {
    let Some(([key, version], body)) = bytes.split_first_chunk() else {
        return;
    };
    let (api, version) = (ApiKey(i16::from(*key)), i16::from(*version) % 20 - 1);
    read_all(body, api, version);
    rewritten(api, version, body);
    clamped(version, body);
}

/// Returns the body with every address replaced; [`None`] when it has none or is not well-formed.
pub(crate) fn rewritten(api: ApiKey, version: i16, body: &[u8]) -> Option<Vec<u8>> {
    let mut splice = BodySplice::default();
    let count = address::rewrite(api, version, body, &mut splice, |_| {
        Some((NEW_HOST, NEW_PORT))
    })
    .ok()?
    .parsed()?;
    let new_body = sealed(&mut splice, body);
    assert!(count > 0 || new_body == body, "no edit is the identity");
    let mut seen = 0;
    let mut unused = BodySplice::default();
    let outcome = address::rewrite(api, version, &new_body, &mut unused, |endpoint| {
        assert_eq!(endpoint.host.text(), Some(NEW_HOST));
        assert_eq!(endpoint.port, NEW_PORT);
        seen += 1;
        None::<(&str, i32)>
    });
    assert!(outcome.is_ok(), "a rewritten body is well-formed");
    assert_eq!(seen, count, "all addresses have been replaced");
    (count > 0).then_some(new_body)
}

/// Returns the body with all versions limited to 3; [`None`] when it is not well-formed.
pub(crate) fn clamped(version: i16, body: &[u8]) -> Option<Vec<u8>> {
    let mut splice = BodySplice::default();
    api_versions::clamp(version, body, &mut splice, |_, min, max| (min, max.min(3)))
        .ok()?
        .parsed()?;
    let new_body = sealed(&mut splice, body);
    let view = api_versions::ApiVersionsResponse::parse(&new_body, version)
        .expect("a clamped body is well-formed")
        .parsed()?;
    for key in &view.api_keys {
        assert!(key.max_version <= 3 || key.min_version > 3);
    }
    Some(new_body)
}

/// Returns the edited body, by way of a frame whose length must then be correct.
fn sealed(splice: &mut BodySplice, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4)
        .expect("a small body")
        .to_be_bytes();
    let frame = [&length[..], &[0, 0, 0, 9], body].concat();
    let mut out = Vec::new();
    splice
        .reseal(&frame, 8, &mut out)
        .expect("edits within the body");
    let mut pieces = Vec::new();
    splice
        .reseal_pieces(&Bytes::from(frame), 8, |piece| {
            pieces.extend_from_slice(&piece);
        })
        .expect("the same edits");
    assert_eq!(pieces, out, "the pieces concatenated are the frame");
    let length = u32::try_from(out.len() - 4)
        .expect("a small body")
        .to_be_bytes();
    assert_eq!(
        out.get(..8),
        Some(&[length, [0, 0, 0, 9]].concat()[..]),
        "the length of the frame is updated"
    );
    assert!(RequestHeader::parse(&out).is_err() || out.len() >= 14);
    out.split_off(8)
}
