//! What must hold for the body of any message, well-formed or not. Shared by the property tests and the fuzz target.

use bytes::Bytes;
use throughline_kafka::api::ApiKey;
use throughline_kafka::frame::RequestHeader;
use throughline_kafka::message::{
    ApiMessage, BodySplice, address, api_versions, cluster, fetch, group, produce, share,
};
use throughline_kafka::wire::WireField;

/// Opens the body as everything that has this key and reads all that it gives out. True when one of them could be
/// opened.
pub(crate) fn read_all(body: &[u8], api: ApiKey, version: i16) -> bool {
    let mut opened = Reading {
        body,
        version,
        opened: false,
    };
    match api {
        ApiKey::PRODUCE => {
            opened.one(|request: produce::ProduceRequest<'_>| {
                request
                    .topics
                    .iter()
                    .flat_map(|topic| topic.partitions)
                    .filter_map(|partition| partition.records)
                    .collect()
            });
            opened.one(|response: produce::ProduceResponse<'_>| {
                response.topics.iter().for_each(|topic| {
                    assert_eq!(topic.partitions.iter().count(), len(topic.partitions.len()))
                });
                response
                    .node_endpoints
                    .iter()
                    .map(|endpoint| endpoint.host)
                    .collect()
            });
        }
        ApiKey::FETCH => {
            opened.one(|request: fetch::FetchRequest<'_>| {
                request.topics.iter().for_each(|topic| {
                    assert_eq!(topic.partitions.iter().count(), len(topic.partitions.len()))
                });
                Vec::new()
            });
            opened.one(|response: fetch::FetchResponse<'_>| {
                response
                    .topics
                    .iter()
                    .flat_map(|topic| topic.partitions)
                    .filter_map(|partition| partition.records)
                    .collect()
            });
        }
        ApiKey::SHARE_FETCH => {
            opened.one(|request: share::ShareFetchRequest<'_>| {
                request
                    .group_id
                    .into_iter()
                    .chain(request.member_id)
                    .collect()
            });
            opened.one(|response: share::ShareFetchResponse<'_>| {
                response
                    .topics
                    .iter()
                    .flat_map(|topic| topic.partitions)
                    .filter_map(|partition| partition.records)
                    .collect()
            });
        }
        _ => opened.rest(api),
    }
    opened.opened
}

struct Reading<'a> {
    body: &'a [u8],
    version: i16,
    opened: bool,
}

impl<'a> Reading<'a> {
    /// The APIs without records.
    fn rest(&mut self, api: ApiKey) {
        match api {
            ApiKey::METADATA => self.one(|response: cluster::MetadataResponse<'_>| {
                assert_eq!(response.topics.iter().count(), len(response.topics.len()));
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
                self.one(|response: cluster::FindCoordinatorResponse<'_>| {
                    response
                        .coordinators()
                        .map(|coordinator| coordinator.endpoint.host)
                        .collect()
                })
            }
            ApiKey::DESCRIBE_CLUSTER => {
                self.one(|response: cluster::DescribeClusterResponse<'_>| {
                    let hosts = response.brokers.iter().map(|broker| broker.endpoint.host);
                    response.cluster_id.into_iter().chain(hosts).collect()
                })
            }
            ApiKey::API_VERSIONS => self.one(|response: api_versions::ApiVersionsResponse<'_>| {
                assert_eq!(
                    response.api_keys.iter().count(),
                    len(response.api_keys.len())
                );
                response
                    .finalized_features
                    .iter()
                    .flat_map(|features| features.features)
                    .map(|feature| feature.name)
                    .collect()
            }),
            _ => self.groups(api),
        }
    }

    fn groups(&mut self, api: ApiKey) {
        match api {
            ApiKey::JOIN_GROUP => {
                self.one(|request: group::JoinGroupRequest<'_>| {
                    vec![request.group_id, request.member_id]
                });
            }
            ApiKey::SYNC_GROUP => {
                self.one(|request: group::SyncGroupRequest<'_>| {
                    vec![request.group_id, request.member_id]
                });
            }
            ApiKey::CONSUMER_GROUP_HEARTBEAT => {
                self.one(|request: group::ConsumerGroupHeartbeatRequest<'_>| {
                    vec![request.group_id, request.member_id]
                });
            }
            ApiKey::OFFSET_COMMIT => {
                self.one(|request: group::OffsetCommitRequest<'_>| {
                    request.topics.iter().for_each(|topic| {
                        assert_eq!(topic.partitions.iter().count(), len(topic.partitions.len()))
                    });
                    vec![request.group_id, request.member_id]
                });
                self.one(|response: group::OffsetCommitResponse<'_>| {
                    assert_eq!(response.topics.iter().count(), len(response.topics.len()));
                    Vec::new()
                });
            }
            ApiKey::TXN_OFFSET_COMMIT => {
                self.one(|request: group::TxnOffsetCommitRequest<'_>| {
                    request.topics.iter().for_each(|topic| {
                        assert_eq!(topic.partitions.iter().count(), len(topic.partitions.len()))
                    });
                    vec![request.group_id, request.transactional_id]
                });
                self.one(|response: group::TxnOffsetCommitResponse<'_>| {
                    assert_eq!(response.topics.iter().count(), len(response.topics.len()));
                    Vec::new()
                });
            }
            ApiKey::SHARE_ACKNOWLEDGE => {
                self.one(|request: share::ShareAcknowledgeRequest<'_>| {
                    request
                        .group_id
                        .into_iter()
                        .chain(request.member_id)
                        .collect()
                });
                self.one(|response: share::ShareAcknowledgeResponse<'_>| {
                    assert_eq!(response.topics.iter().count(), len(response.topics.len()));
                    Vec::new()
                });
            }
            _ => {}
        }
    }

    /// Opens the body as one message; every field that it gives out must lie where it says.
    fn one<M: ApiMessage<'a>>(&mut self, fields: impl FnOnce(M) -> Vec<WireField<'a>>) {
        let Some(message) = M::parse(self.body, self.version)
            .ok()
            .and_then(|opened| opened.parsed())
        else {
            return;
        };
        self.opened = true;
        for field in fields(message) {
            assert_eq!(
                self.body.get(field.range()),
                Some(field.bytes()),
                "a field lies where it says"
            );
        }
    }
}

fn len(count: u32) -> usize {
    usize::try_from(count).expect("a small number")
}

/// The first two bytes are an API and a version, the rest a body.
pub(crate) fn any_body(bytes: &[u8]) {
    let Some(([key, version], body)) = bytes.split_first_chunk() else {
        return;
    };
    let (api, version) = (ApiKey(i16::from(*key)), i16::from(*version) % 20 - 1);
    read_all(body, api, version);
    rewritten(api, version, body);
    clamped(version, body);
}

/// The body with every address changed; [`None`] when there is none or it is not well-formed.
pub(crate) fn rewritten(api: ApiKey, version: i16, body: &[u8]) -> Option<Vec<u8>> {
    let mut splice = BodySplice::default();
    let map = |splice: &mut BodySplice, body: &[u8], host, port| {
        let done = address::rewrite(api, version, body, splice, |_| Some((host, port)));
        done.ok().and_then(|opened| opened.parsed())
    };
    let count = map(
        &mut splice,
        body,
        "a.host.that.is.somewhat.longer.than.most",
        65_000,
    )?;
    let frame = sealed(&mut splice, body);
    assert!(count > 0 || frame == body, "no change is identity");
    let mut again = BodySplice::default();
    let mut seen = 0;
    let reopened = address::rewrite(api, version, &frame, &mut again, |endpoint| {
        assert_eq!(
            endpoint.host.text(),
            Some("a.host.that.is.somewhat.longer.than.most")
        );
        assert_eq!(endpoint.port, 65_000);
        seen += 1;
        None::<(&str, i32)>
    });
    assert!(reopened.is_ok(), "a rewritten body is well-formed");
    assert_eq!(seen, count, "all addresses are there, and new");
    (count > 0).then_some(frame)
}

/// The body with all versions cut to 3 at most; [`None`] when it is not well-formed.
pub(crate) fn clamped(version: i16, body: &[u8]) -> Option<Vec<u8>> {
    let mut splice = BodySplice::default();
    api_versions::clamp(version, body, &mut splice, |_, low, high| {
        (low, high.min(3))
    })
    .ok()?
    .parsed()?;
    let frame = sealed(&mut splice, body);
    let again = api_versions::ApiVersionsResponse::parse(&frame, version)
        .expect("a clamped body is well-formed")
        .parsed()?;
    for key in &again.api_keys {
        assert!(key.max_version <= 3 || key.min_version > 3);
    }
    Some(frame)
}

/// The body, changed, by way of a frame whose length must then be right.
fn sealed(splice: &mut BodySplice, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4)
        .expect("a small body")
        .to_be_bytes();
    let frame = [&length[..], &[0, 0, 0, 9], body].concat();
    let mut out = Vec::new();
    splice
        .reseal(&frame, 8, &mut out)
        .expect("changes within the body");
    let mut pieces = Vec::new();
    splice
        .reseal_pieces(&Bytes::from(frame), 8, |piece| {
            pieces.extend_from_slice(&piece)
        })
        .expect("the same changes");
    assert_eq!(pieces, out, "pieces put together are the frame");
    let length = u32::try_from(out.len() - 4)
        .expect("a small body")
        .to_be_bytes();
    assert_eq!(
        out.get(..8),
        Some(&[length, [0, 0, 0, 9]].concat()[..]),
        "the frame's length is redone"
    );
    assert!(RequestHeader::parse(&out).is_err() || out.len() >= 14);
    out.split_off(8)
}
